package server

import (
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
	wireobjects "github.com/headwater-metrics/headwater/services/internal/objects"
)

// BenchmarkRestart is the time from the start of an exporter to its first complete /metrics (gzip), for 1,000 nodes with
// 30 pods each, whose log has no snapshot.
func BenchmarkRestart(b *testing.B) {
	const nodes = 1000
	slog.SetDefault(slog.New(slog.DiscardHandler))
	w := newWorld(b)
	kinds := map[string]*wireobjects.Encoder{}
	for _, resource := range []string{"pods", "nodes"} {
		kind, _ := wireobjects.ByResource(resource)
		encoder, err := wireobjects.NewEncoder(kind)
		if err != nil {
			b.Fatal(err)
		}
		kinds[resource] = encoder
	}
	for i := range nodes {
		change, err := kinds["nodes"].Change(specimen.Node(i), schemas.Applied, time.Now())
		if err != nil {
			b.Fatal(err)
		}
		w.append(subjectOf(&change), change.Marshal())
		for j := range specimen.PodsPerNode {
			change, err := kinds["pods"].Change(specimen.Pod(i*specimen.PodsPerNode+j), schemas.Applied, time.Now())
			if err != nil {
				b.Fatal(err)
			}
			w.append(subjectOf(&change), change.Marshal())
		}
	}
	if err := w.log.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		options := NewOptions()
		options.ListenAddress = "127.0.0.1:0"
		service, err := New(Config{Options: options, Conn: w.conn, Cluster: cluster})
		if err != nil {
			b.Fatal(err)
		}
		w.run(service)
		for {
			request, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, w.base+"/metrics", nil)
			request.Header.Set("Accept-Encoding", "gzip")
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if err != nil {
				b.Fatal(err)
			}
			if response.StatusCode == http.StatusOK {
				b.SetBytes(n)
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/restart")
}
