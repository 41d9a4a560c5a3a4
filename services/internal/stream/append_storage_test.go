package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// What can never be stored is refused at once, and what follows is not held up.
func TestEventsThatCannotBeStored(t *testing.T) {
	c := testenv.Conn(t)
	ensure(t, c)
	a := appender(t, c, stream.LogPosition{})
	mustAppend(t, a, "first")
	flush(t, a)
	largest := bytes.Repeat([]byte("x"), c.MaxPayload())
	longest := subjectOf(1) + strings.Repeat("y", schemas.MaxSubject-256-len(subjectOf(1)))
	for _, e := range []struct {
		what, subject string
		payload       []byte
		want          error
	}{
		{"a large payload", subjectOf(1), append(largest, 'x'), stream.ErrTooLarge},
		{"a long subject", longest + "y", nil, stream.ErrTooLarge},
		{"another cluster", schemas.ObjectSubject{Cluster: "other", Resource: "pods", Name: "x"}.String(), nil, stream.ErrSubject},
		{"usage", schemas.UsageSubject{Cluster: cluster, Node: "n"}.String(), nil, stream.ErrSubject},
		{"a wildcard", subjectOf(1) + "*", nil, stream.ErrSubject},
		{"a space", subjectOf(1) + " x", nil, stream.ErrSubject},
		{"a line end", subjectOf(1) + "\r\nPUB x 0", nil, stream.ErrSubject},
		{"an empty token", subjectOf(1) + "..x", nil, stream.ErrSubject},
		{"an empty last token", subjectOf(1) + ".", nil, stream.ErrSubject},
		{"the largest payload", subjectOf(1), largest, nil},
		{"the longest subject", longest, nil, nil},
	} {
		if _, err := a.Append(e.subject, e.payload); !errors.Is(err, e.want) {
			t.Errorf("%s: got %v, want %v", e.what, err, e.want)
		}
	}
	flush(t, a)
	if got := a.Acked().Sequence; got != 3 {
		t.Errorf("%d events are stored, want 3", got)
	}
	sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a})
	entry := stream.Entry{Sequence: 2, Subject: longest, Data: noise(len(largest))}
	if _, err := sw.Write(t.Context(), 3, oneChunk(3, entry)); err != nil {
		t.Errorf("a snapshot with the largest payload that can't be compressed, of the longest subject: %v", err)
	}
}

// The server's storage is full: one clear line, a counter, and nothing is lost when there is room again.
func TestStorageFull(t *testing.T) {
	s, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Address: testenv.Address(t), MaxStore: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	var log lines
	c := connect(t, stream.ConnConfig{URL: s.URL()})
	if err := stream.EnsureLog(t.Context(), c, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 1 << 30}); err == nil || !strings.Contains(err.Error(), "max_file_store") {
		t.Errorf("a log that reserves more than there is: got %v, want an error that says what to change", err)
	}
	if err := stream.Ensure(t.Context(), c, stream.Streams{Cluster: cluster, ObjectsMaxBytes: -1}); err != nil {
		t.Fatal(err)
	}
	// Something else takes half of the room.
	_, js := raw(t, stream.ConnConfig{URL: s.URL()})
	filler, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FILLER", Subjects: []string{"filler"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := js.Publish(t.Context(), "filler", make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
	}
	reg := prometheus.NewRegistry()
	a, err := stream.NewAppender(stream.AppenderConfig{Conn: c, Cluster: cluster, Registry: reg, Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	u, err := stream.NewUsagePublisher(stream.UsagePublisherConfig{Conn: c, Cluster: cluster, Registry: reg, Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	w := newWorld(a, 100)
	w.size = 20_000
	for i := range 80 { // 1.6 MB
		if err := w.set(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, 10*time.Second, func() error { return counted(reg, "headwater_stream_append_resyncs_total", "storage_full", 3) })
	if err := u.Publish(schemas.UsageSubject{Cluster: cluster, Node: "n1"}.String(), []byte("usage")); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error { return counted(reg, "headwater_stream_publish_errors_total", "storage_full", 4) })
	if n := log.count("storage is full"); n != 2 {
		t.Errorf("%d lines say that the storage is full, want one of each writer:\n%s", n, log.text())
	}
	if err := filler.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	flush(t, a)
	compareLog(t, c, w)
	if err := u.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, err := stream.LastUsage(t.Context(), c, cluster, "n1"); string(data) != "usage" {
		t.Errorf("the usage is %q, %v", data, err)
	}
	if n := log.count("takes events again") + log.count("takes samples again"); n != 2 {
		t.Errorf("%d lines say that it works again, want 2:\n%s", n, log.text())
	}
}

// The embedded server's disk is full: the stream is stuck, as NATS leaves it, until there is room; then the server goes on
// by itself, with nothing lost.
func TestDiskFull(t *testing.T) {
	server := newProcess(t)
	server.dir = filepath.Join(server.dir, "corrupt") // a name that says nothing of what is in it
	server.limit = 1 << 20
	server.start()
	c := server.connect()
	ensure(t, c)
	reg := prometheus.NewRegistry()
	var log lines
	a, err := stream.NewAppender(stream.AppenderConfig{Conn: c, Cluster: cluster, Registry: reg, Log: log.logger(), AckTimeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	w := newWorld(a, 100)
	w.size = 20_000
	for i := range 150 { // 3 MB
		if err := w.set(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, 10*time.Second, func() error { return counted(reg, "headwater_stream_append_resyncs_total", "timeout", 3) })
	if n := log.count("takes no events"); n != 1 {
		t.Errorf("%d lines say that the log takes nothing, want 1:\n%s", n, log.text())
	}
	if got := a.Acked().Sequence; got == 0 || got == 150 {
		t.Errorf("%d events are acknowledged, want a part", got)
	}
	server.signal(syscall.SIGUSR1)
	flush(t, a)
	compareLog(t, c, w)
}

// A file of the log is damaged: NATS stores nothing more when that is about to be removed, and says something else. What it is
// and what to do is in the log, and that helps. The embedded server isn't restarted: it would not come up again.
func TestDamagedLog(t *testing.T) {
	dir, address := t.TempDir(), testenv.Address(t)
	var log lines
	start := func() *embedded.Server {
		s, err := embedded.Start(embedded.Config{Dir: dir, Address: address, Log: log.logger()})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := start()
	c := connect(t, stream.ConnConfig{URL: s.URL()})
	streams := stream.Streams{Cluster: cluster, ObjectsMaxBytes: 24 << 20}
	if err := stream.Ensure(t.Context(), c, streams); err != nil {
		t.Fatal(err)
	}
	a, err := stream.NewAppender(stream.AppenderConfig{Conn: c, Cluster: cluster, Log: log.logger(), AckTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	w := newWorld(a, 100)
	w.size = 50_000
	fill(t, w, 400) // 20 MB, in several files
	s.Close()
	files, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "K8S_test_OBJECTS", "msgs", "1.blk"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damaged"), 1000); err != nil { // in the first event
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s = start()
	defer func() { s.Close() }()
	for i := range 200 {
		if err := w.set(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"a file of the embedded NATS server is damaged", "nats stream rm K8S_test_OBJECTS"} {
		testenv.Eventually(t, 10*time.Second, func() error {
			if n := log.count(text); n != 1 {
				return fmt.Errorf("%d lines say %q", n, text)
			}
			return nil
		})
	}
	deleteStream(t, stream.ConnConfig{URL: s.URL()}, "K8S_test_OBJECTS")
	if err := a.Flush(t.Context()); !errors.Is(err, stream.ErrLogChanged) {
		t.Errorf("the writer: got %v, want ErrLogChanged", err)
	}
	if err := stream.Ensure(t.Context(), c, streams); err != nil {
		t.Fatal(err)
	}
	again := newWorld(appender(t, c, stream.LogPosition{}), 100)
	fill(t, again, 50)
	compareLog(t, c, again)
	testenv.Eventually(t, 10*time.Second, s.Health)
}
