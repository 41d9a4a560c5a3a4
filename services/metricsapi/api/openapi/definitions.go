// Package openapi holds the OpenAPI definitions of the types that the Metrics API serves: those of metrics.k8s.io, which
// no library has, beside those of meta/v1, which kube-aggregator has.
package openapi

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	meta "k8s.io/kube-aggregator/pkg/generated/openapi"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
	v1 "k8s.io/metrics/pkg/apis/metrics/v1"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// The descriptions are those of the types' own documentation in k8s.io/metrics, word for word: clients compare them.
const (
	kindText       = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
	apiVersionText = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
	metadataText   = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
	listText       = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
	intervalText   = "The following fields define time interval from which metrics were collected from the interval [Timestamp-Window, Timestamp]."
	usageText      = "The memory usage is the memory working set."
)

// Definitions returns the definitions of everything that the server serves, by the types' names.
func Definitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	all := meta.GetOpenAPIDefinitions(ref)
	for _, v := range []version{
		{v1.ContainerMetrics{}, v1.NodeMetrics{}, v1.NodeMetricsList{}, v1.PodMetrics{}, v1.PodMetricsList{}},
		{v1beta1.ContainerMetrics{}, v1beta1.NodeMetrics{}, v1beta1.NodeMetricsList{}, v1beta1.PodMetrics{}, v1beta1.PodMetricsList{}},
	} {
		v.define(all, ref)
	}
	return all
}

// version is one of the API's versions: its types. All versions have the same fields.
type version struct{ container, node, nodes, pod, pods util.OpenAPIModelNamer }

// define adds the definitions of the version's types.
func (v version) define(all map[string]common.OpenAPIDefinition, ref common.ReferenceCallback) {
	quantity := resource.Quantity{}.OpenAPIModelName()
	usage := object(usageText)
	usage.AdditionalProperties = &spec.SchemaOrBool{Allows: true, Schema: &spec.Schema{SchemaProps: spec.SchemaProps{Ref: ref(quantity)}}}
	name := text("Container name corresponding to the one from pod.spec.containers.")
	name.Default = ""

	container := v.container.OpenAPIModelName()
	all[container] = define("ContainerMetrics sets resource usage metrics of a container.",
		properties{"name": name, "usage": usage}, []string{"name", "usage"}, quantity)

	// measured is what usage of a node and of a pod have in common.
	measured := func(more string, schema spec.SchemaProps) properties {
		return withType(properties{
			"metadata":  reference(ref, metadataText, metav1.ObjectMeta{}.OpenAPIModelName(), map[string]any{}),
			"timestamp": reference(ref, intervalText, metav1.Time{}.OpenAPIModelName(), nil),
			"window":    reference(ref, "", metav1.Duration{}.OpenAPIModelName(), nil),
			more:        schema,
		})
	}
	dependencies := []string{metav1.Duration{}.OpenAPIModelName(), metav1.ObjectMeta{}.OpenAPIModelName(), metav1.Time{}.OpenAPIModelName()}
	all[v.node.OpenAPIModelName()] = define("NodeMetrics sets resource usage metrics of a node.",
		measured("usage", usage), []string{"timestamp", "window", "usage"}, append(dependencies[:3:3], quantity)...)
	pod := define("PodMetrics sets resource usage metrics of a pod.",
		measured("containers", array(ref, "Metrics for all containers are collected within the same time window.", container)),
		[]string{"timestamp", "window", "containers"}, append(dependencies[:3:3], container)...)
	containers := pod.Schema.Properties["containers"]
	containers.AddExtension("x-kubernetes-list-type", "atomic")
	pod.Schema.Properties["containers"] = containers
	all[v.pod.OpenAPIModelName()] = pod

	list := func(what, description, items, item string) {
		all[what] = define(description, withType(properties{
			"metadata": reference(ref, listText, metav1.ListMeta{}.OpenAPIModelName(), map[string]any{}),
			"items":    array(ref, items, item),
		}), []string{"items"}, metav1.ListMeta{}.OpenAPIModelName(), item)
	}
	list(v.nodes.OpenAPIModelName(), "NodeMetricsList is a list of NodeMetrics.", "List of node metrics.", v.node.OpenAPIModelName())
	list(v.pods.OpenAPIModelName(), "PodMetricsList is a list of PodMetrics.", "List of pod metrics.", v.pod.OpenAPIModelName())
}

type properties map[string]spec.SchemaProps

// withType adds what every kind has.
func withType(p properties) properties {
	p["kind"], p["apiVersion"] = text(kindText), text(apiVersionText)
	return p
}

func define(description string, p properties, required []string, dependencies ...string) common.OpenAPIDefinition {
	props := object(description)
	props.Required = required
	props.Properties = make(map[string]spec.Schema, len(p))
	for name, schema := range p {
		props.Properties[name] = spec.Schema{SchemaProps: schema}
	}
	return common.OpenAPIDefinition{Schema: spec.Schema{SchemaProps: props}, Dependencies: dependencies}
}

func object(description string) spec.SchemaProps {
	return spec.SchemaProps{Description: description, Type: []string{"object"}}
}

func text(description string) spec.SchemaProps {
	return spec.SchemaProps{Description: description, Type: []string{"string"}}
}

func reference(ref common.ReferenceCallback, description, to string, otherwise any) spec.SchemaProps {
	return spec.SchemaProps{Description: description, Default: otherwise, Ref: ref(to)}
}

func array(ref common.ReferenceCallback, description, of string) spec.SchemaProps {
	return spec.SchemaProps{
		Description: description, Type: []string{"array"},
		Items: &spec.SchemaOrArray{Schema: &spec.Schema{SchemaProps: spec.SchemaProps{Ref: ref(of)}}},
	}
}
