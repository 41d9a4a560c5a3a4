package watcher

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// listing knows the names of all CustomResourceDefinitions, and which of them have changed, as a reflector tells: it is the
// reflector's source, and its store.
type listing struct {
	*discovery
	stop context.CancelFunc

	mu     sync.Mutex
	ended  bool // what its reflector still tells counts no more
	listed bool
	names  map[string]bool
	dirty  map[string]bool // of which something has changed, or has to be looked at again
}

// end makes the listing tell nothing any more.
func (l *listing) end() {
	l.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// take gives the names of what is dirty, sorted, and whether the definitions were listed.
func (l *listing) take() (dirty []string, listed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.listed {
		return nil, false
	}
	for name := range l.dirty {
		dirty = append(dirty, name)
	}
	clear(l.dirty)
	slices.Sort(dirty)
	return dirty, true
}

// mark makes those definitions dirty that which is true for.
func (l *listing) mark(which func(name string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.names {
		if which(name) {
			l.dirty[name] = true
		}
	}
}

func (l *listing) exists(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names[name]
}

// list lists the definitions' metadata.
func (l *listing) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if options.ResourceVersion == "0" {
		options.ResourceVersion = "" // as for every kind: a definition must not seem to vanish
	}
	list, err := l.definitions.list(ctx, options)
	l.heard("list", err)
	if err != nil {
		return nil, unretriable(err)
	}
	return entriesOf(list, nameOf)
}

// watch watches them.
func (l *listing) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	w, err := l.definitions.watch(ctx, options)
	l.heard("watch", err)
	if err != nil {
		return nil, unretriable(err)
	}
	return newEncoding(w, nameOf, func(err error) {
		l.log.Error("a watch event can't be read", "resource", definitionsName, "error", err)
		l.metrics.leftOut.WithLabelValues(definitionsName, "unreadable").Inc()
	}), nil
}

// heard takes the outcome of a list or watch. That these work says nothing while definitions can't be read.
func (l *listing) heard(verb string, err error) {
	l.mu.Lock()
	ended := l.ended
	l.mu.Unlock()
	if ended || err == nil && l.failing.Load() {
		l.health.count(definitionsName, verb, err)
		return
	}
	l.health.heard(definitionsName, verb, err)
}

// nameOf is all that stays of a definition's metadata.
func nameOf(obj runtime.Object) (*entry, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	return &entry{key: m.GetName(), name: m.GetName(), uid: string(m.GetUID()), rv: m.GetResourceVersion()}, nil
}

// Add takes a watch's ADDED.
func (l *listing) Add(obj any) error { return l.Update(obj) }

// Update takes a watch's MODIFIED.
func (l *listing) Update(obj any) error { return l.change(obj, true) }

// Delete takes a watch's DELETED.
func (l *listing) Delete(obj any) error { return l.change(obj, false) }

func (l *listing) change(obj any, exists bool) error {
	e, err := entryOf(obj)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dirty[e.name] = true; exists {
		l.names[e.name] = true
	} else {
		delete(l.names, e.name)
	}
	signal(l.wake)
	return nil
}

// Replace takes a list, whole.
func (l *listing) Replace(list []any, _ string) error {
	all, err := allOf(list)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.names {
		l.dirty[name] = true // those that vanished
	}
	clear(l.names)
	for _, e := range all {
		l.names[e.name], l.dirty[e.name] = true, true
	}
	l.listed = true
	signal(l.wake)
	return nil
}

// Resync has nothing to do.
func (l *listing) Resync() error { return nil }
