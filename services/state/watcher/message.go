package watcher

import (
	"fmt"
	"unsafe"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
)

// message is an encoded schemas.ObjectChange, as the log has it. It is never changed once it is made.
type message []byte

// header is what a message says besides the object. The strings are part of the message.
type header struct {
	operation            schemas.Operation
	group, version, kind string
	resource             string
	namespace, name      string
	uid, rv              string
	time                 int64 // Unix nanoseconds
}

// head reads the header alone, which costs a hundredth of reading the message.
func (m message) head() (h header, err error) {
	r := wire.NewReader(m)
	n, err := r.ArrayLen()
	if err != nil {
		return h, err
	}
	version, err := r.Uint()
	switch {
	case err != nil:
		return h, err
	case version != schemas.Version:
		return h, fmt.Errorf("%w: %d", schemas.ErrVersion, version)
	case n < 12:
		return h, fmt.Errorf("%w: an object change of %d fields", schemas.ErrMalformed, n)
	}
	operation, err := r.Uint()
	if err != nil {
		return h, err
	}
	h.operation = schemas.Operation(operation)
	for _, s := range [...]*string{&h.group, &h.version, &h.kind, &h.resource, &h.namespace, &h.name, &h.uid, &h.rv} {
		text, err := r.StringBytes()
		if err != nil {
			return h, err
		}
		*s = unsafe.String(unsafe.SliceData(text), len(text))
	}
	h.time, err = r.Int()
	return h, err
}

// identity is head's uid and rv, for a message that was read before.
func (m message) identity() (uid, rv string) {
	h, _ := m.head()
	return h.uid, h.rv
}

// same tells whether both messages say the same of an object: nothing, or the same state of the same object, written as
// the same version of its kind writes it.
func (m message) same(other message) bool {
	if m == nil || other == nil {
		return m == nil && other == nil
	}
	if &m[0] == &other[0] {
		return true
	}
	a, _ := m.head()
	b, _ := other.head()
	return a.uid == b.uid && a.rv == b.rv && a.version == b.version && a.kind == b.kind
}

// deletion is the message that says that m's object is gone.
func (m message) deletion(now int64) message {
	h, _ := m.head()
	c := schemas.ObjectChange{
		Operation: schemas.Deleted, Group: h.group, APIVersion: h.version, Kind: h.kind, Resource: h.resource,
		Namespace: h.namespace, Name: h.name, UID: h.uid, ResourceVersion: h.rv, Time: now,
	}
	return c.Marshal()
}
