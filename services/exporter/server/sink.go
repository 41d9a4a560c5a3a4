package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/events"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/freshness"
	"github.com/headwater-metrics/headwater/services/exporter/internal/shard"
	"github.com/headwater-metrics/headwater/services/exporter/linger"
	"github.com/headwater-metrics/headwater/services/exporter/usage"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// catalog is what to export, worked out once for all builds of an edition's view.
type catalog struct {
	options   *Options
	resources []*collector.Resource // of the table of kinds
	bySubject map[string]int        // what the subjects of a resource's objects begin with -> its index
	custom    customSet             // nil for none
	byGroup   map[string]bool       // what the subjects of custom's groups begin with
	toCount   map[string]bool       // what the subjects of the resources in events.Kinds begin with
	workers   sync.Pool             // *worker
}

// customSet is what is exported of custom resources.
type customSet interface {
	// Groups are those of the kinds that may be exported.
	Groups() []string
	// For says how a kind is exported; nil where it is not. resource is its name in subjects.
	For(kind schema.GroupVersionKind, resource string) *collector.Resource
}

// newCatalog works out what options export. custom is nil where no custom resources are.
func newCatalog(cluster string, options *Options, custom customSet) (*catalog, error) {
	c := &catalog{options: options, custom: custom, bySubject: map[string]int{}, byGroup: map[string]bool{}, toCount: map[string]bool{}}
	for _, kind := range events.Kinds() {
		c.toCount[strings.TrimSuffix(schemas.ObjectsOfResource(cluster, kind[0], kind[1]), ".*.*")] = true
	}
	resources, err := collector.New(options.Collector)
	if err != nil {
		return nil, fmt.Errorf("couldn't work out what to export: %w", err)
	}
	if !options.Custom.Only {
		c.resources = resources
	}
	for i, r := range c.resources {
		c.bySubject[strings.TrimSuffix(schemas.ObjectsOfResource(cluster, r.Group, r.Name), ".*.*")] = i
		if _, err := r.NewRenderer(); err != nil {
			return nil, err
		}
	}
	if custom != nil {
		for _, group := range custom.Groups() {
			c.byGroup[strings.TrimSuffix(schemas.ObjectsOfResource(cluster, group, "x"), ".x.*.*")] = true
		}
	}
	return c, nil
}

// resourceOf finds, without decoding it, what an event is of: the index of the resource, -1 for none of the table of kinds;
// and whether it may be of a custom resource that is exported.
func (c *catalog) resourceOf(subject string) (index int, custom bool) {
	// k8s.v1.<cluster>.object.<group>.<resource>.<namespace>.<name>: cut off the last two tokens, and then another one.
	end := len(subject)
	for range 2 {
		if end = strings.LastIndexByte(subject[:end], '.'); end < 0 {
			return -1, false
		}
	}
	index = -1
	if i, ok := c.bySubject[subject[:end]]; ok {
		index = i
	}
	if len(c.byGroup) > 0 {
		if end = strings.LastIndexByte(subject[:end], '.'); end > 0 {
			custom = c.byGroup[subject[:end]]
		}
	}
	return index, custom
}

// counted tells whether every event of this subject's resource is counted, exported or not.
func (c *catalog) counted(subject string) bool {
	end := len(subject)
	for range 2 {
		if end = strings.LastIndexByte(subject[:end], '.'); end < 0 {
			return false
		}
	}
	return c.toCount[subject[:end]]
}

// wants tells whether a resource is exported, or may be: of custom resources it knows the groups.
func (c *catalog) wants(group, resource string) bool {
	if collector.Find(c.resources, group, resource) != nil {
		return true
	}
	return c.custom != nil && slices.Contains(c.custom.Groups(), group)
}

// worker is what one goroutine needs to apply events.
type worker struct {
	change    schemas.ObjectChange
	keeper    *shard.Keeper
	renderers []collector.Renderer // by resource; nil until it is needed
	key       []byte
}

func (c *catalog) worker() *worker {
	if w, ok := c.workers.Get().(*worker); ok {
		return w
	}
	return &worker{keeper: shard.NewKeeper(&c.options.Shard), renderers: make([]collector.Renderer, len(c.resources))}
}

func (w *worker) renderer(c *catalog, i int) (collector.Renderer, error) {
	if w.renderers[i] == nil {
		r, err := c.resources[i].NewRenderer()
		if err != nil {
			return nil, err
		}
		w.renderers[i] = r
	}
	return w.renderers[i], nil
}

// objects is one build of an edition's view of objects.
type objects struct {
	catalog *catalog
	store   *exposition.Store
	custom  *customTables // nil for none
	metrics *metrics
	tracker *freshness.Tracker // nil without --freshness
	fold    *events.Fold       // nil without --event-counters
	leaving *linger.Queue      // nil without --deleted-linger
	whole   atomic.Bool        // it is, or was, in service

	// Where it is. The log is set when it is whole; applied counts from there on.
	log     time.Time
	applied atomic.Uint64
	// gate is held to keep the view where it is; the replay takes it, shared, for every event of the log.
	gate sync.RWMutex
	// onward is called after each event of the log, by the replay's goroutine, which alone sets it; nil for none.
	onward func(sequence uint64)
}

func newObjects(c *catalog, m *metrics, tracker *freshness.Tracker, fold *events.Fold) *objects {
	o := &objects{catalog: c, store: exposition.NewStore(c.resources), metrics: m, tracker: tracker, fold: fold}
	if c.options.Extras.DeletedLinger > 0 {
		o.leaving = linger.New(c.options.Extras.DeletedLinger, o.leave)
	}
	if c.custom != nil {
		o.custom = newCustomTables(c.custom, o.store, m)
	}
	return o
}

// snapshot is what the view holds now.
func (o *objects) snapshot() *exposition.Snapshot {
	if o.leaving != nil {
		o.leaving.Expire(time.Now())
	}
	return o.store.Snapshot()
}

// Apply implements stream.Sink. It may be called concurrently for different objects while a snapshot is read.
func (o *objects) Apply(e stream.Event) error {
	if e.Snapshot {
		return o.apply(e)
	}
	o.gate.RLock()
	err := o.apply(e)
	o.applied.Store(e.Sequence)
	o.gate.RUnlock()
	if o.onward != nil {
		o.onward(e.Sequence)
	}
	return err
}

func (o *objects) apply(e stream.Event) error {
	i, custom := o.catalog.resourceOf(e.Subject)
	exported := i >= 0 || custom
	if !exported && (o.fold == nil || !o.catalog.counted(e.Subject)) {
		o.metrics.unwanted.Inc()
		return nil
	}
	w := o.catalog.worker()
	defer o.catalog.workers.Put(w)
	if err := w.change.Unmarshal(e.Data); err != nil {
		return err
	}
	defer func() { w.change.Object = nil }() // it is part of e.Data
	change := &w.change
	if i >= 0 {
		if r := o.catalog.resources[i]; change.Resource != r.Name || change.Group != r.Group {
			return fmt.Errorf("%w: a change of %s %q came on the subject %q", schemas.ErrMalformed, change.Group, change.Resource, e.Subject)
		}
	}
	if exported && o.tracker != nil {
		o.tracker.Event(change.Group, change.Resource, change.Time)
	}
	var counting error
	if o.fold != nil {
		counting = o.fold.Apply(e.Sequence, e.Snapshot, change)
	}
	if !exported || !o.catalog.options.Collector.WantsNamespace(change.Namespace) {
		o.metrics.unwanted.Inc()
		return counting
	}
	return errors.Join(counting, o.render(w, i, custom))
}

// render brings the view to what the worker's change says; i and custom are what resourceOf said of it.
func (o *objects) render(w *worker, i int, custom bool) error {
	change := &w.change
	w.key = append(append(append(w.key[:0], change.Namespace...), '/'), change.Name...)
	kept := change.Operation != schemas.Deleted
	if kept {
		var err error
		if kept, err = w.keeper.Keep(change.Resource, change.UID, change.Object); err != nil {
			return fmt.Errorf("%s %s: %w", change.Resource, w.key, err)
		}
		if kept && change.UID == "" {
			o.metrics.odd(oddNoUID, change.Resource, string(w.key))
		}
	}
	if o.leaving != nil {
		if change.Operation == schemas.Deleted {
			o.depart(i, string(w.key), change)
			return nil
		}
		for _, table := range o.tables(i, change) {
			o.leaving.Put(table, change.Namespace, change.Name)
		}
	}
	if custom {
		if err := o.custom.apply(change, string(w.key), kept); err != nil || i < 0 {
			return err
		}
	}
	if !kept {
		o.remove(i, string(w.key), change)
		return nil
	}
	renderer, err := w.renderer(o.catalog, i)
	if err != nil {
		return err
	}
	lines, err := renderer.Render(change.Object)
	if err != nil {
		return fmt.Errorf("%s %s: %w", change.Resource, w.key, err)
	}
	if lines.Name != change.Name || lines.Namespace != change.Namespace {
		// Its labels would be another's: two such objects would have the same series.
		return fmt.Errorf("%w: the object of %s %s says that it is %s/%s", schemas.ErrMalformed, change.Resource, w.key, lines.Namespace, lines.Name)
	}
	if lines.Skipped > 0 {
		o.metrics.skipped.WithLabelValues(change.Resource).Add(float64(lines.Skipped))
	}
	o.metrics.put(o.store.Table(i).Put(string(w.key), change.UID, lines.Text, lines.Ends))
	return nil
}

// remove takes an object out of the view: it was deleted; or it is not this exporter's, or no more, and then whatever had its
// name before is gone, too.
func (o *objects) remove(i int, key string, change *schemas.ObjectChange) {
	deleted := change.Operation == schemas.Deleted
	uid := change.UID
	if !deleted {
		uid = ""
	}
	outcome := o.store.Table(i).Delete(key, uid)
	// Another shard's object is not known here. And before the view is whole, unknown objects are in order: a snapshot's parts
	// are of different moments.
	expected := deleted && o.whole.Load() && o.catalog.options.Shard.All()
	switch {
	case outcome == exposition.Removed:
		o.metrics.removed.Inc()
	case outcome == exposition.Unknown && expected:
		o.metrics.odd(oddUnknown, change.Resource, key)
	case outcome == exposition.Newer && expected:
		o.metrics.odd(oddNewer, change.Resource, key)
	case !deleted || !o.catalog.options.Shard.All():
		o.metrics.unwanted.Inc()
	}
}

// samples is one build of the view of usage.
type samples struct {
	cluster string
	store   *usage.Store
}

// Apply implements stream.Sink. What else the stream has is stepped over: scrape reports.
func (s *samples) Apply(e stream.Event) error {
	if !stream.IsUsage(s.cluster, e.Subject) {
		return nil
	}
	return s.store.Apply(e.Data)
}
