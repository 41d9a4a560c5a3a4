package objects

import (
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kind is one row of the table: a kind of object that Headwater carries.
type Kind struct {
	Group      string // "" for the legacy group
	Version    string // "v1"
	Kind       string // "Pod"
	Resource   string // "pods": the name in --resources, in subjects and in URLs
	Namespaced bool

	// Custom says that the kind is a custom resource, none of the table.
	Custom bool

	// New makes an empty object of the kind: typed for the kinds of the table, unstructured for a custom resource.
	New func() runtime.Object

	// Prune lists what never leaves the watcher beyond the Everywhere paths, which hold for every kind. See the syntax
	// there.
	Prune []string
}

// GVK is the kind's identity as runtime.Scheme knows it.
func (k *Kind) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}
}

// GVR is the kind's identity as URLs and discovery know it.
func (k *Kind) GVR() schema.GroupVersionResource {
	plural, _, _ := strings.Cut(k.Resource, ".")
	return schema.GroupVersionResource{Group: k.Group, Version: k.Version, Resource: plural}
}

// APIVersion is what the object says of itself: "v1", "apps/v1".
func (k *Kind) APIVersion() string {
	return k.GVK().GroupVersion().String()
}

// Kinds returns the kinds that Headwater watches, those of kube-state-metrics, in alphabetical order of Resource. The
// slice is the caller's own.
func Kinds() []Kind {
	const (
		admission = "admissionregistration.k8s.io"
		rbac      = "rbac.authorization.k8s.io"
	)
	pod, template, cronTemplate := podSpec("spec"), podSpec("spec.template.spec"), podSpec("spec.jobTemplate.spec.template.spec")
	return []Kind{
		cluster[certificatesv1.CertificateSigningRequest]("certificates.k8s.io", "v1", "certificatesigningrequests"),
		cluster[rbacv1.ClusterRoleBinding](rbac, "v1", "clusterrolebindings"),
		cluster[rbacv1.ClusterRole](rbac, "v1", "clusterroles"),
		namespaced[corev1.ConfigMap]("", "v1", "configmaps", "data", "binaryData"),
		namespaced[batchv1.CronJob]("batch", "v1", "cronjobs", cronTemplate...),
		namespaced[appsv1.DaemonSet]("apps", "v1", "daemonsets", template...),
		namespaced[appsv1.Deployment]("apps", "v1", "deployments", template...),
		//lint:ignore SA1019 deprecated, but kube-state-metrics exports them, and there are clusters that use them
		namespaced[corev1.Endpoints]("", "v1", "endpoints"),
		namespaced[discoveryv1.EndpointSlice]("discovery.k8s.io", "v1", "endpointslices"),
		namespaced[autoscalingv2.HorizontalPodAutoscaler]("autoscaling", "v2", "horizontalpodautoscalers"),
		cluster[networkingv1.IngressClass]("networking.k8s.io", "v1", "ingressclasses"),
		namespaced[networkingv1.Ingress]("networking.k8s.io", "v1", "ingresses"),
		namespaced[batchv1.Job]("batch", "v1", "jobs", template...),
		namespaced[coordinationv1.Lease]("coordination.k8s.io", "v1", "leases"),
		namespaced[corev1.LimitRange]("", "v1", "limitranges"),
		cluster[admissionregistrationv1.MutatingAdmissionPolicy](admission, "v1", "mutatingadmissionpolicies"),
		cluster[admissionregistrationv1.MutatingAdmissionPolicyBinding](admission, "v1", "mutatingadmissionpolicybindings"),
		cluster[admissionregistrationv1.MutatingWebhookConfiguration](admission, "v1", "mutatingwebhookconfigurations"),
		cluster[corev1.Namespace]("", "v1", "namespaces"),
		namespaced[networkingv1.NetworkPolicy]("networking.k8s.io", "v1", "networkpolicies"),
		cluster[corev1.Node]("", "v1", "nodes"),
		namespaced[corev1.PersistentVolumeClaim]("", "v1", "persistentvolumeclaims"),
		cluster[corev1.PersistentVolume]("", "v1", "persistentvolumes", "spec.flexVolume.options"),
		namespaced[policyv1.PodDisruptionBudget]("policy", "v1", "poddisruptionbudgets"),
		namespaced[corev1.Pod]("", "v1", "pods", pod...),
		namespaced[appsv1.ReplicaSet]("apps", "v1", "replicasets", template...),
		namespaced[corev1.ReplicationController]("", "v1", "replicationcontrollers", template...),
		namespaced[corev1.ResourceQuota]("", "v1", "resourcequotas"),
		namespaced[rbacv1.RoleBinding](rbac, "v1", "rolebindings"),
		namespaced[rbacv1.Role](rbac, "v1", "roles"),
		namespaced[corev1.Secret]("", "v1", "secrets", "data", "stringData"),
		namespaced[corev1.ServiceAccount]("", "v1", "serviceaccounts"),
		namespaced[corev1.Service]("", "v1", "services"),
		namespaced[appsv1.StatefulSet]("apps", "v1", "statefulsets", template...),
		cluster[storagev1.StorageClass]("storage.k8s.io", "v1", "storageclasses"),
		cluster[admissionregistrationv1.ValidatingAdmissionPolicy](admission, "v1", "validatingadmissionpolicies"),
		cluster[admissionregistrationv1.ValidatingAdmissionPolicyBinding](admission, "v1", "validatingadmissionpolicybindings"),
		cluster[admissionregistrationv1.ValidatingWebhookConfiguration](admission, "v1", "validatingwebhookconfigurations"),
		cluster[storagev1.VolumeAttachment]("storage.k8s.io", "v1", "volumeattachments"),
	}
}

// ByResource finds a kind of the table by its resource name ("pods").
func ByResource(resource string) (Kind, bool) {
	return find(func(k *Kind) bool { return k.Resource == resource })
}

// ByGVK finds a kind of the table by group, version and kind, as an object names itself.
func ByGVK(gvk schema.GroupVersionKind) (Kind, bool) {
	return find(func(k *Kind) bool { return k.GVK() == gvk })
}

// Resources returns the resource names of the table in alphabetical order.
func Resources() []string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Resource)
	}
	return names
}

func find(match func(*Kind) bool) (Kind, bool) {
	kinds := Kinds()
	i := slices.IndexFunc(kinds, func(k Kind) bool { return match(&k) })
	if i < 0 {
		return Kind{}, false
	}
	return kinds[i], true
}

// object is a pointer to an API type.
type object[T any] interface {
	*T
	runtime.Object
}

func cluster[T any, P object[T]](group, version, resource string, prune ...string) Kind {
	return Kind{
		Group: group, Version: version, Kind: kindOf[T](), Resource: resource, Prune: prune,
		New: func() runtime.Object { return P(new(T)) },
	}
}

func namespaced[T any, P object[T]](group, version, resource string, prune ...string) Kind {
	k := cluster[T, P](group, version, resource, prune...)
	k.Namespaced = true
	return k
}

// kindOf is the kind's name: that of its Go type, as everywhere in k8s.io/api.
func kindOf[T any]() string {
	name := typeName[T]()
	return name[strings.LastIndexByte(name, '.')+1:]
}
