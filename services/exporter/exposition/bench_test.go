package exposition_test

import (
	"io"
	"runtime"
	"testing"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

const pods = 30_000

type fixture struct {
	store    *exposition.Store
	renderer collector.Renderer
	encoder  *objects.Encoder
}

func newFixture(b *testing.B) *fixture {
	b.Helper()
	resources, err := collector.New(collector.Options{Resources: []string{"pods"}})
	if err != nil {
		b.Fatal(err)
	}
	renderer, err := resources[0].NewRenderer()
	if err != nil {
		b.Fatal(err)
	}
	kind, _ := objects.ByResource("pods")
	encoder, err := objects.NewEncoder(kind)
	if err != nil {
		b.Fatal(err)
	}
	return &fixture{exposition.NewStore(resources), renderer, encoder}
}

func (f *fixture) put(b *testing.B, key string, raw []byte) {
	out, err := f.renderer.Render(raw)
	if err != nil {
		b.Fatal(err)
	}
	f.store.Table(0).Put(key, key, out.Text, out.Ends)
}

func (f *fixture) pod(b *testing.B, i int, restarted bool) (string, []byte) {
	p := specimen.Pod(i)
	if restarted {
		p = specimen.Restarted(p)
	}
	raw, err := f.encoder.Append(nil, p)
	if err != nil {
		b.Fatal(err)
	}
	return p.Namespace + "/" + p.Name, raw
}

// BenchmarkEvent is one pod's event: decoded, rendered, compared, kept; packing included, by a scrape every 1,000 events.
func BenchmarkEvent(b *testing.B) {
	f := newFixture(b)
	const n = 6400
	var keys []string
	var states [2][][]byte
	for i := range n {
		key, raw := f.pod(b, i, false)
		_, again := f.pod(b, i, true)
		keys, states[0], states[1] = append(keys, key), append(states[0], raw), append(states[1], again)
		f.put(b, key, raw)
	}
	b.Run("status", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			f.put(b, keys[i*61%n], states[(i/n+1)%2][i*61%n])
			if i%1000 == 999 {
				f.store.Snapshot()
			}
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		for i := range n {
			f.put(b, keys[i], states[0][i])
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			f.put(b, keys[i%n], states[0][i%n])
		}
	})
	b.Run("render", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			out, err := f.renderer.Render(states[0][i%n])
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(out.Text)))
		}
	})
}

// BenchmarkScrape answers scrapes of 30,000 pods.
func BenchmarkScrape(b *testing.B) {
	f := newFixture(b)
	before := heap()
	keys := make([]string, pods)
	for i := range pods {
		key, raw := f.pod(b, i, false)
		keys[i] = key
		f.put(b, key, raw)
	}
	groups := f.store.Snapshot().Groups()
	held := heap() - before
	plain, gzip := exposition.NewAnswer(exposition.OpenMetrics, groups).Sizes()
	b.Logf("%d pods: %d MB of lines, %d MB packed, %d bytes held per pod", pods, plain>>20, gzip>>20, held/pods)

	b.Run("gzip/unchanged", func(b *testing.B) {
		b.SetBytes(gzip)
		for b.Loop() {
			if err := exposition.NewAnswer(exposition.OpenMetrics, f.store.Snapshot().Groups()).WriteGzip(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("gzip/1%", func(b *testing.B) {
		var states [2][][]byte
		for i := range pods / 100 {
			_, raw := f.pod(b, i*100, false)
			_, again := f.pod(b, i*100, true)
			states[0], states[1] = append(states[0], raw), append(states[1], again)
		}
		for round := 1; b.Loop(); round++ {
			b.StopTimer()
			for i, raw := range states[round%2] {
				f.put(b, keys[i*100], raw)
			}
			b.StartTimer()
			if err := exposition.NewAnswer(exposition.OpenMetrics, f.store.Snapshot().Groups()).WriteGzip(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("plain", func(b *testing.B) {
		b.SetBytes(plain)
		for b.Loop() {
			if err := exposition.NewAnswer(exposition.OpenMetrics, f.store.Snapshot().Groups()).Write(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
