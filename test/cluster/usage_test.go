package cluster

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

// start is a moment with a fraction, which an exposition has to cut to milliseconds.
var start = time.Date(2026, 5, 4, 3, 2, 1, 500_000_789, time.UTC)

func podOf(uid, name, node string, started time.Time, containers ...string) *podTruth {
	p := &podTruth{podKey: podKey{"shop", name}, uid: uid, node: node, labels: map[string]string{"app": "web"}, cpu: meter{at: started}}
	for _, c := range containers {
		p.containers = append(p.containers, &containerTruth{name: c, started: started, cpu: meter{at: started}})
	}
	return p
}

func TestExposition(t *testing.T) {
	truth := newTruth([]string{"a", "b"}, start)
	truth.setRule(rule{match: Match{Namespace: "shop"}, usage: Usage{CPU: 250, Memory: 1 << 20}}, start)
	truth.setRule(rule{match: Match{Container: "side"}, usage: Usage{CPU: 1000, Memory: 3}}, start)
	truth.run(podOf("1", "web-1", "a", start, "main", "side"), start)
	truth.run(podOf("2", "web-0", "a", start, "main"), start)
	truth.run(podOf("3", "elsewhere", "b", start, "main"), start)

	// The counters stand for the millisecond beside them: 10.5 s less the fraction that was cut off.
	const want = `# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="main",namespace="shop",pod="web-0"} 2.624999803 1777863732000
container_cpu_usage_seconds_total{container="main",namespace="shop",pod="web-1"} 2.624999803 1777863732000
container_cpu_usage_seconds_total{container="side",namespace="shop",pod="web-1"} 10.499999211 1777863732000
# HELP container_memory_working_set_bytes [STABLE] Current working set of the container in bytes
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="main",namespace="shop",pod="web-0"} 1.048576e+06 1777863732000
container_memory_working_set_bytes{container="main",namespace="shop",pod="web-1"} 1.048576e+06 1777863732000
container_memory_working_set_bytes{container="side",namespace="shop",pod="web-1"} 3 1777863732000
# HELP container_start_time_seconds [STABLE] Start time of the container since unix epoch in seconds
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container="main",namespace="shop",pod="web-0"} 1.7778637215000007e+09
`
	got := string(truth.expose("a", start.Add(10*time.Second+500*time.Millisecond)))
	if !strings.HasPrefix(got, want) {
		t.Errorf("the exposition begins otherwise than\n%s\ngot\n%s", want, got)
	}
	for _, line := range []string{
		"node_cpu_usage_seconds_total 17.324998698 1777863732000",
		`pod_cpu_usage_seconds_total{namespace="shop",pod="web-1"} 13.124999014 1777863732000`,
		`pod_memory_working_set_bytes{namespace="shop",pod="web-1"} 1.048579e+06 1777863732000`,
		`container_swap_usage_bytes{container="side",namespace="shop",pod="web-1"} 0 1777863732000`,
		"scrape_error 0",
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("the exposition has no line %s\ngot\n%s", line, got)
		}
	}
}

func TestExpositionWithoutPods(t *testing.T) {
	got := string(newTruth([]string{"a"}, start).expose("a", start))
	if strings.Contains(got, "container_") || strings.Contains(got, "pod_") {
		t.Errorf("a node without pods has series of some:\n%s", got)
	}
}

func TestCountersSurviveChanges(t *testing.T) {
	truth := newTruth([]string{"a"}, start)
	match := Match{Labels: map[string]string{"app": "web"}}
	truth.setRule(rule{match: match, usage: Usage{CPU: 1000, Memory: 1}}, start)
	// The pod is known a second after it started, and that second counts.
	truth.run(podOf("1", "web", "a", start, "main"), start.Add(time.Second))
	truth.setRule(rule{match: match, usage: Usage{CPU: 500, Memory: 1}}, start.Add(10*time.Second))
	// The same pod again, as a change of its status says it.
	truth.run(podOf("1", "web", "a", start, "main"), start.Add(15*time.Second))
	if got := counter(truth, start.Add(20*time.Second)); got != 15 {
		t.Errorf("10 s at 1 core and 10 s at half a core make %v core-seconds, want 15", got)
	}

	// Its container is started again.
	restarted := start.Add(30 * time.Second)
	truth.run(podOf("1", "web", "a", restarted, "main"), restarted)
	if got := counter(truth, restarted.Add(2*time.Second)); got != 1 {
		t.Errorf("2 s after a restart the counter is %v, want 1", got)
	}
	if got := truth.pods[podKey{"shop", "web"}].cpu.read(restarted); math.Abs(got-20) > 1e-9 {
		t.Errorf("the pod's counter is %v after its container's restart, want 20", got)
	}

	// Another pod takes its name, and then the end of the first is heard.
	replaced := start.Add(40 * time.Second)
	truth.run(podOf("2", "web", "a", replaced, "main"), replaced)
	truth.end(podKey{"shop", "web"}, "1", replaced)
	if got := counter(truth, replaced.Add(4*time.Second)); got != 2 {
		t.Errorf("4 s after another pod took the name the counter is %v, want 2", got)
	}
	truth.end(podKey{"shop", "web"}, "2", replaced)
	if list := truth.list(); len(list) != 0 {
		t.Errorf("after the end there is still %v", list)
	}
}

// counter reads the one container's counter.
func counter(t *truth, at time.Time) float64 {
	return t.pods[podKey{"shop", "web"}].containers[0].cpu.read(at)
}

func TestSharedUsage(t *testing.T) {
	truth := newTruth([]string{"a"}, start)
	truth.setRule(rule{match: Match{Namespace: "shop"}, usage: Usage{CPU: 900, Memory: 900}, shared: true}, start)
	for i, uid := range []string{"1", "2", "3"} {
		truth.run(podOf(uid, "web-"+uid, "a", start, "main"), start)
		for _, p := range truth.list() {
			if got, want := p.Total(), (Usage{CPU: 900 / float64(i+1), Memory: 900 / uint64(i+1)}); got != want {
				t.Errorf("with %d pods one uses %v, want %v", i+1, got, want)
			}
		}
	}
	// A later rule takes one out of the share.
	truth.setRule(rule{match: Match{Pod: "web-1"}, usage: Usage{CPU: 7, Memory: 7}}, start)
	want := []Usage{{CPU: 7, Memory: 7}, {CPU: 450, Memory: 450}, {CPU: 450, Memory: 450}}
	for i, p := range truth.list() {
		if got := p.Total(); got != want[i] {
			t.Errorf("%s uses %v, want %v", p.Name, got, want[i])
		}
	}
}

func TestSummary(t *testing.T) {
	begin := time.Unix(1700000000, 0)
	truth := newTruth([]string{"node-1"}, begin)
	truth.setRule(rule{match: Match{Container: "main"}, usage: Usage{CPU: 250, Memory: 64 << 20, Swap: 8 << 20}}, begin)
	truth.run(&podTruth{podKey: podKey{"a", "web"}, uid: "u1", node: "node-1", cpu: meter{at: begin}, containers: []*containerTruth{
		{name: "main", started: begin, cpu: meter{at: begin}}, {name: "side", started: begin, cpu: meter{at: begin}},
	}}, begin)
	raw, err := json.Marshal(truth.summary("node-1", begin.Add(8*time.Second+700*time.Millisecond)))
	if err != nil {
		t.Fatal(err)
	}
	type measured struct {
		CPU     struct{ UsageCoreNanoSeconds uint64 }
		Memory  struct{ WorkingSetBytes uint64 }
		Swap    struct{ SwapUsageBytes uint64 }
		Network struct{ Interfaces []struct{ RxBytes uint64 } }
	}
	var got struct {
		Node measured
		Pods []struct {
			PodRef     struct{ Name, Namespace, UID string }
			Containers []struct {
				Name string
				measured
			}
			measured
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Pods) != 1 || got.Pods[0].PodRef.UID != "u1" || len(got.Pods[0].Containers) != 2 {
		t.Fatalf("%s", raw)
	}
	pod, main := got.Pods[0], got.Pods[0].Containers[0]
	if main.Name != "main" || main.CPU.UsageCoreNanoSeconds != 2e9 || main.Memory.WorkingSetBytes != 64<<20 || main.Swap.SwapUsageBytes != 8<<20 {
		t.Errorf("the container is %+v", main)
	}
	if pod.Memory.WorkingSetBytes != 64<<20+defaultUsage.Memory || len(pod.Network.Interfaces) != 1 || pod.Network.Interfaces[0].RxBytes != 8*ReceivedRate {
		t.Errorf("the pod is %+v", pod)
	}
	if got.Node.Memory.WorkingSetBytes != pod.Memory.WorkingSetBytes+systemUsage.Memory || got.Node.Swap.SwapUsageBytes != 8<<20 {
		t.Errorf("the node is %+v", got.Node)
	}
	for _, line := range []string{`container_swap_usage_bytes{container="main",namespace="a",pod="web"} 8.388608e+06 `, `node_swap_usage_bytes 8.388608e+06 `, `container_cpu_usage_seconds_total{container="main",namespace="a",pod="web"} 2 `} {
		if body := string(truth.expose("node-1", begin.Add(8*time.Second))); !strings.Contains(body, line) {
			t.Errorf("%s is not in\n%s", line, body)
		}
	}
}
