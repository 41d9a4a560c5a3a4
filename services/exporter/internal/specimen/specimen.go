// Package specimen makes objects as a busy cluster has them, for tests and benchmarks of the exporter.
//
// What flows in: a number. What flows out: always the same object for the same number. A third of the pods have two
// containers, one in twenty has an init container; all have owners, labels, conditions and resources.
package specimen

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// start is when the first object was created.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// uid looks like a random UUID.
func uid(kind uint64, i int) types.UID {
	a := (kind<<40 + uint64(i) + 1) * 0x9e3779b97f4a7c15
	b := (a ^ a>>29) * 0xbf58476d1ce4e5b9
	return types.UID(fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", uint32(a>>32), uint16(b), uint16(a)&0xfff, uint16(b>>16)&0xfff, b>>16))
}

func at(i int) metav1.Time { return metav1.NewTime(start.Add(time.Duration(i) * 7 * time.Second)) }

func namespaceOf(i int) string { return fmt.Sprintf("team-%02d", i%40) }

// PodsPerNode is how many of the pods share a node.
const PodsPerNode = 30

// NodeName is the name of node i.
func NodeName(i int) string {
	return fmt.Sprintf("ip-10-%d-%d-%d.example.internal", i/62500, i/250%250, i%250)
}

// Pod is pod i, which runs.
func Pod(i int) *corev1.Pod {
	app := fmt.Sprintf("service-%d", i/6)
	hash := fmt.Sprintf("%x", 0x5f000000+i/6)
	yes, zero := true, int64(300)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%s-%05x", app, hash, i), Namespace: namespaceOf(i / 6), UID: uid(1, i),
			ResourceVersion: fmt.Sprint(1000000 + i*13), CreationTimestamp: at(i),
			Labels:          map[string]string{"app.kubernetes.io/name": app, "app.kubernetes.io/part-of": "shop", "pod-template-hash": hash, "team": namespaceOf(i / 6)},
			Annotations:     map[string]string{"prometheus.io/scrape": "true", "checksum/config": hash + hash + hash},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: app + "-" + hash, UID: uid(2, i/6), Controller: &yes, BlockOwnerDeletion: &yes}},
		},
		Spec: corev1.PodSpec{
			NodeName: NodeName(i / PodsPerNode), RestartPolicy: corev1.RestartPolicyAlways, SchedulerName: "default-scheduler",
			ServiceAccountName: app, PriorityClassName: "standard", DNSPolicy: corev1.DNSClusterFirst,
			Tolerations: []corev1.Toleration{
				{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &zero},
				{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &zero},
			},
			Volumes: []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, QOSClass: corev1.PodQOSBurstable, HostIP: fmt.Sprintf("10.%d.%d.%d", i/62500, i/250%250, i%250),
			PodIP: podIP(i), PodIPs: []corev1.PodIP{{IP: podIP(i)}},
			StartTime: new(at(i)),
		},
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: at(i + 1)})
	}
	names := []string{"main"}
	if i%3 == 0 {
		names = append(names, "proxy")
	}
	for _, name := range names {
		p.Spec.Containers = append(p.Spec.Containers, container(app, name))
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, containerStatus(i, app, name))
	}
	if i%20 == 0 {
		p.Spec.InitContainers = []corev1.Container{container(app, "prepare")}
		status := containerStatus(i, app, "prepare")
		status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: at(i), FinishedAt: at(i + 1)}}
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{status}
	}
	return p
}

func podIP(i int) string { return fmt.Sprintf("100.%d.%d.%d", 64+i/65025, i/255%255, i%255) }

func container(app, name string) corev1.Container {
	return corev1.Container{
		Name: name, Image: "registry.example.com/shop/" + app + "-" + name + ":v1.42.0",
		Env:   []corev1.EnvVar{{Name: "SECRET", Value: "never to be seen"}},
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m"), corev1.ResourceMemory: resource.MustParse("256Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
		},
		TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile, ImagePullPolicy: corev1.PullIfNotPresent,
	}
}

func containerStatus(i int, app, name string) corev1.ContainerStatus {
	id := string(uid(3, i)) + string(uid(4, i))
	started := true
	return corev1.ContainerStatus{
		Name: name, Ready: true, Started: &started, RestartCount: int32(i % 4),
		Image: "registry.example.com/shop/" + app + "-" + name + ":v1.42.0", ImageID: fmt.Sprintf("registry.example.com/shop/%s@sha256:%064x", app, i/6),
		ContainerID: "containerd://" + id[:64],
		State:       corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(i + 1)}},
	}
}

// Restarted is the pod after its first container was killed for its use of memory, and started again.
func Restarted(p *corev1.Pod) *corev1.Pod {
	p = p.DeepCopy()
	c := &p.Status.ContainerStatuses[0]
	now := metav1.NewTime(c.State.Running.StartedAt.Add(time.Hour))
	c.RestartCount++
	c.LastTerminationState = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137, StartedAt: c.State.Running.StartedAt, FinishedAt: now}}
	c.State.Running.StartedAt = now
	for i := range p.Status.Conditions {
		if kind := p.Status.Conditions[i].Type; kind == corev1.PodReady || kind == corev1.ContainersReady {
			p.Status.Conditions[i].LastTransitionTime = now
		}
	}
	p.ResourceVersion += "1"
	return p
}

// Node is node i, which is ready.
func Node(i int) *corev1.Node {
	name := NodeName(i)
	resources := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32561488Ki"), corev1.ResourcePods: resource.MustParse("110"),
		corev1.ResourceEphemeralStorage: resource.MustParse("103079844Ki"), "hugepages-2Mi": resource.MustParse("0"),
	}
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid(5, i), ResourceVersion: fmt.Sprint(2000000 + i), CreationTimestamp: at(i),
			Labels: map[string]string{"kubernetes.io/hostname": name, "node-role.kubernetes.io/worker": "", "topology.kubernetes.io/zone": fmt.Sprintf("zone-%d", i%3)}},
		Spec: corev1.NodeSpec{PodCIDR: fmt.Sprintf("100.%d.%d.0/24", 64+i/255, i%255), ProviderID: "cloud:///" + name},
		Status: corev1.NodeStatus{
			Capacity: resources, Allocatable: resources,
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeHostName, Address: name}},
			NodeInfo:  corev1.NodeSystemInfo{KernelVersion: "6.12.1", OSImage: "Debian GNU/Linux 13", ContainerRuntimeVersion: "containerd://2.1.4", KubeletVersion: "v1.36.3", SystemUUID: string(uid(6, i))},
		},
	}
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeReady} {
		status := corev1.ConditionFalse
		if kind == corev1.NodeReady {
			status = corev1.ConditionTrue
		}
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: kind, Status: status, LastHeartbeatTime: at(i + 5), LastTransitionTime: at(i)})
	}
	return n
}

// Namespace is namespace i.
func Namespace(i int) *corev1.Namespace {
	return &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: namespaceOf(i), UID: uid(7, i), ResourceVersion: "17", CreationTimestamp: at(i), Labels: map[string]string{"kubernetes.io/metadata.name": namespaceOf(i)}},
		Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
	}
}

// Deployment is the Deployment that pods 6*i to 6*i+5 belong to.
func Deployment(i int) *appsv1.Deployment {
	replicas, share := int32(6), intstr.FromString("25%")
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("service-%d", i), Namespace: namespaceOf(i), UID: uid(8, i), ResourceVersion: fmt.Sprint(3000000 + i), Generation: 3, CreationTimestamp: at(i)},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &share, MaxSurge: &share}}},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 6, UpdatedReplicas: 6, ReadyReplicas: 6, AvailableReplicas: 6,
			Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable", LastTransitionTime: at(i)},
				{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable", LastTransitionTime: at(i)},
			}},
	}
}

// ReplicaSet is the ReplicaSet between Deployment i and its pods.
func ReplicaSet(i int) *appsv1.ReplicaSet {
	replicas, yes := int32(6), true
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("service-%d-%x", i, 0x5f000000+i), Namespace: namespaceOf(i), UID: uid(2, i), ResourceVersion: fmt.Sprint(4000000 + i), Generation: 1, CreationTimestamp: at(i),
			OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment", Name: fmt.Sprintf("service-%d", i), Controller: &yes}}},
		Spec:   appsv1.ReplicaSetSpec{Replicas: &replicas},
		Status: appsv1.ReplicaSetStatus{Replicas: 6, FullyLabeledReplicas: 6, ReadyReplicas: 6, AvailableReplicas: 6, ObservedGeneration: 1},
	}
}

// Cluster makes all objects of a cluster of that many nodes, each with PodsPerNode pods and what belongs to them, and
// hands them to emit one by one: for every six pods a Deployment, four ReplicaSets of which three are history, a Service
// with its EndpointSlice, two ConfigMaps, two Secrets and a ServiceAccount; for every twenty a Job that is done.
func Cluster(nodes int, emit func(runtime.Object) error) error {
	pods := nodes * PodsPerNode
	for _, kind := range []struct {
		count int
		make  func(int) runtime.Object
	}{
		{min(40, pods), func(i int) runtime.Object { return Namespace(i) }},
		{nodes, func(i int) runtime.Object { return Node(i) }},
		{nodes, func(i int) runtime.Object { return lease(i) }},
		{pods / 6, func(i int) runtime.Object { return Deployment(i) }},
		{pods / 6, func(i int) runtime.Object { return ReplicaSet(i) }},
		{pods / 2, func(i int) runtime.Object { return oldReplicaSet(i) }},
		{pods / 6, func(i int) runtime.Object { return service(i) }},
		{pods / 6, func(i int) runtime.Object { return endpointSlice(i) }},
		{pods / 3, func(i int) runtime.Object { return &corev1.ConfigMap{ObjectMeta: belonging(9, i, i/2, "config")} }},
		{pods / 3, func(i int) runtime.Object {
			return &corev1.Secret{ObjectMeta: belonging(10, i, i/2, "secret"), Type: corev1.SecretTypeOpaque}
		}},
		{pods / 6, func(i int) runtime.Object { return &corev1.ServiceAccount{ObjectMeta: belonging(11, i, i, "account")} }},
		{pods / 20, func(i int) runtime.Object { return job(i) }},
		{pods, func(i int) runtime.Object { return Pod(i) }},
	} {
		for i := range kind.count {
			if err := emit(kind.make(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// belonging is the metadata of the i-th object of a kind, which belongs to Deployment app.
func belonging(kind uint64, i, app int, suffix string) metav1.ObjectMeta {
	name := fmt.Sprintf("service-%d", app)
	return metav1.ObjectMeta{
		Name: fmt.Sprintf("%s-%s-%d", name, suffix, i), Namespace: namespaceOf(app), UID: uid(kind, i), ResourceVersion: fmt.Sprint(int(kind)*1000000 + i),
		CreationTimestamp: at(app), Labels: map[string]string{"app.kubernetes.io/name": name},
	}
}

func oldReplicaSet(i int) *appsv1.ReplicaSet {
	r := ReplicaSet(i / 3)
	r.ObjectMeta.Name += fmt.Sprintf("-%d", i%3)
	r.UID = uid(12, i)
	r.Spec.Replicas = new(int32)
	r.Status = appsv1.ReplicaSetStatus{ObservedGeneration: 2}
	return r
}

func lease(i int) *coordinationv1.Lease {
	name := NodeName(i)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "kube-node-lease", UID: uid(13, i), CreationTimestamp: at(i), OwnerReferences: []metav1.OwnerReference{{Kind: "Node", Name: name}}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &name, RenewTime: &metav1.MicroTime{Time: at(i + 2).Time}},
	}
}

func service(i int) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: belonging(14, i, i, "service"),
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: fmt.Sprintf("172.%d.%d.%d", 16+i/65025, i/255%255, i%255)},
	}
}

func endpointSlice(i int) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: belonging(15, i, i, "slice"), AddressType: discoveryv1.AddressTypeIPv4}
	slice.Labels[discoveryv1.LabelServiceName] = fmt.Sprintf("service-%d-service-%d", i, i)
	slice.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}}
	for n := range 6 {
		p := Pod(6*i + n)
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{p.Status.PodIP}, NodeName: &p.Spec.NodeName, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
		})
	}
	return slice
}

func job(i int) *batchv1.Job {
	done := at(i + 3)
	return &batchv1.Job{
		ObjectMeta: belonging(16, i, i, "job"),
		Spec:       batchv1.JobSpec{Parallelism: new(int32(1)), Completions: new(int32(1)), BackoffLimit: new(int32(6))},
		Status: batchv1.JobStatus{Succeeded: 1, StartTime: new(at(i + 1)), CompletionTime: &done,
			Conditions: []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: done}}},
	}
}
