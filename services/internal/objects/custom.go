package objects

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Custom makes the row of a custom resource. It travels like a built-in one; nothing but Everywhere is pruned.
func Custom(gvr schema.GroupVersionResource, kind string, namespaced bool) Kind {
	return Kind{
		Group: gvr.Group, Version: gvr.Version, Kind: kind, Resource: gvr.Resource, Namespaced: namespaced, Custom: true,
		New: func() runtime.Object { return &unstructured.Unstructured{} },
	}
}

// Secondary is the row of a custom resource of which another version travels under the plural alone: its Resource is
// "foos.v1beta1".
func (k Kind) Secondary() Kind {
	k.Resource += "." + k.Version
	return k
}

// Name is what the kind is called in metrics and logs: "pods", "deployments"; of a custom resource with its group,
// "foos.stable.example.com", "foos.v1beta1.stable.example.com".
func (k *Kind) Name() string {
	if k.Custom {
		return k.Resource + "." + k.Group
	}
	return k.Resource
}

// IsCustom tells whether a group and resource of a subject are none of the table's: a custom resource.
func IsCustom(group, resource string) bool {
	kind, ok := ByResource(resource)
	return !ok || kind.Group != group
}
