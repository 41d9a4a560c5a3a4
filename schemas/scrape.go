package schemas

import (
	"fmt"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

// ScrapeReport says what came of the last attempt to scrape a node, where the usage sample alone can't: that it failed
// and why, or what the kubelet said that was not published. A node without trouble has none.
//
// Wire: [version, node, ingester, time, duration, result, error, url, failures, lastSuccess, next, [dropped...], more],
// see SPEC.md.
type ScrapeReport struct {
	Node        string // name of the Node object
	Ingester    string // which ingester tried: its host or pod name
	Time        int64  // when the attempt began, Unix nanoseconds
	Duration    int64  // how long it took, nanoseconds
	Result      string // ScrapeSuccess, or why there is no sample, or only a part: the result label of headwater_ingest_scrapes_total
	Error       string // what was wrong and what to do about it: one line, at most MaxScrapeError bytes; "" for success
	URL         string // what was asked; "" where there was nothing to ask
	Failures    uint64 // failed attempts in a row, up to and with this one; 0 for success
	LastSuccess int64  // when the last good attempt began, Unix nanoseconds; 0: none that the ingester knows of
	Next        int64  // when the next attempt is due, Unix nanoseconds

	// Dropped is what the last good scrape's answer had and its sample doesn't, at most MaxDropped; More is how many
	// there were beside them.
	Dropped []DroppedUsage
	More    uint64
}

// Published tells whether the attempt has published a sample. With another Result than ScrapeSuccess that one lacks what
// the URL would have told besides: the attempt counts as LastSuccess, and Failures is 0.
func (s *ScrapeReport) Published() bool {
	return s.Result == ScrapeSuccess || s.Failures == 0 && s.LastSuccess == s.Time
}

// DroppedUsage is something that a kubelet told of and that was not published.
//
// Wire: [namespace, pod, container, reason].
type DroppedUsage struct {
	Namespace string
	Pod       string // "": the node's own point
	Container string // the container at fault, for which the whole pod is dropped; "": the pod as such
	Reason    string // the reason label of headwater_ingest_dropped_total
}

// ScrapeSuccess is the Result of an attempt that has published a whole sample.
const ScrapeSuccess = "success"

// Limits that writers keep to. Readers take more.
const (
	MaxDropped     = 1000
	MaxScrapeError = 512
)

// The arrays of a report: how many elements each has had since version 1.
const (
	scrapeFields    = 12 // More may be missing
	droppedFields   = 4
	minDroppedBytes = 1 + droppedFields
)

var (
	_ msgpack.CustomEncoder = (*ScrapeReport)(nil)
	_ msgpack.CustomDecoder = (*ScrapeReport)(nil)
)

// Marshal returns the message. A caller that has a buffer uses AppendMsgpack.
func (s *ScrapeReport) Marshal() []byte {
	return s.AppendMsgpack(make([]byte, 0, 128+len(s.Error)+len(s.URL)+96*len(s.Dropped)))
}

// AppendMsgpack appends the message to b. Names that are not valid UTF-8 are written with U+FFFD in the place of what is
// invalid.
func (s *ScrapeReport) AppendMsgpack(b []byte) []byte {
	b = wire.AppendArrayLen(b, scrapeFields+1)
	b = wire.AppendUint(b, Version)
	b = appendName(b, s.Node)
	b = appendName(b, s.Ingester)
	b = wire.AppendInt(b, s.Time)
	b = wire.AppendInt(b, s.Duration)
	b = appendName(b, s.Result)
	b = appendName(b, s.Error)
	b = appendName(b, s.URL)
	b = wire.AppendUint(b, s.Failures)
	b = wire.AppendInt(b, s.LastSuccess)
	b = wire.AppendInt(b, s.Next)
	b = wire.AppendArrayLen(b, len(s.Dropped))
	for i := range s.Dropped {
		d := &s.Dropped[i]
		b = wire.AppendArrayLen(b, droppedFields)
		b = appendName(b, d.Namespace)
		b = appendName(b, d.Pod)
		b = appendName(b, d.Container)
		b = appendName(b, d.Reason)
	}
	return wire.AppendUint(b, s.More)
}

// Unmarshal reads one message, which must fill b. It overwrites s whole and keeps nothing of b.
//
// Errors wrap ErrVersion or ErrMalformed; s is then of no use except for another Unmarshal.
func (s *ScrapeReport) Unmarshal(b []byte) error {
	d := names{r: wire.NewReader(b)}
	if err := s.read(&d); err != nil {
		return fmt.Errorf("couldn't read a scrape report: %w", err)
	}
	return nil
}

func (s *ScrapeReport) read(d *names) error {
	n, err := d.begin(scrapeFields)
	if err != nil {
		return err
	}
	for _, name := range [...]*string{&s.Node, &s.Ingester} {
		if *name, err = d.name(*name); err != nil {
			return err
		}
	}
	for _, number := range [...]*int64{&s.Time, &s.Duration} {
		if *number, err = d.r.Int(); err != nil {
			return err
		}
	}
	for _, name := range [...]*string{&s.Result, &s.Error, &s.URL} {
		if *name, err = d.name(*name); err != nil {
			return err
		}
	}
	if s.Failures, err = d.r.Uint(); err != nil {
		return err
	}
	for _, number := range [...]*int64{&s.LastSuccess, &s.Next} {
		if *number, err = d.r.Int(); err != nil {
			return err
		}
	}
	if err := s.readDropped(d); err != nil {
		return err
	}
	s.More = 0
	if n -= scrapeFields; n > 0 {
		n--
		if !d.r.Nil() {
			if s.More, err = d.r.Uint(); err != nil {
				return err
			}
		}
	}
	return d.end(n)
}

func (s *ScrapeReport) readDropped(d *names) error {
	dropped, err := d.list(minDroppedBytes)
	if err != nil {
		return err
	}
	switch {
	case dropped == 0:
		s.Dropped = nil
	case cap(s.Dropped) < dropped:
		s.Dropped = make([]DroppedUsage, dropped)
	default:
		s.Dropped = s.Dropped[:dropped]
	}
	for i := range s.Dropped {
		if err := s.Dropped[i].read(d); err != nil {
			return err
		}
	}
	return nil
}

func (u *DroppedUsage) read(d *names) error {
	n, err := d.array(droppedFields)
	if err != nil {
		return err
	}
	for _, name := range [...]*string{&u.Namespace, &u.Pod, &u.Container, &u.Reason} {
		if *name, err = d.name(*name); err != nil {
			return err
		}
	}
	return d.skip(n - droppedFields)
}

// EncodeMsgpack writes what Marshal returns, in one piece.
func (s *ScrapeReport) EncodeMsgpack(e *msgpack.Encoder) error {
	return msgpack.RawMessage(s.Marshal()).EncodeMsgpack(e)
}

// DecodeMsgpack takes the bytes of one message from d, then does what Unmarshal does.
func (s *ScrapeReport) DecodeMsgpack(d *msgpack.Decoder) error {
	raw, err := wire.ReadValue(d.Buffered(), nil)
	if err != nil {
		return err
	}
	return s.Unmarshal(raw)
}

// ScrapeSubject is where the scrape reports of one node travel: k8s.v1.<cluster>.scrape.<node>.
type ScrapeSubject struct {
	Cluster string
	Node    string
}

// String builds the subject. Neither field should be empty: ParseScrapeSubject refuses such a subject.
func (s ScrapeSubject) String() string {
	return prefix + EscapeToken(s.Cluster) + ".scrape." + EscapeToken(s.Node)
}

// ParseScrapeSubject reads what ScrapeSubject.String wrote, and nothing else: whatever it accepts builds the same text
// again. Its errors wrap ErrSubject, or ErrVersion where the subject is of another version.
func ParseScrapeSubject(subject string) (ScrapeSubject, error) {
	t, err := parse(subject, "scrape", 1)
	if err != nil {
		return ScrapeSubject{}, err
	}
	s := ScrapeSubject{Cluster: t.name(t.cluster), Node: t.name(t.rest[0])}
	return s, t.err
}

// AllScrapes matches the scrape reports of every node of a cluster.
func AllScrapes(cluster string) string { return prefix + EscapeToken(cluster) + ".scrape.>" }
