package schemas

import (
	"fmt"
	"slices"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

// objectFields is how many elements an object change has had since version 1; dropped may be missing, more may follow.
const objectFields = 12

// Marshal returns the change's message. A caller that has a buffer uses AppendMsgpack.
func (c *ObjectChange) Marshal() []byte {
	n := 64 + len(c.Group) + len(c.APIVersion) + len(c.Kind) + len(c.Resource) + len(c.Namespace) + len(c.Name) + len(c.UID) +
		len(c.ResourceVersion) + len(c.Object)
	return c.AppendMsgpack(make([]byte, 0, n))
}

// AppendMsgpack appends the change's message to b. Object is written as it is: it must be nil or exactly one msgpack map.
// Names that are not valid UTF-8, which Kubernetes does not admit, are written with U+FFFD in the place of what is invalid.
func (c *ObjectChange) AppendMsgpack(b []byte) []byte {
	b = wire.AppendArrayLen(b, objectFields+1)
	b = wire.AppendUint(b, Version)
	b = wire.AppendUint(b, uint64(c.Operation))
	for _, s := range c.names() {
		b = appendName(b, *s)
	}
	b = wire.AppendInt(b, c.Time)
	if len(c.Object) == 0 {
		b = wire.AppendNil(b)
	} else {
		b = append(b, c.Object...)
	}
	if len(c.Dropped) == 0 {
		return wire.AppendNil(b)
	}
	b = wire.AppendArrayLen(b, len(c.Dropped))
	for _, s := range c.Dropped {
		b = appendName(b, s)
	}
	return b
}

// names lists the strings of the envelope in the order of the wire.
func (c *ObjectChange) names() [8]*string {
	return [...]*string{&c.Group, &c.APIVersion, &c.Kind, &c.Resource, &c.Namespace, &c.Name, &c.UID, &c.ResourceVersion}
}

// Unmarshal reads one message, which must fill b. It overwrites c whole; Object is then a part of b, everything else is
// copied, except strings that are the same as in c before. The structure of the object is checked, its content is not.
//
// Errors wrap ErrVersion or ErrMalformed; c is then of no use except for another Unmarshal.
func (c *ObjectChange) Unmarshal(b []byte) error {
	d := names{r: wire.NewReader(b)}
	if err := c.read(&d); err != nil {
		return fmt.Errorf("couldn't read an object change: %w", err)
	}
	return nil
}

func (c *ObjectChange) read(d *names) error {
	n, err := d.begin(objectFields)
	if err != nil {
		return err
	}
	op, err := d.r.Uint()
	if err != nil {
		return err
	}
	c.Operation = Operation(op)
	if op != uint64(Applied) && op != uint64(Deleted) {
		return fmt.Errorf("%w: there is no operation %d", ErrMalformed, op)
	}
	fields := c.names()
	if err := d.namesInto(fields[:]); err != nil {
		return err
	}
	if c.Time, err = d.r.Int(); err != nil {
		return err
	}
	c.Object = nil
	switch d.r.Peek() {
	case wire.Map:
		if c.Object, err = d.r.Raw(); err != nil {
			return err
		}
	case wire.Nil:
		if c.Operation != Deleted {
			return fmt.Errorf("%w: it has no object and is not a deletion", ErrMalformed)
		}
		d.r.Nil()
	default:
		return fmt.Errorf("%w: the object at byte %d is neither a map nor nil, but %v", ErrMalformed, d.r.Offset(), d.r.Peek())
	}
	if n == objectFields {
		c.Dropped = nil
		return d.end(0)
	}
	if err := c.readDropped(d); err != nil {
		return err
	}
	return d.end(n - objectFields - 1)
}

func (c *ObjectChange) readDropped(d *names) error {
	n, err := d.list(1)
	if err != nil {
		return err
	}
	if n == 0 {
		c.Dropped = nil
		return nil
	}
	c.Dropped = slices.Grow(c.Dropped[:0], n)[:n]
	for i := range c.Dropped {
		if c.Dropped[i], err = d.name(c.Dropped[i]); err != nil {
			return err
		}
	}
	return nil
}
