package sim

import (
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// What stands around workloads in a cluster that is used: rules for namespaces, autoscalers and budgets, volumes, and
// jobs that ran.

func (g *generator) emitAll(objects ...runtime.Object) error {
	for _, obj := range objects {
		if err := g.emit(obj); err != nil {
			return err
		}
	}
	return nil
}

// rules makes what limits a namespace.
func (g *generator) rules(namespace string) error {
	created := g.epoch.Add(-50 * 24 * time.Hour)
	policy := &networkingv1.NetworkPolicy{ObjectMeta: g.meta("NetworkPolicy", namespace, "default-deny", created, nil)}
	policy.Spec = networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}}
	return g.emitAll(append(g.limits(namespace, created)[:2], applied(policy))...)
}

// around makes an autoscaler for one Deployment in ten, a disruption budget for one in five, and an Ingress for one in
// eight.
func (g *generator) around(namespace, name string, labels map[string]string, created time.Time, replicas int) error {
	n := int32(replicas)
	if g.workloads%10 == 3 {
		hpa := g.autoscaler(namespace, name, labels, created)
		hpa.Spec.MinReplicas, hpa.Spec.MaxReplicas = ptr(max(n/2, 1)), n*2
		hpa.Status.CurrentReplicas, hpa.Status.DesiredReplicas = n, n
		if err := g.emit(applied(hpa)); err != nil {
			return err
		}
	}
	if g.workloads%5 == 1 {
		budget := g.budget(namespace, name, labels, created)
		budget.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DesiredHealthy: 1, CurrentHealthy: n, ExpectedPods: n, DisruptionsAllowed: n - 1}
		if err := g.emit(applied(budget)); err != nil {
			return err
		}
	}
	if g.workloads%8 == 2 {
		return g.emit(applied(g.ingress(namespace, name, name+".sim.example", name, created)))
	}
	return nil
}

func (g *generator) autoscaler(namespace, name string, labels map[string]string, created time.Time) *autoscalingv2.HorizontalPodAutoscaler {
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
	return hpa
}

func (g *generator) budget(namespace, name string, labels map[string]string, created time.Time) *policyv1.PodDisruptionBudget {
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: g.meta("PodDisruptionBudget", namespace, name, created, labels)}
	budget.Spec = policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels}}
	budget.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DesiredHealthy: 1, CurrentHealthy: 1, ExpectedPods: 1}
	return budget
}

func (g *generator) ingress(namespace, name, host, service string, created time.Time) *networkingv1.Ingress {
	ingress := &networkingv1.Ingress{ObjectMeta: g.meta("Ingress", namespace, name, created, nil)}
	ingress.Spec = networkingv1.IngressSpec{
		IngressClassName: ptr("sim"), TLS: []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: "web-tls"}},
		Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
			Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: ptr(networkingv1.PathTypePrefix), Backend: networkingv1.IngressBackend{
				Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}},
			}}},
		}}}},
	}
	return ingress
}

// claimTemplate is what a StatefulSet says of its pods' volumes.
func claimTemplate(class string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr(class), VolumeMode: ptr(corev1.PersistentVolumeFilesystem),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}},
		},
	}
}

// volume makes the claim of a StatefulSet's pod, and its volume.
func (g *generator) volume(template *corev1.PersistentVolumeClaim, pod *corev1.Pod, labels map[string]string, created time.Time) error {
	return g.emitAll(g.bound(template, pod.Namespace, template.Name+"-"+pod.Name, pod.Spec.NodeName, labels, created)...)
}

// bound makes a claim with the volume that it is bound to and the volume's attachment to a node.
func (g *generator) bound(template *corev1.PersistentVolumeClaim, namespace, name, node string, labels map[string]string, created time.Time) []runtime.Object {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: g.meta("PersistentVolumeClaim", namespace, name, created, labels), Spec: *template.Spec.DeepCopy()}
	volume := &corev1.PersistentVolume{ObjectMeta: g.meta("PersistentVolume", "", "pvc-"+string(claim.UID), created, nil)}
	claim.Spec.VolumeName = volume.Name
	size := claim.Spec.Resources.Requests
	claim.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, AccessModes: claim.Spec.AccessModes, Capacity: size}
	driver := "disk.sim.example"
	volume.Spec = corev1.PersistentVolumeSpec{
		Capacity: size, AccessModes: claim.Spec.AccessModes, StorageClassName: *claim.Spec.StorageClassName, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
		ClaimRef:               &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: namespace, Name: name, UID: claim.UID},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: "vol-" + name}},
	}
	volume.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound}
	attachment := &storagev1.VolumeAttachment{ObjectMeta: g.meta("VolumeAttachment", "", "csi-"+string(g.uid("attachment", namespace, name)), created, nil)}
	attachment.Spec = storagev1.VolumeAttachmentSpec{Attacher: driver, NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr(volume.Name)}}
	attachment.Status = storagev1.VolumeAttachmentStatus{Attached: true}
	return []runtime.Object{claim, volume, attachment}
}

// schedules makes a CronJob for every 250 pods, with the Jobs that it ran last.
func (g *generator) schedules(namespaces []string) error {
	for i := range g.pods / 250 {
		namespace := namespaces[g.rng.IntN(len(namespaces))]
		name := fmt.Sprintf("%s-%d", [...]string{"backup", "cleanup", "report", "billing-run", "reindex"}[i%5], i+1)
		labels := map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": namespace}
		cron, template := g.cronJob(namespace, name, fmt.Sprintf("%d * * * *", i%60), labels, g.epoch.Add(-20*24*time.Hour))
		if err := g.emitAll(g.history(cron, template, g.epoch.Add(-time.Duration(60+i%60)*time.Minute), time.Hour, 3)...); err != nil {
			return err
		}
	}
	return nil
}

func (g *generator) cronJob(namespace, name, schedule string, labels map[string]string, created time.Time) (*batchv1.CronJob, corev1.PodTemplateSpec) {
	template := g.template("report", namespace, labels)
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	cron := &batchv1.CronJob{ObjectMeta: g.meta("CronJob", namespace, name, created, labels)}
	cron.Spec = batchv1.CronJobSpec{
		Schedule: schedule, ConcurrencyPolicy: batchv1.ForbidConcurrent, Suspend: ptr(false), SuccessfulJobsHistoryLimit: ptr[int32](3), FailedJobsHistoryLimit: ptr[int32](1),
		JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}},
	}
	return cron, template
}

// history is a CronJob that ran last at a time, with its last Jobs and their pods, one every so often.
func (g *generator) history(cron *batchv1.CronJob, template corev1.PodTemplateSpec, last time.Time, every time.Duration, runs int) []runtime.Object {
	last = last.Truncate(time.Second)
	cron.Status = batchv1.CronJobStatus{LastScheduleTime: ptr(metav1.NewTime(last)), LastSuccessfulTime: ptr(metav1.NewTime(last))}
	objects := []runtime.Object{applied(cron)}
	for i := range runs {
		at := last.Add(-time.Duration(i) * every)
		start, done := metav1.NewTime(at), metav1.NewTime(at.Add(4*time.Minute))
		job := &batchv1.Job{ObjectMeta: g.meta("Job", cron.Namespace, fmt.Sprintf("%s-%d", cron.Name, at.Unix()/60), at, cron.Labels)}
		job.OwnerReferences = ownedBy("batch/v1", "CronJob", cron)
		job.Spec = batchv1.JobSpec{Parallelism: ptr[int32](1), Completions: ptr[int32](1), BackoffLimit: ptr[int32](6), Template: template, Suspend: ptr(false)}
		job.Status = batchv1.JobStatus{StartTime: &start, CompletionTime: &done, Succeeded: 1, Conditions: []batchv1.JobCondition{
			{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastProbeTime: done, LastTransitionTime: done},
		}}
		pod := g.pod(&template, ownedBy("batch/v1", "Job", job), cron.Namespace, job.Name+"-"+g.suffix(5), at, g.elsewhere(i))
		finish(pod, done, corev1.PodSucceeded, 0, "Completed")
		objects = append(objects, job, pod)
	}
	return objects
}

// accessVolume is the one by which a pod gets its service account's token.
const accessVolume = "kube-api-access-sim"

// volumes are those of every generated pod.
func volumes(name string) []corev1.Volume {
	return []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: name + "-config"}, DefaultMode: ptr[int32](0o644),
		}}},
		{Name: accessVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: ptr[int32](0o644), Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: ptr[int64](3607), Path: "token"}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		}}}},
	}
}

// probe asks a container by HTTP, as often as most do.
func probe(path string, delay int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:        corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("http"), Scheme: corev1.URISchemeHTTP}},
		InitialDelaySeconds: delay, TimeoutSeconds: 1, PeriodSeconds: 10, SuccessThreshold: 1, FailureThreshold: 3,
	}
}
