package parity

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
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
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kind is one of the resources that are exported without configuration.
type kind struct {
	schema.GroupVersionResource
	Kind       string
	namespaced bool
	peer       bool // kube-state-metrics knows it in the release that is built
	object     any  // the zero value of its type
}

// kinds are all of them.
var kinds = []kind{
	{certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests"), "CertificateSigningRequest", false, true, certificatesv1.CertificateSigningRequest{}},
	{rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings"), "ClusterRoleBinding", false, true, rbacv1.ClusterRoleBinding{}},
	{rbacv1.SchemeGroupVersion.WithResource("clusterroles"), "ClusterRole", false, true, rbacv1.ClusterRole{}},
	{corev1.SchemeGroupVersion.WithResource("configmaps"), "ConfigMap", true, true, corev1.ConfigMap{}},
	{batchv1.SchemeGroupVersion.WithResource("cronjobs"), "CronJob", true, true, batchv1.CronJob{}},
	{appsv1.SchemeGroupVersion.WithResource("daemonsets"), "DaemonSet", true, true, appsv1.DaemonSet{}},
	{appsv1.SchemeGroupVersion.WithResource("deployments"), "Deployment", true, true, appsv1.Deployment{}},
	{corev1.SchemeGroupVersion.WithResource("endpoints"), "Endpoints", true, true, endpoints{}},
	{discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), "EndpointSlice", true, true, discoveryv1.EndpointSlice{}},
	{autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers"), "HorizontalPodAutoscaler", true, true, autoscalingv2.HorizontalPodAutoscaler{}},
	{networkingv1.SchemeGroupVersion.WithResource("ingressclasses"), "IngressClass", false, true, networkingv1.IngressClass{}},
	{networkingv1.SchemeGroupVersion.WithResource("ingresses"), "Ingress", true, true, networkingv1.Ingress{}},
	{batchv1.SchemeGroupVersion.WithResource("jobs"), "Job", true, true, batchv1.Job{}},
	{coordinationv1.SchemeGroupVersion.WithResource("leases"), "Lease", true, true, coordinationv1.Lease{}},
	{corev1.SchemeGroupVersion.WithResource("limitranges"), "LimitRange", true, true, corev1.LimitRange{}},
	{admissionv1.SchemeGroupVersion.WithResource("mutatingadmissionpolicies"), "MutatingAdmissionPolicy", false, false, admissionv1.MutatingAdmissionPolicy{}},
	{admissionv1.SchemeGroupVersion.WithResource("mutatingadmissionpolicybindings"), "MutatingAdmissionPolicyBinding", false, false, admissionv1.MutatingAdmissionPolicyBinding{}},
	{admissionv1.SchemeGroupVersion.WithResource("mutatingwebhookconfigurations"), "MutatingWebhookConfiguration", false, true, admissionv1.MutatingWebhookConfiguration{}},
	{corev1.SchemeGroupVersion.WithResource("namespaces"), "Namespace", false, true, corev1.Namespace{}},
	{networkingv1.SchemeGroupVersion.WithResource("networkpolicies"), "NetworkPolicy", true, true, networkingv1.NetworkPolicy{}},
	{corev1.SchemeGroupVersion.WithResource("nodes"), "Node", false, true, corev1.Node{}},
	{corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"), "PersistentVolumeClaim", true, true, corev1.PersistentVolumeClaim{}},
	{corev1.SchemeGroupVersion.WithResource("persistentvolumes"), "PersistentVolume", false, true, corev1.PersistentVolume{}},
	{policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets"), "PodDisruptionBudget", true, true, policyv1.PodDisruptionBudget{}},
	{corev1.SchemeGroupVersion.WithResource("pods"), "Pod", true, true, corev1.Pod{}},
	{appsv1.SchemeGroupVersion.WithResource("replicasets"), "ReplicaSet", true, true, appsv1.ReplicaSet{}},
	{corev1.SchemeGroupVersion.WithResource("replicationcontrollers"), "ReplicationController", true, true, corev1.ReplicationController{}},
	{corev1.SchemeGroupVersion.WithResource("resourcequotas"), "ResourceQuota", true, true, corev1.ResourceQuota{}},
	{rbacv1.SchemeGroupVersion.WithResource("rolebindings"), "RoleBinding", true, true, rbacv1.RoleBinding{}},
	{rbacv1.SchemeGroupVersion.WithResource("roles"), "Role", true, true, rbacv1.Role{}},
	{corev1.SchemeGroupVersion.WithResource("secrets"), "Secret", true, true, corev1.Secret{}},
	{corev1.SchemeGroupVersion.WithResource("serviceaccounts"), "ServiceAccount", true, true, corev1.ServiceAccount{}},
	{corev1.SchemeGroupVersion.WithResource("services"), "Service", true, true, corev1.Service{}},
	{appsv1.SchemeGroupVersion.WithResource("statefulsets"), "StatefulSet", true, true, appsv1.StatefulSet{}},
	{storagev1.SchemeGroupVersion.WithResource("storageclasses"), "StorageClass", false, true, storagev1.StorageClass{}},
	{admissionv1.SchemeGroupVersion.WithResource("validatingadmissionpolicies"), "ValidatingAdmissionPolicy", false, false, admissionv1.ValidatingAdmissionPolicy{}},
	{admissionv1.SchemeGroupVersion.WithResource("validatingadmissionpolicybindings"), "ValidatingAdmissionPolicyBinding", false, false, admissionv1.ValidatingAdmissionPolicyBinding{}},
	{admissionv1.SchemeGroupVersion.WithResource("validatingwebhookconfigurations"), "ValidatingWebhookConfiguration", false, true, admissionv1.ValidatingWebhookConfiguration{}},
	{storagev1.SchemeGroupVersion.WithResource("volumeattachments"), "VolumeAttachment", false, true, storagev1.VolumeAttachment{}},
}

// endpoints is corev1.Endpoints: deprecated, but exported as long as there are any.
//
//lint:ignore SA1019 it is still one of the kinds
type endpoints = corev1.Endpoints
