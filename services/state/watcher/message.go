package watcher

import (
	"fmt"
	"unsafe"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
)

// message is an encoded schemas.ObjectChange, as the log has it.
type message []byte

// header is what a message says besides the object. The strings are part of the message.
type header struct {
	operation            schemas.Operation
	group, version, kind string
	resource             string
	namespace, name      string
	uid, rv              string
	time                 int64 // Unix nanoseconds
	length               int   // bytes of all of these in the message
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
	h.length = r.Offset()
	return h, err
}

// deletion is the message that says that the object is gone.
func (h header) deletion(now int64) message {
	c := schemas.ObjectChange{
		Operation: schemas.Deleted, Group: h.group, APIVersion: h.version, Kind: h.kind, Resource: h.resource,
		Namespace: h.namespace, Name: h.name, UID: h.uid, ResourceVersion: h.rv, Time: now,
	}
	return c.Marshal()
}
