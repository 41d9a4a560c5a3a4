package scraper

import (
	"bytes"
	"compress/gzip"
	"context"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// BenchmarkDecode takes the answer of a kubelet with 30 pods, 40 containers, to its usage message: the way that every
// scrape goes. "known" is a node scraped before, "new" one that is not; "expfmt" is Prometheus' library reading the same
// bytes into its own structures, without anything made of them.
func BenchmarkDecode(b *testing.B) {
	body := []byte(bodyOf(30, 2))
	rules := rulesFor(15 * time.Second)
	b.Run("known", func(b *testing.B) {
		var h history
		var d decoder
		message := make([]byte, 0, 16<<10)
		run := func() {
			d.begin(&h, requested)
			if err := d.decode(body); err != nil {
				b.Fatal(err)
			}
			sample, err := d.settle(&h, rules)
			if err != nil {
				b.Fatal(err)
			}
			message = sample.AppendMsgpack(message[:0])
			d.release()
		}
		run()
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			run()
		}
		b.ReportMetric(float64(len(message)), "message-bytes")
	})
	b.Run("new", func(b *testing.B) {
		var d decoder
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var h history
			d.begin(&h, requested)
			if err := d.decode(body); err != nil {
				b.Fatal(err)
			}
			if _, err := d.settle(&h, rules); err != nil {
				b.Fatal(err)
			}
			d.release()
		}
	})
	b.Run("expfmt", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			parser := expfmt.NewTextParser(model.UTF8Validation)
			if _, err := parser.TextToMetricFamilies(bytes.NewReader(body)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkScrape is a whole scrape over HTTPS and back to a message, connection kept, but for the publication: the
// kubelet's side of it (TLS, HTTP) is in the figures too. "compressed" is with gzip, as kubelets answer.
func BenchmarkScrape(b *testing.B) {
	body := []byte(bodyOf(30, 2))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(body)
	z.Close()
	run := func(b *testing.B, serve http.HandlerFunc) {
		server, config := newKubelet(b, serve)
		config.MetricResolution = 15 * time.Second
		config.Conn = testenv.Conn(b)
		config = config.complete()
		k, err := newKubelets(&config)
		if err != nil {
			b.Fatal(err)
		}
		s := &Service{cfg: config, log: config.Log, kubelets: k, rules: rulesFor(config.MetricResolution), decoders: sync.Pool{New: func() any { return new(decoder) }}}
		s.metrics = newMetrics(nil, s)
		address, err := url.Parse(server.URL + metricsPath)
		if err != nil {
			b.Fatal(err)
		}
		line := &timeline{node: "node"}
		b.ReportAllocs()
		var before, after syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &before)
		for b.Loop() {
			ctx, cancel := context.WithTimeout(b.Context(), config.KubeletRequestTimeout)
			err := k.get(ctx, address, func(body []byte) error {
				_, err := s.sample(line, body, nil, requested)
				return err
			})
			cancel()
			if err != nil {
				b.Fatal(err)
			}
		}
		syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		b.ReportMetric(float64(cpu)/float64(b.N)/1e3, "cpu-µs/op")
	}
	b.Run("plain", func(b *testing.B) {
		run(b, func(w http.ResponseWriter, _ *http.Request) { w.Write(body) })
	})
	b.Run("compressed", func(b *testing.B) {
		run(b, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(packed.Bytes())
		})
	})
}
