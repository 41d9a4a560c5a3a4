package watcher

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// discovery begins and ends the feeds of custom resources in one term, as their definitions come, change and go at the API
// server, and as they are wanted. A definition touches the feeds of its own resource, and of these only those for which
// something else holds now; so does a change of what is wanted, which looks at the definitions that it may be about.
//
//	metadata of all definitions --reflector--> names that are dirty --get--> definition --> feeds, shelves of the book
//	wish ------------------------------------> names that are dirty
//
// Of a definition that can't be read, everything stays as it is, but for what isn't wanted at all any more. What the log has
// of custom resources is held until the definitions are listed; then what nothing defines any more is deleted. While no
// custom resource is wanted, nothing is asked of the API server.
type discovery struct {
	*term
	running *sync.WaitGroup // of the feeds
	wake    chan struct{}   // gets a token when there is something to look at
	settled atomic.Bool     // everything that is wanted has its feed
	failing atomic.Bool     // a definition can't be read, for a reason that health knows

	// Of the goroutine of run.
	wish     *wish
	listing  *listing // nil while nothing is wanted
	feeds    map[shelfKey]*customFeed
	unusable map[string]string // what was said of definitions that can't be read, by name
}

// reasonUnusable is said of a definition that was read and makes no sense.
const reasonUnusable = "unusable"

// customFeed is a feed that runs.
type customFeed struct {
	*feed
	definition types.UID
	stop       context.CancelFunc
}

func newDiscovery(t *term, running *sync.WaitGroup) *discovery {
	t.health.forgetCustom()
	d := &discovery{
		term: t, running: running, wake: make(chan struct{}, 1), wish: newWish(nil),
		feeds: map[shelfKey]*customFeed{}, unusable: map[string]string{},
	}
	d.settled.Store(len(t.Service.wish.Load().patterns) == 0)
	return d
}

// run keeps the feeds until ctx ends.
func (d *discovery) run(ctx context.Context) {
	pause := d.cfg.RetryFirst
	retry := time.NewTimer(pause)
	retry.Stop()
	for {
		d.adopt(ctx)
		if d.pass(ctx) {
			pause = d.cfg.RetryFirst
		} else {
			retry.Reset(pause)
			pause = min(2*pause, d.cfg.RetryLast)
		}
		select {
		case <-ctx.Done():
			return
		case <-d.wish.replaced:
		case <-d.wake:
		case <-retry.C:
		}
	}
}

// adopt makes the newest wish the one that holds. What it doesn't name ends at once; what it names otherwise is dirty.
func (d *discovery) adopt(ctx context.Context) {
	old, now := d.wish, d.Service.wish.Load()
	if now == old {
		return
	}
	d.wish = now
	for _, name := range d.known() {
		if !now.definition(name) {
			delete(d.unusable, name)
			d.apply(ctx, name, "", nil)
		}
	}
	switch {
	case len(now.patterns) == 0:
		if d.listing != nil {
			d.listing.end()
			d.listing = nil
		}
		d.health.forget(definitionsName)
	case d.listing == nil:
		d.settled.Store(false)
		d.health.add(definitionsKind())
		ctx, stop := context.WithCancel(ctx)
		l := &listing{discovery: d, stop: stop, names: map[string]bool{}, dirty: map[string]bool{}}
		d.listing = l
		d.running.Go(func() { reflect(ctx, definitionsName, l, l, backoffOf(d.cfg.RetryFirst, d.cfg.RetryLast)) })
	default:
		d.settled.Store(false)
		d.listing.mark(func(name string) bool { return now.differs(old, name) })
	}
}

// known are the names of the definitions of which there is something.
func (d *discovery) known() []string {
	names := maps.Clone(d.unusable)
	for key := range d.feeds {
		names[key.definition()] = ""
	}
	for _, key := range d.book.held() {
		names[key.definition()] = ""
	}
	return slices.Sorted(maps.Keys(names))
}

// pass looks at what is dirty. It is false where some of that has to be looked at again.
func (d *discovery) pass(ctx context.Context) bool {
	var dirty []string
	if l := d.listing; l != nil {
		var listed bool
		if dirty, listed = l.take(); !listed {
			return true // the list is still to come
		}
	}
	asked, failed := false, error(nil)
	for _, name := range dirty {
		if !d.wish.definition(name) {
			continue // it has nothing: adopt
		}
		if !d.listing.exists(name) {
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
			d.listing.mark(func(other string) bool { return other == name })
			continue
		}
		d.apply(ctx, name, definition.Metadata.UID, definition.kinds(d.wish.patterns))
	}
	for _, key := range d.book.held() {
		if name := key.definition(); d.listing == nil || !d.listing.exists(name) {
			d.apply(ctx, name, "", nil)
		}
	}
	d.tell(asked, failed)
	if failed == nil && !d.settled.Swap(true) {
		signal(d.book.moved)
	}
	return len(d.unusable) == 0
}

// tell makes known whether definitions can be read.
func (d *discovery) tell(asked bool, failed error) {
	d.metrics.unusable.Set(float64(len(d.unusable)))
	failing := false
	for _, reason := range d.unusable {
		failing = failing || reason != reasonUnusable
	}
	before := d.failing.Swap(failing)
	switch {
	case asked:
		d.health.heard(definitionsName, "get", failed)
	case before && !failing: // those that couldn't be read are gone, or not wanted any more
		d.health.note(definitionsName, "get", nil)
	}
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
		reason = reasonUnusable
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
	d.log.Info("a custom resource isn't served or isn't wanted any more, deleting its objects from the log", "resource", name, "objects", n)
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
