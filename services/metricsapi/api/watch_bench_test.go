package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// BenchmarkWatchSample is what a sample of 30 pods costs to decode and apply, with watching off and on.
func BenchmarkWatchSample(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprint("watch=", on), func(b *testing.B) {
			s := newServed(b, func(c *Config) { c.Options.EnableWatch = on })
			next := s.flow(5000, 30)
			b.ReportAllocs()
			for b.Loop() {
				next()
			}
		})
	}
}

// flow generates a cluster, applies it, and returns what applies the next sample of the next node, with other figures each time.
func (s *served) flow(nodes, podsPerNode int) (next func()) {
	m := s.generate(nodes, podsPerNode, 100)
	apply(s.t, s.catalog, m.objects)
	apply(s.t, s.samples, m.samples)
	other := s.generateOther(nodes, podsPerNode)
	s.service.serveCatalog(s.catalog, stream.Position{LogPosition: stream.LogPosition{Sequence: uint64(len(m.objects))}})
	s.service.serveUsage(s.samples, stream.Position{LogPosition: stream.LogPosition{Sequence: uint64(len(m.samples))}})
	sequence := uint64(len(m.samples))
	i := 0
	return func() {
		from := m.samples
		if i/nodes%2 == 0 {
			from = other
		}
		e := from[i%nodes]
		sequence++
		e.Sequence = sequence
		if err := s.samples.Apply(e); err != nil {
			s.t.Fatal(err)
		}
		i++
	}
}

// generateOther is the samples of generate a resolution later.
func (s *served) generateOther(nodes, podsPerNode int) []stream.Event {
	m := s.generate(nodes, podsPerNode, 100)
	for i := range m.samples {
		m.samples[i] = later(s.t, m.samples[i])
	}
	return m.samples
}

// BenchmarkWatchers runs a server with the samples of 5,000 nodes coming in, 333 a second, for ten seconds, and those who watch. It
// tells the CPU time that a minute of it takes, of the server and of its clients, which are in the same process, and the live heap.
func BenchmarkWatchers(b *testing.B) {
	const seconds, rate, one = 10, 333, "/namespaces/namespace-%d/pods?watch=true"
	for _, c := range []struct {
		name    string
		on      bool
		clients int
		path    string
	}{
		{"off", false, 0, ""},
		{"on, nobody watches", true, 0, ""},
		{"1 watches all pods", true, 1, "/pods?watch=true"},
		{"10 watch all pods", true, 10, "/pods?watch=true"},
		{"100 watch a namespace of 1500 pods each", true, 100, one},
		{"100 watch the nodes", true, 100, "/nodes?watch=true"},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := newServed(b, func(config *Config) { config.Options.EnableWatch = c.on })
			next := s.flow(5000, 30)
			s.run()
			ctx, stop := context.WithCancel(b.Context())
			defer stop()
			client := s.client(nil)
			client.Timeout = 0
			read := make(chan int64, c.clients)
			for i := range c.clients {
				path := c.path
				if path == one {
					path = fmt.Sprintf(one, i)
				}
				request := s.request(http.MethodGet, group+path).WithContext(ctx)
				request.Header.Set("Accept", protobuf+";stream=watch")
				response, err := client.Do(request)
				if err != nil {
					b.Fatal(err)
				}
				if response.StatusCode != http.StatusOK {
					b.Fatal(response.Status)
				}
				go func() {
					defer response.Body.Close()
					n, _ := io.Copy(io.Discard, response.Body)
					read <- n
				}()
			}
			feed := func(seconds int) {
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				began, sent := time.Now(), 0
				for time.Since(began) < time.Duration(seconds)*time.Second {
					<-tick.C
					for due := int(time.Since(began).Seconds() * rate); sent < due; sent++ {
						next()
					}
				}
			}
			feed(5) // what there is at the beginning is told
			runtime.GC()
			b.ResetTimer()
			start := cpuTime(b)
			for b.Loop() {
				feed(seconds)
			}
			used := cpuTime(b) - start
			b.StopTimer()
			b.ReportMetric(used.Seconds()*60/float64(seconds)/float64(b.N), "cpu-s/min")
			var memory runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&memory)
			b.ReportMetric(float64(memory.HeapAlloc)/1e6, "heap-MB")
			stop()
			var bytes int64
			for range c.clients {
				bytes += <-read
			}
			b.ReportMetric(float64(bytes)/1e6/float64(seconds*b.N+5), "MB/s")
		})
	}
}

// later is a sample with other figures.
func later(t testing.TB, e stream.Event) stream.Event {
	var sample schemas.UsageSample
	if err := sample.Unmarshal(e.Data); err != nil {
		t.Fatal(err)
	}
	move := func(p *schemas.Point) {
		p.Time += int64(time.Second)
		p.Rate += 1000
	}
	move(sample.Point)
	for i := range sample.Pods {
		for j := range sample.Pods[i].Containers {
			move(&sample.Pods[i].Containers[j].Point)
		}
	}
	e.Data = sample.Marshal()
	return e
}
