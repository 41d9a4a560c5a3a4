package server

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// BenchmarkReload is the time from a change of the configuration file until it is served, for 1,000 nodes with 30 pods each
// and what belongs to them, from a snapshot; of it, 0.1 s is for the file to settle. heap-MB are live beside what is live
// while nothing is built, at the moment when both views are whole.
func BenchmarkReload(b *testing.B) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	w := newWorld(b)
	w.snapshot(b, w.fill(b, 1000))
	path := filepath.Join(b.TempDir(), "config.yaml")
	write(b, path, "metric_denylist: [a]\n")
	w.start(func(o *Options) { o.ConfigFile, o.Usage = path, false })
	testenv.Eventually(b, 5*time.Minute, w.service.Ready)
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, old := live(), w.service.editions.serving.Load()
	n := 0
	for b.Loop() {
		n++
		write(b, path, fmt.Sprintf("metric_denylist: [a%d]\n", n))
		w.metric("headwater_exporter_editions_total", `result="served"`, float64(n+1))
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(n), "s/reload")
	b.ReportMetric(float64(live()-before)/1e6, "heap-MB")
	runtime.KeepAlive(old)
}
