package exposition_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"syscall"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
)

// BenchmarkCluster is what the objects of clusters of three sizes cost: memory, and processor time (all processors
// together) of each thing that the exporter does with them.
func BenchmarkCluster(b *testing.B) {
	for _, nodes := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) { benchmarkCluster(b, nodes) })
	}
}

func benchmarkCluster(b *testing.B, nodes int) {
	f := newFixture(b, nodes)
	before := heap()
	store := f.build(b)
	held := heap() - before
	plain, packed := answer(store, exposition.Text).Sizes()
	b.Logf("%d objects: %d MB of lines, %d MB packed, %d MB held", len(f.events), plain>>20, packed>>20, held>>20)

	b.Run("build", func(b *testing.B) {
		b.SetBytes(plain)
		total := cpu(0)
		for b.Loop() {
			total += measured(func() { f.build(b) })
		}
		total.report(b)
		b.ReportMetric(float64(held)/float64(len(f.events)), "B-held/object")
		b.ReportMetric(float64(packed)/float64(len(f.events)), "B-packed/object")
	})
	for _, format := range []exposition.Format{exposition.Text, exposition.OpenMetrics} {
		name := map[exposition.Format]string{exposition.Text: "text", exposition.OpenMetrics: "openmetrics"}[format]
		b.Run("scrape/"+name, func(b *testing.B) {
			b.SetBytes(plain)
			b.ReportAllocs()
			for b.Loop() {
				must(b, answer(store, format).Write(io.Discard))
			}
		})
	}
	b.Run("scrape/gzip", func(b *testing.B) {
		b.SetBytes(packed)
		b.ReportAllocs()
		for b.Loop() {
			must(b, answer(store, exposition.Text).WriteGzip(io.Discard))
		}
	})
	w := f.worker(b)
	again := make([]event, len(f.pods)) // the pods in another state
	for i := range again {
		again[i] = f.event(b, specimen.Restarted(specimen.Pod(i)))
	}
	restarted := make([]bool, len(f.pods))
	rnd := rand.New(rand.NewPCG(3, 4))
	change := func(pods int) { // their status
		for range pods {
			i := rnd.IntN(len(restarted))
			if restarted[i] = !restarted[i]; restarted[i] {
				must(b, w.apply(store, again[i]))
			} else {
				must(b, w.apply(store, f.events[f.pods[i]]))
			}
		}
	}
	scrape := func() { must(b, answer(store, exposition.Text).WriteGzip(io.Discard)) }
	b.Run("scrape/gzip after 1%", func(b *testing.B) {
		total := cpu(0)
		for b.Loop() {
			b.StopTimer()
			change(len(f.pods) / 100)
			b.StartTimer()
			total += measured(scrape)
		}
		total.report(b)
	})
	// A minute in which 1 % of the pods change every second, with a scrape every 15 seconds.
	b.Run("minute of changes", func(b *testing.B) {
		total := cpu(0)
		for b.Loop() {
			total += measured(func() {
				for range 4 {
					change(15 * len(f.pods) / 100)
					scrape()
				}
			})
		}
		total.report(b)
	})
	b.Run("unchanged event", func(b *testing.B) {
		for _, i := range f.pods {
			must(b, w.apply(store, f.events[i]))
		}
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; b.Loop(); i++ {
			must(b, w.apply(store, f.events[f.pods[i%len(f.pods)]]))
		}
	})
	b.Run("render", func(b *testing.B) {
		b.ReportAllocs()
		size := 0
		for i := 0; b.Loop(); i++ {
			out, err := w.render(f.events[i%len(f.events)])
			must(b, err)
			size += len(out.Text)
			b.SetBytes(int64(size / (i + 1)))
		}
	})
}

func answer(store *exposition.Store, format exposition.Format) *exposition.Answer {
	return exposition.NewAnswer(format, store.Snapshot().Groups())
}

func heap() int {
	runtime.GC()
	runtime.GC() // the second one empties the pools
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}

// cpu is processor time.
type cpu time.Duration

func measured(do func()) cpu {
	used := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // can't fail with these arguments
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	do()
	return cpu(used() - before)
}

func (c cpu) report(b *testing.B) {
	b.ReportMetric(time.Duration(c).Seconds()/float64(b.N), "CPU-s/op")
}
