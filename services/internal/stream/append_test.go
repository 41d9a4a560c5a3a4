package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater-metrics/headwater/services/internal/stream"
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
	if err := stream.Recreate(t.Context(), c, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 64 << 20}); err != nil {
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
