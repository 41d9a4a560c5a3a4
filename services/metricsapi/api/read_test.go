package api

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// TestOldUsageIsNotServedUnderNewLabels goes through what a pod and a sample found by its name may have to do with each
// other. Times are seconds after the epoch.
func TestOldUsageIsNotServedUnderNewLabels(t *testing.T) {
	const long = int64(settling/time.Second) + 100
	for name, c := range map[string]struct {
		pod                         pod
		node, uid                   string
		taken, pointTime, startTime int64
		want                        bool
	}{
		"the usual": {pod: pod{node: "n", created: 100, started: 101}, node: "n", taken: 160, pointTime: 158, startTime: 103, want: true},
		"started in the second in which the kubelet took the pod":                             {pod: pod{node: "n", created: 100, started: 101}, node: "n", taken: 160, pointTime: 158, startTime: 101, want: true},
		"its start is rounded down":                                                           {pod: pod{node: "n", created: 100, started: 101}, node: "n", taken: 160, pointTime: 158, startTime: 100, want: true},
		"taken before the pod was created":                                                    {pod: pod{node: "n", created: 100, started: 101}, node: "n", taken: 95, pointTime: 94, startTime: 103, want: false},
		"read before the pod started, though the scrape was later":                            {pod: pod{node: "n", created: 100, started: 101}, node: "n", taken: 102, pointTime: 99, startTime: 103, want: false},
		"a container of the predecessor":                                                      {pod: pod{node: "n", created: 100, started: 101}, node: "n", taken: 102, pointTime: 101, startTime: 20, want: false},
		"the same, with no start time of the pod":                                             {pod: pod{node: "n", created: 100}, node: "n", taken: 102, pointTime: 101, startTime: 20, want: false},
		"no start time of the container":                                                      {pod: pod{node: "n", created: 100, started: 101}, node: "n", taken: 160, pointTime: 158, want: true},
		"the node's clock is behind, the pod's start time too":                                {pod: pod{node: "n", created: 100, started: 41}, node: "n", taken: 160, pointTime: 98, startTime: 43, want: true},
		"long after the creation, a container's start is what a node with a wrong clock says": {pod: pod{node: "n", created: 100, started: 101}, node: "n", taken: 100 + long, pointTime: 98 + long, startTime: 1, want: true},
		"another node's report":                                                               {pod: pod{node: "n", created: 100, started: 101}, node: "m", taken: 160, pointTime: 158, startTime: 103, want: false},
		"the pod's node is not known":                                                         {pod: pod{created: 100, started: 101}, node: "m", taken: 160, pointTime: 158, startTime: 103, want: true},
		"a static pod is older than what stands for it":                                       {pod: pod{node: "n", created: 100, started: 101, mirror: true, uid: "a"}, node: "n", uid: "b", taken: 160, pointTime: 158, startTime: 20, want: true},
		"the same UID":     {pod: pod{node: "n", created: 100, started: 101, uid: "a"}, node: "n", uid: "a", taken: 160, pointTime: 158, startTime: 20, want: true},
		"another UID":      {pod: pod{node: "n", created: 100, started: 101, uid: "a"}, node: "n", uid: "b", taken: 160, pointTime: 158, startTime: 103, want: false},
		"nothing is known": {pod: pod{}, node: "n", taken: 160, pointTime: 158, startTime: 103, want: true},
	} {
		usage := podUsage("shop", "db-0", container("main", schemas.Point{Time: c.pointTime * 1e9, Start: c.startTime * 1e9}))
		usage.UID = c.uid
		found := view.PodUsage{Sample: &schemas.UsageSample{Node: c.node, Time: c.taken * 1e9}, Pod: &usage}
		if got := belongs(found, &c.pod); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestARecreatedPod is what a StatefulSet does: db-0 is deleted and comes back, with another revision in its labels.
func TestARecreatedPod(t *testing.T) {
	s := start(t, small)
	path := group + "/namespaces/shop/pods/db-0"
	if code, _ := s.get(path); code != 200 {
		t.Fatalf("at first: %d", code)
	}
	again := newPod("shop", "db-0", "node-b", map[string]string{"app": "db", "revision": "2"})
	again.UID = "another"
	again.CreationTimestamp.Time = epoch.Add(-10 * time.Second)
	started := again.CreationTimestamp
	again.Status.StartTime = &started
	s.remove(again)
	s.apply(again)
	if code, body := s.get(path); code != 404 {
		t.Errorf("the old usage: %d %s", code, body)
	}
	fresh := point(7, 7, time.Second)
	fresh.Start, fresh.Time = at(-8*time.Second), at(time.Second)
	sample := nodeSample("node-b", nil, podUsage("shop", "db-0", container("db", fresh)))
	s.sample(sample)
	code, body := s.get(path)
	golden(t, "pod-recreated", body)
	if code != 200 {
		t.Errorf("its own usage: %d", code)
	}
}

func TestARecreatedNode(t *testing.T) {
	s := start(t, small)
	again := newNode("node-a", map[string]string{"pool": "new"})
	again.CreationTimestamp.Time = epoch.Add(time.Second)
	s.apply(again)
	if code, body := s.get(group + "/nodes/node-a"); code != 404 {
		t.Errorf("the old usage: %d %s", code, body)
	}
	p := point(1, 1, time.Second)
	sample := nodeSample("node-a", &p)
	sample.Time = at(2 * time.Second)
	s.sample(sample)
	if code, _ := s.get(group + "/nodes/node-a"); code != 200 {
		t.Errorf("the new usage: %d", code)
	}
}

// TestTheEarliestPointGivesTheTime: ties go to the longer window, so that the answer never depends on an order.
func TestTheEarliestPointGivesTheTime(t *testing.T) {
	a, b, c := point(1, 1, 10*time.Second), point(1, 1, 15*time.Second), point(1, 1, 20*time.Second)
	c.Time += int64(time.Second)
	for _, order := range [][]schemas.ContainerUsage{
		{container("a", a), container("b", b), container("c", c)},
		{container("c", c), container("b", b), container("a", a)},
	} {
		usage := podUsage("shop", "x", order...)
		found := view.PodUsage{Sample: &schemas.UsageSample{Node: "n", Time: at(0)}, Pod: &usage}
		answer, ok := podMetrics(&view.Entry[pod]{Namespace: "shop", Name: "x", Value: pod{labels: &view.Labels{}}}, found, epoch, time.Minute, false)
		if !ok || answer.Timestamp.UnixNano() != a.Time || answer.Window.Duration != 15*time.Second || answer.Containers[0].Name != "a" {
			t.Errorf("%v, %+v", ok, answer)
		}
	}
}

func TestQuantities(t *testing.T) {
	for _, c := range []struct {
		value  uint64
		scale  resource.Scale
		format resource.Format
		want   string
	}{
		{49530274, -9, resource.DecimalSI, "49530274n"}, {1500000, -9, resource.DecimalSI, "1500u"}, {50000000, -9, resource.DecimalSI, "50m"},
		{1e9, -9, resource.DecimalSI, "1"}, {0, -9, resource.DecimalSI, "0"}, {1, -9, resource.DecimalSI, "1n"},
		{4096, 0, resource.BinarySI, "4Ki"}, {12533760, 0, resource.BinarySI, "12240Ki"}, {52428800, 0, resource.BinarySI, "50Mi"},
		{53687091, 0, resource.BinarySI, "53687091"}, {1023, 0, resource.BinarySI, "1023"}, {1616273408, 0, resource.BinarySI, "1578392Ki"},
		{1<<63 - 1, 0, resource.BinarySI, "9223372036854775807"}, {1 << 63, 0, resource.BinarySI, "9223372036854775800"},
		{18446744073709551615, -9, resource.DecimalSI, "18446744073709551610n"},
	} {
		q := quantity(c.value, c.scale, c.format)
		if got := q.String(); got != c.want {
			t.Errorf("%d: %s, want %s", c.value, got, c.want)
		}
	}
}
