package events

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// world makes a random history of pods and jobs, and knows what has truly happened in it.
type world struct {
	testing.TB
	rng      *rand.Rand
	encoders map[string]*objects.Encoder
	now      time.Time
	uids     int
	pods     []*simPod
	jobs     []*simJob
	log      []logged
	deletes  bool // whether objects are deleted and replaced
}

// logged is an event of the log, with what was true of its object then.
type logged struct {
	change  schemas.ObjectChange
	truth   []truth
	end     row // the end of the pod or job, if it has ended
	hasEnd  bool
	endedAs string // uid
}

// truth is what an observer of a container can know.
type truth struct {
	uid, namespace, container string
	reasons                   []string // of the runs that have ended, all of them
	visible                   map[int]bool
}

type simPod struct {
	namespace, name, uid string
	created              time.Time
	phase                corev1.PodPhase
	reason               string
	containers           []*simContainer
}

// mode is what a container does between its restarts.
type mode int

const (
	running mode = iota
	terminatedNow
	backoff // over, waiting for the next run
	created // the next run is made, and has not begun
)

type simContainer struct {
	name    string
	list    int // init, usual, ephemeral
	mode    mode
	run     int
	reasons []string
}

type simJob struct {
	namespace, name, uid string
	created              time.Time
	end, reason          string
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{TB: t, rng: rand.New(rand.NewPCG(seed, 1)), encoders: map[string]*objects.Encoder{}, now: time.Unix(1_767_225_600, 0), deletes: true}
	for _, resource := range []string{"pods", "jobs", "nodes", "namespaces"} {
		kind, _ := objects.ByResource(resource)
		encoder, err := objects.NewEncoder(kind)
		if err != nil {
			t.Fatal(err)
		}
		w.encoders[resource] = encoder
	}
	return w
}

func pick[T any](w *world, from ...T) T { return from[w.rng.IntN(len(from))] }

func (w *world) uid() string {
	w.uids++
	return fmt.Sprintf("uid-%d", w.uids)
}

func (w *world) append(resource string, op schemas.Operation, obj runtime.Object) *logged {
	w.Helper()
	change, err := w.encoders[resource].Change(obj, op, w.now)
	if err != nil {
		w.Fatal(err)
	}
	w.log = append(w.log, logged{change: change})
	return &w.log[len(w.log)-1]
}

// step lets something happen, which is one event of the log.
func (w *world) step() {
	w.now = w.now.Add(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
	switch n := w.rng.IntN(20); {
	case n == 0:
		w.append("nodes", pick(w, schemas.Applied, schemas.Deleted), nodeObject())
	case n < 3 && len(w.jobs) < 6:
		j := &simJob{namespace: pick(w, "a", "b"), name: fmt.Sprint("job-", w.uids%4), uid: w.uid(), created: w.now}
		if slices.ContainsFunc(w.jobs, func(o *simJob) bool { return o.namespace == j.namespace && o.name == j.name }) {
			return
		}
		w.jobs = append(w.jobs, j)
		w.writeJob(j)
	case n < 5 && len(w.jobs) > 0:
		j := pick(w, w.jobs...)
		if w.deletes && w.rng.IntN(3) == 0 {
			w.jobs = slices.DeleteFunc(w.jobs, func(o *simJob) bool { return o == j })
			w.append("jobs", schemas.Deleted, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: j.namespace, Name: j.name, UID: types.UID(j.uid)}})
			return
		}
		if j.end == "" && w.rng.IntN(2) == 0 {
			j.end = pick(w, complete, failed)
			if j.end == failed {
				j.reason = pick(w, "BackoffLimitExceeded", "DeadlineExceeded")
			}
		}
		w.writeJob(j)
	case n < 8 && len(w.pods) < 10:
		w.createPod(pick(w, "a", "b", "c"), fmt.Sprint("pod-", w.rng.IntN(6)))
	case n < 10 && len(w.pods) > 0 && w.deletes:
		p := pick(w, w.pods...)
		w.pods = slices.DeleteFunc(w.pods, func(o *simPod) bool { return o == p })
		switch w.rng.IntN(3) {
		case 0: // replaced under its name, without its deletion being seen
			w.createPod(p.namespace, p.name)
			return
		case 1: // its last moments are seen
			for _, c := range p.containers {
				w.advance(c)
			}
			w.writePod(p)
		}
		w.append("pods", schemas.Deleted, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, UID: types.UID(p.uid)}})
	case len(w.pods) > 0:
		p := pick(w, w.pods...)
		for range w.rng.IntN(4) { // none: the change is of something else, or comes twice
			if len(p.containers) > 0 {
				w.advance(pick(w, p.containers...))
			}
		}
		if w.rng.IntN(8) == 0 {
			p.containers = append(p.containers, &simContainer{name: fmt.Sprint("debug-", len(p.containers)), list: 2})
		}
		if p.phase == corev1.PodRunning && w.rng.IntN(10) == 0 {
			p.phase = pick(w, corev1.PodSucceeded, corev1.PodFailed)
			if p.phase == corev1.PodFailed {
				p.reason = pick(w, "", "Evicted", "NodeLost")
			}
		}
		w.writePod(p)
	}
}

// history lets things happen until there are n more events.
func (w *world) history(n int) {
	for end := len(w.log) + n; len(w.log) < end; {
		w.step()
	}
}

func (w *world) createPod(namespace, name string) {
	if slices.ContainsFunc(w.pods, func(o *simPod) bool { return o.namespace == namespace && o.name == name }) {
		return
	}
	p := &simPod{namespace: namespace, name: name, uid: w.uid(), created: w.now, phase: corev1.PodRunning}
	for i := range 1 + w.rng.IntN(3) {
		c := &simContainer{name: fmt.Sprint("c", i), list: w.rng.IntN(2)}
		for range w.rng.IntN(6) * w.rng.IntN(2) { // it may have lived through much before it is first seen
			w.advance(c)
		}
		p.containers = append(p.containers, c)
	}
	w.pods = append(w.pods, p)
	w.writePod(p)
}

// advance takes a container to the next of its states.
func (w *world) advance(c *simContainer) {
	switch c.mode {
	case running:
		c.mode = terminatedNow
		c.reasons = append(c.reasons, pick(w, "Error", "OOMKilled", "Completed", ""))
	case terminatedNow:
		c.mode = pick(w, running, backoff, created)
	case backoff:
		c.mode = pick(w, running, created)
	case created:
		c.mode = running
		return
	}
	if (c.mode == running || c.mode == created) && len(c.reasons) > c.run {
		c.run++
	}
}

func (c *simContainer) id(p *simPod, run int) string { return fmt.Sprint(p.uid, c.name, run) }

func (c *simContainer) ended(p *simPod, run int) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: c.reasons[run], ContainerID: c.id(p, run)}}
}

// status is what the kubelet says of the container, and which of its ends that tells.
func (c *simContainer) status(p *simPod) (corev1.ContainerStatus, map[int]bool) {
	s := corev1.ContainerStatus{Name: c.name, RestartCount: int32(c.run), ContainerID: c.id(p, c.run)}
	visible := map[int]bool{}
	if c.run > 0 {
		s.LastTerminationState, visible[c.run-1] = c.ended(p, c.run-1), true
	}
	switch c.mode {
	case running:
		s.State.Running = &corev1.ContainerStateRunning{}
	case terminatedNow:
		s.State, visible[c.run] = c.ended(p, c.run), true
	case backoff:
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}
		s.LastTerminationState, visible = c.ended(p, c.run), map[int]bool{c.run: true}
	case created:
		s.State.Waiting = &corev1.ContainerStateWaiting{}
	}
	return s, visible
}

func (w *world) writePod(p *simPod) {
	object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, UID: types.UID(p.uid), CreationTimestamp: metav1.NewTime(p.created)}}
	object.Spec.NodeName = "node-" + p.namespace
	object.Status.Phase, object.Status.Reason = p.phase, p.reason
	var truths []truth
	for _, c := range p.containers {
		status, visible := c.status(p)
		list := []*[]corev1.ContainerStatus{&object.Status.InitContainerStatuses, &object.Status.ContainerStatuses, &object.Status.EphemeralContainerStatuses}[c.list]
		*list = append(*list, status)
		truths = append(truths, truth{p.uid, p.namespace, c.name, slices.Clone(c.reasons), visible})
	}
	event := w.append("pods", schemas.Applied, object)
	event.truth = truths
	if p.phase != corev1.PodRunning {
		event.hasEnd, event.end, event.endedAs = true, row{podCompletions, p.namespace, string(p.phase), p.reason}, p.uid
	}
}

func (w *world) writeJob(j *simJob) {
	object := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: j.namespace, Name: j.name, UID: types.UID(j.uid), CreationTimestamp: metav1.NewTime(j.created)}}
	switch j.end {
	case complete:
		object.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: "False"}, {Type: batchv1.JobComplete, Status: "True"}}
	case failed:
		object.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailureTarget, Status: "True"}, {Type: batchv1.JobFailed, Status: "True", Reason: j.reason}}
	}
	event := w.append("jobs", schemas.Applied, object)
	if j.end != "" {
		event.hasEnd, event.end, event.endedAs = true, row{jobCompletions, j.namespace, j.end, j.reason}, j.uid
	}
}

func podObject(p *simPod) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, UID: types.UID(p.uid)}}
}

func namespaceObject(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "namespace"}}
}

func nodeObject() *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "node"}}
}
