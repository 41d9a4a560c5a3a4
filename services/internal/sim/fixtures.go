package sim

import (
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// fixtures makes a few objects of every kind that fill doesn't make, most of them in one namespace.
func (g *generator) fixtures(namespace string) error {
	created := g.epoch.Add(-20 * 24 * time.Hour)
	for _, objects := range [][]runtime.Object{
		g.scaling(namespace, created), g.jobs(namespace, created), g.unwell(namespace, created), g.storage(namespace, created),
		g.network(namespace, created), g.access(namespace, created), g.admission(created), g.limits(namespace, created),
	} {
		for _, obj := range objects {
			if err := g.emit(obj); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *generator) scaling(namespace string, created time.Time) []runtime.Object {
	var objects []runtime.Object
	for i, name := range scaledNames {
		labels := map[string]string{"app.kubernetes.io/name": name}
		hpa, budget := g.autoscaler(namespace, name, labels, created), g.budget(namespace, name, labels, created)
		controller := &corev1.ReplicationController{ObjectMeta: g.meta("ReplicationController", namespace, "legacy-"+name, created, labels)}
		controller.Spec = corev1.ReplicationControllerSpec{Replicas: ptr[int32](0), Selector: labels}
		controller.Status = corev1.ReplicationControllerStatus{ObservedGeneration: 1}
		at := metav1.NewMicroTime(created)
		lease := &coordinationv1.Lease{ObjectMeta: g.meta("Lease", "kube-system", []string{"kube-scheduler", "kube-controller-manager"}[i], created, nil)}
		lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: ptr(g.nodes[0].node + "_0"), LeaseDurationSeconds: ptr[int32](15), AcquireTime: &at, RenewTime: &at, LeaseTransitions: ptr[int32](1)}
		objects = append(objects, hpa, budget, controller, lease)
	}
	return objects
}

func (g *generator) jobs(namespace string, created time.Time) []runtime.Object {
	labels := map[string]string{"app.kubernetes.io/name": "nightly-report"}
	cron, template := g.cronJob(namespace, "nightly-report", "0 3 * * *", labels, created)
	return g.history(cron, template, g.epoch.Add(-9*time.Hour), 24*time.Hour, 2)
}

// elsewhere is a node for a pod that doesn't run there any more, and so takes no room.
func (g *generator) elsewhere(i int) place {
	at := g.nodes[i%len(g.nodes)]
	at.podIP = podIP(i%len(g.nodes), 250+i%3)
	return at
}

func finish(pod *corev1.Pod, at metav1.Time, phase corev1.PodPhase, code int32, reason string) {
	pod.Status.Phase = phase
	for i := range pod.Status.ContainerStatuses {
		status := &pod.Status.ContainerStatuses[i]
		done := &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, FinishedAt: at, ContainerID: status.ContainerID}
		if status.State.Running != nil {
			done.StartedAt = status.State.Running.StartedAt
		}
		status.State, status.Ready, status.Started = corev1.ContainerState{Terminated: done}, false, ptr(false)
	}
}

// unwell makes pods that don't run: one that waits for a node, and one that was evicted.
func (g *generator) unwell(namespace string, created time.Time) []runtime.Object {
	labels := map[string]string{"app.kubernetes.io/name": "oversized"}
	template := g.template("oversized", namespace, labels)
	waiting := g.pod(&template, nil, namespace, "oversized", created, place{})
	evicted := g.pod(&template, nil, namespace, "evicted", created, g.elsewhere(1))
	evicted.Status.ContainerStatuses, evicted.Status.Phase, evicted.Status.Reason = nil, corev1.PodFailed, "Evicted"
	evicted.Status.Message = "The node was low on resource: memory."
	return []runtime.Object{applied(waiting), evicted}
}

func (g *generator) storage(namespace string, created time.Time) []runtime.Object {
	class := &storagev1.StorageClass{
		ObjectMeta: g.meta("StorageClass", "", "standard", created, nil), Provisioner: "disk.sim.example", AllowVolumeExpansion: ptr(true),
		ReclaimPolicy: ptr(corev1.PersistentVolumeReclaimDelete), VolumeBindingMode: ptr(storagev1.VolumeBindingWaitForFirstConsumer),
	}
	class.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
	g.class = class.Name
	objects := []runtime.Object{class}
	template := claimTemplate(class.Name)
	for i := range 3 {
		objects = append(objects, g.bound(&template, namespace, fmt.Sprintf("data-%d", i), g.nodes[i%len(g.nodes)].node, nil, created)...)
	}
	return objects
}

func (g *generator) network(namespace string, created time.Time) []runtime.Object {
	class := &networkingv1.IngressClass{ObjectMeta: g.meta("IngressClass", "", "sim", created, nil), Spec: networkingv1.IngressClassSpec{Controller: "sim.example/ingress"}}
	objects := []runtime.Object{class}
	for i := range 2 {
		host := fmt.Sprintf("web-%d.sim.example", i)
		ingress := g.ingress(namespace, fmt.Sprintf("web-%d", i), host, "web", created)
		policy := &networkingv1.NetworkPolicy{ObjectMeta: g.meta("NetworkPolicy", namespace, fmt.Sprintf("deny-%d", i), created, nil)}
		policy.Spec = networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}}
		objects = append(objects, applied(ingress), policy)
	}
	return objects
}

func (g *generator) access(namespace string, created time.Time) []runtime.Object {
	var objects []runtime.Object
	for _, name := range []string{"view", "system:sim:reader"} {
		rules := []rbacv1.PolicyRule{{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{""}, Resources: []string{"pods", "services"}}}
		subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "default"}}
		role := &rbacv1.Role{ObjectMeta: g.meta("Role", namespace, name, created, nil), Rules: rules}
		clusterRole := &rbacv1.ClusterRole{ObjectMeta: g.meta("ClusterRole", "", name, created, nil), Rules: rules}
		objects = append(objects, role, clusterRole,
			&rbacv1.RoleBinding{ObjectMeta: g.meta("RoleBinding", namespace, name, created, nil), Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}},
			&rbacv1.ClusterRoleBinding{ObjectMeta: g.meta("ClusterRoleBinding", "", name, created, nil), Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}})
	}
	for i := range 2 {
		request := &certificatesv1.CertificateSigningRequest{ObjectMeta: g.meta("CertificateSigningRequest", "", "csr-"+g.suffix(5), created, nil)}
		request.Spec = certificatesv1.CertificateSigningRequestSpec{
			Request: []byte("-----BEGIN CERTIFICATE REQUEST-----\n"), SignerName: certificatesv1.KubeletServingSignerName, Username: "system:node:" + g.nodes[i%len(g.nodes)].node,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageServerAuth},
		}
		if i == 0 {
			request.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", LastUpdateTime: metav1.NewTime(created)}}
			request.Status.Certificate = []byte("-----BEGIN CERTIFICATE-----\n")
		}
		objects = append(objects, request)
	}
	return objects
}

func (g *generator) admission(created time.Time) []runtime.Object {
	fail, none := admissionv1.Fail, admissionv1.SideEffectClassNone
	client := admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "kube-system", Name: "webhook", Port: ptr[int32](443)}}
	rules := []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create},
		Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
	}}
	validate := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: g.meta("ValidatingAdmissionPolicy", "", "names", created, nil)}
	validate.Spec = admissionv1.ValidatingAdmissionPolicySpec{FailurePolicy: &fail, Validations: []admissionv1.Validation{{Expression: "object.metadata.name.size() < 200"}}}
	mutate := &admissionv1.MutatingAdmissionPolicy{ObjectMeta: g.meta("MutatingAdmissionPolicy", "", "labels", created, nil)}
	mutate.Spec = admissionv1.MutatingAdmissionPolicySpec{FailurePolicy: &fail, ReinvocationPolicy: admissionv1.NeverReinvocationPolicy}
	return []runtime.Object{
		validate, mutate,
		&admissionv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: g.meta("ValidatingAdmissionPolicyBinding", "", "names", created, nil),
			Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "names", ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
		},
		&admissionv1.MutatingAdmissionPolicyBinding{
			ObjectMeta: g.meta("MutatingAdmissionPolicyBinding", "", "labels", created, nil), Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: "labels"},
		},
		&admissionv1.ValidatingWebhookConfiguration{
			ObjectMeta: g.meta("ValidatingWebhookConfiguration", "", "sim-validate", created, nil),
			Webhooks:   []admissionv1.ValidatingWebhook{{Name: "validate.sim.example", ClientConfig: client, Rules: rules, FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}},
		},
		&admissionv1.MutatingWebhookConfiguration{
			ObjectMeta: g.meta("MutatingWebhookConfiguration", "", "sim-mutate", created, nil),
			Webhooks:   []admissionv1.MutatingWebhook{{Name: "mutate.sim.example", ClientConfig: client, Rules: rules, FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}},
		},
	}
}

func (g *generator) limits(namespace string, created time.Time) []runtime.Object {
	hard := corev1.ResourceList{corev1.ResourcePods: resource.MustParse("20k"), corev1.ResourceRequestsCPU: resource.MustParse("10k")}
	quota := &corev1.ResourceQuota{ObjectMeta: g.meta("ResourceQuota", namespace, "quota", created, nil), Spec: corev1.ResourceQuotaSpec{Hard: hard}}
	quota.Status = corev1.ResourceQuotaStatus{Hard: hard, Used: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("12"), corev1.ResourceRequestsCPU: resource.MustParse("1500m")}}
	limit := &corev1.LimitRange{ObjectMeta: g.meta("LimitRange", namespace, "defaults", created, nil)}
	limit.Spec = corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, Default: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")}, DefaultRequest: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
	}}}
	surge := &appsv1.ReplicaSet{ObjectMeta: g.meta("ReplicaSet", namespace, "orphan", created, nil)}
	surge.Spec = appsv1.ReplicaSetSpec{Replicas: ptr[int32](0), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/name": "orphan"}}}
	setReplicaSetStatus(surge, 0)
	return []runtime.Object{quota, limit, surge}
}
