package server

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/usage"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// catalog is what to export, worked out once for all builds of the view.
type catalog struct {
	options   *collector.Options
	resources []*collector.Resource
	bySubject map[string]int // what the subjects of a resource's objects begin with -> its index
	workers   sync.Pool      // *worker
}

func newCatalog(cluster string, options *collector.Options) (*catalog, error) {
	resources, err := collector.New(*options)
	if err != nil {
		return nil, fmt.Errorf("couldn't work out what to export: %w", err)
	}
	c := &catalog{options: options, resources: resources, bySubject: map[string]int{}}
	for i, r := range resources {
		c.bySubject[strings.TrimSuffix(schemas.ObjectsOfResource(cluster, r.Group, r.Name), ".*.*")] = i
		if _, err := r.NewRenderer(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// resourceOf finds the resource that an event is of without decoding it; -1 where it is not exported.
func (c *catalog) resourceOf(subject string) int {
	// k8s.v1.<cluster>.object.<group>.<resource>.<namespace>.<name>: cut off the last two tokens.
	end := len(subject)
	for range 2 {
		if end = strings.LastIndexByte(subject[:end], '.'); end < 0 {
			return -1
		}
	}
	if i, ok := c.bySubject[subject[:end]]; ok {
		return i
	}
	return -1
}

// worker is what one goroutine needs to apply events.
type worker struct {
	change    schemas.ObjectChange
	renderers []collector.Renderer // by resource; nil until it is needed
	key       []byte
}

func (c *catalog) worker() *worker {
	if w, ok := c.workers.Get().(*worker); ok {
		return w
	}
	return &worker{renderers: make([]collector.Renderer, len(c.resources))}
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

// objects is one build of the view of objects.
type objects struct {
	catalog *catalog
	store   *exposition.Store
	metrics *metrics
	whole   atomic.Bool // it is, or was, in service
}

// Apply implements stream.Sink. It may be called concurrently for different objects.
func (o *objects) Apply(e stream.Event) error {
	i := o.catalog.resourceOf(e.Subject)
	if i < 0 {
		o.metrics.unwanted.Inc()
		return nil
	}
	w := o.catalog.worker()
	defer o.catalog.workers.Put(w)
	if err := w.change.Unmarshal(e.Data); err != nil {
		return err
	}
	defer func() { w.change.Object = nil }() // it is part of e.Data
	change, resource := &w.change, o.catalog.resources[i]
	if change.Resource != resource.Name || change.Group != resource.Group {
		return fmt.Errorf("%w: a change of %s %q came on the subject %q", schemas.ErrMalformed, change.Group, change.Resource, e.Subject)
	}
	if !o.catalog.options.WantsNamespace(change.Namespace) {
		o.metrics.unwanted.Inc()
		return nil
	}
	w.key = append(append(append(w.key[:0], change.Namespace...), '/'), change.Name...)
	if change.Operation == schemas.Deleted {
		o.remove(i, string(w.key), change.UID)
		return nil
	}
	renderer, err := w.renderer(o.catalog, i)
	if err != nil {
		return err
	}
	lines, err := renderer.Render(change.Object)
	if err != nil {
		return fmt.Errorf("%s %s: %w", resource.Name, w.key, err)
	}
	if change.UID == "" {
		o.metrics.odd(oddNoUID, resource.Name, string(w.key))
	}
	if lines.Skipped > 0 {
		o.metrics.skipped.WithLabelValues(resource.Name).Add(float64(lines.Skipped))
	}
	if o.store.Table(i).Put(string(w.key), change.UID, lines.Text, lines.Ends) {
		o.metrics.changed.Inc()
	} else {
		o.metrics.unchanged.Inc()
	}
	return nil
}

// remove takes an object out of the view.
func (o *objects) remove(i int, key, uid string) {
	switch o.store.Table(i).Delete(key, uid) {
	case exposition.Removed:
		o.metrics.removed.Inc()
	case exposition.Unknown:
		// Before the view is whole this is in order: a snapshot's parts are of different moments.
		if o.whole.Load() {
			o.metrics.odd(oddUnknown, o.catalog.resources[i].Name, key)
		}
	case exposition.Newer:
		if o.whole.Load() {
			o.metrics.odd(oddNewer, o.catalog.resources[i].Name, key)
		}
	}
}

// samples is one build of the view of usage.
type samples struct{ store *usage.Store }

// Apply implements stream.Sink.
func (s *samples) Apply(e stream.Event) error { return s.store.Apply(e.Data) }
