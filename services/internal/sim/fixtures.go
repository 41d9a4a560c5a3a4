package sim

import (
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
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
		hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: g.meta("HorizontalPodAutoscaler", namespace, name, created, labels)}
		hpa.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			MinReplicas:    ptr[int32](1), MaxReplicas: 10,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr[int32](70)},
			}}},
		}
		hpa.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
			CurrentReplicas: 1, DesiredReplicas: 1, ObservedGeneration: ptr[int64](1),
			Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{
				{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue, Reason: "ReadyForNewScale", LastTransitionTime: metav1.NewTime(created)},
			},
		}
		budget := &policyv1.PodDisruptionBudget{ObjectMeta: g.meta("PodDisruptionBudget", namespace, name, created, labels)}
		budget.Spec = policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels}}
		budget.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DesiredHealthy: 1, CurrentHealthy: 1, ExpectedPods: 1}
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
	cron := &batchv1.CronJob{ObjectMeta: g.meta("CronJob", namespace, "nightly-report", created, labels)}
	template := g.template("report", namespace, labels)
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	cron.Spec = batchv1.CronJobSpec{
		Schedule: "0 3 * * *", ConcurrencyPolicy: batchv1.ForbidConcurrent, Suspend: ptr(false), SuccessfulJobsHistoryLimit: ptr[int32](3), FailedJobsHistoryLimit: ptr[int32](1),
		JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}},
	}
	last := metav1.NewTime(g.epoch.Add(-9 * time.Hour).Truncate(time.Second))
	cron.Status = batchv1.CronJobStatus{LastScheduleTime: &last, LastSuccessfulTime: &last}
	objects := []runtime.Object{applied(cron)}
	for i := range 2 {
		at := last.Add(-time.Duration(i) * 24 * time.Hour)
		done := metav1.NewTime(at.Add(4 * time.Minute))
		start := metav1.NewTime(at)
		job := &batchv1.Job{ObjectMeta: g.meta("Job", namespace, fmt.Sprintf("nightly-report-%d", at.Unix()/60), at, labels)}
		job.OwnerReferences = ownedBy("batch/v1", "CronJob", cron)
		job.Spec = batchv1.JobSpec{Parallelism: ptr[int32](1), Completions: ptr[int32](1), BackoffLimit: ptr[int32](6), Template: template, Suspend: ptr(false)}
		job.Status = batchv1.JobStatus{StartTime: &start, CompletionTime: &done, Succeeded: 1, Conditions: []batchv1.JobCondition{
			{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastProbeTime: done, LastTransitionTime: done},
		}}
		pod := g.pod(&template, ownedBy("batch/v1", "Job", job), namespace, job.Name+"-"+g.suffix(5), at, g.elsewhere(i))
		finish(pod, done, corev1.PodSucceeded, 0, "Completed")
		objects = append(objects, job, pod)
	}
	return objects
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
	objects := []runtime.Object{class}
	for i := range 3 {
		name := fmt.Sprintf("data-%d", i)
		size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}
		modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: g.meta("PersistentVolumeClaim", namespace, name, created, nil)}
		volume := &corev1.PersistentVolume{ObjectMeta: g.meta("PersistentVolume", "", "pvc-"+string(claim.UID), created, nil)}
		claim.Spec = corev1.PersistentVolumeClaimSpec{
			AccessModes: modes, StorageClassName: ptr(class.Name), VolumeName: volume.Name, VolumeMode: ptr(corev1.PersistentVolumeFilesystem),
			Resources: corev1.VolumeResourceRequirements{Requests: size},
		}
		claim.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, AccessModes: modes, Capacity: size}
		volume.Spec = corev1.PersistentVolumeSpec{
			Capacity: size, AccessModes: modes, StorageClassName: class.Name, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			ClaimRef:               &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: namespace, Name: name, UID: claim.UID},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: class.Provisioner, VolumeHandle: "vol-" + name}},
		}
		volume.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound}
		attachment := &storagev1.VolumeAttachment{ObjectMeta: g.meta("VolumeAttachment", "", "csi-"+string(g.uid("attachment", name)), created, nil)}
		attachment.Spec = storagev1.VolumeAttachmentSpec{Attacher: class.Provisioner, NodeName: g.nodes[i%len(g.nodes)].node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr(volume.Name)}}
		attachment.Status = storagev1.VolumeAttachmentStatus{Attached: true}
		objects = append(objects, claim, volume, attachment)
	}
	return objects
}

func (g *generator) network(namespace string, created time.Time) []runtime.Object {
	class := &networkingv1.IngressClass{ObjectMeta: g.meta("IngressClass", "", "sim", created, nil), Spec: networkingv1.IngressClassSpec{Controller: "sim.example/ingress"}}
	objects := []runtime.Object{class}
	for i := range 2 {
		host := fmt.Sprintf("web-%d.sim.example", i)
		ingress := &networkingv1.Ingress{ObjectMeta: g.meta("Ingress", namespace, fmt.Sprintf("web-%d", i), created, nil)}
		ingress.Spec = networkingv1.IngressSpec{
			IngressClassName: ptr("sim"), TLS: []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: "web-tls"}},
			Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: ptr(networkingv1.PathTypePrefix), Backend: networkingv1.IngressBackend{
					Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
				}}},
			}}}},
		}
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
