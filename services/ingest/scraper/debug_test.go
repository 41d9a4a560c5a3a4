package scraper

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/debugpage"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// debugPage is the part of /debug/nodes that the tests look at.
type debugPage struct {
	Service string
	Notes   []string
	Total   int
	Nodes   []struct {
		Node, State, URL, Result, Error       string
		Failures, DroppedCount                uint64
		Pods                                  int
		AgeSeconds                            *float64
		LastSuccess, LastAttempt, NextAttempt time.Time
		Dropped                               []debugpage.Dropped
	}
	Pod *debugpage.Pod
}

// ask reads the service's page.
func (s *Service) ask(t testing.TB, query string) (p debugPage) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Pages()["/debug/nodes"].ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/nodes?format=json&"+query, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return p
}

func TestDebugNodes(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	w.config.Instance = "ingest-0"
	good, failing, partial := runKubelet(t, "good"), runKubelet(t, "failing"), runKubelet(t, "partial")
	partial.bend(partial.onlyMemory)
	lost := runKubelet(t, "lost").node()
	lost.Status.Addresses = nil
	w.put(schemas.Applied, good.node(), failing.node(), partial.node(), lost)
	s, stop := w.run()
	w.next(failing.name, w.next(failing.name, nil))
	failing.bend(status(500, "no <runtime>"))
	w.next(good.name, w.next(good.name, nil))
	w.next(partial.name, nil)

	var p debugPage
	testenv.Eventually(t, 10*time.Second, func() error {
		p = s.ask(t, "")
		states := ""
		for _, n := range p.Nodes {
			states += n.Node + " " + n.State + ","
		}
		if want := "lost failing,failing failing,partial partial,good fresh,"; states != want || p.Nodes[1].Failures < 2 {
			return errors.New(states)
		}
		return nil
	})
	if p.Service != "ingest ingest-0" || p.Total != 4 || len(p.Notes) != 0 {
		t.Errorf("%+v", p)
	}
	now := time.Now()
	if n := p.Nodes[0]; n.Result != string(resultAddress) || n.URL != "" || n.AgeSeconds != nil || !strings.Contains(n.Error, "--kubelet-preferred-address-types") {
		t.Errorf("%+v", n)
	}
	if n := p.Nodes[1]; n.Result != string(resultStatus) || n.AgeSeconds == nil || *n.AgeSeconds < .5 || !n.LastSuccess.Before(n.LastAttempt) || n.Pods != 1 || !strings.HasSuffix(n.URL, metricsPath) {
		t.Errorf("%+v", n)
	}
	if n := p.Nodes[2]; n.DroppedCount != 1 || n.Dropped != nil || n.Pods != 0 {
		t.Errorf("%+v", n)
	}
	if n := p.Nodes[3]; n.Result != schemas.ScrapeSuccess || n.Error != "" || n.Pods != 1 || n.LastAttempt != n.LastSuccess || n.NextAttempt.After(now.Add(3*time.Second)) {
		t.Errorf("%+v", n)
	}
	one := s.ask(t, "node=partial")
	if len(one.Nodes) != 1 || len(one.Nodes[0].Dropped) != 1 || one.Nodes[0].Dropped[0].Container != "c" || one.Nodes[0].Dropped[0].Explained == "" {
		t.Errorf("%+v", one)
	}
	w2 := httptest.NewRecorder()
	s.Pages()["/debug/nodes"].ServeHTTP(w2, httptest.NewRequest(http.MethodGet, "/debug/nodes", nil))
	if text := w2.Body.String(); !strings.Contains(text, "no &lt;runtime&gt;") || strings.Contains(text, token) {
		t.Error(text)
	}
	stop()
}

// Each rule that decides over a pod is told in order, up to the one that it doesn't pass.
func TestDebugPod(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	k := runKubelet(t, "node-1")
	started := time.Now().Add(-time.Hour).Unix()
	cpu := 1.0
	k.bend(answers(func(now time.Time) string {
		at := now.UnixMilli()
		text := two(now, fmt.Sprint(cpu, " ", at), fmt.Sprint("1 ", at)) + fmt.Sprintf("%s%d\n", start, started)
		for _, pod := range []string{"no-cpu", "nan"} {
			value := map[string]string{"no-cpu": "0", "nan": "NaN"}[pod]
			text += strings.ReplaceAll(cpu1, `"p"`, `"`+pod+`"`) + value + "\n" + strings.ReplaceAll(mem1, `"p"`, `"`+pod+`"`) + "1\n"
		}
		return text
	}))
	w.put(schemas.Applied, k.node())
	s, stop := w.run()
	first := w.next(k.name, nil)
	explain := func(pod string, has bool, verdict, detail string) error {
		p := s.ask(t, "pod="+pod).Pod
		if p == nil || len(p.Steps) == 0 {
			return errors.New("no explanation")
		}
		all := ""
		for _, step := range p.Steps {
			all += fmt.Sprintln(step.Rule, step.OK, step.Detail)
		}
		if p.HasMetrics != has || !strings.Contains(p.Verdict, verdict) || !strings.Contains(all, detail) {
			return fmt.Errorf("%s: %v %s\n%s", pod, p.HasMetrics, p.Verdict, all)
		}
		return nil
	}
	eventually := func(pod string, has bool, verdict, detail string) {
		t.Helper()
		testenv.Eventually(t, 10*time.Second, func() error { return explain(pod, has, verdict, detail) })
	}
	w.next(k.name, w.next(k.name, first))
	eventually("ns/p", true, "published with rates", "c: 0.000 cores over")
	eventually("ns/no-cpu", false, "not published", "pod_container_without_cpu")
	eventually("ns/nan", false, "not published", "series_not_finite")
	eventually("ns/nowhere", false, "knows nothing", "none of the 1 nodes")
	k.bend(status(500, "broken"))
	eventually("ns/p", true, "published with rates", "attempts failed (status)")
	stop()
}

func TestDebugBeforeAnythingIsKnown(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	s, err := New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	if p := s.ask(t, ""); len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "waiting for NATS") {
		t.Errorf("%+v", p)
	}
	if p := s.ask(t, "pod=a/b"); p.Pod == nil || p.Pod.HasMetrics || len(p.Pod.Steps) == 0 {
		t.Errorf("%+v", p.Pod)
	}
}

// The page knows what every reason means that a report can have.
func TestEveryReasonIsExplained(t *testing.T) {
	for d := notDropped + 1; d < lastDrop; d++ {
		switch d {
		case dropDuplicate, dropPodCgroup:
			continue // cost nothing that the Metrics API shows
		}
		reason := dropReasons[d]
		if reason == "" {
			t.Errorf("the reason %d has no name", d)
		}
		if strings.HasPrefix(reason, "summary") {
			continue // what it adds is no condition
		}
		if debugpage.Explain(reason) == "" {
			t.Errorf("%s isn't explained", reason)
		}
	}
}

// The page tells of a node's last attempt and of its last success as they are at one moment.
func TestDebugPageOfOneMoment(t *testing.T) {
	s, line, at := &Service{cfg: Config{MetricResolution: time.Second}}, &timeline{node: "n"}, target("n")
	line.target.Store(&at)
	line.came(&at, time.Unix(1, 0), 0, nil)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for i := range 20_000 {
			line.came(&at, time.Unix(int64(i)+2, 0), 0, nil)
		}
	}()
	for {
		if n := s.describe(line, time.Now()); !n.LastAttempt.Equal(n.LastSuccess) {
			t.Fatalf("all attempts are successes, the last one at %v, the last success at %v", n.LastAttempt, n.LastSuccess)
		}
		select {
		case <-over:
			return
		default:
		}
	}
}

// BenchmarkDebugNodes is the page of 5,000 nodes with 30 pods each, a tenth of them failing.
func BenchmarkDebugNodes(b *testing.B) {
	s, err := New(newWorld(b, testenv.Conn(b)).config)
	if err != nil {
		b.Fatal(err)
	}
	schedule := newSchedule(b.Context(), time.Hour, nil, nil)
	for i := range 5000 {
		t := &timeline{node: fmt.Sprintf("node-%04d", i)}
		at := target(t.node)
		t.target.Store(&at)
		t.came(&at, time.Now(), time.Millisecond, nil)
		if i%10 == 0 {
			t.came(&at, time.Now(), time.Millisecond, failed(resultTimeout, errors.New("it didn't answer")))
		}
		sample := schemas.UsageSample{}
		for j := range 30 {
			sample.Pods = append(sample.Pods, schemas.PodUsage{Namespace: "ns", Name: fmt.Sprintf("pod-%d-%d", i, j), Containers: []schemas.ContainerUsage{{Name: "c"}}})
		}
		t.history.recall(&sample)
		schedule.timelines[t.node] = t
	}
	s.schedule.Store(schedule)
	for name, query := range map[string]debugpage.Query{"all": {}, "one": {Node: "node-0100"}, "pod": {Namespace: "ns", Pod: "pod-4999-29"}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if p := s.page(nil, query); len(p.Nodes) == 0 && p.Pod == nil {
					b.Fatal("nothing")
				}
			}
		})
	}
}
