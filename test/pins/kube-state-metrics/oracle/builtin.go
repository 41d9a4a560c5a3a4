package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"k8s.io/kube-state-metrics/v2/pkg/builder"
	generator "k8s.io/kube-state-metrics/v2/pkg/metric_generator"
	"k8s.io/kube-state-metrics/v2/pkg/options"
)

// known are all resources of the release. Its table of them is not public, so they are asked for by name.
var known = []string{
	"certificatesigningrequests", "clusterrolebindings", "clusterroles", "configmaps", "cronjobs", "daemonsets",
	"deployments", "endpoints", "endpointslices", "horizontalpodautoscalers", "ingressclasses", "ingresses", "jobs",
	"leases", "limitranges", "mutatingwebhookconfigurations", "namespaces", "networkpolicies", "nodes",
	"persistentvolumeclaims", "persistentvolumes", "poddisruptionbudgets", "pods", "replicasets",
	"replicationcontrollers", "resourcequotas", "rolebindings", "roles", "secrets", "serviceaccounts", "services",
	"statefulsets", "storageclasses", "validatingwebhookconfigurations", "volumeattachments",
}

// table holds the generators of the resources, as the builder hands them out.
type table map[string]*row

type row struct {
	object   reflect.Type // a pointer's
	families []generator.FamilyGenerator
}

func newTable() table {
	t := table{}
	for _, resource := range known {
		t[resource] = capture(resource)
	}
	return t
}

// capture lets the public builder build the stores of one resource, and keeps what it would build them with.
func capture(resource string) *row {
	r := &row{}
	b := builder.NewBuilder()
	b.WithMetrics(prometheus.NewRegistry())
	b.WithNamespaces(options.DefaultNamespaces)
	b.WithSharding(0, 1)
	b.WithFamilyGeneratorFilter(generator.NewCompositeFamilyGeneratorFilter())
	b.WithGenerateStoresFunc(func(families []generator.FamilyGenerator, expected any,
		_ func(clientset.Interface, string, string) cache.ListerWatcher, _ bool, _ int64) []cache.Store {
		r.object, r.families = reflect.TypeOf(expected).Elem(), families
		return nil
	})
	must(b.WithEnabledResources([]string{resource}))
	must(b.WithAllowLabels(map[string][]string{resource: {options.LabelWildcard}}))
	must(b.WithAllowAnnotations(map[string][]string{resource: {options.LabelWildcard}}))
	b.Build()
	return r
}

// must is for what only a change of the pinned release can break.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (t table) find(resource string, object []byte) ([]generator.FamilyGenerator, any, error) {
	r, ok := t[resource]
	if _, isLater := later[resource]; !ok && isLater {
		return nil, nil, nil
	}
	if !ok {
		return nil, nil, fmt.Errorf("there is no resource %q in this release", resource)
	}
	typed := reflect.New(r.object).Interface()
	if err := json.Unmarshal(object, typed); err != nil {
		return nil, nil, fmt.Errorf("couldn't decode an object of %s: %w", resource, err)
	}
	return r.families, typed, nil
}

func (t table) list() []family {
	var all []family
	for _, resource := range slices.Sorted(maps.Keys(t)) {
		for _, f := range t[resource].families {
			all = append(all, family{Resource: resource, Name: f.Name, Type: string(f.Type)})
		}
	}
	return all
}
