package sim

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// generator makes the first objects of a cluster, and hands each on as soon as it is made: a large cluster is never
// held twice.
type generator struct {
	*builder
	opts  Options
	epoch time.Time
	emit  func(runtime.Object) error

	nodes []place
	// free is how many more running pods each node takes.
	free []int
	next int // where the last pod went
	ips  []int

	pods, twins int // running pods made, and those with two containers
	workloads   int
	services    int
	class       string // of the volumes
}

var (
	domains = []string{"shop", "payments", "catalog", "search", "accounts", "billing", "media", "analytics", "logistics", "support"}
	roles   = []string{"api", "worker", "frontend", "gateway", "indexer", "scheduler", "mailer", "importer", "sync", "notifier", "cache", "proxy"}
	stores  = []string{"postgres", "redis", "kafka", "etcd", "minio", "search"}
)

// scaledNames are the first Deployments of the first namespace, which autoscalers and budgets are for.
var scaledNames = []string{"web", "checkout"}

func (g *generator) namespaceNames() []string {
	count := min(max(g.opts.Nodes*g.opts.PodsPerNode/400, 3), 300)
	names := make([]string, 0, count)
	for i := range count {
		name := domains[i%len(domains)]
		if i >= len(domains) {
			name += "-" + strconv.Itoa(i/len(domains)+1)
		}
		names = append(names, name)
	}
	return names
}

// hosts takes the nodes, whose kubelets listen already.
func (g *generator) hosts(nodes []*corev1.Node) error {
	g.free, g.ips = make([]int, len(nodes)), make([]int, len(nodes))
	for i, node := range nodes {
		g.nodes = append(g.nodes, place{node: node.Name, hostIP: addressOf(node)})
		g.free[i] = g.opts.PodsPerNode
		if err := g.emit(node); err != nil {
			return err
		}
	}
	return nil
}

// all makes everything else.
func (g *generator) all(nodes []*corev1.Node) error {
	namespaces := g.namespaceNames()
	for _, name := range append([]string{"default", "kube-system", "kube-public", "kube-node-lease", "monitoring"}, namespaces...) {
		if err := g.namespace(name); err != nil {
			return err
		}
	}
	for _, node := range nodes {
		if err := g.emit(g.nodeLease(node)); err != nil {
			return err
		}
	}
	if g.opts.Bare {
		return nil
	}
	if err := g.daemons(); err != nil {
		return err
	}
	if err := g.fixtures(namespaces[0]); err != nil {
		return err
	}
	for _, name := range namespaces[1:] {
		if err := g.rules(name); err != nil {
			return err
		}
	}
	if err := g.fill(namespaces); err != nil {
		return err
	}
	return g.schedules(namespaces)
}

func (g *generator) namespace(name string) error {
	created := g.epoch.Add(-60 * 24 * time.Hour)
	namespace := &corev1.Namespace{
		ObjectMeta: g.meta("Namespace", "", name, created, map[string]string{"kubernetes.io/metadata.name": name}),
		Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
		Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
	}
	account := &corev1.ServiceAccount{ObjectMeta: g.meta("ServiceAccount", name, "default", created, nil)}
	authority := &corev1.ConfigMap{ObjectMeta: g.meta("ConfigMap", name, "kube-root-ca.crt", created, nil), Data: map[string]string{"ca.crt": SecretMarker}}
	for _, obj := range []runtime.Object{namespace, account, authority} {
		if err := g.emit(obj); err != nil {
			return err
		}
	}
	return nil
}

// place gives a free place in turn, so that all nodes fill up evenly. It says false when the cluster is full.
func (g *generator) place() (place, bool) {
	for range g.nodes {
		g.next = (g.next + 1) % len(g.nodes)
		if g.free[g.next] > 0 {
			return g.placeOn(g.next), true
		}
	}
	return place{}, false
}

func (g *generator) placeOn(index int) place {
	g.free[index]--
	g.ips[index]++
	at := g.nodes[index]
	at.podIP = podIP(index, g.ips[index])
	return at
}

// podIP is the address of the nth pod on a node; nobody listens there.
func podIP(node, n int) string {
	return fmt.Sprintf("10.%d.%d.%d", 64+node/256%128, node%256, n%254+1)
}

// fill makes Deployments and StatefulSets until the nodes are full. One pod in ten goes to the first namespace.
func (g *generator) fill(namespaces []string) error {
	left := 0
	for _, free := range g.free {
		left += free
	}
	fixed := scaledNames
	largest := min(max(left/20, 3), 100)
	for left > 0 {
		namespace := namespaces[g.rng.IntN(len(namespaces))]
		if g.rng.IntN(10) == 0 {
			namespace = namespaces[0]
		}
		replicas := min(1+int(float64(largest)*g.rng.Float64()*g.rng.Float64()*g.rng.Float64()), left)
		var err error
		switch {
		case len(fixed) > 0:
			namespace, replicas = namespaces[0], min(3, left)
			err = g.deployment(namespace, fixed[0], replicas)
			fixed = fixed[1:]
		case g.workloads == 0 || g.rng.IntN(8) == 0:
			replicas = min(replicas, 5)
			err = g.statefulSet(namespace, g.workloadName(namespace, stores), replicas)
		default:
			err = g.deployment(namespace, g.workloadName(namespace, roles), replicas)
		}
		if err != nil {
			return err
		}
		left -= replicas
	}
	return nil
}

// running makes the pods of a workload and returns their places, with the names in node order.
func (g *generator) running(n int, make func(i int, at place) *corev1.Pod) ([]*corev1.Pod, error) {
	var pods []*corev1.Pod
	for i := range n {
		at, ok := g.place()
		if !ok {
			break
		}
		pod := make(i, at)
		g.age(pod)
		g.count(pod)
		if err := g.emit(pod); err != nil {
			return nil, err
		}
		// Only what a Service needs is kept.
		pods = append(pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}, Status: corev1.PodStatus{PodIP: at.podIP}, Spec: corev1.PodSpec{NodeName: at.node}})
	}
	return pods, nil
}

func (g *generator) count(pod *corev1.Pod) {
	g.pods++
	if len(pod.Spec.Containers) > 1 {
		g.twins++
	}
}

// age lets some containers have crashed some time ago.
func (g *generator) age(pod *corev1.Pod) {
	if g.rng.IntN(10) > 0 {
		return
	}
	alive := g.epoch.Sub(pod.CreationTimestamp.Time)
	index := g.rng.IntN(len(pod.Status.ContainerStatuses))
	pod.Status.ContainerStatuses[index].RestartCount = int32(g.rng.IntN(3))
	restart(pod, index, pod.CreationTimestamp.Add(alive/4+time.Duration(g.rng.Int64N(int64(alive/2)))))
}

// template makes a pod template; one pod in three gets a second container.
func (g *generator) template(name, part string, labels map[string]string) corev1.PodTemplateSpec {
	cpu, memory := []int64{10, 20, 50, 100, 150, 250, 400}[g.rng.IntN(7)], []int64{32, 64, 96, 128, 192, 256, 384}[g.rng.IntN(7)]
	main := corev1.Container{
		Name:    "main",
		Image:   fmt.Sprintf("registry.example/%s/%s:v%d.%d.%d", part, name, 1+g.rng.IntN(4), g.rng.IntN(30), g.rng.IntN(10)),
		Command: []string{"/bin/" + name, "--mode=" + SecretMarker},
		Args:    []string{"--token=" + SecretMarker, "--listen=:8080"},
		Env: []corev1.EnvVar{
			{Name: "DATABASE_PASSWORD", Value: SecretMarker},
			{Name: "LOG_LEVEL", Value: SecretMarker},
			{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}}},
		},
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}, {Name: "metrics", ContainerPort: 9090, Protocol: corev1.ProtocolTCP}},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "config", MountPath: "/etc/app", ReadOnly: true},
			{Name: accessVolume, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true},
		},
		LivenessProbe: probe("/live", 20), ReadinessProbe: probe("/ready", 5),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr(false), ReadOnlyRootFilesystem: ptr(true), RunAsNonRoot: ptr(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{
				corev1.ResourceCPU:    *resource.NewMilliQuantity(cpu, resource.DecimalSI),
				corev1.ResourceMemory: *resource.NewQuantity(memory<<20, resource.BinarySI),
			},
			Limits: corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(memory<<21, resource.BinarySI)},
		},
		ImagePullPolicy: corev1.PullIfNotPresent, TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}
	spec := corev1.PodSpec{
		Containers: []corev1.Container{main}, RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst,
		ServiceAccountName: "default", SchedulerName: "default-scheduler", TerminationGracePeriodSeconds: ptr[int64](30),
		EnableServiceLinks: ptr(true), SecurityContext: &corev1.PodSecurityContext{}, Volumes: volumes(labels["app.kubernetes.io/name"]),
		Tolerations: []corev1.Toleration{
			{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr[int64](300)},
			{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr[int64](300)},
		},
	}
	if g.twins*3 <= g.pods {
		side := *main.DeepCopy()
		side.Name, side.Image, side.Ports, side.Args = "sidecar", "registry.example/platform/proxy:v1.9.2", nil, nil
		side.LivenessProbe, side.ReadinessProbe = nil, nil
		side.Resources.Requests = corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("5m"),
			corev1.ResourceMemory: resource.MustParse("24Mi"),
		}
		spec.Containers = append(spec.Containers, side)
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}
}

// born draws when a workload was made: up to 30 days before the cluster's epoch, and at least an hour.
func (g *generator) born() time.Time {
	return g.epoch.Add(-time.Hour - time.Duration(g.rng.Int64N(int64(30*24*time.Hour)))).Truncate(time.Second)
}

// program is what runs in a workload, by its name: gateway in payments-gateway-17.
func program(workload string) string {
	words := strings.Split(workload, "-")
	return words[len(words)/2]
}

// workloadName makes one like payments-gateway-17.
func (g *generator) workloadName(namespace string, words []string) string {
	g.workloads++
	domain, _, _ := strings.Cut(namespace, "-")
	return fmt.Sprintf("%s-%s-%d", domain, words[g.rng.IntN(len(words))], g.workloads)
}

func (g *generator) deployment(namespace, name string, replicas int) error {
	created := g.born()
	labels := map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": namespace}
	deployment := applied(&appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{Kind: "Deployment", APIVersion: "apps/v1"},
		ObjectMeta: g.meta("Deployment", namespace, name, created.Add(-time.Minute), labels),
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr(int32(replicas)), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: g.template(program(name), namespace, labels),
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType}, RevisionHistoryLimit: ptr[int32](10), ProgressDeadlineSeconds: ptr[int32](600),
		},
	})
	old := g.rng.IntN(5)
	deployment.Annotations["deployment.kubernetes.io/revision"] = strconv.Itoa(old + 1)
	setDeploymentStatus(deployment, int32(replicas), created)
	if err := g.emit(deployment); err != nil {
		return err
	}
	for revision := range old + 1 {
		set := g.replicaSet(deployment, g.suffix(9), revision+1, created.Add(-time.Duration(old-revision)*24*time.Hour))
		if revision < old {
			set.Spec.Replicas = ptr[int32](0)
			setReplicaSetStatus(set, 0)
		}
		if err := g.emit(set); err != nil {
			return err
		}
		if revision < old {
			continue
		}
		owner := ownedBy("apps/v1", "ReplicaSet", set)
		pods, err := g.running(replicas, func(_ int, at place) *corev1.Pod {
			return g.pod(&set.Spec.Template, owner, namespace, set.Name+"-"+g.suffix(5), created, at)
		})
		if err != nil {
			return err
		}
		if err := g.service(namespace, name, labels, pods, created); err != nil {
			return err
		}
	}
	if err := g.around(namespace, name, labels, created, replicas); err != nil {
		return err
	}
	return g.configuration(namespace, name, labels, created)
}

// replicaSet makes a Deployment's ReplicaSet with as many replicas as the Deployment wants.
func (b *builder) replicaSet(deployment *appsv1.Deployment, hash string, revision int, created time.Time) *appsv1.ReplicaSet {
	labels := map[string]string{"pod-template-hash": hash}
	for key, value := range deployment.Spec.Template.Labels {
		labels[key] = value
	}
	set := &appsv1.ReplicaSet{ObjectMeta: b.meta("ReplicaSet", deployment.Namespace, deployment.Name+"-"+hash, created, labels)}
	set.OwnerReferences = ownedBy("apps/v1", "Deployment", deployment)
	set.Annotations = map[string]string{"deployment.kubernetes.io/revision": strconv.Itoa(revision)}
	set.Spec = appsv1.ReplicaSetSpec{
		Replicas: deployment.Spec.Replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: *deployment.Spec.Template.DeepCopy(),
	}
	set.Spec.Template.Labels = labels
	setReplicaSetStatus(set, wanted(set.Spec.Replicas))
	return set
}
