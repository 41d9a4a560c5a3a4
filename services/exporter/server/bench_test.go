package server

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
	wireobjects "github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// BenchmarkRestart is the time from the start of an exporter to its first complete /metrics (gzip), for 1,000 nodes with
// 30 pods each and what belongs to them, from a snapshot and, slower, from the log alone. The processor time is that of
// the NATS server too.
func BenchmarkRestart(b *testing.B) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	w := newWorld(b)
	entries := w.fill(b, 1000)
	b.Run("log", w.restarts)
	w.snapshot(b, entries)
	b.Run("snapshot", w.restarts)
}

// fill writes the objects of a cluster of that many nodes into the log.
func (w *world) fill(b *testing.B, nodes int) (entries []stream.Entry) {
	encoders := map[string]*wireobjects.Encoder{}
	for _, kind := range wireobjects.Kinds() {
		encoder, err := wireobjects.NewEncoder(kind)
		if err != nil {
			b.Fatal(err)
		}
		encoders[fmt.Sprintf("%T", kind.New())] = encoder
	}
	err := specimen.Cluster(nodes, func(o runtime.Object) error {
		change, err := encoders[fmt.Sprintf("%T", o)].Change(o, schemas.Applied, time.Now())
		if err != nil {
			return err
		}
		e := stream.Entry{Subject: subjectOf(&change), Data: change.Marshal()}
		if e.Sequence, err = w.log.AppendWait(b.Context(), e.Subject, e.Data); err != nil {
			return err
		}
		entries = append(entries, e)
		return nil
	})
	if err == nil {
		err = w.log.Flush(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	return entries
}

// snapshot writes a snapshot of the log.
func (w *world) snapshot(b *testing.B, entries []stream.Entry) {
	const size = 256
	position := w.log.Acked().Sequence
	writer := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: w.conn, Cluster: cluster, Appender: w.log})
	_, err := writer.Write(b.Context(), position, func(yield func(stream.Chunk) bool) {
		for from := 0; from < len(entries); from += size {
			chunk := entries[from:min(from+size, len(entries))]
			if !yield(stream.Chunk{ID: uint32(from / size), Dirty: true, Read: func() (uint64, []stream.Entry) { return position, chunk }}) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
}

func (w *world) restarts(b *testing.B) {
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before) // can't fail with these arguments
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
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/restart")
	b.ReportMetric(cpu.Seconds()/float64(b.N), "CPU-s/restart")
}
