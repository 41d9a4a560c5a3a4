package sim

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// suffixLetters are those of generated names.
const suffixLetters = "bcdfghjklmnpqrstvwxz2456789"

// builder makes objects from parts: the same for the first objects as for those that controllers make later.
type builder struct {
	seed uint64
	rng  *rand.Rand
	// fresh gives every object a UID that never was before, for those made while the cluster runs.
	fresh bool
}

func newBuilder(seed uint64, stream uint64) *builder {
	return &builder{seed: seed, rng: rand.New(rand.NewPCG(seed, stream))}
}

// suffix draws the random end of a name.
func (b *builder) suffix(n int) string {
	letters := make([]byte, n)
	for i := range letters {
		letters[i] = suffixLetters[b.rng.IntN(len(suffixLetters))]
	}
	return string(letters)
}

// uid gives the UID of an object; the same parts give the same one, unless it has to be fresh.
func (b *builder) uid(parts ...string) types.UID {
	if b.fresh {
		return uuid.NewUUID()
	}
	h := fnv.New128a()
	fmt.Fprintf(h, "%d/%s", b.seed, strings.Join(parts, "/"))
	sum := h.Sum(nil)
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	text := hex.EncodeToString(sum)
	return types.UID(text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:])
}

// withGeneration are the kinds whose objects count the changes of their spec.
var withGeneration = map[string]bool{
	"CronJob": true, "DaemonSet": true, "Deployment": true, "EndpointSlice": true, "Ingress": true, "IngressClass": true, "Job": true,
	"MutatingAdmissionPolicy": true, "MutatingAdmissionPolicyBinding": true, "MutatingWebhookConfiguration": true, "NetworkPolicy": true,
	"Pod": true, "PodDisruptionBudget": true, "ReplicaSet": true, "ReplicationController": true, "StatefulSet": true,
	"ValidatingAdmissionPolicy": true, "ValidatingAdmissionPolicyBinding": true, "ValidatingWebhookConfiguration": true,
}

// meta makes the metadata of an object of the first generation.
func (b *builder) meta(kind, namespace, name string, created time.Time, labels map[string]string) metav1.ObjectMeta {
	var generation int64
	if withGeneration[kind] {
		generation = 1
	}
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, Labels: labels, Generation: generation,
		UID:               b.uid(kind, namespace, name, created.UTC().Format(time.RFC3339)),
		CreationTimestamp: metav1.NewTime(created.Truncate(time.Second)),
		ManagedFields:     managed("kubectl-client-side-apply", "v1", created, `{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/last-applied-configuration":{}},"f:labels":{".":{},"f:app.kubernetes.io/name":{}}},"f:spec":{}}`),
	}
}

// managed is one entry of metadata.managedFields.
func managed(manager, apiVersion string, at time.Time, fields string) []metav1.ManagedFieldsEntry {
	when := metav1.NewTime(at.Truncate(time.Second))
	return []metav1.ManagedFieldsEntry{{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: apiVersion, Time: &when,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
	}}
}

// applied adds the annotation that `kubectl apply` leaves, a copy of the object.
func applied[T runtime.Object](obj T) T {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return obj
	}
	fields := accessor.GetManagedFields()
	accessor.SetManagedFields(nil)
	text, err := json.Marshal(obj)
	accessor.SetManagedFields(fields)
	if err != nil {
		return obj
	}
	annotations := maps.Clone(accessor.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[corev1.LastAppliedConfigAnnotation] = string(text) + "\n"
	accessor.SetAnnotations(annotations)
	return obj
}

// ownedBy is the reference to a controlling owner.
func ownedBy(apiVersion, kind string, owner metav1.Object) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{
		APIVersion: apiVersion, Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: &yes, BlockOwnerDeletion: &yes,
	}}
}

func ptr[T any](v T) *T { return &v }

// place is where a pod runs.
type place struct {
	node, hostIP, podIP string
}

// pod makes a pod of a template, running at a place, if that names a node, else waiting for one.
func (b *builder) pod(template *corev1.PodTemplateSpec, owner []metav1.OwnerReference, namespace, name string, created time.Time, at place) *corev1.Pod {
	pod := &corev1.Pod{Spec: template.Spec}
	pod.ObjectMeta = b.meta("Pod", namespace, name, created, template.Labels)
	pod.Annotations, pod.OwnerReferences = template.Annotations, owner
	if i := strings.LastIndexByte(name, '-'); i > 0 && len(owner) > 0 && owner[0].Kind != "StatefulSet" {
		pod.GenerateName = name[:i+1]
	}
	pod.ManagedFields = append(managed("kube-controller-manager", "v1", created, podFields),
		managed("kubelet", "v1", created.Add(3*time.Second), podStatusFields)...)
	pod.ManagedFields[1].Subresource = "status"
	pod.Spec.NodeName = at.node
	b.start(pod, created, at)
	return pod
}

// start gives a pod the status of one that has been running since a few seconds after it was created.
func (b *builder) start(pod *corev1.Pod, created time.Time, at place) {
	created = created.Truncate(time.Second)
	if at.node == "" {
		pod.Status = corev1.PodStatus{
			Phase: corev1.PodPending, QOSClass: qosOf(&pod.Spec),
			Conditions: []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", LastTransitionTime: metav1.NewTime(created),
				Message: "0/0 nodes are available: no node fits.",
			}},
		}
		return
	}
	started := metav1.NewTime(created)
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, QOSClass: qosOf(&pod.Spec), StartTime: &started,
		HostIP: at.hostIP, HostIPs: []corev1.HostIP{{IP: at.hostIP}},
		PodIP: at.podIP, PodIPs: []corev1.PodIP{{IP: at.podIP}},
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: started})
	}
	for _, container := range pod.Spec.InitContainers {
		status := b.containerStatus(pod, container)
		status.State.Terminated = &corev1.ContainerStateTerminated{
			Reason: "Completed", StartedAt: started, FinishedAt: started, ContainerID: status.ContainerID,
		}
		status.Started = ptr(false)
		pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, status)
	}
	for _, container := range pod.Spec.Containers {
		status := b.containerStatus(pod, container)
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: started}
		status.Started = ptr(true)
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
	}
}

func (b *builder) containerStatus(pod *corev1.Pod, container corev1.Container) corev1.ContainerStatus {
	id := strings.ReplaceAll(string(b.uid("container", string(pod.UID), container.Name)+b.uid("image", container.Image)), "-", "")
	return corev1.ContainerStatus{
		Name: container.Name, Ready: true, Image: container.Image,
		ImageID:     container.Image + "@sha256:" + id[32:] + id[32:],
		ContainerID: "containerd://" + id,
	}
}

// restart lets a container of a pod have started at another time, after a crash.
func restart(pod *corev1.Pod, index int, at time.Time) {
	status := &pod.Status.ContainerStatuses[index]
	when := metav1.NewTime(at.Truncate(time.Second))
	status.RestartCount++
	last := corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", FinishedAt: when, ContainerID: status.ContainerID}
	if status.State.Running != nil {
		last.StartedAt = status.State.Running.StartedAt
	}
	status.LastTerminationState = corev1.ContainerState{Terminated: &last}
	status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: when}}
	if n := len(status.ContainerID); n > 2 {
		status.ContainerID = fmt.Sprintf("%s%02x", status.ContainerID[:n-2], status.RestartCount%256)
	}
}

func qosOf(spec *corev1.PodSpec) corev1.PodQOSClass {
	class := corev1.PodQOSGuaranteed
	some := false
	for _, container := range spec.Containers {
		requests, limits := container.Resources.Requests, container.Resources.Limits
		some = some || len(requests) > 0 || len(limits) > 0
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, ok := limits[name]
			if request, asked := requests[name]; !ok || asked && request.Cmp(limit) != 0 {
				class = corev1.PodQOSBurstable
			}
		}
	}
	if !some {
		return corev1.PodQOSBestEffort
	}
	return class
}

const (
	podFields = `{"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:app.kubernetes.io/name":{},"f:app.kubernetes.io/part-of":{},"f:pod-template-hash":{}},` +
		`"f:ownerReferences":{".":{},"k:{\"uid\":\"00000000-0000-4000-8000-000000000000\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:args":{},"f:command":{},` +
		`"f:env":{".":{},"k:{\"name\":\"DATABASE_PASSWORD\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"f:resources":{".":{},"f:limits":{".":{},"f:memory":{}},` +
		`"f:requests":{".":{},"f:cpu":{},"f:memory":{}}},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"f:enableServiceLinks":{},"f:restartPolicy":{},` +
		`"f:schedulerName":{},"f:securityContext":{},"f:serviceAccountName":{},"f:terminationGracePeriodSeconds":{}}}`
	podStatusFields = `{"f:status":{"f:conditions":{"k:{\"type\":\"ContainersReady\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},` +
		`"k:{\"type\":\"Initialized\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Ready\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},` +
		`"f:containerStatuses":{},"f:hostIP":{},"f:hostIPs":{},"f:phase":{},"f:podIP":{},"f:podIPs":{".":{},"k:{\"ip\":\"10.0.0.1\"}":{".":{},"f:ip":{}}},"f:startTime":{}}}`
)
