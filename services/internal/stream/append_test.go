package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// kill -9 of the server, again and again in the middle of appending: what was appended is in the log, each event at the
// place that Append told, once. A live reader sees each once and in order.
func TestKill9WhileAppending(t *testing.T) {
	const events, kills = 12_000, 4
	server := newProcess(t)
	server.start()
	c := server.connect()
	ensure(t, c)
	a := appender(t, c, stream.LogPosition{})
	w := newWorld(a, 100)
	r, views := replay(t, server.connect(), "live")
	for i := range events {
		if err := w.set(t.Context(), i%1000); err != nil {
			t.Fatal(err)
		}
		if i > 0 && i%(events/kills) == 0 { // with hundreds of events in flight
			server.kill()
			server.start()
		}
	}
	flush(t, a)
	if got := a.Acked().Sequence; got != events {
		t.Fatalf("%d events are acknowledged, want %d", got, events)
	}
	compareLog(t, c, w)
	testenv.Eventually(t, 10*time.Second, func() error { return reached(r, events) })
	if err := views.served().check(w.at(events)); err != nil {
		t.Error("the live reader:", err)
	}
	if n := views.begun(); n != 1 {
		t.Errorf("the live reader began %d views, want 1: nothing was lost that it had to rebuild for", n)
	}
}

// A writer that has acknowledged nothing of what it sent finds out what became of it: whether the events or their
// acknowledgements were lost.
func TestLostEventsAndLostAcknowledgements(t *testing.T) {
	for _, lost := range []direction{toServer, toClient} {
		t.Run(map[direction]string{toServer: "events", toClient: "acknowledgements"}[lost], func(t *testing.T) {
			cfg := testenv.NATS(t)
			direct := connect(t, cfg)
			ensure(t, direct)
			p, through := newProxy(t, cfg)
			reg := prometheus.NewRegistry()
			a, err := stream.NewAppender(stream.AppenderConfig{Conn: connect(t, through), Cluster: cluster, Registry: reg, AckTimeout: 500 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(a.Close)
			w := newWorld(a, 100)
			for i := range 10 {
				if err := w.set(t.Context(), i); err != nil {
					t.Fatal(err)
				}
			}
			flush(t, a)
			p.hold(lost)
			for i := range 200 {
				if err := w.set(t.Context(), i); err != nil {
					t.Fatal(err)
				}
			}
			if lost == toClient {
				testenv.Eventually(t, 10*time.Second, func() error { return lastIs(t, direct, 210) })
			}
			p.cut()
			flush(t, a)
			compareLog(t, direct, w)
			if n, err := testutil.GatherAndCount(reg, "headwater_stream_append_resyncs_total"); n == 0 || err != nil {
				t.Errorf("no resync was counted (%v)", err)
			}
		})
	}
}

// A second writer takes over; the first is refused and can't write again, however long it was away.
func TestOldWriterIsRefused(t *testing.T) {
	c := testenv.Conn(t)
	ensure(t, c)
	reg := prometheus.NewRegistry()
	old, err := stream.NewAppender(stream.AppenderConfig{Conn: c, Cluster: cluster, Registry: reg, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(old.Close)
	for i := range 10 {
		mustAppend(t, old, fmt.Sprint("old ", i))
	}
	flush(t, old)
	next := appender(t, c, old.Acked())
	for i := range 5 {
		mustAppend(t, next, fmt.Sprint("next ", i))
	}
	flush(t, next)

	if got := mustAppend(t, old, "too late"); got != 11 {
		t.Errorf("the old writer expects the place %d, want 11", got)
	}
	if err := old.Flush(t.Context()); !errors.Is(err, stream.ErrFenced) {
		t.Errorf("the old writer's event: got %v, want ErrFenced", err)
	}
	<-old.Done()
	for range 3 {
		if _, err := old.Append(subjectOf(1), nil); !errors.Is(err, stream.ErrFenced) {
			t.Errorf("the old writer's next event: got %v, want ErrFenced", err)
		}
	}
	late := appender(t, c, stream.LogPosition{Sequence: 10})
	if err := late.Wait(t.Context(), 11); !errors.Is(err, stream.ErrFenced) {
		t.Errorf("a new writer with an old position: got %v, want ErrFenced", err)
	}
	want := "old 0,old 1,old 2,old 3,old 4,old 5,old 6,old 7,old 8,old 9,next 0,next 1,next 2,next 3,next 4"
	if diff := cmp.Diff(want, payloads(t, c)); diff != "" {
		t.Error(diff)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP headwater_stream_append_ended_total Writers that can't write any more, by the reason.
# TYPE headwater_stream_append_ended_total counter
headwater_stream_append_ended_total{reason="fenced",stream="K8S_test_OBJECTS"} 1
`), "headwater_stream_append_ended_total"); err != nil {
		t.Error(err)
	}
}

// A writer that stood still with events on the way, while another took over: the events that find the log's end where
// they expect it do get in, after the other's. Both writers notice.
func TestEventsThatSlipIn(t *testing.T) {
	cfg := testenv.NATS(t)
	direct := connect(t, cfg)
	ensure(t, direct)
	p, through := newProxy(t, cfg)
	old := appender(t, connect(t, through), stream.LogPosition{})
	mustAppend(t, old, "first")
	flush(t, old)
	p.hold(toServer)
	for i := range 3 {
		mustAppend(t, old, fmt.Sprint("old ", i))
	}
	next := appender(t, direct, old.Acked())
	mustAppend(t, next, "next")
	flush(t, next)
	p.release()
	if err := old.Flush(t.Context()); !errors.Is(err, stream.ErrFenced) {
		t.Errorf("the old writer: got %v, want ErrFenced", err)
	}
	mustAppend(t, next, "next, again")
	if err := next.Flush(t.Context()); !errors.Is(err, stream.ErrFenced) {
		t.Errorf("the new writer: got %v, want ErrFenced", err)
	}
	if diff := cmp.Diff("first,next,old 1,old 2", payloads(t, direct)); diff != "" {
		t.Error(diff)
	}
	last := appender(t, direct, stream.LogPosition{Sequence: 4})
	mustAppend(t, last, "after both")
	flush(t, last)
}

// NATS away: events are kept in order up to the bound, then refused, then all are stored.
func TestAppendWhileNATSIsAway(t *testing.T) {
	server := newProcess(t)
	server.start()
	c := server.connect()
	ensure(t, c)
	server.kill()
	testenv.Eventually(t, 10*time.Second, func() error {
		if c.Connected() == nil {
			return errors.New("still connected")
		}
		return nil
	})
	a, err := stream.NewAppender(stream.AppenderConfig{Conn: c, Cluster: cluster, MaxBuffered: 20_000, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	var want []string
	for i := 0; ; i++ {
		payload := fmt.Sprintf("%0100d", i)
		_, err := a.Append(subjectOf(i), []byte(payload))
		if errors.Is(err, stream.ErrOverflow) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, payload)
	}
	if events, bytes := a.Buffered(); events != len(want) || bytes > 20_000 || len(want) < 50 {
		t.Errorf("%d events, %d bytes are buffered, want %d events in 20,000 bytes", events, bytes, len(want))
	}
	room := make(chan error, 1)
	go func() {
		_, err := a.AppendWait(t.Context(), subjectOf(0), []byte("waited for room"))
		room <- err
	}()
	server.start()
	if err := <-room; err != nil {
		t.Fatal(err)
	}
	flush(t, a)
	if diff := cmp.Diff(strings.Join(append(want, "waited for room"), ","), payloads(t, c)); diff != "" {
		t.Error(diff)
	}
}

// The log deleted, recreated, or restored to an older state ends the writer: it must replay first.
func TestWriterOfAnotherLog(t *testing.T) {
	server := newProcess(t)
	server.start()
	c := server.connect()
	a := appender(t, c, stream.LogPosition{})
	<-a.Done()
	if err := a.Err(); !errors.Is(err, stream.ErrLogChanged) {
		t.Errorf("no log: got %v, want ErrLogChanged", err)
	}

	ensure(t, c)
	a = appender(t, c, stream.LogPosition{})
	mustAppend(t, a, "one")
	mustAppend(t, a, "two")
	flush(t, a)
	if err := stream.Recreate(t.Context(), c, stream.Streams{Cluster: cluster}); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, a, "three")
	if err := a.Flush(t.Context()); !errors.Is(err, stream.ErrLogChanged) {
		t.Errorf("a recreated log: got %v, want ErrLogChanged", err)
	}
	if late := appender(t, c, a.Acked()); !errors.Is(late.Wait(t.Context(), 3), stream.ErrLogChanged) {
		t.Errorf("a position of the old log: got %v, want ErrLogChanged", late.Err())
	}

	a = appender(t, c, stream.LogPosition{})
	mustAppend(t, a, "one")
	flush(t, a)
	server.stop()
	older := t.TempDir()
	copyDir(t, older, server.dir)
	server.start()
	for _, text := range []string{"two", "three"} {
		mustAppend(t, a, text)
	}
	flush(t, a)
	server.stop()
	server.dir = older
	server.start()
	mustAppend(t, a, "four")
	if err := a.Flush(t.Context()); !errors.Is(err, stream.ErrLogChanged) {
		t.Errorf("a log that went back: got %v, want ErrLogChanged", err)
	}
	if diff := cmp.Diff("one", payloads(t, c)); diff != "" {
		t.Error(diff)
	}
}

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
	s, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Address: "127.0.0.1:0", MaxStore: 2 << 20})
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

// Close ends whoever waits.
func TestCloseAppender(t *testing.T) {
	server := newProcess(t)
	a := appender(t, server.connect(), stream.LogPosition{})
	mustAppend(t, a, "x")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := a.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that of the context", err)
	}
	waits := make(chan error, 1)
	go func() { waits <- a.Flush(t.Context()) }()
	a.Close()
	a.Close()
	if err := <-waits; !errors.Is(err, stream.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if _, err := a.Append(subjectOf(1), nil); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}
