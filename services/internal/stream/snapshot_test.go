package stream_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// Only what has changed is written again, what is gone leaves the snapshot and the stream, and every snapshot leads to
// the exact state.
func TestSnapshotWritesWhatHasChanged(t *testing.T) {
	cfg := testenv.NATS(t)
	c := connect(t, cfg)
	ensure(t, c)
	a := appender(t, c, stream.LogPosition{})
	w := newWorld(a, 10)
	for i := range 1000 {
		if err := w.set(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, a)
	sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a})
	check := func(what string, chunks, written, objects int) {
		t.Helper()
		stats := writeSnapshot(t, sw, w)
		if stats.Chunks != chunks || stats.Written != written || stats.Objects != objects {
			t.Errorf("%s: %+v, want %d chunks, %d written with %d objects", what, stats, chunks, written, objects)
		}
		if n := len(snapshotMessages(t, cfg)) - 1; n != chunks {
			t.Errorf("%s: %d chunks are in the stream, want %d", what, n, chunks)
		}
		p, v, err := replayOnce(t, c, "reader", 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.check(w.at(p.Sequence)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if v.snapshot == 0 {
			t.Errorf("%s: the reader did not use the snapshot", what)
		}
	}
	check("the first", 100, 100, 1000)
	check("nothing has changed", 100, 0, 0)
	for _, object := range []int{5, 6, 25} {
		if err := w.set(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.remove(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	flush(t, a)
	check("two chunks have changed", 100, 2, 19)
	for object := range 10 {
		if err := w.remove(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, a)
	check("a chunk is empty", 99, 0, 0)
	if err := w.set(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	flush(t, a)
	check("and has come back", 100, 1, 1)

	// Another writer, of a process that has replaced this one, begins with everything, in other chunks.
	next := newWorld(appender(t, c, a.Acked()), 25)
	next.history, next.first = w.history, w.first
	for object, e := range w.objects {
		next.keep(object, e)
	}
	w, sw = next, stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: next.a})
	check("another writer", 40, 40, 991)
	check("another writer, nothing has changed", 40, 0, 0)
}

// Two writers of snapshots: the one whose manifest was replaced can't write any more.
func TestOldSnapshotWriterIsRefused(t *testing.T) {
	c := testenv.Conn(t)
	ensure(t, c)
	a := appender(t, c, stream.LogPosition{})
	w := newWorld(a, 10)
	fill(t, w, 100)
	old := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a})
	writeSnapshot(t, old, w)
	next := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a})
	writeSnapshot(t, next, w)
	for range 2 {
		fill(t, w, 10)
		if _, err := old.Write(t.Context(), a.Acked().Sequence, w.chunks()); !errors.Is(err, stream.ErrFenced) {
			t.Errorf("got %v, want ErrFenced", err)
		}
	}
	fill(t, w, 10)
	for object := range 100 {
		w.dirty[w.chunkOf(object)] = true // some were read by the other
	}
	writeSnapshot(t, next, w)
	p, v, err := replayOnce(t, c, "reader", 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.check(w.at(p.Sequence)); err != nil {
		t.Error(err)
	}
}

// The connection is lost in the middle of a snapshot, with chunks or their acknowledgements on the way: the older one
// stays usable, and the next one is complete.
func TestSnapshotIsInterrupted(t *testing.T) {
	for _, lost := range []direction{toServer, toClient} {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			cfg := testenv.NATS(t)
			direct := connect(t, cfg)
			ensure(t, direct)
			a := appender(t, direct, stream.LogPosition{})
			w := newWorld(a, 10)
			fill(t, w, 500)
			p, through := newProxy(t, cfg)
			sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: connect(t, through), Cluster: cluster, Appender: a})
			writeSnapshot(t, sw, w)
			for round := range 3 {
				fill(t, w, 500)
				ctx, cancel := context.WithCancel(t.Context())
				interrupted := func(yield func(stream.Chunk) bool) {
					n := 0
					for c := range w.chunks() {
						if n++; n == 10+5*round {
							p.hold(lost)
							time.AfterFunc(50*time.Millisecond, func() { p.cut(); cancel() })
						}
						if !yield(c) {
							return
						}
					}
				}
				if _, err := sw.Write(ctx, a.Acked().Sequence, interrupted); err == nil {
					t.Error("an interrupted snapshot has no error")
				}
				p.release() // where it did not come so far
				cancel()
				position, v, err := replayOnce(t, direct, "reader", 2)
				if err != nil {
					t.Fatal(err)
				}
				if err := v.check(w.at(position.Sequence)); err != nil {
					t.Error("after the interruption:", err)
				}
			}
			testenv.Eventually(t, 20*time.Second, func() error {
				_, err := sw.Write(t.Context(), a.Acked().Sequence, w.chunks())
				return err
			})
			position, v, err := replayOnce(t, direct, "reader", 2)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.check(w.at(position.Sequence)); err != nil || v.snapshot == 0 {
				t.Errorf("after the next snapshot, with %d objects from it: %v", v.snapshot, err)
			}
		})
	}
}

// A chunk that does not fit a message travels in several, also when it grows and shrinks.
func TestLargeChunk(t *testing.T) {
	cfg := testenv.NATS(t)
	c := connect(t, cfg)
	ensure(t, c)
	a := appender(t, c, stream.LogPosition{})
	w := newWorld(a, 1000)
	sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a})
	for i, size := range []int{100, 100_000, 300_000, 50, 200_000, 200_000} {
		w.size = size
		for object := range 8 {
			if err := w.set(t.Context(), object); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, a)
		writeSnapshot(t, sw, w)
		want := []int{1, 2, 8, 1, 4, 4}[i]
		if n := len(snapshotMessages(t, cfg)) - 1; n != want {
			t.Errorf("8 objects of %d bytes take %d messages, want %d", size, n, want)
		}
		p, v, err := replayOnce(t, c, "reader", 4)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.check(w.at(p.Sequence)); err != nil || v.snapshot != 8 {
			t.Errorf("8 objects of %d bytes, %d from the snapshot: %v", size, v.snapshot, err)
		}
	}
}

// A snapshot never tells of what the log has not acknowledged.
func TestSnapshotWaitsForTheLog(t *testing.T) {
	cfg := testenv.NATS(t)
	direct := connect(t, cfg)
	ensure(t, direct)
	p, through := newProxy(t, cfg)
	a := appender(t, connect(t, through), stream.LogPosition{})
	w := newWorld(a, 10)
	fill(t, w, 100)
	p.hold(toServer)
	for i := range 10 {
		if err := w.set(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: direct, Cluster: cluster, Appender: a})
	if _, err := sw.Write(t.Context(), 105, w.chunks()); !errors.Is(err, stream.ErrConfig) {
		t.Errorf("a position that is not acknowledged: got %v, want ErrConfig", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := sw.Write(ctx, 100, w.chunks()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that it waits", err)
	}
	if n := len(slices.Collect(w.chunks())); n == 0 {
		t.Fatal("no chunks")
	}
	p.release()
	writeSnapshot(t, sw, w)
	flush(t, a)
	position, v, err := replayOnce(t, direct, "reader", 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.check(w.at(position.Sequence)); err != nil {
		t.Error(err)
	}
}

// A process writes a snapshot every few minutes, for months.
func TestSnapshotWriterLeavesNothingBehind(t *testing.T) {
	s := natsServer(t, &server.Options{JetStream: true})
	c := connect(t, stream.ConnConfig{URL: "nats://" + s.Addr().String()})
	ensure(t, c)
	a := appender(t, c, stream.LogPosition{})
	w := newWorld(a, 10)
	sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a})
	fill(t, w, 10)
	writeSnapshot(t, sw, w)
	subscriptions, goroutines := s.NumSubscriptions(), runtime.NumGoroutine()
	const more = 20
	for range more {
		fill(t, w, 10)
		writeSnapshot(t, sw, w)
	}
	testenv.Eventually(t, 5*time.Second, func() error {
		if n := s.NumSubscriptions(); n >= subscriptions+more/2 {
			return fmt.Errorf("%d subscriptions, %d before", n, subscriptions)
		}
		if n := runtime.NumGoroutine(); n >= goroutines+more/2 {
			return fmt.Errorf("%d goroutines, %d before", n, goroutines)
		}
		return nil
	})
}
