package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// feed keeps one shelf of the book as the API server says, by a reflector that holds no objects: each is encoded as
// soon as it is decoded, and known states are not even that.
type feed struct {
	book    *book
	shelf   *shelf
	kind    objects.Kind
	name    string // of the kind, in metrics and logs
	encoder *objects.Encoder
	source  source
	health  *health
	metrics *metrics
	log     *slog.Logger
	backoff wait.Backoff

	mu    sync.Mutex // held while the book is told something
	ended bool       // nothing is told any more
}

// source lists and watches the objects of one kind.
type source interface {
	list(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// backoffOf is a back-off that doubles from first to last, spread so that 39 kinds don't come back together.
func backoffOf(first, last time.Duration) wait.Backoff {
	steps := int(math.Ceil(math.Log2(float64(last)/float64(first)))) + 1
	return wait.Backoff{Duration: first, Cap: last, Factor: 2, Jitter: 0.5, Steps: steps}
}

// run lists and watches until ctx ends.
func (f *feed) run(ctx context.Context) { reflect(ctx, f.name, f, f, f.backoff) }

// end makes the feed tell nothing any more, though its reflector may go on for a moment after its context has ended.
func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
}

// tell tells the book something, unless the feed has ended.
func (f *feed) tell(what func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		what()
	}
}

// reflect keeps a store as a source says until ctx ends.
func reflect(ctx context.Context, name string, from source, store cache.ReflectorStore, backoff wait.Backoff) {
	// What the reflector would log is told by health, once and in our words.
	ctx = klog.NewContext(ctx, klog.Logger{})
	logger := klog.FromContext(ctx)
	lw := &cache.ListWatch{ListWithContextFunc: from.list, WatchFuncWithContext: from.watch}
	r := cache.NewReflectorWithOptions(lw, nil, store, cache.ReflectorOptions{
		Logger: &logger, Name: name, TypeDescription: name, Backoff: &backoff,
	})
	r.RunWithContext(ctx)
}

// list lists a page, or all.
func (f *feed) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if options.ResourceVersion == "0" {
		// "Whatever the server has in its cache" may be older than what the log has: objects would seem to vanish.
		options.ResourceVersion = ""
	}
	list, err := f.source.list(ctx, options)
	f.health.heard(f.name, "list", err)
	if err != nil {
		return nil, unretriable(err)
	}
	return entriesOf(list, f.entry)
}

// watch watches from a resource version on, or lists by a stream first.
func (f *feed) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	w, err := f.source.watch(ctx, options)
	f.health.heard(f.name, "watch", err)
	if err != nil {
		return nil, unretriable(err)
	}
	return newEncoding(w, f.entry, func(err error) {
		f.log.Error("a watch event can't be read", "resource", f.name, "error", err)
		f.metrics.leftOut.WithLabelValues(f.name, "unreadable").Inc()
	}), nil
}

// entry is what stays of an object.
func (f *feed) entry(obj runtime.Object) (*entry, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	e := &entry{key: keyOf(m.GetNamespace(), m.GetName()), namespace: m.GetNamespace(), name: m.GetName(), uid: string(m.GetUID()), rv: m.GetResourceVersion()}
	if f.book.holds(f.shelf, e.key, e.uid, e.rv) {
		f.metrics.unchanged.WithLabelValues(f.name).Inc()
		return e, nil
	}
	e.kept, err = f.encode(obj)
	if err != nil {
		// The object exists: what the log says of it stays, and it doesn't vanish.
		f.metrics.leftOut.WithLabelValues(f.name, "encode").Inc()
		f.log.Error("an object can't be encoded, its newest state is missing in the log", "resource", f.name, "object", e.key, "error", err)
	}
	return e, nil
}

// encode makes a message of an object and packs it.
func (f *feed) encode(obj runtime.Object) (*kept, error) {
	room := encodeRoom.Get().(*[]byte)
	defer encodeRoom.Put(room)
	m, err := f.encoder.AppendMessage((*room)[:0], obj, schemas.Applied, f.book.now())
	if *room = m; err != nil {
		return nil, err
	}
	return f.shelf.packer.keep(m)
}

// encodeRoom has what messages are written to before they are packed.
var encodeRoom = sync.Pool{New: func() any { return new([]byte) }}

// unretriable hides from the reflector what it would wait for without looking at its context.
func unretriable(err error) error {
	if reasonOf(err) == reasonUnreachable {
		return errors.New(err.Error())
	}
	return err
}

// feed is the reflector's store.

// Add takes a watch's ADDED.
func (f *feed) Add(obj any) error { return f.Update(obj) }

// Update takes a watch's MODIFIED.
func (f *feed) Update(obj any) error {
	e, err := entryOf(obj)
	if err == nil {
		f.tell(func() { f.book.observe(f.shelf, e.key, e.kept) })
	}
	return err
}

// Delete takes a watch's DELETED.
func (f *feed) Delete(obj any) error {
	e, err := entryOf(obj)
	if err == nil {
		f.tell(func() { f.book.vanish(f.shelf, e.key) })
	}
	return err
}

// Replace takes a list, whole.
func (f *feed) Replace(list []any, _ string) error {
	all, err := allOf(list)
	if err == nil {
		f.tell(func() { f.book.replace(f.shelf, all) })
	}
	return err
}

// Resync has nothing to do: the book is never behind its feeds.
func (f *feed) Resync() error { return nil }

func allOf(list []any) ([]*entry, error) {
	all := make([]*entry, 0, len(list))
	for _, obj := range list {
		e, err := entryOf(obj)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

func entryOf(obj any) (*entry, error) {
	e, ok := obj.(*entry)
	if !ok {
		return nil, fmt.Errorf("the reflector holds a %T", obj)
	}
	return e, nil
}
