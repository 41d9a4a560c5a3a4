package objects

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/headwater-metrics/headwater/schemas/wire"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Encoder writes the objects of one kind. It may be used by several goroutines at once.
type Encoder struct {
	kind  Kind
	typ   reflect.Type // a pointer type; nil for a custom resource
	prog  *program
	prune *prune
}

// NewEncoder compiles the encoder of a kind. It fails when the kind's Prune names a field that its type doesn't have.
func NewEncoder(kind Kind) (*Encoder, error) {
	tree, err := parsePrune(append(Everywhere(), kind.Prune...)...)
	if err != nil {
		return nil, fmt.Errorf("couldn't compile kind %s: %w", kind.Resource, err)
	}
	e := &Encoder{kind: kind, prune: tree}
	obj := kind.New()
	if _, ok := obj.(*unstructured.Unstructured); ok {
		return e, nil
	}
	c := compiler{known: map[compiled]*program{}, konst: map[string][]byte{
		"apiVersion": wire.AppendString(nil, kind.APIVersion()),
		"kind":       wire.AppendString(nil, kind.Kind),
	}}
	e.typ = reflect.TypeOf(obj)
	if e.prog, err = c.compile(e.typ.Elem(), tree); err != nil {
		return nil, fmt.Errorf("couldn't compile kind %s: %w", kind.Resource, err)
	}
	return e, nil
}

// Kind is the kind that the encoder was made for.
func (e *Encoder) Kind() Kind { return e.kind }

// Append appends obj as one msgpack map: what encoding/json would write, without what is pruned, its keys sorted, and
// with the kind's own apiVersion and kind (the elements of a list come without). Bytes are base64 and times RFC 3339 text,
// as in JSON; text that isn't UTF-8 has U+FFFD for each wrong byte, as in JSON. obj is of the kind's type or
// unstructured, and isn't changed. On an error b is returned as it came.
func (e *Encoder) Append(b []byte, obj runtime.Object) ([]byte, error) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.err = nil
	start := len(b)
	if u, ok := obj.(*unstructured.Unstructured); ok {
		b = appendTree(b, e.rooted(u.Object), e.prune, s)
	} else if reflect.TypeOf(obj) == e.typ && e.typ != nil {
		p := reflect.ValueOf(obj).UnsafePointer()
		if p == nil {
			return b, fmt.Errorf("couldn't encode a nil %s", e.kind.Kind)
		}
		b = e.prog.append(b, p, s)
	} else {
		return b, fmt.Errorf("couldn't encode a %T as %s %s", obj, e.kind.APIVersion(), e.kind.Kind)
	}
	if s.err != nil {
		return b[:start], fmt.Errorf("couldn't encode a %s: %w", e.kind.Kind, s.err)
	}
	return b, nil
}

// rooted is the object with its kind and apiVersion set.
func (e *Encoder) rooted(obj map[string]any) map[string]any {
	if obj["kind"] == e.kind.Kind && obj["apiVersion"] == e.kind.APIVersion() {
		return obj
	}
	whole := make(map[string]any, len(obj)+2)
	for key, value := range obj {
		whole[key] = value
	}
	whole["kind"], whole["apiVersion"] = e.kind.Kind, e.kind.APIVersion()
	return whole
}

// scratch is what an encoding needs beside its output.
type scratch struct {
	err  error    // the first one; the rest of the output is worthless then
	keys []string // a stack of the maps' keys, to sort them
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// release takes the keys from base on off the stack, and forgets them.
func (s *scratch) release(base int) {
	clear(s.keys[base:])
	s.keys = s.keys[:base]
}

func (p *program) append(b []byte, ptr unsafe.Pointer, s *scratch) []byte {
	switch p.op {
	case opString:
		return appendText(b, *(*string)(ptr))
	case opBool:
		return wire.AppendBool(b, *(*bool)(ptr))
	case opInt:
		return wire.AppendInt(b, int64(*(*int)(ptr)))
	case opInt8:
		return wire.AppendInt(b, int64(*(*int8)(ptr)))
	case opInt16:
		return wire.AppendInt(b, int64(*(*int16)(ptr)))
	case opInt32:
		return wire.AppendInt(b, int64(*(*int32)(ptr)))
	case opInt64:
		return wire.AppendInt(b, *(*int64)(ptr))
	case opUint:
		return wire.AppendUint(b, uint64(*(*uint)(ptr)))
	case opUint8:
		return wire.AppendUint(b, uint64(*(*uint8)(ptr)))
	case opUint16:
		return wire.AppendUint(b, uint64(*(*uint16)(ptr)))
	case opUint32:
		return wire.AppendUint(b, uint64(*(*uint32)(ptr)))
	case opUint64:
		return wire.AppendUint(b, *(*uint64)(ptr))
	case opFloat64:
		return appendFloat(b, *(*float64)(ptr), s)
	case opPointer:
		if to := *(*unsafe.Pointer)(ptr); to != nil {
			return p.elem.append(b, to, s)
		}
		return wire.AppendNil(b)
	case opStruct:
		return p.appendStruct(b, ptr, s)
	case opSlice:
		list := (*sliceHeader)(ptr)
		if list.data == nil {
			return wire.AppendNil(b)
		}
		b = wire.AppendArrayLen(b, list.len)
		return p.appendElements(b, list.data, list.len, s)
	case opArray:
		return p.appendElements(wire.AppendArrayLen(b, p.count), ptr, p.count, s)
	case opBytes:
		return appendBase64(b, *(*[]byte)(ptr))
	case opStringMap:
		return p.appendStringMap(b, *(*map[string]string)(ptr), s)
	case opQuantityMap:
		return p.appendQuantityMap(b, *(*map[string]resource.Quantity)(ptr), s)
	case opMap:
		return p.appendMap(b, ptr, s)
	case opTime:
		return appendTime(b, (*metav1.Time)(ptr).Time)
	case opMicroTime:
		return appendMicroTime(b, (*metav1.MicroTime)(ptr).Time)
	case opDuration:
		return wire.AppendString(b, (*metav1.Duration)(ptr).Duration.String())
	case opQuantity:
		return appendQuantity(b, (*resource.Quantity)(ptr))
	case opIntOrString:
		v := (*intstr.IntOrString)(ptr)
		switch v.Type {
		case intstr.Int:
			return wire.AppendInt(b, int64(v.IntVal))
		case intstr.String:
			return appendText(b, v.StrVal)
		}
		s.fail(fmt.Errorf("an IntOrString is neither (type %d)", v.Type))
		return b
	case opConst:
		return append(b, p.konst...)
	default:
		return p.appendJSON(b, ptr, s)
	}
}

// sliceHeader is how Go lays out a slice.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

func (p *program) appendElements(b []byte, data unsafe.Pointer, n int, s *scratch) []byte {
	for i := range n {
		b = p.elem.append(b, unsafe.Add(data, uintptr(i)*p.size), s)
	}
	return b
}

// appendStruct writes the fields that aren't empty, and then how many they were in front of them.
func (p *program) appendStruct(b []byte, ptr unsafe.Pointer, s *scratch) []byte {
	head := len(b)
	b = append(b, 0)
	n := 0
	for i := range p.fields {
		f := &p.fields[i]
		at := unsafe.Add(ptr, f.offset)
		if f.empty != nil && f.empty.holds(at) {
			continue
		}
		n++
		b = append(b, f.key...)
		b = f.prog.append(b, at, s)
	}
	return setMapLen(b, head, n)
}

// setMapLen puts the head of a map of n entries at b[head], where one byte was left for it.
func setMapLen(b []byte, head, n int) []byte {
	if n < 16 {
		b[head] = 0x80 | byte(n)
		return b
	}
	var room [8]byte
	long := wire.AppendMapLen(room[:0], n)
	b = slices.Insert(b, head, long[1:]...)
	copy(b[head:], long)
	return b
}

func (p *program) appendStringMap(b []byte, m map[string]string, s *scratch) []byte {
	if m == nil {
		return wire.AppendNil(b)
	}
	base := len(s.keys)
	for key := range m {
		if !p.drop[key] {
			s.keys = append(s.keys, key)
		}
	}
	keys := s.keys[base:]
	slices.Sort(keys)
	b = wire.AppendMapLen(b, len(keys))
	for _, key := range keys {
		b = appendText(appendText(b, key), m[key])
	}
	s.release(base)
	return b
}

func (p *program) appendQuantityMap(b []byte, m map[string]resource.Quantity, s *scratch) []byte {
	if m == nil {
		return wire.AppendNil(b)
	}
	base := len(s.keys)
	for key := range m {
		if !p.drop[key] {
			s.keys = append(s.keys, key)
		}
	}
	keys := s.keys[base:]
	slices.Sort(keys)
	b = wire.AppendMapLen(b, len(keys))
	for _, key := range keys {
		value := m[key]
		b = appendQuantity(appendText(b, key), &value)
	}
	s.release(base)
	return b
}

// appendMap writes a map of any values; none of the kinds' large maps come here.
func (p *program) appendMap(b []byte, ptr unsafe.Pointer, s *scratch) []byte {
	m := reflect.NewAt(p.typ, ptr).Elem()
	if m.IsNil() {
		return wire.AppendNil(b)
	}
	keys := slices.DeleteFunc(m.MapKeys(), func(key reflect.Value) bool { return p.drop[key.String()] })
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	b = wire.AppendMapLen(b, len(keys))
	value := reflect.New(p.elem.typ)
	for _, key := range keys {
		value.Elem().Set(m.MapIndex(key))
		b = p.elem.append(appendText(b, key.String()), value.UnsafePointer(), s)
	}
	return b
}

// appendJSON writes a type that only encoding/json knows how to write.
func (p *program) appendJSON(b []byte, ptr unsafe.Pointer, s *scratch) []byte {
	text, err := json.Marshal(reflect.NewAt(p.typ, ptr).Interface())
	if err != nil {
		s.fail(err)
		return b
	}
	value, err := decodeJSON(text)
	if err != nil {
		s.fail(fmt.Errorf("%v wrote JSON that doesn't parse: %w", p.typ, err))
		return b
	}
	return appendTree(b, value, nil, s)
}

// appendText writes a string, every byte of it that isn't UTF-8 replaced as encoding/json does.
func appendText(b []byte, text string) []byte {
	if utf8.ValidString(text) {
		return wire.AppendString(b, text)
	}
	valid := make([]byte, 0, len(text)+8)
	for _, r := range text { // a wrong byte reads as U+FFFD
		valid = utf8.AppendRune(valid, r)
	}
	return wire.AppendString(b, string(valid))
}
