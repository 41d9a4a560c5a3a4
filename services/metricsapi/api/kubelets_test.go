package api

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater-metrics/headwater/schemas"
)

// report feeds a scrape report, encoded as on the wire.
func (s *served) report(report schemas.ScrapeReport) {
	s.t.Helper()
	s.event(s.samples, schemas.ScrapeSubject{Cluster: "test", Node: report.Node}.String(), report.Marshal())
}

// ownSeries returns the lines of /metrics that are metrics-server's own, in the way in which testdata/metrics-server has them:
// without values, HELP texts and, of several nodes, one.
func ownSeries(page string) (lines []string) {
	value := regexp.MustCompile(` [0-9.e+-]+$`)
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		name := strings.TrimPrefix(line, "# TYPE ")
		if strings.HasPrefix(name, "metrics_server_") {
			lines = append(lines, value.ReplaceAllString(line, ""))
		}
	}
	return lines
}

// TestSelfMetricsAreThoseOfMetricsServer compares names, types, labels, buckets and their order with the real ones.
func TestSelfMetricsAreThoseOfMetricsServer(t *testing.T) {
	s := start(t, func(s *served) { s.apply(newNode("node-1.test", nil)) }, func(c *Config) { c.Options.Resolution = 10 * time.Second })
	p := point(1, 1, time.Second)
	s.sample(nodeSample("node-1.test", &p))
	s.service.metrics.kubelets.endRound()
	s.get(group + "/nodes")
	_, page := s.get("/metrics")
	var want []string
	for line := range strings.Lines(reference(t, "metrics.txt")) {
		if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, "# HELP ") {
			want = append(want, line)
		}
	}
	if diff := cmp.Diff(want, ownSeries(page)); diff != "" {
		t.Errorf("(-metrics-server +ours):\n%s", diff)
	}
	for line := range strings.Lines(page) {
		if help, ok := strings.CutPrefix(line, "# HELP metrics_server_"); ok && !strings.Contains(help, " [ALPHA] ") {
			t.Errorf("%s does not say that it is alpha", line)
		}
	}
}

// TestScrapesAreCounted: what is replayed is not counted, what is live is, once; failures have a reason in their report.
func TestScrapesAreCounted(t *testing.T) {
	s := newServed(t)
	small(s) // replayed
	s.report(schemas.ScrapeReport{Node: "node-b", Result: "timeout", Time: at(-time.Minute), Duration: 1e9, Failures: 1})
	s.whole()
	k := s.service.metrics.kubelets
	expect := func(step, metric, want string) {
		t.Helper()
		if err := testutil.CollectAndCompare(k, strings.NewReader(want), "metrics_server_"+metric); err != nil {
			t.Errorf("%s: %v", step, err)
		}
	}
	if n := testutil.CollectAndCount(k); n != 1 { // the ticks
		t.Errorf("%d series before anything happened", n)
	}
	p := point(1, 1, time.Second)
	sample := nodeSample("node-a", &p)
	sample.Time, sample.Duration = at(0), int64(30*time.Millisecond)
	s.sample(sample)
	failed := schemas.ScrapeReport{Node: "node-b", Result: "timeout", Error: "took too long", Time: at(500 * time.Millisecond), Duration: int64(10 * time.Second), Failures: 2}
	s.report(failed)
	s.report(schemas.ScrapeReport{Node: "node-a", Result: schemas.ScrapeSuccess, Time: at(0), Duration: 1}) // its sample was counted
	s.usage.rebuilding.Store(true)
	s.report(failed)
	s.sample(sample)
	s.usage.rebuilding.Store(false)
	const requests = "# HELP metrics_server_kubelet_request_total [ALPHA] Attempts to scrape a kubelet, by whether they succeeded.\n# TYPE metrics_server_kubelet_request_total counter\n"
	expect("one good, one bad", "kubelet_request_total", requests+`
metrics_server_kubelet_request_total{success="false"} 1
metrics_server_kubelet_request_total{success="true"} 1
`)
	expect("one good, one bad", "kubelet_last_request_time_seconds", `
# HELP metrics_server_kubelet_last_request_time_seconds [ALPHA] When the last attempt to scrape a node's kubelet ended, in Unix seconds.
# TYPE metrics_server_kubelet_last_request_time_seconds gauge
metrics_server_kubelet_last_request_time_seconds{node="node-a"} 1.772600767e+09
metrics_server_kubelet_last_request_time_seconds{node="node-b"} 1.772600777e+09
`)
	k.endRound()
	k.endRound() // in which nothing happened
	const name = "metrics_server_manager_tick_duration_seconds"
	var page strings.Builder
	for _, m := range k.collect() {
		page.WriteString(m.Desc().String() + "\n")
	}
	if k.ticks.count != 1 || k.ticks.sum != 10 || !strings.Contains(page.String(), name) {
		t.Errorf("ticks: %+v", k.ticks)
	}
	s.remove(newNode("node-b", nil))
	s.service.forget(0)
	expect("a deleted node", "kubelet_last_request_time_seconds", `
# HELP metrics_server_kubelet_last_request_time_seconds [ALPHA] When the last attempt to scrape a node's kubelet ended, in Unix seconds.
# TYPE metrics_server_kubelet_last_request_time_seconds gauge
metrics_server_kubelet_last_request_time_seconds{node="node-a"} 1.772600767e+09
`)
	if _, ok := s.service.reports.get("node-b"); ok {
		t.Error("a deleted node still has a report")
	}
	if err := testutil.CollectAndCompare(s.service.metrics.points, strings.NewReader(`
# HELP metrics_server_storage_points [ALPHA] Points held of nodes and of containers that have one before them, so that they can be served.
# TYPE metrics_server_storage_points gauge
metrics_server_storage_points{type="container"} 2
metrics_server_storage_points{type="node"} 3
`)); err != nil { // node-a's pods went with its last sample; the point of the node named first has none before it
		t.Error(err)
	}
}

// TestStoredPoints: of what has one reading only, nothing can be served, so it isn't counted.
func TestStoredPoints(t *testing.T) {
	twice, once := point(1, 1, time.Second), point(0, 1, 0)
	for name, c := range map[string]struct {
		sample            schemas.UsageSample
		nodes, containers int
	}{
		"all":           {nodeSample("n", &twice, podUsage("ns", "p", container("a", twice), container("b", twice))), 1, 2},
		"one container": {nodeSample("n", &twice, podUsage("ns", "p", container("a", twice), container("b", once))), 1, 1},
		"the node":      {nodeSample("n", &once, podUsage("ns", "p", container("a", twice)), podUsage("ns", "q", container("a", twice))), 0, 2},
		"without node":  {nodeSample("n", nil, podUsage("ns", "p", container("a", once))), 0, 0},
	} {
		if nodes, containers := servable(&c.sample); nodes != c.nodes || containers != c.containers {
			t.Errorf("%s: %d nodes, %d containers; want %d, %d", name, nodes, containers, c.nodes, c.containers)
		}
	}
}

func TestTickBounds(t *testing.T) {
	for resolution, want := range map[time.Duration][]float64{
		15 * time.Second: {12.5, 15, 22.5, 30}, time.Minute: {35, 60, 90, 120}, 10 * time.Second: nil, time.Second: nil, 11 * time.Second: {10.5, 11, 16.5, 22},
		12 * time.Second: {11, 12, 18, 24},
	} {
		if got := tickBounds(resolution)[11:]; !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", resolution, got, want)
		}
	}
	if got := tickBounds(3 * time.Second); !slices.IsSorted(got) || len(got) != 12 || got[9] != 3 {
		t.Errorf("3s: %v", got)
	}
}

// TestReportsHaveAnEnd: a cluster all of whose kubelets are full of flaws doesn't fill the memory.
func TestReportsHaveAnEnd(t *testing.T) {
	r := newReports()
	r.room = 100_000
	dropped := make([]schemas.DroppedUsage, 1000)
	for i := range dropped {
		dropped[i] = schemas.DroppedUsage{Namespace: "shop", Pod: "web", Container: "main", Reason: "pod_container_without_cpu"}
	}
	for i := range 100 {
		report := schemas.ScrapeReport{Node: string(rune('a'+i%26)) + string(rune('a'+i/26)), Time: int64(i), Dropped: dropped, More: 1}
		r.put(&report, report.Marshal())
		r.put(&report, report.Marshal()) // twice, as each attempt is
	}
	if r.held > r.room+100*200 {
		t.Errorf("%d bytes are held", r.held)
	}
	first, _ := r.get("aa")
	last, ok := r.get("vd")
	if !ok || len(first.Dropped) != 1000 || first.More != 1 || len(last.Dropped) != 0 || last.More != 1001 {
		t.Errorf("%d and %d more, %d and %d more", len(first.Dropped), first.More, len(last.Dropped), last.More)
	}
	r.expire(50, func(node string) bool { return node != "vd" })
	if n := len(r.all()); n != 49 {
		t.Errorf("%d are left", n)
	}
	r.expire(1000, func(string) bool { return true })
	if r.held != 0 {
		t.Errorf("%d bytes are held of nothing", r.held)
	}
}

// TestSwap: with --extended-usage it is there where kubelets tell of it.
func TestSwap(t *testing.T) {
	withSwap := func(s *served) {
		small(s)
		p := point(1e9, 4096, time.Second)
		p.Extra = &schemas.Extra{SwapUsage: schemas.Optional{Value: 1 << 20, Valid: true}}
		q := p
		q.Extra = &schemas.Extra{SwapUsage: schemas.Optional{Value: 0, Valid: true}}
		s.sample(nodeSample("node-a", &p, podUsage("shop", "web-1", container("web", p), container("sidecar", q))))
	}
	const table = "application/json;as=Table;g=meta.k8s.io;v=v1"
	s := start(t, withSwap, func(c *Config) { c.Options.ExtendedUsage = true })
	for name, path := range map[string]string{"swap-nodes": "/nodes", "swap-pod": "/namespaces/shop/pods/web-1"} {
		_, body := s.get(group + path)
		golden(t, name, body)
	}
	_, body := s.get(group+"/nodes?includeObject=None", header{"Accept", table})
	golden(t, "swap-table", body)
	_, body = s.get(group+"/pods?includeObject=None", header{"Accept", table})
	golden(t, "swap-table-pods", body)

	s = start(t, withSwap)
	if _, body := s.get(group + "/nodes"); strings.Contains(body, "swap") {
		t.Errorf("nobody asked for swap: %s", body)
	}
}

// TestScrapesAreCountedAtOnce is for the race detector, and looks that nothing is lost.
func TestScrapesAreCountedAtOnce(t *testing.T) {
	const writers, each = 4, 500
	k, r := newKubeletMetrics(15*time.Second), newReports()
	var busy sync.WaitGroup
	for w := range writers {
		busy.Go(func() {
			for i := range each {
				node := fmt.Sprint("node-", i%10)
				k.attempt(node, int64(i), time.Duration(i)*time.Millisecond, w%2 == 0)
				report := schemas.ScrapeReport{Node: node, Time: int64(i), Result: "timeout"}
				r.put(&report, report.Marshal())
			}
		})
	}
	done := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			testutil.CollectAndCount(k)
			r.get("node-1")
			r.all()
			k.forget(func(node string) bool { return node != "node-3" })
			r.expire(3, func(node string) bool { return node != "node-3" })
			k.endRound()
			select {
			case <-done:
				return
			default:
			}
		}
	})
	busy.Wait()
	close(done)
	reader.Wait()
	if k.succeeded != writers*each/2 || k.failed != writers*each/2 {
		t.Errorf("%d and %d were counted", k.succeeded, k.failed)
	}
	r.expire(1<<62, func(string) bool { return true })
	if r.held != 0 {
		t.Errorf("%d bytes are left of nothing", r.held)
	}
}

// BenchmarkSelfMetrics is what a scrape of metrics-server's own metrics costs, encoding not included: 5,000 nodes.
func BenchmarkSelfMetrics(b *testing.B) {
	k := newKubeletMetrics(15 * time.Second)
	for i := range 5000 {
		k.attempt(fmt.Sprint("node-", i), 0, time.Duration(i)*time.Millisecond, true)
	}
	b.ReportAllocs()
	for b.Loop() {
		k.collect()
	}
}
