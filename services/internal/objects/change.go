package objects

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
)

// Change is the message of one change of obj, observed at now: its whole pruned state (schemas.Applied), or that it is
// gone (schemas.Deleted). What `state` publishes and what `exporter render` decodes is made here.
func (e *Encoder) Change(obj runtime.Object, op schemas.Operation, now time.Time) (schemas.ObjectChange, error) {
	change, err := e.envelope(obj, op, now)
	if err == nil && op == schemas.Applied {
		err = e.encoded(obj, func(object []byte) { change.Object = bytes.Clone(object) })
	}
	if err != nil {
		return schemas.ObjectChange{}, err
	}
	return change, nil
}

// AppendMessage appends the change that Change makes, encoded. On an error b is returned as it came.
func (e *Encoder) AppendMessage(b []byte, obj runtime.Object, op schemas.Operation, now time.Time) ([]byte, error) {
	change, err := e.envelope(obj, op, now)
	switch {
	case err != nil:
	case op != schemas.Applied:
		b = change.AppendMsgpack(b)
	default:
		err = e.encoded(obj, func(object []byte) {
			change.Object = object
			b = change.AppendMsgpack(b)
		})
	}
	return b, err
}

// envelope is a change without its object.
func (e *Encoder) envelope(obj runtime.Object, op schemas.Operation, now time.Time) (schemas.ObjectChange, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return schemas.ObjectChange{}, fmt.Errorf("couldn't read the metadata of a %s: %w", e.kind.Kind, err)
	}
	return schemas.ObjectChange{
		Operation:       op,
		Group:           e.kind.Group,
		APIVersion:      e.kind.Version,
		Kind:            e.kind.Kind,
		Resource:        e.kind.Resource,
		Namespace:       m.GetNamespace(),
		Name:            m.GetName(),
		UID:             string(m.GetUID()),
		ResourceVersion: m.GetResourceVersion(),
		Time:            now.UnixNano(),
	}, nil
}

// encoded calls use with the encoded object, which is valid only during the call.
func (e *Encoder) encoded(obj runtime.Object, use func(object []byte)) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	object, err := e.Append((*buffer)[:0], obj)
	*buffer = object
	if err != nil {
		return err
	}
	use(object)
	return nil
}

// buffers are where objects are encoded, before their size is known.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// ErrTooLarge is what Fit returns when nothing more can be left out.
var ErrTooLarge = errors.New("object too large")

// kept are the fields that Fit never leaves out: what an object is.
var kept = map[string]bool{
	"apiVersion": true, "kind": true, "metadata.name": true, "metadata.namespace": true, "metadata.uid": true,
	"metadata.resourceVersion": true, "metadata.creationTimestamp": true, "metadata.deletionTimestamp": true, "metadata.generation": true,
}

// Fit makes the message of a change at most limit bytes long: it leaves out the largest fields of its object ("rules",
// "status.images", "metadata.annotations"; nothing deeper, and never the object's identity) and names them in Dropped.
// A change that fits is not touched, one that can't be made to fit is returned as ErrTooLarge, untouched.
func Fit(change *schemas.ObjectChange, limit int) error {
	excess := len(change.Marshal()) - limit
	if excess <= 0 {
		return nil
	}
	parts, err := largestFirst(change.Object)
	if err != nil {
		return err
	}
	dropped := map[string]bool{}
	fitted := *change
	for i, part := range parts {
		dropped[part.path] = true
		fitted.Dropped = append(slices.Clip(fitted.Dropped), part.path)
		// Its bytes are saved, its name in Dropped is added; heads of maps may shrink, arrays' grow.
		if excess -= part.size; excess+len(part.path)+8 > 0 && i < len(parts)-1 {
			continue
		}
		if fitted.Object, err = without(change.Object, dropped); err != nil {
			return err
		}
		if excess = len(fitted.Marshal()) - limit; excess <= 0 {
			slices.Sort(fitted.Dropped)
			*change = fitted
			return nil
		}
	}
	return fmt.Errorf("%w: %s %s/%s can't be made to fit %d bytes", ErrTooLarge, change.Resource, change.Namespace, change.Name, limit)
}

// part is a field that may be left out, and how many bytes that saves.
type part struct {
	path string
	size int
}

// largestFirst lists what may be left out of an object.
func largestFirst(object []byte) ([]part, error) {
	var parts []part
	err := eachField(object, func(name string, pair, value []byte) error {
		if r := wire.NewReader(value); r.Peek() != wire.Map {
			parts = append(parts, part{name, len(pair)})
			return nil
		}
		return eachField(value, func(below string, pair, _ []byte) error {
			parts = append(parts, part{name + "." + below, len(pair)})
			return nil
		})
	})
	parts = slices.DeleteFunc(parts, func(p part) bool { return kept[p.path] })
	slices.SortFunc(parts, func(a, b part) int { return cmp.Or(b.size-a.size, cmp.Compare(a.path, b.path)) })
	return parts, err
}

// without copies an object without the dropped fields.
func without(object []byte, dropped map[string]bool) ([]byte, error) {
	copied := make([]byte, 1, len(object))
	n := 0
	err := eachField(object, func(name string, pair, value []byte) error {
		if dropped[name] {
			return nil
		}
		n++
		if r := wire.NewReader(value); r.Peek() != wire.Map {
			copied = append(copied, pair...)
			return nil
		}
		copied = append(copied, pair[:len(pair)-len(value)]...) // the name
		head, below := len(copied), 0
		copied = append(copied, 0)
		err := eachField(value, func(field string, pair, _ []byte) error {
			if !dropped[name+"."+field] {
				below++
				copied = append(copied, pair...)
			}
			return nil
		})
		copied = setMapLen(copied, head, below)
		return err
	})
	return setMapLen(copied, 0, n), err
}

// eachField calls do with each entry of a map: its name, its bytes, and those of its value alone.
func eachField(object []byte, do func(name string, pair, value []byte) error) error {
	r := wire.NewReader(object)
	n, err := r.MapLen()
	if err != nil {
		return err
	}
	for range n {
		start := r.Offset()
		name, err := r.String()
		if err != nil {
			return err
		}
		value, err := r.Raw()
		if err != nil {
			return err
		}
		if err := do(name, object[start:r.Offset()], value); err != nil {
			return err
		}
	}
	return nil
}
