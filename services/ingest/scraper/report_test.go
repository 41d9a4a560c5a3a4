package scraper

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// reports collects the scrape reports of every node.
type reports struct {
	mu sync.Mutex
	of map[string][]schemas.ScrapeReport
}

// reports begins to collect.
func (w *world) reports() *reports {
	w.t.Helper()
	r := &reports{of: map[string][]schemas.ScrapeReport{}}
	if err := stream.EnsureUsage(w.t.Context(), w.conn, w.config.Streams); err != nil {
		w.t.Fatal(err)
	}
	replay, err := stream.NewUsageReplay(stream.ReplayConfig{Conn: w.conn, Cluster: clusterName, Name: "reports", Begin: func() stream.Sink {
		return stream.SinkFunc(func(e stream.Event) error {
			if !stream.IsScrape(clusterName, e.Subject) {
				return nil
			}
			subject, err := schemas.ParseScrapeSubject(e.Subject)
			var report schemas.ScrapeReport
			if err == nil {
				err = report.Unmarshal(e.Data)
			}
			if err != nil || subject.Node != report.Node {
				w.t.Errorf("a report on %s of %q: %v", e.Subject, report.Node, err)
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.of[report.Node] = append(r.of[report.Node], report)
			return nil
		})
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		replay.Run(w.t.Context())
	}()
	w.t.Cleanup(func() { <-done })
	testenv.Eventually(w.t, 10*time.Second, replay.Ready)
	return r
}

// all are the reports of a node so far.
func (r *reports) all(node string) []schemas.ScrapeReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[node]
}

// wait returns the node's newest report when it is what the caller wants.
func (r *reports) wait(t testing.TB, node string, want func(schemas.ScrapeReport) error) (last schemas.ScrapeReport) {
	t.Helper()
	testenv.Eventually(t, 20*time.Second, func() error {
		all := r.all(node)
		if len(all) == 0 {
			return fmt.Errorf("no report of %s", node)
		}
		last = all[len(all)-1]
		if err := want(last); err != nil {
			return fmt.Errorf("%s: %w: %+v", node, err, last)
		}
		return nil
	})
	return last
}

// onlyMemory is the answer of a kubelet whose one pod has no CPU time yet.
func (k *kubelet) onlyMemory(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, strings.ReplaceAll(k.body(), `container_cpu_usage_seconds_total{`, `container_cpu_usage_seconds_total_of_another_name{`))
}

// A failure is told of at every attempt, its end once; what is dropped when it changes; and of what goes well nothing.
func TestReportsTellOfTrouble(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	w.config.Instance = "ingest-0"
	got := w.reports()
	k, good := runKubelet(t, "node-1"), runKubelet(t, "good")
	w.put(schemas.Applied, k.node(), good.node())
	_, stop := w.run()
	before := w.next(k.name, w.next(k.name, nil))
	if all := got.all(k.name); len(all) > 0 {
		t.Fatalf("a node without trouble has %+v", all)
	}

	k.bend(status(503, "overloaded"))
	r := got.wait(t, k.name, func(r schemas.ScrapeReport) error {
		if r.Failures < 3 {
			return errors.New("want 3 failures")
		}
		return nil
	})
	if r.Node != k.name || r.Ingester != "ingest-0" || r.Result != string(resultStatus) || !strings.Contains(r.Error, "503") || !strings.HasSuffix(r.URL, metricsPath) ||
		r.Duration <= 0 || r.LastSuccess < before.Time || r.LastSuccess >= r.Time || r.Next <= r.Time || r.Next > r.Time+r.Duration+int64(2*time.Second) {
		t.Errorf("%+v", r)
	}
	for i, r := range got.all(k.name) {
		if r.Failures != uint64(i+1) {
			t.Errorf("report %d tells of %d failures", i, r.Failures)
		}
	}
	k.bend(nil)
	r = got.wait(t, k.name, func(r schemas.ScrapeReport) error {
		if r.Failures != 0 {
			return errors.New("still failing")
		}
		return nil
	})
	if r.Result != schemas.ScrapeSuccess || r.Error != "" || r.LastSuccess != r.Time {
		t.Errorf("%+v", r)
	}
	count := len(got.all(k.name))

	w.next(k.name, w.next(k.name, nil))
	if n := len(got.all(k.name)); n != count {
		t.Errorf("%d reports more of a node that is well", n-count)
	}
	k.bend(k.onlyMemory)
	dropped := []schemas.DroppedUsage{{Namespace: "ns", Pod: "p", Container: "c", Reason: "pod_container_without_cpu"}}
	r = got.wait(t, k.name, func(r schemas.ScrapeReport) error {
		if diff := cmp.Diff(dropped, r.Dropped); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
	if r.Result != schemas.ScrapeSuccess || r.More != 0 {
		t.Errorf("%+v", r)
	}
	count = len(got.all(k.name))
	w.next(k.name, w.next(k.name, nil))
	if n := len(got.all(k.name)); n != count {
		t.Errorf("%d reports more of the same", n-count)
	}
	k.bend(nil)
	got.wait(t, k.name, func(r schemas.ScrapeReport) error {
		if len(r.Dropped) > 0 {
			return errors.New("still dropped")
		}
		return nil
	})
	if all := got.all(good.name); len(all) > 0 {
		t.Errorf("a node without trouble has %+v", all)
	}
	stop()
}

// What stays dropped is told of again now and then, for who starts to listen.
func TestReportsAreRepeated(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	got := w.reports()
	s, _ := w.run()
	line := &timeline{node: "n", ctx: t.Context()}
	some := drops{list: []schemas.DroppedUsage{{Reason: "node_without_cpu"}}}
	now := time.Now()
	for i, step := range []struct {
		after   time.Duration
		failing uint64 // failures in a row by then
		dropped drops
		told    bool
	}{
		{},
		{after: time.Second, dropped: some, told: true},
		{after: time.Second, dropped: some},
		{after: reportEvery - 2*time.Second, dropped: some},
		{after: time.Second, dropped: some, told: true},
		{after: time.Second, dropped: some},
		{after: time.Second, dropped: some, failing: 1, told: true},
		{after: time.Second, dropped: some, failing: 2, told: true},
		{after: time.Second, dropped: some, told: true},
		{after: time.Second, dropped: some},
		{after: time.Second, dropped: drops{list: some.list, more: 1}, told: true},
		{after: time.Second, told: true},
		{after: reportEvery},
		{after: reportEvery},
	} {
		now = now.Add(step.after)
		was, is := line.outcome, outcome{began: now, result: resultSuccess, failures: step.failing, dropped: step.dropped}
		line.outcome = is
		before := len(got.all("n"))
		s.report(line, was, is, now)
		if err := s.publisher.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !step.told {
			continue
		}
		testenv.Eventually(t, 5*time.Second, func() error {
			if len(got.all("n")) != before+1 {
				return fmt.Errorf("step %d isn't told of", i)
			}
			return nil
		})
	}
	told := len(got.all("n"))
	if want := 7; told != want {
		t.Errorf("%d reports, want %d", told, want)
	}
}

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                   "plain",
		"two\nlines\r\n\tand\x00": "two lines and",
		"bad \xff utf-8":          "bad \uFFFD utf-8",
		"  spaces  ":              "spaces",
		"\u2028\u202e":            "",
	} {
		if got := oneLine(errors.New(text), 512); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	long := oneLine(errors.New("what was wrong "+strings.Repeat("é", 2000)+" what to do"), schemas.MaxScrapeError)
	if len(long) > schemas.MaxScrapeError || len(long) < schemas.MaxScrapeError-4 || !strings.HasPrefix(long, "what was wrong é") || !strings.HasSuffix(long, "é what to do") || strings.Contains(long, "\uFFFD") {
		t.Errorf("%d bytes: %s", len(long), long)
	}
}
