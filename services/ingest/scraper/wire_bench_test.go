package scraper

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"runtime"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// BenchmarkWire is a request for a node's answer, compressed, over kept HTTPS connections: over wire, and over the
// transport that client-go makes. The server's share, which is in the figures of both, is what it is in either.
// conn-bytes is the memory that a connection takes while it waits, with the server's end.
func BenchmarkWire(b *testing.B) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte(bodyOf(30, 2)))
	z.Close()
	for _, test := range []struct {
		name string
		make func(*rest.Config) (http.RoundTripper, error)
	}{
		{"wire", func(c *rest.Config) (http.RoundTripper, error) { return newTransport(c, func([]byte, error) {}) }},
		{"client-go", rest.TransportFor},
	} {
		b.Run(test.name, func(b *testing.B) {
			server, _ := newKubelet(b, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				w.Write(packed.Bytes())
			})
			config := &rest.Config{BearerToken: token, UserAgent: userAgent}
			config.CAData, config.NextProtos = certificatePEM(server), []string{"http/1.1"}
			transport, err := test.make(config)
			if err != nil {
				b.Fatal(err)
			}
			client := &http.Client{Transport: transport}
			defer client.CloseIdleConnections()
			ask := func() io.ReadCloser {
				ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
				if err != nil {
					b.Fatal(err)
				}
				request.Header.Set("Accept-Encoding", "gzip")
				response, err := client.Do(request)
				if err != nil {
					b.Fatal(err)
				}
				return struct {
					io.Reader
					io.Closer
				}{response.Body, closer(func() { response.Body.Close(); cancel() })}
			}
			read := func(body io.ReadCloser) {
				if _, err := io.Copy(io.Discard, body); err != nil {
					b.Fatal(err)
				}
				body.Close()
			}
			const many = idlePerHost
			before := memory()
			var open []io.ReadCloser
			for range many {
				open = append(open, ask())
			}
			for _, body := range open {
				read(body)
			}
			taken := float64(memory()-before) / many
			b.ReportAllocs()
			var from, till syscall.Rusage
			syscall.Getrusage(syscall.RUSAGE_SELF, &from)
			for b.Loop() {
				read(ask())
			}
			syscall.Getrusage(syscall.RUSAGE_SELF, &till)
			b.ReportMetric(float64(till.Utime.Nano()+till.Stime.Nano()-from.Utime.Nano()-from.Stime.Nano())/float64(b.N)/1e3, "cpu-µs/op")
			b.ReportMetric(taken, "conn-bytes")
		})
	}
}

type closer func()

func (c closer) Close() error { c(); return nil }

// memory is what the heap and the stacks hold.
func memory() uint64 {
	for range 2 {
		runtime.GC() // the second takes what pools held
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
