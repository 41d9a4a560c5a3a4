package objects

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"github.com/headwater-metrics/headwater/schemas/wire"
	"k8s.io/apimachinery/pkg/api/resource"
)

// appendTree writes a tree of maps, lists and scalars, as unstructured objects and decoded JSON are, without what is
// pruned.
func appendTree(b []byte, value any, tree *prune, s *scratch) []byte {
	switch v := value.(type) {
	case nil:
		return wire.AppendNil(b)
	case string:
		return appendText(b, v)
	case bool:
		return wire.AppendBool(b, v)
	case int64:
		return wire.AppendInt(b, v)
	case float64:
		return appendFloat(b, v, s)
	case json.Number:
		return appendNumber(b, v, s)
	case map[string]any:
		return appendTreeMap(b, v, tree, s)
	case []any:
		if v == nil {
			return wire.AppendNil(b)
		}
		b = wire.AppendArrayLen(b, len(v))
		tree = tree.at(elements)
		for _, element := range v {
			b = appendTree(b, element, tree, s)
		}
		return b
	case int:
		return wire.AppendInt(b, int64(v))
	case int32:
		return wire.AppendInt(b, int64(v))
	case uint64:
		return wire.AppendUint(b, v)
	default:
		s.fail(fmt.Errorf("a value of type %T isn't JSON", value))
		return b
	}
}

func appendTreeMap(b []byte, m map[string]any, tree *prune, s *scratch) []byte {
	if m == nil {
		return wire.AppendNil(b)
	}
	base := len(s.keys)
	for key, value := range m {
		if tree != nil && (tree.drops(key) || emptied(value, tree.at(key))) {
			continue
		}
		s.keys = append(s.keys, key)
	}
	keys := s.keys[base:]
	slices.Sort(keys)
	b = wire.AppendMapLen(b, len(keys))
	for i := range keys {
		key := s.keys[base+i] // the stack may have moved meanwhile
		b = appendTree(appendText(b, key), m[key], tree.at(key), s)
	}
	s.release(base)
	return b
}

// emptied tells whether value is a map of which nothing is left but what is pruned by key.
func emptied(value any, tree *prune) bool {
	m, ok := value.(map[string]any)
	if !ok || tree == nil || !tree.keyed || len(m) == 0 {
		return false
	}
	for key := range m {
		if !tree.drops(key) {
			return false
		}
	}
	return true
}

// appendFloat writes a number of JSON. A whole one is written as an integer, since JSON has no other numbers: 1 and 1.0
// of a typed and of an unstructured object are the same bytes.
func appendFloat(b []byte, v float64, s *scratch) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		s.fail(fmt.Errorf("the number %v isn't JSON", v))
		return b
	}
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return wire.AppendInt(b, int64(v))
	}
	return wire.AppendFloat(b, v)
}

func appendNumber(b []byte, n json.Number, s *scratch) []byte {
	if v, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return wire.AppendInt(b, v)
	}
	if v, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return wire.AppendUint(b, v)
	}
	v, err := n.Float64()
	if err != nil {
		s.fail(err)
		return b
	}
	return appendFloat(b, v, s)
}

// decodeJSON reads one JSON value, its numbers kept exact.
func decodeJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more follows after the value")
	}
	return value, nil
}

// rfc3339Micro is how metav1.MicroTime is written.
const rfc3339Micro = "2006-01-02T15:04:05.000000Z07:00"

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return wire.AppendNil(b)
	}
	var room [40]byte
	return wire.AppendString(b, alias(t.UTC().AppendFormat(room[:0], time.RFC3339)))
}

func appendMicroTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return wire.AppendNil(b)
	}
	var room [40]byte
	return wire.AppendString(b, alias(t.UTC().AppendFormat(room[:0], rfc3339Micro)))
}

// appendBase64 writes bytes as encoding/json does.
func appendBase64(b, v []byte) []byte {
	if v == nil {
		return wire.AppendNil(b)
	}
	return wire.AppendString(b, base64.StdEncoding.EncodeToString(v))
}

// appendQuantity writes the text that the API server sent where the quantity remembers it, else its canonical form.
// resource.Quantity.String would do the same, but store what it made in the object, which belongs to the caller.
func appendQuantity(b []byte, q *resource.Quantity) []byte {
	if quantityText.known {
		if text := *(*string)(unsafe.Add(unsafe.Pointer(q), quantityText.offset)); text != "" {
			return appendText(b, text)
		}
	} else {
		copied := q.DeepCopy()
		return wire.AppendString(b, copied.String())
	}
	if v, ok := q.AsInt64(); ok && q.Format == resource.BinarySI && (v >= 1024 || v <= -1024) {
		return appendBinary(b, v)
	}
	var room [24]byte
	number, suffix := q.CanonicalizeBytes(room[:0])
	return wire.AppendString(b, alias(append(number, suffix...)))
}

// appendBinary writes the canonical form of most quantities of memory, which they don't remember: "256Mi".
func appendBinary(b []byte, v int64) []byte {
	suffix := 0
	for v%1024 == 0 {
		v /= 1024
		suffix++
	}
	var room [24]byte
	text := strconv.AppendInt(room[:0], v, 10)
	return wire.AppendString(b, alias(append(text, [...]string{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}[suffix]...)))
}

// quantityText is where a resource.Quantity remembers its text: its private field "s".
var quantityText = func() (at struct {
	offset uintptr
	known  bool
}) {
	if f, ok := reflect.TypeFor[resource.Quantity]().FieldByName("s"); ok && f.Type.Kind() == reflect.String {
		at.offset, at.known = f.Offset, true
	}
	return at
}()

// alias views bytes as a string, which must not live longer than they stay unchanged.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
