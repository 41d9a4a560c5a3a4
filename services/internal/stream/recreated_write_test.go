package stream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// knows waits until a writer has looked which log it writes to.
func knows(t testing.TB, a *stream.Appender) {
	t.Helper()
	testenv.Eventually(t, 10*time.Second, func() error {
		if a.Acked().Log.IsZero() {
			return errors.New("the writer hasn't looked at the log yet")
		}
		return nil
	})
}

func recreate(t testing.TB, c *stream.Conn) {
	t.Helper()
	if err := stream.Recreate(t.Context(), c, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
}

// The log is deleted and created again while a writer looks what became of its events: it says so, and not that there is
// another writer.
func TestLogIsRecreatedWhileItsWriterLooks(t *testing.T) {
	cfg := testenv.NATS(t)
	direct := testenv.Connect(t, cfg)
	ensure(t, direct)
	p, through := newProxy(t, cfg)
	a := appender(t, connect(t, through), stream.LogPosition{})
	knows(t, a)
	p.hold(toClient)
	for range 10 {
		mustAppend(t, a, "x")
	}
	testenv.Eventually(t, 10*time.Second, func() error { return lastIs(t, direct, 10) })
	looks := p.holdAt("STREAM.MSG.GET")
	p.cut()
	comes(t, looks, "the writer doesn't look at its events")
	recreate(t, direct)
	p.release()
	if err := a.Flush(t.Context()); !errors.Is(err, stream.ErrLogChanged) {
		t.Errorf("got %v, want ErrLogChanged", err)
	}
}

// An empty log is deleted and created again, and its writer, which has looked at the first one, finds in the second what it
// expects. Its first snapshot would be of a log that is no more, and every reader would wait for another one: it ends instead.
func TestFirstSnapshotOfAnotherLog(t *testing.T) {
	c := testenv.Conn(t)
	ensure(t, c)
	a := appender(t, c, stream.LogPosition{})
	knows(t, a)
	recreate(t, c)
	w := newWorld(a, 100)
	fill(t, w, 50)
	sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a})
	if _, err := sw.Write(t.Context(), 50, w.chunks()); !errors.Is(err, stream.ErrLogChanged) {
		t.Errorf("the snapshot: got %v, want ErrLogChanged", err)
	}
	if err := a.Err(); !errors.Is(err, stream.ErrLogChanged) {
		t.Errorf("the writer: got %v, want ErrLogChanged", err)
	}
}

// The stream of the snapshots is deleted and created again when the chunks of the first one are written and its manifest is
// not: the manifest, which finds what it expects, lists what is gone. The writer notices, and the next one writes all again.
func TestSnapshotsAreRecreatedWhileTheyAreWritten(t *testing.T) {
	cfg := testenv.NATS(t)
	direct := testenv.Connect(t, cfg)
	ensure(t, direct)
	a := appender(t, direct, stream.LogPosition{})
	w := newWorld(a, 10)
	fill(t, w, 200)
	p, through := newProxy(t, cfg)
	sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: connect(t, through), Cluster: cluster, Appender: a})
	commits := p.holdAt("HPUB " + schemas.SnapshotSubject{Cluster: cluster, Manifest: true}.String())
	done := make(chan error, 1)
	go func() {
		_, err := sw.Write(t.Context(), 200, w.chunks())
		if errors.Is(err, context.DeadlineExceeded) { // it was held for too long: what became of the manifest shows now
			_, err = sw.Write(t.Context(), 200, w.chunks())
		}
		done <- err
	}()
	comes(t, commits, "the writer writes no manifest")
	deleteStream(t, cfg, "K8S_test_SNAPSHOTS")
	ensure(t, direct)
	p.release()
	if err := <-done; !errors.Is(err, stream.ErrFenced) {
		t.Errorf("got %v, want ErrFenced", err)
	}
	for object := range 200 {
		w.dirty[w.chunkOf(object)] = true
	}
	writeSnapshot(t, stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: direct, Cluster: cluster, Appender: a}), w)
	position, v, err := replayOnce(t, direct, "reader", 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.check(w.at(position.Sequence)); err != nil || v.snapshot == 0 {
		t.Errorf("%d objects from the snapshot: %v", v.snapshot, err)
	}
}
