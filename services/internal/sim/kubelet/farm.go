package kubelet

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
)

// PathAnnotation names, on a node, the path of the resource metrics, if it isn't the usual one.
const PathAnnotation = "metrics.k8s.io/resource-metrics-path"

// Config is what a Farm needs.
type Config struct {
	// CA signs the kubelets' certificates. Required.
	CA *identity.Authority
	// Users says who may scrape: those with "get" on "nodes/metrics", and on "nodes/stats" for the summary. Required.
	Users *identity.Registry
	// Seed and Epoch fix the usage of every container.
	Seed  uint64
	Epoch time.Time
	// Housekeeping is how often a kubelet reads its counters; between, it repeats them with the same timestamp. A real
	// one does so every 10 to 15 s. Default 0: at every request.
	Housekeeping time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Log is for what goes wrong. Required.
	Log *slog.Logger
}

// Farm is all kubelets of a cluster. It may be used concurrently.
type Farm struct {
	cfg    Config
	server *server

	// mu guards the tables; what is in a node is guarded by the node's own lock, taken after this one.
	mu    sync.RWMutex
	nodes map[string]*node
	pods  map[types.NamespacedName]*pod
}

// node is one kubelet.
type node struct {
	name string

	mu    sync.Mutex
	start float64
	usage sum
	pods  []*pod // by namespace and name
	path  string // of PathAnnotation
}

// pod is a pod that has run on a node. Its node's lock guards it.
type pod struct {
	key    types.NamespacedName
	uid    types.UID
	node   *node
	labels string // as they stand in its series
	claims []claim
	usage  sum
	start  float64
}

// container is a running container. Its node's lock guards it.
type container struct {
	name   string
	pod    *pod
	labels string
	// jitter is by how much its timestamps are older than the request, in milliseconds.
	jitter int64
	meter  meter
}

// NewFarm makes kubelets without nodes.
func NewFarm(cfg Config) (*Farm, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	f := &Farm{cfg: cfg, nodes: map[string]*node{}, pods: map[types.NamespacedName]*pod{}}
	var err error
	f.server, err = newServer(f)
	return f, err
}

// seconds turns a time into the time of the curves.
func (f *Farm) seconds(t time.Time) float64 { return t.Sub(f.cfg.Epoch).Seconds() }

func (f *Farm) time(seconds float64) time.Time {
	return f.cfg.Epoch.Add(time.Duration(math.Round(seconds * 1e9)))
}

// SetNode tells of a node that is new or has changed. Its counters start with the boot time, which is the creation of
// the node object.
func (f *Farm) SetNode(object *corev1.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.nodes[object.Name]
	if !ok {
		n = &node{name: object.Name, start: f.seconds(object.CreationTimestamp.Time)}
		u := func(round uint64) float64 { return draw(f.cfg.Seed, "node/"+object.Name, round) }
		n.usage.own = newMeter(n.start,
			curve{base: 0.05 + 0.1*u(0), swing: 0.03 * u(1), period: 600 + 3000*u(2), phase: 2 * math.Pi * u(3)},
			curve{base: (300 + 700*u(4)) * (1 << 20), swing: 50 * u(5) * (1 << 20), period: 900 + 3000*u(6), phase: 2 * math.Pi * u(7)})
		f.nodes[object.Name] = n
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.path = object.Annotations[PathAnnotation]
}

// DeleteNode forgets a node. Its listener stays until Unlisten.
func (f *Farm) DeleteNode(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.nodes, name)
}

// SetPod tells of a pod that is new or has changed: its containers that run, with the times they started, are what its
// node reports. A container that started at another time than before has been restarted.
func (f *Farm) SetPod(object *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := types.NamespacedName{Namespace: object.Namespace, Name: object.Name}
	n := f.nodes[object.Spec.NodeName]
	old := f.pods[key]
	if old != nil && (old.uid != object.UID || old.node != n) {
		f.removePod(old)
		old = nil
	}
	if n == nil || object.Status.Phase != corev1.PodRunning && old == nil {
		return
	}
	p := old
	if p == nil {
		p = f.newPod(key, object, n)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := f.seconds(f.cfg.Now())
	running := map[string]float64{}
	for _, status := range object.Status.ContainerStatuses {
		if status.State.Running != nil && object.Status.Phase == corev1.PodRunning {
			running[status.Name] = f.startOf(key, status.Name, status.State.Running.StartedAt.Time)
		}
	}
	for _, c := range slices.Clone(p.usage.members) {
		if start, ok := running[c.name]; ok && start == c.meter.start {
			delete(running, c.name)
			continue
		}
		n.remove(c, now)
	}
	for _, name := range slices.Sorted(maps.Keys(running)) {
		n.add(f.newContainer(p, name, running[name], object))
	}
}

// DeletePod forgets a pod. A pod with another UID stays.
func (f *Farm) DeletePod(namespace, name string, uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.pods[types.NamespacedName{Namespace: namespace, Name: name}]; p != nil && p.uid == uid {
		f.removePod(p)
	}
}

// SetUsage fixes what a container uses from now on: CPU in cores, memory in bytes.
func (f *Farm) SetUsage(namespace, podName, containerName string, cores, bytes float64) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	p := f.pods[types.NamespacedName{Namespace: namespace, Name: podName}]
	if p == nil {
		return fmt.Errorf("couldn't set the usage of %s/%s: no such pod is running", namespace, podName)
	}
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	for _, c := range p.usage.members {
		if c.name == containerName {
			c.meter.set(f.seconds(f.cfg.Now()), curve{base: cores}, curve{base: bytes})
			return nil
		}
	}
	return fmt.Errorf("couldn't set the usage of %s/%s: it has no running container %q", namespace, podName, containerName)
}

// startOf adds to a start time in whole seconds, as the API has it, the fraction that the kubelet knows.
func (f *Farm) startOf(key types.NamespacedName, name string, started time.Time) float64 {
	return f.seconds(started) + math.Floor(draw(f.cfg.Seed, key.String()+"/"+name, 20)*1e6)/1e6
}

func (f *Farm) newPod(key types.NamespacedName, object *corev1.Pod, n *node) *pod {
	p := &pod{
		key: key, uid: object.UID, node: n,
		labels: fmt.Sprintf(`{namespace="%s",pod="%s"}`, key.Namespace, key.Name),
		start:  f.seconds(object.CreationTimestamp.Time),
		claims: claimsOf(object),
	}
	// The sandbox itself uses next to nothing.
	p.usage.own = newMeter(p.start, curve{base: 1e-6}, curve{base: 500 << 10})
	n.mu.Lock()
	defer n.mu.Unlock()
	at, _ := slices.BinarySearchFunc(n.pods, p, comparePods)
	n.pods = slices.Insert(n.pods, at, p)
	f.pods[key] = p
	return p
}

func (f *Farm) removePod(p *pod) {
	delete(f.pods, p.key)
	n := p.node
	n.mu.Lock()
	defer n.mu.Unlock()
	now := f.seconds(f.cfg.Now())
	for _, c := range slices.Clone(p.usage.members) {
		n.remove(c, now)
	}
	n.pods = slices.DeleteFunc(n.pods, func(other *pod) bool { return other == p })
}

// newContainer draws the usage of a container around what it requests.
func (f *Farm) newContainer(p *pod, name string, start float64, object *corev1.Pod) *container {
	id := p.key.String() + "/" + name
	u := func(round uint64) float64 { return draw(f.cfg.Seed, id, round) }
	cores, bytes := 0.001*math.Pow(300, u(0)), (4<<20)*math.Pow(64, u(1))
	for _, spec := range object.Spec.Containers {
		if spec.Name != name {
			continue
		}
		if request := spec.Resources.Requests.Cpu().AsApproximateFloat64(); request > 0 {
			cores = request * (0.2 + 0.7*u(0))
		}
		if request := spec.Resources.Requests.Memory().AsApproximateFloat64(); request > 0 {
			bytes = request * (0.4 + 0.5*u(1))
		}
	}
	cpu := curve{base: cores, swing: cores * 0.3 * u(2), period: 300 + 3300*u(3), phase: 2 * math.Pi * u(4)}
	memory := curve{base: bytes, swing: bytes * 0.1 * u(5), period: 600 + 7200*u(6), phase: 2 * math.Pi * u(7)}
	return &container{
		name: name, pod: p, meter: newMeter(start, cpu, memory), jitter: int64(20 * u(8)),
		labels: fmt.Sprintf(`{container="%s",namespace="%s",pod="%s"}`, name, p.key.Namespace, p.key.Name),
	}
}

func (n *node) add(c *container) {
	at, _ := slices.BinarySearchFunc(n.usage.members, c, compareContainers)
	n.usage.members = slices.Insert(n.usage.members, at, c)
	c.pod.usage.members = append(c.pod.usage.members, c)
}

func (n *node) remove(c *container, now float64) {
	for _, usage := range []*sum{&n.usage, &c.pod.usage} {
		usage.members = slices.DeleteFunc(usage.members, func(other *container) bool { return other == c })
		usage.end(c.meter, now)
	}
}

// comparePods and compareContainers give the order of a registry: by the values of the labels, sorted by their names.
func comparePods(a, b *pod) int {
	return cmp.Or(strings.Compare(a.key.Namespace, b.key.Namespace), strings.Compare(a.key.Name, b.key.Name))
}

func compareContainers(a, b *container) int {
	return cmp.Or(strings.Compare(a.name, b.name), comparePods(a.pod, b.pod))
}
