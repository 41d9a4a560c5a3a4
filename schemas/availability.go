package schemas

import (
	"fmt"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

// Availability says of every kind that the state service watches whether the API server gives it: one message for the
// cluster, the newest counts. A kind that isn't in it isn't watched.
//
// Wire: [version, time, [kind...]], see SPEC.md.
type Availability struct {
	Time  int64 // when the state service said so, Unix nanoseconds; it says so again every minute
	Kinds []KindAvailability
}

// KindAvailability is one kind's part of an Availability.
//
// Wire: [group, resource, reason, since].
type KindAvailability struct {
	Group    string // API group; "" for the legacy group
	Resource string // as in ObjectChange: "pods", "foos.v1beta1"
	Reason   string // why the API server doesn't give the kind, one of the constants below or a later writer's; "" where it does
	Since    int64  // since when it has been so, Unix nanoseconds; 0 where unknown
}

// The values of KindAvailability.Reason.
const (
	Available          = ""
	PendingReason      = "pending"      // not asked yet
	ForbiddenReason    = "forbidden"    // RBAC doesn't allow it
	UnauthorizedReason = "unauthorized" // the API server doesn't know the credentials
	NotFoundReason     = "not_found"    // the API server doesn't have the kind
	UnreachableReason  = "unreachable"  // no answer
	OverloadedReason   = "overloaded"   // the API server has too much to do
	ErrorReason        = "error"        // anything else
)

// AvailabilitySubject is where the availability of a cluster's kinds travels: k8s.v1.<cluster>.snapshot.availability.
// The stream of the snapshots keeps the newest.
func AvailabilitySubject(cluster string) string {
	return prefix + EscapeToken(cluster) + ".snapshot.availability"
}

// The arrays of an availability: how many elements each has had since version 1.
const (
	availabilityFields = 3
	kindFields         = 4
	minKindBytes       = 1 + kindFields
)

var (
	_ msgpack.CustomEncoder = (*Availability)(nil)
	_ msgpack.CustomDecoder = (*Availability)(nil)
)

// Marshal returns the message. A caller that has a buffer uses AppendMsgpack.
func (a *Availability) Marshal() []byte {
	return a.AppendMsgpack(make([]byte, 0, 32+64*len(a.Kinds)))
}

// AppendMsgpack appends the message to b. Names that are not valid UTF-8 are written with U+FFFD in the place of what is
// invalid.
func (a *Availability) AppendMsgpack(b []byte) []byte {
	b = wire.AppendArrayLen(b, availabilityFields)
	b = wire.AppendUint(b, Version)
	b = wire.AppendInt(b, a.Time)
	b = wire.AppendArrayLen(b, len(a.Kinds))
	for i := range a.Kinds {
		k := &a.Kinds[i]
		b = wire.AppendArrayLen(b, kindFields)
		b = appendName(b, k.Group)
		b = appendName(b, k.Resource)
		b = appendName(b, k.Reason)
		b = wire.AppendInt(b, k.Since)
	}
	return b
}

// Unmarshal reads one message, which must fill b. It overwrites a whole and keeps nothing of b.
//
// Errors wrap ErrVersion or ErrMalformed; a is then of no use except for another Unmarshal.
func (a *Availability) Unmarshal(b []byte) error {
	d := names{r: wire.NewReader(b)}
	if err := a.read(&d); err != nil {
		return fmt.Errorf("couldn't read an availability: %w", err)
	}
	return nil
}

func (a *Availability) read(d *names) error {
	n, err := d.begin(availabilityFields)
	if err != nil {
		return err
	}
	if a.Time, err = d.r.Int(); err != nil {
		return err
	}
	kinds, err := d.list(minKindBytes)
	if err != nil {
		return err
	}
	switch {
	case kinds == 0:
		a.Kinds = nil
	case cap(a.Kinds) < kinds:
		a.Kinds = make([]KindAvailability, kinds)
	default:
		a.Kinds = a.Kinds[:kinds]
	}
	for i := range a.Kinds {
		if err := a.Kinds[i].read(d); err != nil {
			return err
		}
	}
	return d.end(n - availabilityFields)
}

func (k *KindAvailability) read(d *names) error {
	n, err := d.array(kindFields)
	if err != nil {
		return err
	}
	for _, s := range [...]*string{&k.Group, &k.Resource, &k.Reason} {
		if *s, err = d.name(*s); err != nil {
			return err
		}
	}
	if k.Since, err = d.r.Int(); err != nil {
		return err
	}
	return d.skip(n - kindFields)
}

// EncodeMsgpack writes what Marshal returns, in one piece.
func (a *Availability) EncodeMsgpack(e *msgpack.Encoder) error {
	return msgpack.RawMessage(a.Marshal()).EncodeMsgpack(e)
}

// DecodeMsgpack takes the bytes of one message from d, then does what Unmarshal does.
func (a *Availability) DecodeMsgpack(d *msgpack.Decoder) error {
	raw, err := wire.ReadValue(d.Buffered(), nil)
	if err != nil {
		return err
	}
	return a.Unmarshal(raw)
}
