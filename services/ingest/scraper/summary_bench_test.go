package scraper

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// BenchmarkSummary takes the /stats/summary of a simulated kubelet with 30 pods, 40 containers, and puts it into the node's
// sample. "encoding-json" is the standard library reading the fields of the same bytes that are wanted into structs, without
// anything made of them.
func BenchmarkSummary(b *testing.B) {
	clock := &stoppedClock{now: time.Now()}
	c := testenv.Sim(b, sim.Options{Nodes: 1, PodsPerNode: 30, Now: clock.Now})
	r := newReader(b, c, clock, SourceSummary)
	node := c.Truth().Nodes()[0]
	var body []byte
	u := r.url(b, node)
	sample := r.read(b, node)
	requested := clock.Now().UnixNano()
	u.Path = summaryPath
	if err := r.kubelets.get(b.Context(), u, func(p []byte) error { body = slices.Clone(p); return nil }); err != nil {
		b.Fatal(err)
	}
	b.Run("decode-and-add", func(b *testing.B) {
		var refused [lastDrop]int
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			m := summaries.Get().(*summary)
			if err := m.decode(body); err != nil {
				b.Fatal(err)
			}
			m.add(sample, requested, &refused)
			m.release()
		}
		if refused != [lastDrop]int{} {
			b.Fatal(reasons(refused))
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var s jsonSummary
			if err := json.Unmarshal(body, &s); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, source := range []string{SourceResource, SourceSummary} {
		b.Run("scrape-"+source, func(b *testing.B) {
			r := newReader(b, c, clock, source)
			r.read(b, node)
			u := r.url(b, node)
			target, line := &Target{Node: node, URL: u}, r.lines[node]
			size := 0
			b.ReportAllocs()
			for b.Loop() {
				more, err := r.more(b.Context(), target)
				if err != nil {
					b.Fatal(err)
				}
				err = r.kubelets.get(b.Context(), u, func(body []byte) error {
					m, err := r.sample(line, body, more, clock.Now())
					size = len(m.payload)
					return err
				})
				more.release()
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size), "message-bytes")
		})
	}
}
