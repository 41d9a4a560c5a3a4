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
	return s.watches.read(
		func() (uint64, error) { return s.watches.listVersion(ctx, options) },
		func() (runtime.Object, error) { return s.nodeStorage.List(ctx, options) })
}

// Get is nodeStorage's, at a version. Implements rest.Getter.
func (s *watchedNodes) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.watches.read(
		func() (uint64, error) { return s.watches.getVersion(ctx, options) },
		func() (runtime.Object, error) { return s.nodeStorage.Get(ctx, name, options) })
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
	return s.watches.read(
		func() (uint64, error) { return s.watches.listVersion(ctx, options) },
		func() (runtime.Object, error) { return s.podStorage.List(ctx, options) })
}

// Get is podStorage's, at a version. Implements rest.Getter.
func (s *watchedPods) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.watches.read(
		func() (uint64, error) { return s.watches.getVersion(ctx, options) },
		func() (runtime.Object, error) { return s.podStorage.Get(ctx, name, options) })
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

// listVersion waits until a list can be as new as it is asked to be, and returns the version that it has at least: what is
// read afterwards may be newer, and is told again to whoever watches from there.
func (w *watches) listVersion(ctx context.Context, options *metainternalversion.ListOptions) (uint64, error) {
	if options == nil {
		return versionOf(w.place()), nil
	}
	version, err := w.versionFor(ctx, options.ResourceVersion)
	if err == nil && options.ResourceVersionMatch == metav1.ResourceVersionMatchExact && options.ResourceVersion != resourceVersion(version) {
		asked, _ := parseVersion(options.ResourceVersion)
		return 0, expiredVersion(asked, w.place()) // only the latest state is known
	}
	return version, err
}

// getVersion is listVersion for one object.
func (w *watches) getVersion(ctx context.Context, options *metav1.GetOptions) (uint64, error) {
	if options == nil {
		return versionOf(w.place()), nil
	}
	return w.versionFor(ctx, options.ResourceVersion)
}

func (w *watches) versionFor(ctx context.Context, text string) (uint64, error) {
	asked, err := parseVersion(text)
	if err != nil {
		return 0, err
	}
	if asked != 0 && w.following() {
		if _, err := w.await(ctx, asked); err != nil {
			return 0, err
		}
	}
	return versionOf(w.place()), nil
}

// read reads an answer, at least as new as the version that is asked for before, and gives it that. If views were replaced
// meanwhile, it does so again: from the version of a view that is no more there would be no watching on.
func (w *watches) read(version func() (uint64, error), answer func() (runtime.Object, error)) (runtime.Object, error) {
	for {
		era := w.current()
		version, err := version()
		if err != nil {
			return nil, err
		}
		object, err := answer()
		if err != nil {
			return nil, err
		}
		if w.current() == era {
			setVersion(object, version)
			return object, nil
		}
	}
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
