package cluster

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Usage is what a container truly uses: the truth that every reader of metrics is held to.
type Usage struct {
	// CPU is a rate in thousandths of a core.
	CPU float64

	// Memory is the working set in bytes, Swap what is swapped out besides.
	Memory, Swap uint64
}

// Match selects containers. An empty field matches all.
type Match struct {
	Namespace, Pod, Container string

	// Labels must all be on the pod.
	Labels map[string]string
}

// Defaults of the truth. They are uneven, so that a reader which mixes them up is seen.
var (
	// defaultUsage is that of a container which no call of SetUsage selects.
	defaultUsage = Usage{CPU: 12, Memory: 34 << 20}

	// systemUsage is what a node uses besides its pods.
	systemUsage = Usage{CPU: 150, Memory: 700 << 20}
)

// PodTruth is what is true of a running pod.
type PodTruth struct {
	Namespace, Name, UID, Node string

	// Containers holds the usage by container name.
	Containers map[string]Usage
}

// rule is one call of SetUsage or ShareUsage.
type rule struct {
	match Match
	usage Usage

	// shared means that usage is that of all selected containers together.
	shared bool
}

// truth holds what every node and container uses. Rates are decided by rules, and change as rules and pods come and go;
// counters integrate the rates over time.
type truth struct {
	// mu guards everything below, so that a scrape sees one moment.
	mu    sync.Mutex
	rules []rule
	nodes map[string]*nodeTruth

	// pods are by namespace and name, because a kubelet's series have no UID either.
	pods map[podKey]*podTruth
}

type podKey struct{ namespace, name string }

type nodeTruth struct {
	since        time.Time
	cpu          meter
	memory, swap uint64
}

type podTruth struct {
	podKey
	uid, node  string
	labels     map[string]string
	cpu        meter
	containers []*containerTruth
}

type containerTruth struct {
	name    string
	started time.Time
	cpu     meter

	memory, swap uint64
}

// meter is a counter of core-seconds that grows at a known rate. A new one is zero at a given time.
type meter struct {
	seconds float64
	rate    float64 // thousandths of a core
	at      time.Time

	// rated says that a rate was set before.
	rated bool
}

// read returns the counter at the given time.
func (m *meter) read(now time.Time) float64 {
	return m.seconds + m.rate/1000*max(0, now.Sub(m.at).Seconds())
}

// set changes the rate from now on. The first rate counts from the meter's beginning, because a container is known only
// some moments after its start.
func (m *meter) set(rate float64, now time.Time) {
	if !m.rated {
		m.rate, m.rated = rate, true
	} else if rate != m.rate {
		m.seconds, m.rate = m.read(now), rate
		m.at = later(m.at, now)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func newTruth(nodes []string, now time.Time) *truth {
	t := &truth{nodes: map[string]*nodeTruth{}, pods: map[podKey]*podTruth{}}
	for _, name := range nodes {
		t.nodes[name] = &nodeTruth{since: now, cpu: meter{at: now}}
	}
	t.apply(now)
	return t
}

// setRule adds a rule, which wins over all before. A rule for the same containers as an earlier one takes its place, so
// that a test which goes up and down for hours does not collect them.
func (t *truth) setRule(r rule, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rules = slices.DeleteFunc(t.rules, func(old rule) bool { return old.match.equal(r.match) })
	t.rules = append(t.rules, r)
	t.apply(now)
}

func (m Match) equal(o Match) bool {
	if m.Namespace != o.Namespace || m.Pod != o.Pod || m.Container != o.Container || len(m.Labels) != len(o.Labels) {
		return false
	}
	for key, value := range m.Labels {
		if other, ok := o.Labels[key]; !ok || other != value {
			return false
		}
	}
	return true
}

func (m Match) selects(p *podTruth, container string) bool {
	if m.Namespace != "" && m.Namespace != p.namespace || m.Pod != "" && m.Pod != p.name || m.Container != "" && m.Container != container {
		return false
	}
	for key, value := range m.Labels {
		if own, ok := p.labels[key]; !ok || own != value {
			return false
		}
	}
	return true
}

// apply decides every rate anew. The caller holds mu.
func (t *truth) apply(now time.Time) {
	decided := map[*containerTruth]int{}
	count := make([]int, len(t.rules))
	for _, p := range t.pods {
		for _, c := range p.containers {
			for i, r := range slices.Backward(t.rules) {
				if r.match.selects(p, c.name) {
					decided[c] = i
					count[i]++
					break
				}
			}
		}
	}
	nodes := make(map[string]Usage, len(t.nodes))
	for name := range t.nodes {
		nodes[name] = systemUsage
	}
	for _, p := range t.pods {
		var pod Usage
		for _, c := range p.containers {
			usage := defaultUsage
			if i, ok := decided[c]; ok {
				usage = t.rules[i].usage
				if t.rules[i].shared {
					usage.CPU /= float64(count[i])
					usage.Memory /= uint64(count[i])
					usage.Swap /= uint64(count[i])
				}
			}
			c.cpu.set(usage.CPU, now)
			c.memory, c.swap = usage.Memory, usage.Swap
			pod = pod.add(usage)
		}
		p.cpu.set(pod.CPU, now)
		nodes[p.node] = nodes[p.node].add(pod)
	}
	for name, usage := range nodes {
		if n, ok := t.nodes[name]; ok {
			n.cpu.set(usage.CPU, now)
			n.memory, n.swap = usage.Memory, usage.Swap
		}
	}
}

func (u Usage) add(o Usage) Usage {
	return Usage{CPU: u.CPU + o.CPU, Memory: u.Memory + o.Memory, Swap: u.Swap + o.Swap}
}

// run makes the truth hold exactly this pod under its name: a pod of another UID is replaced, containers that started at
// another time count from zero, and what is there already goes on.
func (t *truth) run(p *podTruth, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old, ok := t.pods[p.podKey]; ok && old.uid == p.uid {
		p.cpu = old.cpu
		for i, c := range p.containers {
			at := slices.IndexFunc(old.containers, func(o *containerTruth) bool { return o.name == c.name && o.started.Equal(c.started) })
			if at >= 0 {
				p.containers[i] = old.containers[at]
			}
		}
	}
	t.pods[p.podKey] = p
	t.apply(now)
}

// end removes a pod; with a UID only if the pod has it.
func (t *truth) end(key podKey, uid string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, ok := t.pods[key]; ok && (uid == "" || p.uid == uid) {
		delete(t.pods, key)
		t.apply(now)
	}
}

// list returns the truth of all pods, by namespace and name.
func (t *truth) list() []PodTruth {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []PodTruth
	for _, p := range t.pods {
		list = append(list, p.tell())
	}
	slices.SortFunc(list, func(a, b PodTruth) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list
}

func (t *truth) pod(key podKey) (PodTruth, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.pods[key]
	if !ok {
		return PodTruth{}, false
	}
	return p.tell(), true
}

func (t *truth) node(name string) (Usage, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok := t.nodes[name]
	if !ok {
		return Usage{}, false
	}
	return Usage{CPU: n.cpu.rate, Memory: n.memory, Swap: n.swap}, true
}

// tell copies what is true of a pod. The caller holds the truth's lock.
func (p *podTruth) tell() PodTruth {
	told := PodTruth{Namespace: p.namespace, Name: p.name, UID: p.uid, Node: p.node, Containers: map[string]Usage{}}
	for _, c := range p.containers {
		told.Containers[c.name] = Usage{CPU: c.cpu.rate, Memory: c.memory, Swap: c.swap}
	}
	return told
}

// Total returns the usage of all containers together.
func (p PodTruth) Total() Usage {
	var total Usage
	for _, usage := range p.Containers {
		total = total.add(usage)
	}
	return total
}
