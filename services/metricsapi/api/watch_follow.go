package api

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

const (
	// window is for how long one can go on from a version, at least.
	window = 5 * time.Minute
	// lapse is for how long it is told again what ended because its sample became too old: no version says whether somebody,
	// maybe of a replica with another clock, has heard of that.
	lapse = time.Minute
	// turns is how many arrivals, departures and changes of labels are remembered at least, and how many for each object.
	turns, turnsEach = 50_000, 4
)

// watches holds, for those who watch, in which order answers changed. It follows both views: whatever is applied to them goes
// through it, so that an answer and its change are one. nil where watching is off: then all is as if it weren't there.
//
//	usage sample     -> the node's answer, those of its pods: changed, begun, ended
//	object change    -> the answer of the node or pod; those of the node's pods, if --node-selector selects it now or did before
//	time             -> ended: the sample is too old
//
// Whether there is an answer, and what it says, readNode and readPod decide, for get, list and watch.
type watches struct {
	now      func() time.Time
	maxAge   time.Duration
	extended bool
	metrics  *watchMetrics

	catalog atomic.Pointer[catalog]    // what is followed; nil before it is whole
	usage   atomic.Pointer[view.Usage] // what is followed; nil before it is whole, and while it is read once more

	mu     sync.RWMutex // guards all below, and what is applied to the views that are followed
	nodes  watched[nodeReading]
	pods   watched[podReading]
	era    *era
	former view.Place // as far as streams had been read that are no more
	// expires is when the oldest sample becomes too old, lapsed which samples are and were dealt with, by node.
	expires time.Time
	lapsed  map[string]*schemas.UsageSample
	over    bool // the service ends

	usageAt, objectsAt atomic.Uint64 // how far the streams were read

	waiting sync.Mutex
	changed chan struct{} // closed at the next change; nil while nobody waits; guarded by waiting
}

// watched is one resource.
type watched[T any] struct {
	changes  *view.Changes[T] // guarded by watches.mu
	cache    encodings
	watchers atomic.Int64
	events   map[watch.EventType]prometheus.Counter
}

// era is a time in which everything that is told hangs together.
type era struct {
	ended chan struct{}
	err   error // why it ended, for those who watch; nil: because the service ends. Set before ended is closed.
}

var errNotFollowing = errors.New("the streams are being read once more")

// newWatches returns nil if watching is off.
func newWatches(options *Options, now func() time.Time, registry prometheus.Registerer) *watches {
	if !options.EnableWatch {
		return nil
	}
	w := &watches{now: now, maxAge: options.maxSampleAge(), extended: options.ExtendedUsage, era: newEra(), lapsed: map[string]*schemas.UsageSample{}}
	w.nodes.changes, w.pods.changes = view.NewChanges[nodeReading](view.Place{}, now()), view.NewChanges[podReading](view.Place{}, now())
	w.metrics = newWatchMetrics(registry, w)
	return w
}

func newEra() *era { return &era{ended: make(chan struct{})} }

// reason is why an era that has ended did.
func (e *era) reason() error {
	if e.err == nil {
		return errOver
	}
	return e.err
}

// end ends all watches, with what they are told. The caller holds mu.
func (w *watches) end(err error) {
	w.era.err = err
	close(w.era.ended)
	w.era = newEra()
}

// following tells whether both views are followed.
func (w *watches) following() bool { return w.catalog.Load() != nil && w.usage.Load() != nil }

// place is how far the streams were read, whatever was in them.
func (w *watches) place() view.Place {
	return view.Place{Usage: w.usageAt.Load(), Objects: w.objectsAt.Load()}
}

// followCatalog makes a catalog that is whole the one that is followed, and by serve the one that is read: both at once, for
// read.
func (w *watches) followCatalog(c *catalog, p stream.Position, serve func()) {
	if w == nil {
		serve()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	serve()
	former := w.place()
	w.catalog.Store(c)
	w.objectsAt.Store(max(p.Sequence, c.pods.Position()))
	w.restart(former)
}

// followUsage makes a view of the usage that is whole the one that is followed, and by serve the one that is read.
func (w *watches) followUsage(u *view.Usage, p stream.Position, serve func()) {
	if w == nil {
		serve()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	serve()
	former := w.place()
	w.usage.Store(u)
	w.usageAt.Store(p.Sequence)
	w.restart(former)
}

// restart begins anew with what the views have, once both are followed. Who watches is told that he has to list again, and who is
// reading a list reads it again. What has become too old is taken for true once more, and ends at once: whoever comes may not
// have heard of its end. The caller holds mu.
func (w *watches) restart(former view.Place) {
	place, now := w.place(), w.now()
	if former.Usage > place.Usage || former.Objects > place.Objects {
		w.former = view.Place{Usage: max(former.Usage, w.former.Usage), Objects: max(former.Objects, w.former.Objects)}
	}
	defer w.end(expiredVersion(versionOf(former), place))
	if !w.following() {
		return
	}
	w.nodes.changes, w.pods.changes = view.NewChanges[nodeReading](place, now), view.NewChanges[podReading](place, now)
	w.nodes.cache.forget()
	w.pods.cache.forget()
	clear(w.lapsed)
	w.expires = time.Time{}
	catalog := w.catalog.Load()
	usage := catalog.selectUsage(w.usage.Load())
	for _, entry := range catalog.nodes.All() {
		sample, _ := usage.Node(entry.Name)
		if reading, ok := readNode(entry, sample, taken(sample), w.maxAge); ok {
			w.nodes.changes.Load(view.Key{Name: entry.Name}, reading, entry.Value.labels)
		}
	}
	for _, entry := range catalog.pods.All() {
		found, _ := usage.Pod(query(entry))
		if reading, ok := readPod(entry, found, taken(found.Sample), w.maxAge); ok {
			w.pods.changes.Load(view.Key{Namespace: entry.Namespace, Name: entry.Name}, reading, entry.Value.labels)
		}
	}
	w.lapse(now)
}

// taken is when a sample was taken.
func taken(sample *schemas.UsageSample) time.Time {
	if sample == nil {
		return time.Time{}
	}
	return time.Unix(0, sample.Time)
}

// applySample applies a sample to a view of the usage.
func (w *watches) applySample(u *view.Usage, sample *schemas.UsageSample, sequence uint64) {
	if w == nil || w.usage.Load() != u {
		u.Apply(sample)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if sequence <= w.usageAt.Load() { // the stream is read once more, or is another one
		w.usage.Store(nil)
		w.end(expiredVersion(versionOf(w.place()), w.place()))
		u.Apply(sample)
		return
	}
	previous, _ := u.Node(sample.Node)
	before := w.place()
	applied := u.Apply(sample)
	w.usageAt.Store(sequence)
	if !applied || !w.following() {
		return
	}
	place, now := w.place(), w.now()
	w.expires = earlier(w.expires, expiry(sample, w.maxAge))
	w.nodes.changes.Begin(before, place, now)
	if _, silent := w.node(view.Key{Name: sample.Node}, now); silent {
		w.nodes.changes.Touch(view.Key{Name: sample.Node})
	}
	w.pods.changes.Begin(before, place, now)
	pod := func(p *schemas.PodUsage) {
		key := view.Key{Namespace: p.Namespace, Name: p.Name}
		if _, silent := w.pod(key, now); silent {
			w.pods.changes.Touch(key)
		}
	}
	for i := range sample.Pods {
		pod(&sample.Pods[i])
	}
	if previous != nil {
		for i := range previous.Pods {
			p := &previous.Pods[i]
			if i < len(sample.Pods) && sample.Pods[i].Name == p.Name && sample.Pods[i].Namespace == p.Namespace {
				continue // as mostly
			}
			pod(p)
		}
	}
	w.wake()
}

// readUsage notes how far the stream of a view of the usage was read.
func (w *watches) readUsage(u *view.Usage, sequence uint64) {
	if w != nil && w.usage.Load() == u {
		w.usageAt.Store(max(sequence, w.usageAt.Load()))
	}
}

// applyObject applies a change to a catalog.
func (w *watches) applyObject(c *catalog, sequence uint64, isPod bool, change *schemas.ObjectChange, apply func(*schemas.ObjectChange) error) error {
	if w == nil || w.catalog.Load() != c {
		return apply(change)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if isPod {
		return followObject(w, &w.pods, c.pods, sequence, view.Key{Namespace: change.Namespace, Name: change.Name},
			func() error { return apply(change) }, w.pod, func(e *view.Entry[pod]) (podReading, *view.Labels) { return podReading{entry: e}, e.Value.labels })
	}
	before, was := w.place(), c.selected(change.Name)
	err := followObject(w, &w.nodes, c.nodes, sequence, view.Key{Name: change.Name},
		func() error { return apply(change) }, w.node, func(e *view.Entry[node]) (nodeReading, *view.Labels) {
			return nodeReading{entry: e, point: &schemas.Point{}}, e.Value.labels
		})
	if err == nil && c.selected(change.Name) != was {
		w.followSelection(c, change.Name, was, before, sequence)
	}
	return err
}

// followObject applies a change of an object, and looks at its answer anew. An object without an answer has one, maybe, where
// the streams are read in another order. The caller holds mu.
func followObject[T, R any](w *watches, of *watched[R], objects *view.Objects[T], sequence uint64, key view.Key,
	apply func() error, look func(view.Key, time.Time) (*view.Entry[T], bool), supposed func(*view.Entry[T]) (R, *view.Labels)) error {
	place, now := w.place(), w.now()
	before, existed := objects.Get(key.Namespace, key.Name)
	if err := apply(); err != nil {
		return err
	}
	w.objectsAt.Store(max(sequence, place.Objects))
	if !w.following() {
		return nil
	}
	of.changes.Begin(place, w.place(), now)
	entry, silent := look(key, now)
	suppose := func(entry *view.Entry[T], born uint64) {
		reading, labels := supposed(entry)
		of.changes.Suppose(view.Key{Namespace: entry.Namespace, Name: entry.Name}, reading, labels, born, now)
	}
	switch {
	case !silent:
	case existed:
		suppose(before, 0)
		if entry != nil {
			suppose(entry, 0)
		}
	case entry != nil:
		suppose(entry, sequence)
	}
	w.wake()
	return nil
}

// readObjects notes how far the stream of a catalog was read.
func (w *watches) readObjects(c *catalog, sequence uint64) {
	if w != nil && w.catalog.Load() == c {
		w.objectsAt.Store(max(sequence, w.objectsAt.Load()))
	}
}

// node looks at a node's answer anew, and returns the node, and whether it has had no answer before and has none now. The
// caller holds mu and has begun a message.
func (w *watches) node(key view.Key, now time.Time) (entry *view.Entry[node], silent bool) {
	catalog := w.catalog.Load()
	entry, answers := catalog.nodes.Get("", key.Name)
	var reading nodeReading
	if answers {
		sample, _ := catalog.selectUsage(w.usage.Load()).Node(key.Name)
		reading, answers = readNode(entry, sample, now, w.maxAge)
	}
	before, had := w.nodes.changes.Get(key)
	switch {
	case answers && had && before.entry.Value.labels == entry.Value.labels && w.same(before.point, reading.point):
		w.nodes.changes.Replace(key, reading)
	case answers:
		w.nodes.changes.Put(view.Key{Name: entry.Name}, reading, entry.Value.labels, now)
	case had:
		point := *before.point // what is kept for long doesn't keep its sample
		before.point = &point
		w.nodes.changes.Remove(key, before, now)
	}
	return entry, !answers && !had
}

// pod looks at a pod's answer anew, as node does.
func (w *watches) pod(key view.Key, now time.Time) (entry *view.Entry[pod], silent bool) {
	catalog := w.catalog.Load()
	entry, answers := catalog.pods.Get(key.Namespace, key.Name)
	var reading podReading
	if answers {
		found, _ := catalog.selectUsage(w.usage.Load()).Pod(query(entry))
		reading, answers = readPod(entry, found, now, w.maxAge)
	}
	before, had := w.pods.changes.Get(key)
	switch {
	case answers && had && before.entry.Value.labels == entry.Value.labels && w.sameContainers(before.containers, reading.containers):
		w.pods.changes.Replace(key, reading)
	case answers:
		w.pods.changes.Put(view.Key{Namespace: entry.Namespace, Name: entry.Name}, reading, entry.Value.labels, now)
	case had:
		before.containers = slices.Clone(before.containers)
		w.pods.changes.Remove(key, before, now)
	}
	return entry, !answers && !had
}

func (w *watches) sameContainers(a, b []schemas.ContainerUsage) bool {
	return slices.EqualFunc(a, b, func(a, b schemas.ContainerUsage) bool { return a.Name == b.Name && w.same(&a.Point, &b.Point) })
}

// same tells whether two points give the same answer, as those of a kubelet do that repeats a reading.
func (w *watches) same(a, b *schemas.Point) bool {
	return a.Time == b.Time && a.Window == b.Window && a.Rate == b.Rate && a.Memory == b.Memory && (!w.extended || swap(a) == swap(b))
}

func swap(p *schemas.Point) schemas.Optional {
	if p.Extra == nil {
		return schemas.Optional{}
	}
	return p.Extra.SwapUsage
}

// wake tells those who wait that something changed.
func (w *watches) wake() {
	w.waiting.Lock()
	defer w.waiting.Unlock()
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// next returns what is closed at the next change. To be called before it is looked whether there is one.
func (w *watches) next() <-chan struct{} {
	w.waiting.Lock()
	defer w.waiting.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.changed
}
