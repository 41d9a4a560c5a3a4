package events

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

func podChanges(b *testing.B, n int) []schemas.ObjectChange {
	kind, _ := objects.ByResource("pods")
	encoder, err := objects.NewEncoder(kind)
	if err != nil {
		b.Fatal(err)
	}
	changes := make([]schemas.ObjectChange, n)
	for i := range changes {
		if changes[i], err = encoder.Change(specimen.Pod(i), schemas.Applied, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
	return changes
}

// BenchmarkPodEvent is what a pod's event costs: live, when another build has presented it, and, to compare, its rendering.
func BenchmarkPodEvent(b *testing.B) {
	changes := podChanges(b, 1000)
	whole := func() *Fold {
		fold := NewTotals().Feed(Scope{}).Begin(stream.Position{})
		fold.Whole(stream.Position{})
		return fold
	}
	b.Run("live", func(b *testing.B) {
		fold := whole()
		b.ReportAllocs()
		for i := range b.N {
			if err := fold.Apply(uint64(i+1), false, &changes[i%len(changes)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("presented-before", func(b *testing.B) {
		fold := whole()
		fold.Whole(stream.Position{LogPosition: stream.LogPosition{Sequence: 1 << 60}})
		b.ReportAllocs()
		for i := range b.N {
			if err := fold.Apply(uint64(i+1), false, &changes[i%len(changes)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("render", func(b *testing.B) {
		resources, err := collector.New(collector.Options{Resources: []string{"pods"}})
		if err != nil {
			b.Fatal(err)
		}
		renderer, err := resources[0].NewRenderer()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for i := range b.N {
			if _, err := renderer.Render(changes[i%len(changes)].Object); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkBook is the memory that the book takes for each pod, and the time to fill it from a snapshot.
func BenchmarkBook(b *testing.B) {
	const pods = 150_000
	changes := podChanges(b, 1000)
	var bytes float64
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		totals := NewTotals()
		fold := totals.Feed(Scope{}).Begin(stream.Position{LogPosition: stream.LogPosition{Sequence: pods}})
		for i := range pods {
			change := &changes[i%len(changes)]
			change.Name = fmt.Sprint("pod-", i)
			if err := fold.Apply(uint64(i+1), true, change); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		bytes = float64(after.HeapAlloc-before.HeapAlloc) / pods
		runtime.KeepAlive(totals)
	}
	b.ReportMetric(bytes, "B/pod")
}

// BenchmarkGroup is a scrape of the counters of 1,000 namespaces after one has changed.
func BenchmarkGroup(b *testing.B) {
	totals := NewTotals()
	fold := totals.Feed(Scope{}).Begin(stream.Position{})
	fold.Whole(stream.Position{})
	for i := range 1000 {
		totals.counts.appear(&podKind, fmt.Sprint("namespace-", i))
		totals.counts.appear(&jobKind, fmt.Sprint("namespace-", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		totals.counts.add(row{podTerminations, "namespace-7", "Error", ""}, 1)
		if _, ok := totals.Group(); !ok {
			b.Fatal("no group")
		}
	}
}
