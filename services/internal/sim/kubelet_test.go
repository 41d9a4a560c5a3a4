package sim_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/sim/fault"
	"github.com/headwater-metrics/headwater/services/internal/sim/kubelet"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// parse reads an exposition with Prometheus' own parser.
func parse(t testing.TB, body string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, body)
	}
	return families
}

func labelsOf(m *dto.Metric) map[string]string {
	labels := map[string]string{}
	for _, pair := range m.Label {
		labels[pair.GetName()] = pair.GetValue()
	}
	return labels
}

// What a kubelet says is the truth, to the nanosecond, at the times that it says.
func TestScrapeIsTheTruth(t *testing.T) {
	c := testenv.Sim(t, sim.Options{PodsPerNode: 30})
	truth := c.Truth()
	containers, twins := 0, 0
	for _, pod := range truth.Pods() {
		containers += len(pod.Containers)
		twins += len(pod.Containers) - 1
	}
	if pods := len(truth.Pods()); pods != 90 || twins < 27 || twins > 33 {
		t.Errorf("%d pods, %d of them with two containers", pods, twins)
	}
	seen := 0
	for _, node := range truth.Nodes() {
		code, body, err := scrape(t.Context(), c, scraper(c), kubeletURL(t, c, node))
		if err != nil || code != http.StatusOK {
			t.Fatalf("%d, %v", code, err)
		}
		families := parse(t, body)
		for _, m := range families["container_cpu_usage_seconds_total"].Metric {
			labels := labelsOf(m)
			meter, ok := truth.Container(labels["namespace"], labels["pod"], labels["container"])
			if !ok {
				t.Fatalf("%v doesn't exist", labels)
			}
			seen++
			at := time.UnixMilli(m.GetTimestampMs())
			if got, want := m.GetCounter().GetValue(), float64(meter.CPU(at))/1e9; got != want || got <= 0 {
				t.Errorf("%v: %v core-seconds at %v, want %v", labels, got, at, want)
			}
		}
		for _, m := range families["container_memory_working_set_bytes"].Metric {
			labels := labelsOf(m)
			meter, _ := truth.Container(labels["namespace"], labels["pod"], labels["container"])
			if got, want := m.GetGauge().GetValue(), float64(meter.Memory(time.UnixMilli(m.GetTimestampMs()))); got != want || got <= 0 {
				t.Errorf("%v: %v bytes, want %v", labels, got, want)
			}
		}
		for _, m := range families["container_start_time_seconds"].Metric {
			labels := labelsOf(m)
			meter, _ := truth.Container(labels["namespace"], labels["pod"], labels["container"])
			if got, want := m.GetGauge().GetValue(), float64(meter.Start().UnixNano())/1e9; got != want || m.TimestampMs != nil {
				t.Errorf("%v: started at %v, want %v, timestamp %v", labels, got, want, m.TimestampMs)
			}
		}
		meter, _ := truth.Node(node)
		m := families["node_cpu_usage_seconds_total"].Metric[0]
		if got, want := m.GetCounter().GetValue(), float64(meter.CPU(time.UnixMilli(m.GetTimestampMs())))/1e9; got != want {
			t.Errorf("%s: %v core-seconds, want %v", node, got, want)
		}
		if got := families["node_memory_working_set_bytes"].Metric[0].GetGauge().GetValue(); got < 300<<20 {
			t.Errorf("%s: %v bytes", node, got)
		}
		if got := len(families["pod_cpu_usage_seconds_total"].Metric); got != 30 {
			t.Errorf("%s: series of %d pods", node, got)
		}
		for _, name := range []string{"container_swap_limit_bytes", "container_swap_usage_bytes", "pod_memory_working_set_bytes", "pod_swap_usage_bytes", "node_swap_usage_bytes", "scrape_error", "resource_scrape_error"} {
			if families[name] == nil {
				t.Errorf("%s is missing", name)
			}
		}
	}
	if seen != containers {
		t.Errorf("series of %d containers, want %d", seen, containers)
	}
}

// A node's counter is its own, its containers' and that of containers that are gone; it never goes back.
func TestCountersGoOn(t *testing.T) {
	clock := newClock()
	c := testenv.Sim(t, sim.Options{Now: clock.now})
	pod := runningPod(t, c, 1)
	node, _ := c.Truth().Node(pod.Spec.NodeName)
	old, _ := c.Truth().Container(pod.Namespace, pod.Name, "main")
	start := clock.now()

	clock.advance(10 * time.Second)
	if err := c.SetUsage(pod.Namespace, pod.Name, "main", 1500, 64<<20); err != nil {
		t.Fatal(err)
	}
	clock.advance(10 * time.Second)
	if got := old.Rate(start.Add(10*time.Second), clock.now()); math.Abs(got-1.5e9) > 1 {
		t.Errorf("%v nanocores where 1500 millicores were set", got)
	}
	if got := old.Memory(clock.now()); got != 64<<20 {
		t.Errorf("%d bytes", got)
	}
	before, nodeBefore := old.CPU(clock.now()), node.CPU(clock.now())
	if err := c.RestartContainer(pod.Namespace, pod.Name, "main"); err != nil {
		t.Fatal(err)
	}
	clock.advance(5 * time.Second)
	restarted, ok := c.Truth().Container(pod.Namespace, pod.Name, "main")
	if !ok || restarted.CPU(clock.now()) >= before || !restarted.Start().After(old.Start()) {
		t.Errorf("after a restart: %d of %d, started %v", restarted.CPU(clock.now()), before, restarted.Start())
	}
	if got := node.CPU(clock.now()); got <= nodeBefore {
		t.Errorf("the node's counter went from %d to %d", nodeBefore, got)
	}
	again, err := c.RecreatePod(pod.Namespace, pod.Name)
	if err != nil {
		t.Fatal(err)
	}
	clock.advance(5 * time.Second)
	if got := c.Truth().Pods(); again.UID == pod.UID || !hasPod(got, again.UID) || hasPod(got, pod.UID) {
		t.Errorf("after making it anew the pod has the UID %s, had %s", again.UID, pod.UID)
	}
	nodeBefore = node.CPU(clock.now())
	if err := c.DeletePod(pod.Namespace, pod.Name); err != nil {
		t.Fatal(err)
	}
	if got := node.CPU(clock.now()); got != nodeBefore {
		t.Errorf("deleting a pod moved the node's counter from %d to %d", nodeBefore, got)
	}
}

func hasPod(pods []kubelet.Pod, uid any) bool {
	for _, pod := range pods {
		if any(pod.UID) == uid {
			return true
		}
	}
	return false
}

// Between two housekeepings a kubelet repeats itself.
func TestHousekeeping(t *testing.T) {
	clock := newClock()
	c := testenv.Sim(t, sim.Options{Now: clock.now, Housekeeping: 10 * time.Second})
	url, node := kubeletURL(t, c, "node-0001"), "node_cpu_usage_seconds_total"
	read := func() (float64, int64) {
		_, body, err := scrape(t.Context(), c, scraper(c), url)
		if err != nil {
			t.Fatal(err)
		}
		m := parse(t, body)[node].Metric[0]
		return m.GetCounter().GetValue(), m.GetTimestampMs()
	}
	value, at := read()
	clock.advance(time.Millisecond)
	if again, atAgain := read(); again != value || atAgain != at {
		t.Errorf("%v at %d, then %v at %d", value, at, again, atAgain)
	}
	clock.advance(10 * time.Second)
	if next, atNext := read(); next <= value || atNext != at+10_000 {
		t.Errorf("%v at %d, then %v at %d", value, at, next, atNext)
	}
}

func TestKubeletAccess(t *testing.T) {
	c := testenv.Sim(t, sim.Options{})
	url := kubeletURL(t, c, "node-0001")
	for token, want := range map[string]int{"": http.StatusUnauthorized, "wrong": http.StatusUnauthorized, c.Token(): http.StatusOK} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := scraper(c).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want || response.ProtoMajor != 2 {
			t.Errorf("token %q: %s over %s", token, response.Status, response.Proto)
		}
	}
	c.Forbid("nodes")
	if code, _, err := scrape(t.Context(), c, scraper(c), url); code != http.StatusForbidden {
		t.Errorf("forbidden: %d, %v", code, err)
	}
	c.Permit("nodes")
	// Who doesn't know the authority can't be fooled.
	if _, _, err := scrape(t.Context(), c, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{}}}, url); err == nil {
		t.Error("the kubelet's certificate is trusted without its authority")
	}
}

func TestKubeletFaults(t *testing.T) {
	c := testenv.Sim(t, sim.Options{})
	url, other := kubeletURL(t, c, "node-0001"), kubeletURL(t, c, "node-0002")
	type outcome func(code int, body string, err error) bool
	failed := func(_ int, _ string, err error) bool { return err != nil }
	for name, test := range map[string]struct {
		fault fault.Fault
		want  outcome
	}{
		"hang":      {fault.Hang(), failed},
		"reset":     {fault.Reset(), failed},
		"401":       {fault.Status(401), func(code int, _ string, err error) bool { return code == 401 && err == nil }},
		"500":       {fault.Status(500), func(code int, _ string, err error) bool { return code == 500 && err == nil }},
		"html":      {fault.HTML(), func(code int, body string, _ error) bool { return code == 200 && strings.Contains(body, "<html>") }},
		"huge":      {fault.Huge(5 << 20), func(_ int, body string, err error) bool { return len(body) == 5<<20 && err == nil }},
		"labelless": {fault.Labelless(), func(_ int, body string, _ error) bool { return strings.Contains(body, "_total 12.5") }},
		"cut":       {fault.Cut(), failed},
		"late":      {fault.Late(10 * time.Millisecond), func(code int, body string, err error) bool { return code == 200 && err == nil && len(body) > 1000 }},
		"trickle": {fault.Trickle(512, time.Microsecond), func(_ int, body string, err error) bool {
			return err == nil && strings.HasSuffix(body, "scrape_error 0\n")
		}},
		"rewrite": {fault.Rewrite(func(b []byte) []byte { return append([]byte("# first\n"), b...) }), func(_ int, body string, err error) bool {
			return err == nil && strings.HasPrefix(body, "# first\n") && strings.HasSuffix(body, "scrape_error 0\n")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			mend, err := c.BendKubelet("node-0001", test.fault)
			if err != nil {
				t.Fatal(err)
			}
			httpClient := scraper(c)
			defer httpClient.CloseIdleConnections()
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			if name == "hang" {
				ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
			}
			defer cancel()
			code, body, err := scrape(ctx, c, httpClient, url)
			if !test.want(code, body, err) {
				t.Errorf("%d, %d bytes, %v", code, len(body), err)
			}
			if code, _, err := scrape(t.Context(), c, httpClient, other); code != 200 {
				t.Errorf("another node's kubelet: %d, %v", code, err)
			}
			mend()
			if code, _, err := scrape(t.Context(), c, httpClient, url); code != 200 {
				t.Errorf("mended: %d, %v", code, err)
			}
		})
	}
	t.Run("down", func(t *testing.T) {
		httpClient := scraper(c)
		defer httpClient.CloseIdleConnections()
		if err := c.KubeletDown("node-0001"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := scrape(t.Context(), c, httpClient, url); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("down: %v", err)
		}
		if err := c.KubeletUp("node-0001"); err != nil {
			t.Fatal(err)
		}
		if code, _, err := scrape(t.Context(), c, httpClient, url); code != 200 {
			t.Errorf("up again: %d, %v", code, err)
		}
	})
}

func TestNodesComeAndGo(t *testing.T) {
	c := testenv.Sim(t, sim.Options{})
	name, err := c.AddNode()
	if err != nil {
		t.Fatal(err)
	}
	if code, body, err := scrape(t.Context(), c, scraper(c), kubeletURL(t, c, name)); code != 200 || strings.Contains(body, "{") {
		t.Errorf("a new node: %d, %v: %s", code, err, body)
	}
	gone := kubeletURL(t, c, "node-0002")
	if err := c.RemoveNode("node-0002"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := scrape(t.Context(), c, scraper(c), gone); err == nil {
		t.Error("the removed node's kubelet still answers")
	}
	left, err := client(t, c).CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=node-0002"})
	if err != nil || len(left.Items) > 0 {
		t.Errorf("%d pods are left, %v", len(left.Items), err)
	}
	if got := fmt.Sprint(c.Truth().Nodes()); got != "[node-0001 node-0003 node-0004]" {
		t.Errorf("nodes: %s", got)
	}
	obj, err := client(t, c).CoreV1().Nodes().Get(t.Context(), "node-0001", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	obj.Annotations[kubelet.PathAnnotation] = "/elsewhere"
	if _, err := client(t, c).CoreV1().Nodes().Update(t.Context(), obj, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if code, _, err := scrape(t.Context(), c, scraper(c), sim.KubeletURL(obj)+"/elsewhere"); code != 200 {
		t.Errorf("the path of the annotation: %d, %v", code, err)
	}
}

// A pod that is put there is reported as its status says.
func TestPutPod(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Bare: true})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "put"}}
	pod.Spec = corev1.PodSpec{NodeName: "node-0001", Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "a", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Now().Add(-time.Minute))}}},
		{Name: "b", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}},
	}
	if _, err := c.Put(pod); err != nil {
		t.Fatal(err)
	}
	_, body, err := scrape(t.Context(), c, scraper(c), kubeletURL(t, c, "node-0001"))
	if err != nil {
		t.Fatal(err)
	}
	if got := parse(t, body)["container_cpu_usage_seconds_total"].GetMetric(); len(got) != 1 || labelsOf(got[0])["container"] != "a" {
		t.Errorf("got %v", got)
	}
}
