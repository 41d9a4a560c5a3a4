package kubelet

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Truth answers what a correct Metrics API, or a correct exporter, has to say. It reads the farm as it is when asked.
type Truth struct{ farm *Farm }

// Truth returns the truth about the farm.
func (f *Farm) Truth() Truth { return Truth{farm: f} }

// Pod names a pod that runs, and its running containers, sorted.
type Pod struct {
	Namespace, Name string
	UID             types.UID
	Node            string
	Containers      []string
}

// Meter is the usage of one container, pod or node over time. It stays good after what it measures is gone, up to then.
type Meter struct {
	farm  *Farm
	lock  *sync.Mutex
	start float64
	usage usage
	id    string // what its figures are drawn by
}

// Start is when the counter started: of a container to the microsecond, as the kubelet reports it.
func (m Meter) Start() time.Time { return m.farm.time(m.start) }

// CPU is the cumulative counter at a time, in nanoseconds of CPU time.
func (m Meter) CPU(at time.Time) uint64 {
	m.lock.Lock()
	defer m.lock.Unlock()
	return nanos(m.usage.total(m.farm.seconds(at)))
}

// Rate is the mean CPU use in a window, in nanocores.
func (m Meter) Rate(from, to time.Time) float64 {
	if !to.After(from) {
		return 0
	}
	return float64(m.CPU(to)-m.CPU(from)) / to.Sub(from).Seconds()
}

// Memory is the working set at a time, in bytes.
func (m Meter) Memory(at time.Time) uint64 {
	m.lock.Lock()
	defer m.lock.Unlock()
	return pages(m.usage.memory(m.farm.seconds(at)))
}

// Nodes lists the nodes by name.
func (t Truth) Nodes() []string {
	t.farm.mu.RLock()
	defer t.farm.mu.RUnlock()
	return slices.Sorted(maps.Keys(t.farm.nodes))
}

// Pods lists the pods with at least one running container, by node, namespace and name.
func (t Truth) Pods() []Pod {
	t.farm.mu.RLock()
	defer t.farm.mu.RUnlock()
	var pods []Pod
	for _, name := range slices.Sorted(maps.Keys(t.farm.nodes)) {
		n := t.farm.nodes[name]
		n.mu.Lock()
		for _, p := range n.pods {
			if len(p.usage.members) == 0 {
				continue
			}
			pod := Pod{Namespace: p.key.Namespace, Name: p.key.Name, UID: p.uid, Node: name}
			for _, c := range p.usage.members {
				pod.Containers = append(pod.Containers, c.name)
			}
			slices.Sort(pod.Containers)
			pods = append(pods, pod)
		}
		n.mu.Unlock()
	}
	return pods
}

// Node returns a node's meter, and false when there is no such node.
func (t Truth) Node(name string) (Meter, bool) {
	t.farm.mu.RLock()
	defer t.farm.mu.RUnlock()
	n := t.farm.nodes[name]
	if n == nil {
		return Meter{}, false
	}
	return Meter{farm: t.farm, lock: &n.mu, start: n.start, usage: &n.usage, id: "node/" + name}, true
}

// Pod returns the meter of a pod as a whole, its sandbox included: a little more than the sum of its containers, which
// is what the Metrics API shows.
func (t Truth) Pod(namespace, name string) (Meter, bool) {
	t.farm.mu.RLock()
	defer t.farm.mu.RUnlock()
	p := t.farm.pods[types.NamespacedName{Namespace: namespace, Name: name}]
	if p == nil {
		return Meter{}, false
	}
	return Meter{farm: t.farm, lock: &p.node.mu, start: p.start, usage: &p.usage, id: p.key.String()}, true
}

// Container returns the meter of a running container, and false when there is none.
func (t Truth) Container(namespace, podName, name string) (Meter, bool) {
	t.farm.mu.RLock()
	defer t.farm.mu.RUnlock()
	p := t.farm.pods[types.NamespacedName{Namespace: namespace, Name: podName}]
	if p == nil {
		return Meter{}, false
	}
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	for _, c := range p.usage.members {
		if c.name == name {
			return Meter{farm: t.farm, lock: &p.node.mu, start: c.meter.start, usage: &c.meter, id: c.id()}, true
		}
	}
	return Meter{}, false
}
