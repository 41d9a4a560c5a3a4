package api

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/headwater-metrics/headwater/services/internal/view"
)

// source is what both resources read: the views that are whole, or why there are none.
type source interface {
	// views returns both views, the usage without nodes that aren't selected, or the error to answer with while one of them isn't
	// whole or both are out of date.
	views() (*catalog, view.UsageReader, error)
	// observe takes in how old what was returned is.
	observe(*ages)
}

// settings are what both resources go by.
type settings struct {
	now      func() time.Time
	maxAge   time.Duration
	extended bool // usage has swap, too
	formats  formats
	makers   *makers
}

// answer makes a list of what was read: one that encodes itself, or the library's where the response is none for that.
func (s *settings) answer(ctx context.Context, now time.Time, items items) runtime.Object {
	response, _ := ctx.Value(responseKey{}).(*response)
	if response == nil {
		return items.object(0, now, s.extended)
	}
	return &list{items: items, now: now, extended: s.extended, formats: s.formats, makers: s.makers, response: response}
}

// readParts reads entries in parts, by several goroutines, and takes in how old what it got is. A part of which nothing has
// metrics is left out.
func readParts[T any, R interface{ timestamp() time.Time }](s source, entries []*view.Entry[T], now time.Time, read func([]*view.Entry[T], []R) []R) [][]R {
	parts := slices.Collect(slices.Chunk(entries, partItems))
	readings, all := make([][]R, len(parts)), make([]ages, len(parts))
	share(len(parts), func(i int) {
		readings[i] = read(parts[i], make([]R, 0, len(parts[i])))
		for _, reading := range readings[i] {
			all[i].add(now.Sub(reading.timestamp()))
		}
	})
	for i := range all {
		s.observe(&all[i])
	}
	return slices.DeleteFunc(readings, func(part []R) bool { return len(part) == 0 })
}

// nodeStorage serves NodeMetrics.
type nodeStorage struct {
	source
	settings
}

// podStorage serves PodMetrics.
type podStorage struct {
	source
	settings
}

// storage is all that the API server library asks a resource for. Without rest.Watcher, a watch is answered with 405.
type storage interface {
	rest.Storage
	rest.KindProvider
	rest.Getter
	rest.Lister
	rest.Scoper
	rest.SingularNameProvider
}

var _, _ storage = (*nodeStorage)(nil), (*podStorage)(nil)

func (*nodeStorage) New() runtime.Object     { return &metrics.NodeMetrics{} }
func (*nodeStorage) NewList() runtime.Object { return &metrics.NodeMetricsList{} }
func (*nodeStorage) Kind() string            { return "NodeMetrics" }
func (*nodeStorage) NamespaceScoped() bool   { return false }
func (*nodeStorage) GetSingularName() string { return "" }
func (*nodeStorage) Destroy()                {}

func (*podStorage) New() runtime.Object     { return &metrics.PodMetrics{} }
func (*podStorage) NewList() runtime.Object { return &metrics.PodMetricsList{} }
func (*podStorage) Kind() string            { return "PodMetrics" }
func (*podStorage) NamespaceScoped() bool   { return true }
func (*podStorage) GetSingularName() string { return "" }
func (*podStorage) Destroy()                {}

// holder is how it is chosen which objects a list is of: it calls choose, which it may let see all of them as they are at one moment.
type holder func(choose func())

// loosely lets choose see what comes and goes meanwhile.
func loosely(choose func()) { choose() }

// List returns the nodes that have metrics, by name. Implements rest.Lister.
func (s *nodeStorage) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	return s.list(ctx, options, loosely)
}

func (s *nodeStorage) list(ctx context.Context, options *metainternalversion.ListOptions, hold holder) (runtime.Object, error) {
	catalog, usage, err := s.views()
	if err != nil {
		return nil, err
	}
	now := s.now()
	var chosen []*view.Entry[node]
	hold(func() { chosen = selectEntries(catalog.nodes, "", options) })
	return s.answer(ctx, now, nodeItems(readParts(s, chosen, now,
		func(entries []*view.Entry[node], readings []nodeReading) []nodeReading {
			for _, entry := range entries {
				sample, _ := usage.Node(entry.Name)
				if reading, ok := readNode(entry, sample, now, s.maxAge); ok {
					readings = append(readings, reading)
				}
			}
			return readings
		}))), nil
}

// Get returns one node's metrics. Implements rest.Getter.
func (s *nodeStorage) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	catalog, usage, err := s.views()
	if err != nil {
		return nil, err
	}
	entry, ok := catalog.nodes.Get("", name)
	if !ok {
		// In the singular and without a group, as metrics-server has it.
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "node"}, name)
	}
	sample, _ := usage.Node(name)
	now := s.now()
	item, ok := nodeMetrics(entry, sample, now, s.maxAge, s.extended)
	if !ok {
		return nil, apierrors.NewNotFound(metrics.Resource("nodemetrics"), name)
	}
	var ages ages
	ages.add(now.Sub(item.Timestamp.Time))
	s.observe(&ages)
	return &item, nil
}

// ConvertToTable implements rest.TableConvertor.
func (*nodeStorage) ConvertToTable(_ context.Context, object, _ runtime.Object) (*metav1.Table, error) {
	return nodeTable(object), nil
}

// List returns the running pods that have metrics, by namespace and name, of the request's namespace or of all.
// Implements rest.Lister.
func (s *podStorage) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	return s.list(ctx, options, loosely)
}

func (s *podStorage) list(ctx context.Context, options *metainternalversion.ListOptions, hold holder) (runtime.Object, error) {
	catalog, usage, err := s.views()
	if err != nil {
		return nil, err
	}
	now := s.now()
	var chosen []*view.Entry[pod]
	hold(func() { chosen = selectEntries(catalog.pods, genericrequest.NamespaceValue(ctx), options) })
	return s.answer(ctx, now, podItems(readParts(s, chosen, now,
		func(entries []*view.Entry[pod], readings []podReading) []podReading {
			queries, found := make([]view.PodQuery, len(entries)), make([]view.PodUsage, len(entries))
			for i, entry := range entries {
				queries[i] = query(entry)
			}
			usage.Pods(queries, found)
			for i, entry := range entries {
				if reading, ok := readPod(entry, found[i], now, s.maxAge); ok {
					readings = append(readings, reading)
				}
			}
			return readings
		}))), nil
}

// Get returns one running pod's metrics. Implements rest.Getter.
func (s *podStorage) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	catalog, usage, err := s.views()
	if err != nil {
		return nil, err
	}
	namespace := genericrequest.NamespaceValue(ctx)
	entry, ok := catalog.pods.Get(namespace, name)
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
	}
	found, _ := usage.Pod(query(entry))
	now := s.now()
	item, ok := podMetrics(entry, found, now, s.maxAge, s.extended)
	if !ok {
		return nil, apierrors.NewNotFound(metrics.Resource("podmetrics"), namespace+"/"+name)
	}
	var ages ages
	ages.add(now.Sub(item.Timestamp.Time))
	s.observe(&ages)
	return &item, nil
}

// ConvertToTable implements rest.TableConvertor.
func (*podStorage) ConvertToTable(_ context.Context, object, _ runtime.Object) (*metav1.Table, error) {
	return podTable(object), nil
}

func query(e *view.Entry[pod]) view.PodQuery {
	return view.PodQuery{Namespace: e.Namespace, Name: e.Name, Node: e.Value.node}
}

// selectEntries returns the objects of a namespace ("" for all, and for cluster-scoped ones) that a list request asks
// for, in order. The library has refused field selectors but metadata.name and metadata.namespace before.
func selectEntries[T any](from view.ObjectsReader[T], namespace string, options *metainternalversion.ListOptions) []*view.Entry[T] {
	selector, field := labels.Everything(), fields.Everything()
	if options != nil && options.LabelSelector != nil {
		selector = options.LabelSelector
	}
	if options != nil && options.FieldSelector != nil {
		field = options.FieldSelector
	}
	match := func(l *view.Labels) bool { return selector.Matches(l) }
	var entries []*view.Entry[T]
	switch everything, all := selector.Empty(), namespace == ""; {
	case all && everything:
		entries = from.All()
	case everything:
		entries = from.List(namespace)
	case all:
		entries = from.SelectAll(match, having(selector)...)
	default:
		entries = from.Select(namespace, match, having(selector)...)
	}
	if field.Empty() {
		return entries
	}
	kept := entries[:0]
	for _, entry := range entries {
		if field.Matches(metadataFieldsOf{entry.Namespace, entry.Name}) {
			kept = append(kept, entry)
		}
	}
	return kept
}

// having returns the labels that whatever matches has.
func having(selector labels.Selector) (having []view.Label) {
	requirements, _ := selector.Requirements()
	for i := range requirements {
		r := &requirements[i]
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			if values := r.ValuesUnsorted(); len(values) == 1 {
				having = append(having, view.Label{Key: r.Key(), Value: values[0]})
			}
		}
	}
	return having
}

// metadataFieldsOf are the two fields that objects can be selected by.
type metadataFieldsOf struct{ namespace, name string }

// Has implements fields.Fields.
func (m metadataFieldsOf) Has(field string) bool {
	return field == "metadata.name" || field == "metadata.namespace"
}

// Get implements fields.Fields.
func (m metadataFieldsOf) Get(field string) string {
	switch field {
	case "metadata.name":
		return m.name
	case "metadata.namespace":
		return m.namespace
	}
	return ""
}
