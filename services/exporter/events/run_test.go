package events

import (
	"maps"
	"math"
	"testing"
)

func statusOf(restarts int64, id string, now, last state) *containerStatus {
	return &containerStatus{Name: "c", ContainerID: id, RestartCount: restarts, State: now, LastState: last}
}

// The states in which a container can be.
var (
	nothing = state{}
	runs    = state{Running: new(struct{})}
	ended   = func(reason, id string) state { return state{Terminated: &terminated{Reason: reason, ContainerID: id}} }
)

func TestRuns(t *testing.T) {
	for _, c := range []struct {
		name   string
		old    run
		status *containerStatus
		late   bool // the status may be older than what is known
		want   run
		counts map[string]uint64
	}{
		{"it runs", run{}, statusOf(0, "a", runs, nothing), false, run{}, nil},
		{"it ends", run{}, statusOf(0, "a", ended("OOMKilled", "a"), nothing), false, run{over: true}, map[string]uint64{"OOMKilled": 1}},
		{"the same again", run{over: true}, statusOf(0, "a", ended("OOMKilled", "a"), nothing), false, run{over: true}, nil},
		{"it waits after its end", run{over: true}, statusOf(0, "a", nothing, ended("Error", "a")), false, run{over: true}, nil},
		{"its end is seen when it waits already", run{}, statusOf(0, "a", nothing, ended("Error", "a")), false, run{over: true}, map[string]uint64{"Error": 1}},
		{"it runs again", run{over: true}, statusOf(1, "b", runs, ended("Error", "a")), false, run{restarts: 1}, nil},
		{"its end is seen when it runs again", run{}, statusOf(1, "b", runs, ended("Error", "a")), false, run{restarts: 1}, map[string]uint64{"Error": 1}},
		{"the next run is made and has not begun", run{over: true}, statusOf(1, "b", nothing, ended("Error", "a")), false, run{restarts: 1}, nil},
		{"two ends at once, both told", run{}, statusOf(1, "b", ended("Error", "b"), ended("OOMKilled", "a")), false, run{restarts: 1, over: true}, map[string]uint64{"OOMKilled": 1, "Error": 1}},
		{"two ends at once, one told", run{}, statusOf(1, "b", nothing, ended("Error", "b")), false, run{restarts: 1, over: true}, map[string]uint64{"Unknown": 1, "Error": 1}},
		{"many ends at once", run{restarts: 2}, statusOf(9, "z", ended("Error", "z"), ended("OOMKilled", "y")), false, run{restarts: 9, over: true}, map[string]uint64{"Unknown": 6, "Error": 1, "OOMKilled": 1}},
		{"many ends at once, the first of them known", run{restarts: 2, over: true}, statusOf(4, "z", runs, ended("OOMKilled", "y")), false, run{restarts: 4}, map[string]uint64{"Unknown": 0, "OOMKilled": 1}},
		{"the kubelet lost the container and says so", run{}, statusOf(1, "", nothing, ended("ContainerStatusUnknown", "")), false, run{restarts: 1}, map[string]uint64{"ContainerStatusUnknown": 1}},
		{"it does not say why", run{}, statusOf(0, "a", ended("", "a"), nothing), false, run{over: true}, map[string]uint64{"Unknown": 1}},
		{"it does not say what was before", run{}, statusOf(1, "b", runs, nothing), false, run{restarts: 1}, map[string]uint64{"Unknown": 1}},
		{"no container has an ID: it waits", run{over: true}, statusOf(0, "", nothing, ended("Error", "")), false, run{over: true}, nil},
		{"no container has an ID: it runs again", run{over: true}, statusOf(1, "", runs, ended("Error", "")), false, run{restarts: 1}, nil},
		{"the node lost count", run{restarts: 5}, statusOf(0, "b", runs, ended("Error", "a")), false, run{}, map[string]uint64{"Error": 1}},
		{"the node lost count, and says nothing", run{restarts: 5}, statusOf(0, "b", runs, nothing), false, run{}, map[string]uint64{"Unknown": 1}},
		{"the node lost count after an end that was seen", run{restarts: 5, over: true}, statusOf(0, "b", runs, ended("Error", "a")), false, run{}, nil},
		{"the node lost count, and it has ended again", run{restarts: 5}, statusOf(2, "b", ended("Error", "b"), ended("OOMKilled", "a")), false, run{restarts: 2, over: true}, map[string]uint64{"Unknown": 1, "Error": 1}},
		{"it runs again without having been counted", run{over: true}, statusOf(0, "b", runs, nothing), false, run{}, nil},
		{"an older status", run{restarts: 5}, statusOf(4, "b", ended("Error", "b"), nothing), true, run{restarts: 5}, nil},
		{"an older status, before a reset", run{restarts: 5}, statusOf(0, "b", runs, nothing), true, run{restarts: 5}, nil},
		{"a status that may be older and is not", run{restarts: 5}, statusOf(7, "b", runs, ended("Error", "b")), true, run{restarts: 7}, map[string]uint64{"Unknown": 1, "Error": 1}},
		{"absurd numbers", run{}, statusOf(math.MinInt64, "a", runs, nothing), false, run{}, nil},
	} {
		counts := map[string]uint64{}
		got := c.old.advance(c.status, !c.late, func(reason string, n uint64) { counts[reason] += n })
		maps.DeleteFunc(c.counts, func(_ string, n uint64) bool { return n == 0 })
		if got != c.want || !maps.Equal(counts, c.counts) {
			t.Errorf("%s: %+v and %v, want %+v and %v", c.name, got, counts, c.want, c.counts)
		}
	}
}
