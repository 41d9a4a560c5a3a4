package watcher

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/headwater-metrics/headwater/services/internal/customresource"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// discovery begins and ends the feeds of custom resources in one term, as their definitions come, change and go at the API
// server. A definition touches the feeds of its own resource, and of these only those for which something else holds now.
//
//	metadata of all definitions --reflector--> names that are dirty --get--> definition --> feeds, shelves of the book
//
// Of a definition that can't be read, everything stays as it is. What the log has of custom resources is held until the
// definitions are listed; then what nothing defines any more is deleted.
type discovery struct {
	*term
	running *sync.WaitGroup // of the feeds
	wake    chan struct{}   // gets a token when there is something to look at
	settled atomic.Bool     // everything that is wanted has its feed
	failing atomic.Bool     // a definition can't be read, for a reason that health knows

	mu     sync.Mutex
	listed bool
	names  map[string]bool // definitions that may be wanted
	dirty  map[string]bool // of which something has changed

	// Of the goroutine of run.
	feeds    map[shelfKey]*customFeed
	unusable map[string]string // what was said of definitions that can't be read, by name
}

// customFeed is a feed that runs.
type customFeed struct {
	*feed
	definition types.UID
	stop       context.CancelFunc
}

func newDiscovery(t *term, running *sync.WaitGroup) *discovery {
	t.health.forgetCustom()
	return &discovery{
		term: t, running: running, wake: make(chan struct{}, 1), names: map[string]bool{}, dirty: map[string]bool{},
		feeds: map[shelfKey]*customFeed{}, unusable: map[string]string{},
	}
}

// run keeps the feeds until ctx ends.
func (d *discovery) run(ctx context.Context) {
	d.running.Go(func() {
		reflect(ctx, definitionsName, d, d, backoffOf(d.cfg.RetryFirst, d.cfg.RetryLast))
	})
	pause := d.cfg.RetryFirst
	retry := time.NewTimer(pause)
	retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		case <-retry.C:
		}
		if d.pass(ctx) {
			pause = d.cfg.RetryFirst
			continue
		}
		retry.Reset(pause)
		pause = min(2*pause, d.cfg.RetryLast)
	}
}

// pass looks at what is dirty. It is false where some of that has to be looked at again.
func (d *discovery) pass(ctx context.Context) bool {
	dirty, listed := d.take()
	if !listed {
		return true // the list is still to come
	}
	asked, failed := false, error(nil)
	for _, name := range dirty {
		if !d.exists(name) {
			delete(d.unusable, name)
			d.apply(ctx, name, "", nil)
			continue
		}
		definition, err := d.custom.definition(ctx, name)
		switch {
		case ctx.Err() != nil:
			return true
		case apierrors.IsNotFound(err):
			continue // the watch tells of it
		case err != nil && !errors.Is(err, errUnusable):
			failed = err
		}
		asked = true
		d.say(name, err)
		if err != nil {
			d.mark(name)
			continue
		}
		d.apply(ctx, name, definition.Metadata.UID, definition.kinds(d.cfg.CustomResources))
	}
	for _, key := range d.book.held() {
		if name := key.plural() + "." + key.group; !d.exists(name) {
			d.apply(ctx, name, "", nil)
		}
	}
	d.failing.Store(failed != nil || d.failing.Load() && !asked)
	if asked {
		d.health.heard(definitionsName, "get", failed)
	}
	d.metrics.unusable.Set(float64(len(d.unusable)))
	if failed == nil && !d.settled.Swap(true) {
		signal(d.book.moved)
	}
	return len(d.unusable) == 0
}

// say tells, once, of a definition that can't be read, and when it can.
func (d *discovery) say(name string, err error) {
	if err == nil {
		if _, said := d.unusable[name]; said {
			delete(d.unusable, name)
			d.log.Info("the CustomResourceDefinition can be read again", "definition", name)
		}
		return
	}
	reason := reasonOf(err)
	if errors.Is(err, errUnusable) {
		reason = "unusable"
	}
	if said, ok := d.unusable[name]; !ok || said != reason {
		d.unusable[name] = reason
		d.log.Warn("a CustomResourceDefinition can't be read, trying on; what the log has of its custom resources stays as it is", "definition", name, "reason", reason, "error", err)
	}
}

// apply makes the feeds of a custom resource those of the given kinds.
func (d *discovery) apply(ctx context.Context, name string, definition types.UID, kinds []objects.Kind) {
	plural, group, _ := strings.Cut(name, ".")
	wanted := map[shelfKey]*objects.Kind{}
	for i := range kinds {
		wanted[shelfKey{group, kinds[i].Resource}] = &kinds[i]
	}
	for key, f := range d.feeds {
		if !key.of(group, plural) {
			continue
		}
		kind := wanted[key]
		if kind != nil && f.is(definition, kind) {
			delete(wanted, key)
			continue
		}
		f.stop()
		f.end()
		delete(d.feeds, key)
		if kind == nil {
			d.drop(key, f.name)
		}
	}
	for _, key := range d.book.held() {
		if key.of(group, plural) && wanted[key] == nil {
			d.drop(key, key.resource+"."+key.group)
		}
	}
	for i := range kinds {
		key := shelfKey{group, kinds[i].Resource}
		if wanted[key] != nil {
			d.begin(ctx, key, definition, kinds[i])
		}
	}
}

// is tells whether the feed is of just this kind.
func (f *customFeed) is(definition types.UID, kind *objects.Kind) bool {
	return f.definition == definition && f.kind.Version == kind.Version && f.kind.Kind == kind.Kind && f.kind.Namespaced == kind.Namespaced
}

// drop deletes a custom resource from the log.
func (d *discovery) drop(key shelfKey, name string) {
	n := d.book.drop(key)
	d.health.forget(name)
	d.log.Info("the API server serves a custom resource no more, deleting its objects from the log", "resource", name, "objects", n)
}

// begin starts the feed of a kind.
func (d *discovery) begin(ctx context.Context, key shelfKey, definition types.UID, kind objects.Kind) {
	encoder, err := objects.NewEncoder(kind)
	if err != nil {
		d.log.Error("a custom resource can't be encoded", "resource", kind.Name(), "error", err)
		return
	}
	d.health.add(kind)
	f := &customFeed{feed: d.feed(kind, d.book.want(kind), encoder, d.custom.source(kind)), definition: definition}
	ctx, f.stop = context.WithCancel(ctx)
	d.feeds[key] = f
	d.log.Info("watching a custom resource", "resource", f.name, "version", kind.Version, "kind", kind.Kind)
	d.running.Go(func() { f.run(ctx) })
}

// take gives the names of what is dirty, sorted, and whether the definitions were listed.
func (d *discovery) take() (dirty []string, listed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.listed {
		return nil, false
	}
	for name := range d.dirty {
		dirty = append(dirty, name)
	}
	clear(d.dirty)
	slices.Sort(dirty)
	return dirty, true
}

// mark makes a definition dirty, without a token.
func (d *discovery) mark(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dirty[name] = true
}

func (d *discovery) exists(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names[name]
}

// list lists the definitions' metadata.
func (d *discovery) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if options.ResourceVersion == "0" {
		options.ResourceVersion = "" // as for every kind: a definition must not seem to vanish
	}
	list, err := d.definitions.list(ctx, options)
	d.heard("list", err)
	if err != nil {
		return nil, unretriable(err)
	}
	return entriesOf(list, nameOf)
}

// watch watches them.
func (d *discovery) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	w, err := d.definitions.watch(ctx, options)
	d.heard("watch", err)
	if err != nil {
		return nil, unretriable(err)
	}
	return newEncoding(w, nameOf, func(err error) {
		d.log.Error("a watch event can't be read", "resource", definitionsName, "error", err)
		d.metrics.leftOut.WithLabelValues(definitionsName, "unreadable").Inc()
	}), nil
}

// heard takes the outcome of a list or watch. That these work says nothing while definitions can't be read.
func (d *discovery) heard(verb string, err error) {
	if err == nil && d.failing.Load() {
		d.metrics.requests.WithLabelValues(definitionsName, verb, "ok").Inc()
		return
	}
	d.health.heard(definitionsName, verb, err)
}

// nameOf is all that stays of a definition's metadata.
func nameOf(obj runtime.Object) (*entry, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	return &entry{key: m.GetName(), name: m.GetName(), uid: string(m.GetUID()), rv: m.GetResourceVersion()}, nil
}

// wants tells whether a definition of this name may be wanted.
func (d *discovery) wants(name string) bool {
	plural, group, ok := strings.Cut(name, ".")
	return ok && slices.ContainsFunc(d.cfg.CustomResources, func(p customresource.Pattern) bool {
		return p.Group == group && (p.Plural == "" || p.Plural == customresource.Any || p.Plural == plural)
	})
}

// discovery is its reflector's store.

// Add takes a watch's ADDED.
func (d *discovery) Add(obj any) error { return d.Update(obj) }

// Update takes a watch's MODIFIED.
func (d *discovery) Update(obj any) error { return d.change(obj, true) }

// Delete takes a watch's DELETED.
func (d *discovery) Delete(obj any) error { return d.change(obj, false) }

func (d *discovery) change(obj any, exists bool) error {
	e, err := entryOf(obj)
	if err != nil || !d.wants(e.name) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirty[e.name] = true; exists {
		d.names[e.name] = true
	} else {
		delete(d.names, e.name)
	}
	signal(d.wake)
	return nil
}

// Replace takes a list, whole.
func (d *discovery) Replace(list []any, _ string) error {
	all, err := allOf(list)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.names {
		d.dirty[name] = true // those that vanished
	}
	clear(d.names)
	for _, e := range all {
		if d.wants(e.name) {
			d.names[e.name], d.dirty[e.name] = true, true
		}
	}
	d.listed = true
	signal(d.wake)
	return nil
}

// Resync has nothing to do.
func (d *discovery) Resync() error { return nil }
