package view

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/headwater-metrics/headwater/schemas"
)

// UsageReader is the read-only face of Usage.
type UsageReader interface {
	// Node returns the latest sample of the node, or false.
	Node(name string) (*schemas.UsageSample, bool)
	// Pod returns the latest usage of one pod, or false. See PodQuery.
	Pod(query PodQuery) (PodUsage, bool)
	// Pods answers many queries at once: results[i] is the answer to queries[i], with a nil Pod where there is none.
	// The two slices have the same length.
	Pods(queries []PodQuery, results []PodUsage)
	// All returns the latest sample of every node, sorted by node. The slice is the caller's.
	All() []*schemas.UsageSample
	// Len is the number of nodes and of pods.
	Len() (nodes, pods int)
	// Position is the sequence of the stream up to which the view is.
	Position() uint64
}

// PodQuery asks for a pod by its name.
type PodQuery struct {
	Namespace, Name string
	// Node, where it is known and several nodes report such a pod, is the one that is believed. Else, and where it is
	// none of those, it is the one whose report is the newest: by the start of the pod's containers, then by the time
	// of their points, then the node of the lesser name.
	Node string
}

// PodUsage is one pod's part of the latest sample of the node that runs it.
type PodUsage struct {
	Sample *schemas.UsageSample
	Pod    *schemas.PodUsage // points into Sample
}

// Usage holds the latest sample of every node, and finds pods in them. NewUsage makes one.
type Usage struct {
	position

	mu     sync.RWMutex // guards all below
	nodes  map[string]*schemas.UsageSample
	pods   map[podKey]podRef
	rivals map[podKey][]podRef // pods that more than one node reports: all their reports
}

type podKey struct{ namespace, name string }

// podRef is a pod in a sample.
type podRef struct {
	sample *schemas.UsageSample
	index  int
}

func (r podRef) pod() *schemas.PodUsage { return &r.sample.Pods[r.index] }

var _ UsageReader = (*Usage)(nil)

// NewUsage makes an empty view.
func NewUsage() *Usage {
	return &Usage{
		nodes:  make(map[string]*schemas.UsageSample),
		pods:   make(map[podKey]podRef),
		rivals: make(map[podKey][]podRef),
	}
}

// Apply makes sample the latest of its node, which it is by its place in the stream and not by its clock: an ingester
// whose clock went back must not be ignored until time has caught up. It returns false, and leaves the view as it is,
// where sample was on its way for too long: its successor, by another ingester, has come before it. The view keeps
// sample; nobody may modify it any more.
func (u *Usage) Apply(sample *schemas.UsageSample) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	previous := u.nodes[sample.Node]
	if previous != nil && MomentOf(sample).Late(MomentOf(previous)) {
		return false
	}
	u.nodes[sample.Node] = sample
	for i := range sample.Pods {
		u.add(podRef{sample, i}, previous)
	}
	if previous != nil {
		u.drop(previous)
	}
	return true
}

// Expire forgets the nodes whose latest sample was taken before the time given, Unix nanoseconds, and returns how many.
// Without it, the samples of nodes that no longer exist would stay for ever.
func (u *Usage) Expire(before int64) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	expired := 0
	for name, sample := range u.nodes {
		if sample.Time < before {
			delete(u.nodes, name)
			u.drop(sample)
			expired++
		}
	}
	return expired
}

// add enters one pod of a node's new sample; previous is the sample that it replaces.
func (u *Usage) add(ref podRef, previous *schemas.UsageSample) {
	pod := ref.pod()
	key := podKey{pod.Namespace, pod.Name}
	current, known := u.pods[key]
	if _, contested := u.rivals[key]; !contested {
		if !known || current.sample == previous || current.sample == ref.sample {
			u.pods[key] = ref
			return
		}
		u.rivals[key] = []podRef{current}
	}
	reports := slices.DeleteFunc(u.rivals[key], func(r podRef) bool { return r.sample.Node == ref.sample.Node })
	u.elect(key, append(reports, ref))
}

// drop takes the pods of a sample that is no longer a node's latest out of the index, where they are still in it.
func (u *Usage) drop(sample *schemas.UsageSample) {
	for i := range sample.Pods {
		key := podKey{sample.Pods[i].Namespace, sample.Pods[i].Name}
		if reports, contested := u.rivals[key]; contested {
			u.elect(key, slices.DeleteFunc(reports, func(r podRef) bool { return r.sample == sample }))
		} else if u.pods[key].sample == sample {
			delete(u.pods, key)
		}
	}
}

// elect decides which of several nodes' reports of one pod is the pod's.
func (u *Usage) elect(key podKey, reports []podRef) {
	switch len(reports) {
	case 0:
		delete(u.rivals, key)
		delete(u.pods, key)
	case 1:
		delete(u.rivals, key)
		u.pods[key] = reports[0]
	default:
		u.rivals[key] = reports
		u.pods[key] = slices.MaxFunc(reports, newer)
	}
}

// newer compares two nodes' reports of one pod.
func newer(a, b podRef) int {
	aStart, aTime := latest(a.pod())
	bStart, bTime := latest(b.pod())
	return cmp.Or(cmp.Compare(aStart, bStart), cmp.Compare(aTime, bTime), strings.Compare(b.sample.Node, a.sample.Node))
}

// latest returns the latest start and the latest point of a pod's containers.
func latest(pod *schemas.PodUsage) (start, time int64) {
	for i := range pod.Containers {
		start = max(start, pod.Containers[i].Point.Start)
		time = max(time, pod.Containers[i].Point.Time)
	}
	return start, time
}

// Node implements UsageReader.
func (u *Usage) Node(name string) (*schemas.UsageSample, bool) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	sample, ok := u.nodes[name]
	return sample, ok
}

// Pod implements UsageReader.
func (u *Usage) Pod(query PodQuery) (PodUsage, bool) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.find(query)
}

// batch is how many pods are looked up under one lock: long enough to make the lock's cost vanish, and over in tens of
// microseconds.
const batch = 256

// Pods implements UsageReader.
func (u *Usage) Pods(queries []PodQuery, results []PodUsage) {
	for len(queries) > 0 {
		n := min(batch, len(queries))
		u.mu.RLock()
		for i := range n {
			results[i], _ = u.find(queries[i])
		}
		u.mu.RUnlock()
		queries, results = queries[n:], results[n:]
	}
}

func (u *Usage) find(query PodQuery) (PodUsage, bool) {
	key := podKey{query.Namespace, query.Name}
	ref, ok := u.pods[key]
	if !ok {
		return PodUsage{}, false
	}
	if query.Node != "" && len(u.rivals) > 0 && ref.sample.Node != query.Node {
		for _, rival := range u.rivals[key] {
			if rival.sample.Node == query.Node {
				ref = rival
			}
		}
	}
	return PodUsage{Sample: ref.sample, Pod: ref.pod()}, true
}

// All implements UsageReader.
func (u *Usage) All() []*schemas.UsageSample {
	u.mu.RLock()
	samples := make([]*schemas.UsageSample, 0, len(u.nodes))
	for _, sample := range u.nodes {
		samples = append(samples, sample)
	}
	u.mu.RUnlock()
	slices.SortFunc(samples, func(a, b *schemas.UsageSample) int { return strings.Compare(a.Node, b.Node) })
	return samples
}

// Any tells whether any node's latest sample is as is asked for; it looks no further than the first one that is.
func (u *Usage) Any(is func(*schemas.UsageSample) bool) bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	for _, sample := range u.nodes {
		if is(sample) {
			return true
		}
	}
	return false
}

// Len implements UsageReader.
func (u *Usage) Len() (nodes, pods int) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return len(u.nodes), len(u.pods)
}
