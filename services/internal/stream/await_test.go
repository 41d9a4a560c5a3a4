package stream_test

import (
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// A server that awaits the log's first snapshot never sees the part of the world that its writer has written so far: not
// at a first start, and not when the log was lost, when it keeps the old view until the writer has been through.
func TestAwaitSnapshot(t *testing.T) {
	c := testenv.Conn(t)
	ensure(t, c)
	v := &views{}
	r, err := stream.NewReplay(stream.ReplayConfig{
		Conn: c, Cluster: cluster, Name: "server", AwaitSnapshot: true, Begin: v.begin, Whole: v.serve, Log: testenv.Logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, r.Run)
	waits := func() error { return saysNotReady(r, "waits for the first snapshot of the log") }

	a := appender(t, c, stream.LogPosition{})
	w := newWorld(a, 100)
	testenv.Eventually(t, 10*time.Second, waits)
	fill(t, w, 100) // a part of what there is
	testenv.Eventually(t, 10*time.Second, waits)
	fill(t, w, 100)
	if v.begun() != 0 {
		t.Error("a view was begun before the first snapshot")
	}
	writeSnapshot(t, stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a}), w)
	testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 200) })
	served, before := v.served(), w.at(200)
	if err := served.check(before); err != nil {
		t.Error(err)
	}

	// The log is lost. Its snapshot of before is of another log.
	if err := stream.Recreate(t.Context(), c, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	b := appender(t, c, stream.LogPosition{})
	again := newWorld(b, 100)
	testenv.Eventually(t, 10*time.Second, func() error {
		if p := r.Position(); !p.Rebuilding || p.Waiting == "" {
			return errPosition(p)
		}
		return nil
	})
	fill(t, again, 50)
	if err := r.Ready(); err != nil {
		t.Error("the old view is no longer served:", err)
	}
	if v.served() != served {
		t.Error("a part of the new log is served")
	}
	fill(t, again, 150)
	writeSnapshot(t, stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: b}), again)
	testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 200) })
	testenv.Eventually(t, 10*time.Second, func() error {
		if v.served() == served {
			return errPosition(r.Position())
		}
		return nil
	})
	if err := v.served().check(again.at(200)); err != nil {
		t.Error(err)
	}
	if err := served.check(before); err != nil {
		t.Error("the old view has changed:", err)
	}
}

type errPosition stream.Position

func (p errPosition) Error() string { return "still at " + p.Waiting }
