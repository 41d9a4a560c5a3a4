package scraper

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// reads are one container's figures in one answer: name, seconds, core-seconds, start.
type reads struct {
	name    string
	at, cpu float64
	start   float64
}

// answer is a kubelet's answer with these containers of one pod, and a node that uses two cores.
func answer(node float64, containers ...reads) string {
	millis := func(at float64) int64 { return base/1e6 + int64(at*1e3) }
	var cpu, memory, started strings.Builder
	for _, c := range containers {
		labels := fmt.Sprintf(`{container="%s",namespace="ns",pod="p"} `, c.name)
		fmt.Fprintf(&cpu, "container_cpu_usage_seconds_total%s%v %d\n", labels, c.cpu, millis(c.at))
		fmt.Fprintf(&memory, "container_memory_working_set_bytes%s1 %d\n", labels, millis(c.at))
		fmt.Fprintf(&started, "container_start_time_seconds%s%f\n", labels, float64(base)/1e9+c.start)
	}
	return cpu.String() + memory.String() + started.String() +
		fmt.Sprintf("node_cpu_usage_seconds_total %v %d\nnode_memory_working_set_bytes 1 %d\n", 100+2*node, millis(node), millis(node))
}

// told is what the Metrics API may tell after a sample: "node 2 in 15s" and "c 0.5 in 15s", "c -" for a container that has
// no rate for want of a former point, "c !" where its counter went backwards. Nothing of a pod that isn't there.
func told(s *schemas.UsageSample) []string {
	var all []string
	tell := func(name string, p *schemas.Point) {
		switch {
		case p.Window == 0:
			all = append(all, name+" -")
		case !p.HasRate():
			all = append(all, name+" !")
		default:
			all = append(all, fmt.Sprintf("%s %v in %v", name, float64(p.Rate)/1e9, time.Duration(p.Window)))
		}
	}
	if s.Point != nil {
		tell("node", s.Point)
	}
	for i := range s.Pods {
		for j := range s.Pods[i].Containers {
			c := &s.Pods[i].Containers[j]
			tell(c.Name, &c.Point)
		}
	}
	sort.Strings(all)
	return all
}

// The scenarios of section 1.4 of the contract, answer by answer, at a resolution of 15 s. What the Metrics API makes of a
// pod that has one container without a rate is its own affair: there, the pod is absent.
func TestScenarios(t *testing.T) {
	const old = -1000 // started long ago
	type step struct {
		body string
		want []string
	}
	for name, steps := range map[string][]step{
		"the first scrape has no rates, the second has": {
			{answer(0, reads{"c", 0, 10, old}), []string{"c -", "node -"}},
			{answer(15, reads{"c", 15, 17.5, old}), []string{"c 0.5 in 15s", "node 2 in 15s"}},
		},
		"a second scrape of the same figures still has none, a later one repeats the former answer": {
			{answer(0, reads{"c", 0, 10, old}), []string{"c -", "node -"}},
			{answer(0, reads{"c", 0, 10, old}), []string{"c -", "node -"}},
			{answer(15, reads{"c", 15, 17.5, old}), []string{"c 0.5 in 15s", "node 2 in 15s"}},
			{answer(15, reads{"c", 15, 17.5, old}), []string{"c 0.5 in 15s", "node 2 in 15s"}},
			{answer(30, reads{"c", 30, 40, old}), []string{"c 1.5 in 15s", "node 2 in 15s"}},
		},
		"a restarted container has none until the next scrape": {
			{answer(0, reads{"c", 0, 10, old}), []string{"c -", "node -"}},
			{answer(15, reads{"c", 15, 17.5, old}), []string{"c 0.5 in 15s", "node 2 in 15s"}},
			{answer(30, reads{"c", 30, 2, 27}), []string{"c -", "node 2 in 15s"}},
			{answer(45, reads{"c", 45, 17, 27}), []string{"c 1 in 15s", "node 2 in 15s"}},
			{answer(60, reads{"c", 60, 32, 27}), []string{"c 1 in 15s", "node 2 in 15s"}},
		},
		"a container restarted 10 to 15 s ago is measured from its start": {
			{answer(0, reads{"c", 0, 10, old}), []string{"c -", "node -"}},
			{answer(15, reads{"c", 15, 6, 3}), []string{"c 0.5 in 12s", "node 2 in 15s"}},
			{answer(30, reads{"c", 30, 21, 3}), []string{"c 1 in 15s", "node 2 in 15s"}},
		},
		"a container that is new beside another": {
			{answer(0, reads{"c", 0, 10, old}), []string{"c -", "node -"}},
			{answer(15, reads{"c", 15, 17.5, old}), []string{"c 0.5 in 15s", "node 2 in 15s"}},
			{answer(30, reads{"c", 30, 25, old}, reads{"d", 30, 1, 28}), []string{"c 0.5 in 15s", "d -", "node 2 in 15s"}},
			{answer(45, reads{"c", 45, 32.5, old}, reads{"d", 45, 4, 28}), []string{"c 0.5 in 15s", "d 0.2 in 15s", "node 2 in 15s"}},
		},
		"a crashed container that is no longer reported leaves the others": {
			{answer(0, reads{"c", 0, 10, old}, reads{"d", 0, 1, old}), []string{"c -", "d -", "node -"}},
			{answer(15, reads{"c", 15, 17.5, old}), []string{"c 0.5 in 15s", "node 2 in 15s"}},
			{answer(30, reads{"c", 30, 25, old}, reads{"d", 30, 2, 29}), []string{"c 0.5 in 15s", "d -", "node 2 in 15s"}},
			{answer(45, reads{"c", 45, 32.5, old}, reads{"d", 45, 17, 29}), []string{"c 0.5 in 15s", "d 1 in 15s", "node 2 in 15s"}},
		},
		"a counter that fell without a restart": {
			{answer(0, reads{"c", 0, 10, old}, reads{"d", 0, 1, old}), []string{"c -", "d -", "node -"}},
			{answer(15, reads{"c", 15, 5, old}, reads{"d", 15, 4, old}), []string{"c !", "d 0.2 in 15s", "node 2 in 15s"}},
			{answer(30, reads{"c", 30, 12.5, old}, reads{"d", 30, 7, old}), []string{"c 0.5 in 15s", "d 0.2 in 15s", "node 2 in 15s"}},
		},
		"one container at zero takes its pod away, and its past": {
			{answer(0, reads{"c", 0, 10, old}, reads{"d", 0, 1, old}), []string{"c -", "d -", "node -"}},
			{answer(15, reads{"c", 15, 17.5, old}, reads{"d", 15, 0, old}), []string{"node 2 in 15s"}},
			{answer(30, reads{"c", 30, 25, old}, reads{"d", 30, 2, old}), []string{"c -", "d -", "node 2 in 15s"}},
			{answer(45, reads{"c", 45, 32.5, old}, reads{"d", 45, 17, old}), []string{"c 0.5 in 15s", "d 1 in 15s", "node 2 in 15s"}},
		},
		"clocks that jump back, and ahead": {
			{answer(100, reads{"c", 100, 10, old}), []string{"c -", "node -"}},
			{answer(115, reads{"c", 115, 17.5, old}), []string{"c 0.5 in 15s", "node 2 in 15s"}},
			{answer(105, reads{"c", 105, 20, old}), []string{"c 2 in 5s", "node 2 in 5s"}},
			{answer(120, reads{"c", 120, 27.5, old}), []string{"c 0.5 in 15s", "node 2 in 15s"}},
			{answer(180, reads{"c", 180, 35, old}), []string{"c 0.125 in 1m0s", "node 2 in 1m0s"}},
		},
		"a late reading is measured from before the one that it is earlier than": {
			{answer(15, reads{"c", 15, 10, old}), []string{"c -", "node -"}},
			{answer(35, reads{"c", 35, 50, old}), []string{"c 2 in 20s", "node 2 in 20s"}},
			{answer(25, reads{"c", 25, 35, old}), []string{"c 2.5 in 10s", "node 2 in 10s"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var h history
			for i, step := range steps {
				s, _, err := decodeNext(t, &h, step.body)
				if err != nil {
					t.Fatalf("answer %d: %v", i, err)
				}
				if diff := cmp.Diff(step.want, told(s)); diff != "" {
					t.Errorf("answer %d: %s", i, diff)
				}
			}
		})
	}
}

// Which nodes are scraped doesn't depend on how they are: one that isn't ready, takes no pods, or is about to go is asked
// like any other.
func TestNodesInAnyConditionAreScraped(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	notReady, unschedulable, going := runKubelet(t, "not-ready"), runKubelet(t, "unschedulable"), runKubelet(t, "going")
	n := notReady.node()
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown"}}
	u := unschedulable.node()
	u.Spec.Unschedulable = true
	u.Spec.Taints = []corev1.Taint{{Key: "node.kubernetes.io/unreachable", Effect: corev1.TaintEffectNoExecute}}
	g := going.node()
	g.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	w.put(schemas.Applied, n, u, g)
	_, stop := w.run()
	for _, node := range []string{"not-ready", "unschedulable", "going"} {
		w.next(node, nil)
	}
	stop()
}
