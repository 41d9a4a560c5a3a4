package apiserver

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// Resource is one row of the table of what the server serves.
type Resource struct {
	Group, Version string
	Kind           string
	// Name is the plural in paths.
	Name       string
	ShortNames []string
	Namespaced bool
	// All puts the resource into `kubectl get all`.
	All bool
	// Scale gives it the scale subresource, Status the status subresource.
	Scale, Status bool
	// custom: its objects have no type of their own, see Custom.
	custom bool
}

// resources is everything that is served: the 39 resources of the kube-state-metrics contract, and events, because
// clients write them.
var resources = []*Resource{
	{Group: "certificates.k8s.io", Version: "v1", Kind: "CertificateSigningRequest", Name: "certificatesigningrequests", ShortNames: []string{"csr"}, Status: true},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleBinding", Name: "clusterrolebindings"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole", Name: "clusterroles"},
	{Version: "v1", Kind: "ConfigMap", Name: "configmaps", ShortNames: []string{"cm"}, Namespaced: true},
	{Group: "batch", Version: "v1", Kind: "CronJob", Name: "cronjobs", ShortNames: []string{"cj"}, Namespaced: true, All: true, Status: true},
	{Group: "apps", Version: "v1", Kind: "DaemonSet", Name: "daemonsets", ShortNames: []string{"ds"}, Namespaced: true, All: true, Status: true},
	{Group: "apps", Version: "v1", Kind: "Deployment", Name: "deployments", ShortNames: []string{"deploy"}, Namespaced: true, All: true, Scale: true, Status: true},
	{Version: "v1", Kind: "Endpoints", Name: "endpoints", ShortNames: []string{"ep"}, Namespaced: true},
	{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice", Name: "endpointslices", Namespaced: true},
	{Version: "v1", Kind: "Event", Name: "events", ShortNames: []string{"ev"}, Namespaced: true},
	{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler", Name: "horizontalpodautoscalers", ShortNames: []string{"hpa"}, Namespaced: true, All: true, Status: true},
	{Group: "networking.k8s.io", Version: "v1", Kind: "IngressClass", Name: "ingressclasses"},
	{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress", Name: "ingresses", ShortNames: []string{"ing"}, Namespaced: true, Status: true},
	{Group: "batch", Version: "v1", Kind: "Job", Name: "jobs", Namespaced: true, All: true, Status: true},
	{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease", Name: "leases", Namespaced: true},
	{Version: "v1", Kind: "LimitRange", Name: "limitranges", ShortNames: []string{"limits"}, Namespaced: true},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingAdmissionPolicy", Name: "mutatingadmissionpolicies"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingAdmissionPolicyBinding", Name: "mutatingadmissionpolicybindings"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration", Name: "mutatingwebhookconfigurations"},
	{Version: "v1", Kind: "Namespace", Name: "namespaces", ShortNames: []string{"ns"}, Status: true},
	{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy", Name: "networkpolicies", ShortNames: []string{"netpol"}, Namespaced: true},
	{Version: "v1", Kind: "Node", Name: "nodes", ShortNames: []string{"no"}, Status: true},
	{Version: "v1", Kind: "PersistentVolumeClaim", Name: "persistentvolumeclaims", ShortNames: []string{"pvc"}, Namespaced: true, Status: true},
	{Version: "v1", Kind: "PersistentVolume", Name: "persistentvolumes", ShortNames: []string{"pv"}, Status: true},
	{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget", Name: "poddisruptionbudgets", ShortNames: []string{"pdb"}, Namespaced: true, Status: true},
	{Version: "v1", Kind: "Pod", Name: "pods", ShortNames: []string{"po"}, Namespaced: true, All: true, Status: true},
	{Group: "apps", Version: "v1", Kind: "ReplicaSet", Name: "replicasets", ShortNames: []string{"rs"}, Namespaced: true, All: true, Scale: true, Status: true},
	{Version: "v1", Kind: "ReplicationController", Name: "replicationcontrollers", ShortNames: []string{"rc"}, Namespaced: true, All: true, Scale: true, Status: true},
	{Version: "v1", Kind: "ResourceQuota", Name: "resourcequotas", ShortNames: []string{"quota"}, Namespaced: true, Status: true},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding", Name: "rolebindings", Namespaced: true},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role", Name: "roles", Namespaced: true},
	{Version: "v1", Kind: "Secret", Name: "secrets", Namespaced: true},
	{Version: "v1", Kind: "ServiceAccount", Name: "serviceaccounts", ShortNames: []string{"sa"}, Namespaced: true},
	{Version: "v1", Kind: "Service", Name: "services", ShortNames: []string{"svc"}, Namespaced: true, All: true, Status: true},
	{Group: "apps", Version: "v1", Kind: "StatefulSet", Name: "statefulsets", ShortNames: []string{"sts"}, Namespaced: true, All: true, Scale: true, Status: true},
	{Group: "storage.k8s.io", Version: "v1", Kind: "StorageClass", Name: "storageclasses", ShortNames: []string{"sc"}},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingAdmissionPolicy", Name: "validatingadmissionpolicies", Status: true},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingAdmissionPolicyBinding", Name: "validatingadmissionpolicybindings"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration", Name: "validatingwebhookconfigurations"},
	{Group: "storage.k8s.io", Version: "v1", Kind: "VolumeAttachment", Name: "volumeattachments", Status: true},
}

// Resources returns the table of what is served, sorted by plural name. The rows must not be changed.
func Resources() []*Resource { return resources }

// GVK is the row's group, version and kind.
func (r *Resource) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
}

// GR is the row's group and plural name.
func (r *Resource) GR() schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Name}
}

// SingularName is what one object is called on a command line.
func (r *Resource) SingularName() string {
	return strings.ToLower(r.Kind)
}

// APIVersion is the row's group and version as objects carry them.
func (r *Resource) APIVersion() string {
	return schema.GroupVersion{Group: r.Group, Version: r.Version}.String()
}

// object is what every typed object of Kubernetes can do.
type object interface {
	runtime.Object
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// newObject makes an empty object of the row's kind. The table's test makes one of every row.
func (r *Resource) newObject() (object, error) {
	if r.custom {
		c := &Custom{}
		c.SetGroupVersionKind(r.GVK())
		return c, nil
	}
	made, err := scheme.Scheme.New(r.GVK())
	if err != nil {
		return nil, fmt.Errorf("couldn't make a %s: %w", r.Kind, err)
	}
	obj, ok := made.(object)
	if !ok {
		return nil, fmt.Errorf("couldn't make a %s: the type has no protobuf encoding", r.Kind)
	}
	return obj, nil
}
