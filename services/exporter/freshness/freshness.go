package freshness

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// Kind is a resource in the view that is served.
type Kind struct {
	Group    string // "" for the legacy group
	Resource string // "pods", as in schemas.ObjectChange
	Label    string // how it is called in labels: "pods", "foos.stable.example.com"
	Objects  int    // how many of it are in the view
}

// Stream is a stream that the view is made from, and how far it was read.
type Stream struct {
	Name     string // "objects", "usage"
	Position stream.Position
}

// Tracker notes what is told of kinds, for the life of a process. Its methods may be called concurrently.
type Tracker struct {
	headers []*exposition.Header

	seen         sync.Map // of kind: *atomic.Int64, the time of its newest event, Unix nanoseconds
	availability atomic.Pointer[map[kind]string]
}

type kind struct{ group, resource string }

// The families, in the order of the exposition.
const (
	lag = iota
	lastEvent
	lastHeard
	objects
	position
	available
	families // how many there are
)

// NewTracker makes a tracker that has been told nothing.
func NewTracker() *Tracker {
	t := &Tracker{headers: make([]*exposition.Header, families)}
	for i, f := range [families]struct{ name, help string }{
		lag:       {"headwater_lag", "Messages of the stream that this exporter has not read yet, as far as it knows."},
		lastEvent: {"headwater_last_event_timestamp_seconds", "When the newest event of the kind was observed at the API server, in Unix seconds. A kind that does not change has none."},
		lastHeard: {"headwater_last_heard_timestamp_seconds", "When the server of the stream was last heard of, in Unix seconds; it speaks at least twice a second."},
		objects:   {"headwater_objects", "Objects of the kind in this exporter's view."},
		position:  {"headwater_position", "Sequence of the last message of the stream that this exporter has read. At the same position of objects, exporters show the same of them."},
		available: {"headwater_resource_available", "Whether the API server gives the kind to Headwater: 1, or 0 with the reason why not."},
	} {
		t.headers[i] = exposition.NewHeader(collector.Family{Name: f.name, Type: collector.Gauge, Help: f.help})
	}
	return t
}

// Event notes an event of a kind, by the time at which it was observed, Unix nanoseconds.
func (t *Tracker) Event(group, resource string, observed int64) {
	v, ok := t.seen.Load(kind{group, resource})
	if !ok {
		v, _ = t.seen.LoadOrStore(kind{strings.Clone(group), strings.Clone(resource)}, new(atomic.Int64))
	}
	newest := v.(*atomic.Int64)
	for old := newest.Load(); observed > old && !newest.CompareAndSwap(old, observed); old = newest.Load() {
	}
}

// Available takes a schemas.Availability as its message, as stream.WatchAvailability gives it. An error says why it can't
// be read; what was known before stays then.
func (t *Tracker) Available(message []byte) error {
	var a schemas.Availability
	if err := a.Unmarshal(message); err != nil {
		return err
	}
	reasons := make(map[kind]string, len(a.Kinds))
	for _, k := range a.Kinds {
		reasons[kind{k.Group, k.Resource}] = k.Reason
	}
	t.availability.Store(&reasons)
	return nil
}

// Group is what is known of the kinds given, and how far the streams were read. A kind that the state service does not
// watch has no availability. Labels are unique: of two kinds with the same one, the first counts.
func (t *Tracker) Group(kinds []Kind, streams ...Stream) exposition.Group {
	kinds = slices.Clone(kinds)
	slices.SortStableFunc(kinds, func(a, b Kind) int { return cmp.Compare(a.Label, b.Label) })
	kinds = slices.CompactFunc(kinds, func(a, b Kind) bool { return a.Label == b.Label })
	var text [families][]byte
	add := func(family int, value float64, labels ...string) {
		b := append(text[family], t.headers[family].Family.Name...)
		for i := 0; i < len(labels); i += 2 {
			b = append(b, ",{"[b2i(i == 0)])
			b = append(append(b, labels[i]...), '=', '"')
			b = append(collector.AppendEscaped(b, labels[i+1]), '"')
		}
		text[family] = append(collector.AppendFloat(append(b, "} "...), value), '\n')
	}
	reasons := t.availability.Load()
	for i := range kinds {
		k := &kinds[i]
		id := kind{k.Group, k.Resource}
		if v, ok := t.seen.Load(id); ok {
			add(lastEvent, seconds(time.Unix(0, v.(*atomic.Int64).Load())), "resource", k.Label)
		}
		add(objects, float64(k.Objects), "resource", k.Label)
		if reasons != nil {
			if reason, ok := (*reasons)[id]; ok {
				add(available, float64(b2i(reason == schemas.Available)), "resource", k.Label, "reason", reason)
			}
		}
	}
	for i := range streams {
		p := &streams[i].Position
		add(lag, float64(p.Lag), "stream", streams[i].Name)
		add(position, float64(p.Sequence), "stream", streams[i].Name)
		if !p.Heard.IsZero() {
			add(lastHeard, seconds(p.Heard), "stream", streams[i].Name)
		}
	}
	pages := make([]*exposition.Page, families)
	for i := range pages {
		pages[i] = exposition.Pack(text[i])
	}
	return exposition.Group{Name: "freshness", Families: t.headers, Pages: [][]*exposition.Page{pages}}
}

// seconds is a time in Unix seconds, to the millisecond.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
