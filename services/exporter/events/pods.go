package events

import (
	"math"
	"sync"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// sighting is what one event tells of a pod or job. Its strings are part of the message.
type sighting struct {
	created    int64  // Unix seconds
	node       string // of a pod
	end        string // how it is over: a pod's phase, a job's result; "" while it is not
	reason     string // why
	containers [3][]containerStatus
	names      map[string]struct{} // scratch: the containers that were looked at

	pod pod // what the above is taken from
	job job
}

var sightings = sync.Pool{New: func() any { return &sighting{names: map[string]struct{}{}} }}

// kind is what is counted of a resource.
type kind struct {
	first   family // the first of its families
	read    func(object []byte, s *sighting) error
	advance func(t *Totals, e *entry, s *sighting, orderly bool, count func(family family, a, b string, n uint64))
}

// kindOf returns what is counted of a change's resource, beside its changes; nil for nothing.
func kindOf(change *schemas.ObjectChange) *kind {
	switch {
	case change.Group == "" && change.Resource == "pods":
		return &podKind
	case change.Group == "batch" && change.Resource == "jobs":
		return &jobKind
	}
	return nil
}

// The kinds never change.
var (
	podKind = kind{first: podTerminations, read: readPod, advance: advancePod}
	jobKind = kind{first: jobCompletions, read: readJob, advance: advanceEnd(jobCompletions)}
)

type metadata struct {
	CreationTimestamp objects.Time `json:"creationTimestamp"`
}

// pod is the part of a pod that is read.
type pod struct {
	Metadata metadata `json:"metadata"`
	Spec     struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		Phase                      string            `json:"phase"`
		Reason                     string            `json:"reason"`
		InitContainerStatuses      []containerStatus `json:"initContainerStatuses"`
		ContainerStatuses          []containerStatus `json:"containerStatuses"`
		EphemeralContainerStatuses []containerStatus `json:"ephemeralContainerStatuses"`
	} `json:"status"`
}

type containerStatus struct {
	Name         string `json:"name"`
	ContainerID  string `json:"containerID"`
	RestartCount int64  `json:"restartCount"`
	State        state  `json:"state"`
	LastState    state  `json:"lastState"`
}

type state struct {
	Running    *struct{}   `json:"running"`
	Terminated *terminated `json:"terminated"`
}

type terminated struct {
	ContainerID string `json:"containerID"`
	Reason      string `json:"reason"`
}

var podDecoder = objects.NewDecoder[pod](objects.Borrow())

func readPod(object []byte, s *sighting) error {
	if err := podDecoder.Decode(object, &s.pod); err != nil {
		return err
	}
	p := &s.pod
	s.created, s.node, s.end, s.reason = p.Metadata.CreationTimestamp.Unix, p.Spec.NodeName, "", ""
	if p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" {
		s.end, s.reason = p.Status.Phase, p.Status.Reason
	}
	s.containers = [3][]containerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses}
	return nil
}

func advancePod(t *Totals, e *entry, s *sighting, orderly bool, count func(family family, a, b string, n uint64)) {
	n := 0
	for _, statuses := range s.containers {
		n += len(statuses)
	}
	clear(s.names)
	for _, statuses := range s.containers {
		for i := range statuses {
			c := &statuses[i]
			if _, repeated := s.names[c.Name]; repeated {
				continue
			}
			if n > 1 {
				s.names[c.Name] = struct{}{}
			}
			old := e.find(t.hash(c.Name))
			next := old.advance(c, orderly, func(reason string, n uint64) { count(podTerminations, reason, "", n) })
			if next != old {
				e.keep(next, n)
			}
		}
	}
	advanceEnd(podCompletions)(t, e, s, orderly, count)
}

// advanceEnd counts the end of a pod or job, once.
func advanceEnd(of family) func(*Totals, *entry, *sighting, bool, func(family, string, string, uint64)) {
	return func(_ *Totals, e *entry, s *sighting, _ bool, count func(family, string, string, uint64)) {
		if s.end != "" && !e.ended {
			e.ended = true
			count(of, s.end, s.reason, 1)
		}
	}
}

// run is how far a container has come: the number of its present run, counted from 0, and whether that is over. So
// restarts+1 runs have ended where it is, and restarts where not.
type run struct {
	name     uint64 // hash
	restarts uint32
	over     bool
}

func (r run) ended() uint64 {
	if r.over {
		return uint64(r.restarts) + 1
	}
	return uint64(r.restarts)
}

// unknown is the reason of a run that ended unseen, or without saying why.
const unknown = "Unknown"

// advance returns how far a container has come by a status, and counts the runs that have ended since. Orderly tells that
// the status is newer than r; else it may be an older one, and only more runs are believed.
func (r run) advance(c *containerStatus, orderly bool, count func(reason string, n uint64)) run {
	next := run{name: r.name, restarts: uint32(min(max(c.RestartCount, 0), math.MaxUint32))}
	last, before := c.State.Terminated, c.LastState.Terminated
	if last == nil && c.State.Running == nil && before != nil && before.ContainerID != "" && before.ContainerID == c.ContainerID {
		// It waits for its next run (CrashLoopBackOff): what is told as the run before is the present one still.
		last, before = before, nil
	}
	next.over = last != nil

	from := r.ended()
	switch {
	case !orderly && next.ended() <= from:
		return r
	case next.restarts < r.restarts:
		// The node has lost count. The run that was known is over; of those in between nothing is known.
		if !r.over {
			if next.restarts == 0 && before != nil {
				count(reasonOf(before), 1)
			} else {
				count(unknown, 1)
			}
		}
		from = uint64(next.restarts)
	case next.restarts == r.restarts && r.over && !next.over:
		if c.State.Running == nil {
			return r // it waits, and does not say for what
		}
		return next // it runs again without having been counted as restarted
	}
	unseen := next.ended() - min(from, next.ended())
	if next.over && unseen > 0 {
		count(reasonOf(last), 1)
		unseen--
	}
	// Of the runs that remain, the last is the one before the present one, whose end may be told.
	if before != nil && unseen > 0 {
		count(reasonOf(before), 1)
		unseen--
	}
	if unseen > 0 {
		count(unknown, unseen)
	}
	return next
}

func reasonOf(t *terminated) string {
	if t.Reason == "" {
		return unknown
	}
	return t.Reason
}
