package api

import (
	"context"
	"time"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/headwater-metrics/headwater/services/internal/view"
)

// watchedNodes is nodeStorage where watching is on: its answers have resourceVersions, and it can be watched.
type watchedNodes struct {
	*nodeStorage
	watches *watches
}

// watchedPods is podStorage where watching is on.
type watchedPods struct {
	*podStorage
	watches *watches
}

var (
	_ storage      = (*watchedNodes)(nil)
	_ storage      = (*watchedPods)(nil)
	_ rest.Watcher = (*watchedNodes)(nil)
	_ rest.Watcher = (*watchedPods)(nil)
)

// watchable returns the storages with watching, or as they are where it is off.
func watchable(nodes *nodeStorage, pods *podStorage, w *watches) (storage, storage) {
	if w == nil {
		return nodes, pods
	}
	return &watchedNodes{nodes, w}, &watchedPods{pods, w}
}

// List is nodeStorage's, at a version. Implements rest.Lister.
func (s *watchedNodes) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	return s.watches.readList(ctx, options, func(hold holder) (runtime.Object, error) { return s.nodeStorage.list(ctx, options, hold) })
}

// Get is nodeStorage's, at a version. Implements rest.Getter.
func (s *watchedNodes) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.watches.readOne(ctx, options, func() (runtime.Object, error) { return s.nodeStorage.Get(ctx, name, options) })
}

// Watch implements rest.Watcher.
func (s *watchedNodes) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	if _, _, err := s.views(); err != nil {
		return nil, err
	}
	object := func(reading nodeReading, labels *view.Labels, version uint64, now time.Time) runtime.Object {
		reading.version = version
		item := reading.item(now, s.extended)
		item.Labels = labels.Map()
		return &item
	}
	empty := func(meta metav1.ObjectMeta) runtime.Object { return &metrics.NodeMetrics{ObjectMeta: meta} }
	return startWatch(ctx, s.watches, &s.watches.nodes, options, matching("", options), object, empty)
}

// List is podStorage's, at a version. Implements rest.Lister.
func (s *watchedPods) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	return s.watches.readList(ctx, options, func(hold holder) (runtime.Object, error) { return s.podStorage.list(ctx, options, hold) })
}

// Get is podStorage's, at a version. Implements rest.Getter.
func (s *watchedPods) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.watches.readOne(ctx, options, func() (runtime.Object, error) { return s.podStorage.Get(ctx, name, options) })
}

// Watch implements rest.Watcher.
func (s *watchedPods) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	if _, _, err := s.views(); err != nil {
		return nil, err
	}
	object := func(reading podReading, labels *view.Labels, version uint64, now time.Time) runtime.Object {
		reading.version = version
		item := reading.item(now, s.extended)
		item.Labels = labels.Map()
		return &item
	}
	empty := func(meta metav1.ObjectMeta) runtime.Object { return &metrics.PodMetrics{ObjectMeta: meta} }
	return startWatch(ctx, s.watches, &s.watches.pods, options, matching(genericrequest.NamespaceValue(ctx), options), object, empty)
}

// matching tells which objects a watch asks for, as selectEntries does for a list.
func matching(namespace string, options *metainternalversion.ListOptions) func(view.Key, *view.Labels) bool {
	selector, field := labels.Everything(), fields.Everything()
	if options.LabelSelector != nil {
		selector = options.LabelSelector
	}
	if options.FieldSelector != nil {
		field = options.FieldSelector
	}
	everything, everywhere := selector.Empty(), field.Empty()
	return func(key view.Key, labels *view.Labels) bool {
		return (namespace == "" || key.Namespace == namespace) &&
			(everywhere || field.Matches(metadataFieldsOf{key.Namespace, key.Name})) &&
			(everything || selector.Matches(labels))
	}
}

// readList reads a list at the version that is asked for.
func (w *watches) readList(ctx context.Context, options *metainternalversion.ListOptions, list func(holder) (runtime.Object, error)) (runtime.Object, error) {
	if options == nil {
		options = &metainternalversion.ListOptions{}
	}
	return w.read(ctx, options.ResourceVersion, options.ResourceVersionMatch == metav1.ResourceVersionMatchExact, list)
}

// readOne reads one object, at least at the version that is asked for.
func (w *watches) readOne(ctx context.Context, options *metav1.GetOptions, get func() (runtime.Object, error)) (runtime.Object, error) {
	if options == nil {
		options = &metav1.GetOptions{}
	}
	return w.read(ctx, options.ResourceVersion, false, func(hold holder) (object runtime.Object, err error) {
		hold(func() { object, err = get() })
		return object, err
	})
}

// read reads an answer that is at least as new as the version asked for, or exactly that, and gives it its version. That says how
// far the usage had been read before, so that what changed since is told again to whoever watches from there, and how far the
// objects had been when it was chosen under hold which of them the answer is of: of a pod that came later nobody there is told
// that it is gone. If views were replaced meanwhile, it is all done again: from the version of a view that is no more there would
// be no watching on. Nor is there from what is read while a stream is read once more.
func (w *watches) read(ctx context.Context, asked string, exact bool, answer func(holder) (runtime.Object, error)) (runtime.Object, error) {
	for {
		era := w.current()
		if err := w.awaitAsked(ctx, asked); err != nil {
			return nil, err
		}
		place := w.place()
		if version := versionOf(place); exact && asked != resourceVersion(version) {
			asked, _ := parseVersion(asked)
			return nil, expiredVersion(asked, place) // only the latest state is known
		}
		place.Part = !w.following()
		object, err := answer(func(choose func()) {
			w.mu.RLock()
			defer w.mu.RUnlock()
			place.Objects = w.objectsAt.Load()
			choose()
		})
		if err != nil {
			return nil, err
		}
		if w.current() == era && (!exact || asked == resourceVersion(versionOf(w.place()))) {
			setVersion(object, versionOf(place))
			return object, nil
		}
	}
}

// awaitAsked waits until what is followed is as new as it is asked to be.
func (w *watches) awaitAsked(ctx context.Context, asked string) error {
	version, err := parseVersion(asked)
	if err == nil && version != 0 && w.following() {
		_, _, err = w.await(ctx, version)
	}
	return err
}

// current is the era that it is now.
func (w *watches) current() *era {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.era
}

// setVersion gives an answer its version, and its items.
func setVersion(object runtime.Object, version uint64) {
	switch o := object.(type) {
	case *list:
		o.version = version
	case *metrics.NodeMetrics:
		o.ResourceVersion = resourceVersion(version)
	case *metrics.PodMetrics:
		o.ResourceVersion = resourceVersion(version)
	case *metrics.NodeMetricsList: // for the server itself, which doesn't go through HTTP
		o.ResourceVersion = resourceVersion(version)
		for i := range o.Items {
			o.Items[i].ResourceVersion = o.ResourceVersion
		}
	case *metrics.PodMetricsList:
		o.ResourceVersion = resourceVersion(version)
		for i := range o.Items {
			o.Items[i].ResourceVersion = o.ResourceVersion
		}
	}
}
