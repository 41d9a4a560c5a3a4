package api

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/debugpage"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// TestReportsTravelThroughNATS: a report is known after a restart, too, but what it tells of is counted only where it has
// just happened; and nothing that isn't a sample is taken for one that can't be read.
func TestReportsTravelThroughNATS(t *testing.T) {
	w := newEndToEnd(t, connection(t))
	w.publish(1)
	nodes, err := w.client.MetricsV1beta1().RESTClient().Get().AbsPath("/api/v1/nodes").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(nodes), `"name":"`)
	node, _, _ := strings.Cut(rest, `"`)
	report := func(failures uint64) {
		t.Helper()
		r := schemas.ScrapeReport{Node: node, Ingester: "ingest-1", Time: time.Now().UnixNano(), Duration: 1e9, Result: "timeout", Error: "it hangs", Failures: failures, LastSuccess: 1}
		if err := w.samples.Publish(schemas.ScrapeSubject{Cluster: "test", Node: node}.String(), r.Marshal()); err != nil {
			t.Fatal(err)
		}
		w.flush()
	}
	knows := func(s *Service, failures uint64) {
		t.Helper()
		testenv.Eventually(t, 10*time.Second, func() error {
			p := s.page(httptest.NewRequest("GET", debugPath, nil), debugpage.Query{Node: node})
			if len(p.Nodes) != 1 {
				return errors.New("it doesn't know the node")
			}
			if n := p.Nodes[0]; n.State != debugpage.Failing || n.Failures != failures || n.Scraper != "ingest-1" {
				return fmt.Errorf("it says %+v", n)
			}
			return nil
		})
	}
	failed := func(s *Service) (n uint64) {
		s.metrics.kubelets.mu.Lock()
		defer s.metrics.kubelets.mu.Unlock()
		return s.metrics.kubelets.failed
	}
	report(1)
	first, stop := w.run()
	knows(first, 1)
	if n := failed(first); n != 0 {
		t.Errorf("%d attempts from before the start are counted", n)
	}
	report(2)
	knows(first, 2)
	if n := failed(first); n != 1 {
		t.Errorf("%d attempts are counted, want 1", n)
	}
	if err := testutil.CollectAndCompare(first.metrics.kubelets, strings.NewReader(`
# HELP metrics_server_kubelet_request_total [ALPHA] Attempts to scrape a kubelet, by whether they succeeded.
# TYPE metrics_server_kubelet_request_total counter
metrics_server_kubelet_request_total{success="false"} 1
`), "metrics_server_kubelet_request_total"); err != nil {
		t.Error(err)
	}
	skipped, err := testutil.GatherAndCount(first.cfg.Registry.(prometheus.Gatherer), "headwater_stream_skipped_total")
	if err != nil || skipped != 0 {
		t.Errorf("%d kinds of messages were skipped, %v", skipped, err)
	}
	stop()
	second, stop := w.run()
	defer stop()
	knows(second, 2)
	if n := failed(second); n != 0 {
		t.Errorf("%d attempts from before the restart are counted", n)
	}
}
