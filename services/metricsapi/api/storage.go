package api

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/headwater-metrics/headwater/services/internal/view"
)

// source is what both resources read: the views that are whole, or why there are none.
type source interface {
	// views returns both views, or the error to answer with while one of them isn't whole or both are out of date.
	views() (*catalog, view.UsageReader, error)
	// observe takes in how old what was returned is.
	observe(*ages)
}

// settings are what both resources go by.
type settings struct {
	now          func() time.Time
	maxAge       time.Duration
	nodeSelector labels.Requirements
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

// List returns the nodes that have metrics, by name. Implements rest.Lister.
func (s *nodeStorage) List(_ context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	catalog, usage, err := s.views()
	if err != nil {
		return nil, err
	}
	entries := selectEntries(catalog.nodes, "", options, s.nodeSelector)
	now := s.now()
	list := &metrics.NodeMetricsList{Items: make([]metrics.NodeMetrics, 0, len(entries))}
	var ages ages
	for _, entry := range entries {
		sample, _ := usage.Node(entry.Name)
		if item, ok := nodeMetrics(entry, sample, now, s.maxAge); ok {
			ages.add(now.Sub(item.Timestamp.Time))
			list.Items = append(list.Items, item)
		}
	}
	s.observe(&ages)
	return list, nil
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
	item, ok := nodeMetrics(entry, sample, now, s.maxAge)
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
	catalog, usage, err := s.views()
	if err != nil {
		return nil, err
	}
	entries := selectEntries(catalog.pods, genericrequest.NamespaceValue(ctx), options, nil)
	queries, found := make([]view.PodQuery, len(entries)), make([]view.PodUsage, len(entries))
	for i, entry := range entries {
		queries[i] = query(entry)
	}
	usage.Pods(queries, found)
	now := s.now()
	list := &metrics.PodMetricsList{Items: make([]metrics.PodMetrics, 0, len(entries))}
	var ages ages
	for i, entry := range entries {
		if item, ok := podMetrics(entry, found[i], now, s.maxAge); ok {
			ages.add(now.Sub(item.Timestamp.Time))
			list.Items = append(list.Items, item)
		}
	}
	s.observe(&ages)
	return list, nil
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
	item, ok := podMetrics(entry, found, now, s.maxAge)
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
func selectEntries[T any](from view.ObjectsReader[T], namespace string, options *metainternalversion.ListOptions, also labels.Requirements) []*view.Entry[T] {
	selector, field := labels.Everything(), fields.Everything()
	if options != nil && options.LabelSelector != nil {
		selector = options.LabelSelector
	}
	if options != nil && options.FieldSelector != nil {
		field = options.FieldSelector
	}
	if len(also) > 0 {
		selector = selector.Add(also...)
	}
	var entries []*view.Entry[T]
	switch everything, all := selector.Empty(), namespace == ""; {
	case all && everything:
		entries = from.All()
	case everything:
		entries = from.List(namespace)
	case all:
		entries = from.SelectAll(func(l *view.Labels) bool { return selector.Matches(l) })
	default:
		entries = from.Select(namespace, func(l *view.Labels) bool { return selector.Matches(l) })
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
