package main

import (
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"k8s.io/kube-state-metrics/v2/pkg/customresourcestate"
	"k8s.io/kube-state-metrics/v2/pkg/metric"
	generator "k8s.io/kube-state-metrics/v2/pkg/metric_generator"
)

// custom is a configuration of Custom Resource State. Discovery is left out: an entry holds for an object whose group,
// version and kind it names, and an empty one or * names any.
type custom struct {
	config customresourcestate.Metrics
	built  map[string][]generator.FamilyGenerator // by version/kind in a group
}

func newCustom(file string) (*custom, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c := &custom{built: map[string][]generator.FamilyGenerator{}}
	if err := yaml.Unmarshal(data, &c.config); err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", file, err)
	}
	for i := range c.config.Spec.Resources {
		for j := range c.config.Spec.Resources[i].Metrics {
			each := &c.config.Spec.Resources[i].Metrics[j].Each
			each.Type = metric.Type(strings.ToLower(string(each.Type))) // as the release does when it loads the file
		}
	}
	return c, nil
}

func (c *custom) find(_ string, raw []byte) ([]generator.FamilyGenerator, any, error) {
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(raw); err != nil {
		return nil, nil, fmt.Errorf("couldn't decode a custom object: %w", err)
	}
	key := object.GetAPIVersion() + " " + object.GetKind()
	families, ok := c.built[key]
	if !ok {
		gvk := object.GroupVersionKind()
		for _, resource := range c.config.Spec.Resources {
			want := resource.GroupVersionKind
			if want.Group != gvk.Group || !names(want.Version, gvk.Version) || !names(want.Kind, gvk.Kind) {
				continue
			}
			resource.GroupVersionKind = customresourcestate.GroupVersionKind(gvk)
			factory, err := customresourcestate.NewCustomResourceMetrics(resource)
			if err != nil {
				return nil, nil, fmt.Errorf("couldn't build the families of %s: %w", key, err)
			}
			families = append(families, factory.MetricFamilyGenerators()...)
		}
		c.built[key] = families
	}
	return families, object, nil
}

func names(pattern, name string) bool { return pattern == "" || pattern == "*" || pattern == name }
