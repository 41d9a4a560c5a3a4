package events

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

const cluster = "test"

// aReplay reads the log of the test's NATS into the totals, as an edition of the exporter does.
type aReplay struct {
	replay *stream.Replay
	stop   context.CancelFunc
	done   sync.WaitGroup
}

func startReplay(t *testing.T, conn *stream.Conn, totals *Totals) *aReplay {
	t.Helper()
	r := &aReplay{}
	feed := totals.Feed(Scope{})
	type sink struct {
		stream.SinkFunc
		fold *Fold
	}
	var err error
	r.replay, err = stream.NewReplay(stream.ReplayConfig{
		Conn: conn, Cluster: cluster, Name: "events", AwaitSnapshot: true, Workers: runtime.GOMAXPROCS(0), Log: testenv.Logger(t),
		Begin: func() stream.Sink {
			fold := feed.Begin(r.replay.Position())
			return &sink{fold: fold, SinkFunc: func(e stream.Event) error {
				var change schemas.ObjectChange
				if err := change.Unmarshal(e.Data); err != nil {
					return err
				}
				return fold.Apply(e.Sequence, e.Snapshot, &change)
			}}
		},
		Whole: func(s stream.Sink, p stream.Position) { s.(*sink).fold.Whole(p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = func() { cancel(); r.done.Wait() }
	r.done.Go(func() { _ = r.replay.Run(ctx) })
	t.Cleanup(r.stop)
	return r
}

// TestOnAStream runs replays of a real log: one from its start, one that joins from a snapshot, and both again after the
// log was lost and written anew.
func TestOnAStream(t *testing.T) {
	const patience = 30 * time.Second
	conn := testenv.Conn(t)
	streams := stream.Streams{Cluster: cluster, ObjectsMaxBytes: 256 << 20}
	if err := stream.EnsureLog(t.Context(), conn, streams); err != nil {
		t.Fatal(err)
	}
	var log *stream.Appender
	openLog := func() {
		var err error
		if log, err = stream.NewAppender(stream.AppenderConfig{Conn: conn, Cluster: cluster, Log: testenv.Logger(t)}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(log.Close)
	}
	openLog()
	testenv.FirstSnapshot(t, conn, cluster, log)
	w := newWorld(t, 7)
	written := 0
	entries := map[schemas.ObjectKey]stream.Entry{} // what exists
	write := func() {
		t.Helper()
		for ; written < len(w.log); written++ {
			change := &w.log[written].change
			subject := schemas.ObjectSubject{Cluster: cluster, Group: change.Group, Resource: change.Resource, Namespace: change.Namespace, Name: change.Name}
			sequence, err := log.Append(subject.String(), change.Marshal())
			if err != nil {
				t.Fatal(err)
			}
			entries[change.Key()] = stream.Entry{Sequence: sequence, Subject: subject.String(), Data: change.Marshal()}
			if change.Operation == schemas.Deleted {
				delete(entries, change.Key())
			}
		}
		if err := log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	readTo := func(r *aReplay, sequence int) {
		t.Helper()
		testenv.Eventually(t, patience, func() error {
			if p := r.replay.Position(); !p.Whole || p.Rebuilding || p.Sequence < uint64(sequence) {
				return fmt.Errorf("it is at %+v, not at %d", p, sequence)
			}
			return nil
		})
	}
	totals := NewTotals()
	w.history(200)
	write()
	a := startReplay(t, conn, totals)
	readTo(a, 200)
	w.history(200)
	write()
	readTo(a, 400)

	// The snapshot is as of 400; a replay begins with it, in which a has read beyond already.
	writer := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: conn, Cluster: cluster, Appender: log, Log: testenv.Logger(t)})
	if _, err := writer.Write(t.Context(), 400, func(yield func(stream.Chunk) bool) {
		yield(stream.Chunk{ID: 1, Dirty: true, Read: func() (uint64, []stream.Entry) {
			var all []stream.Entry
			for _, e := range entries {
				all = append(all, e)
			}
			return 400, all
		}})
	}); err != nil {
		t.Fatal(err)
	}
	w.history(200)
	write()
	b := startReplay(t, conn, totals)
	w.history(200)
	write()
	readTo(a, 800)
	readTo(b, 800)
	a.stop()
	w.history(200)
	write()
	readTo(b, 1000)
	want := w.expected(200)
	if diff := cmp.Diff(want, got(totals), unexported); diff != "" {
		t.Fatalf("(-model +counters):\n%s", diff)
	}

	// The log is lost, and what exists is written anew; then it goes on.
	log.Close()
	if err := stream.Recreate(t.Context(), conn, streams); err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(entries)
	openLog()
	for _, e := range before {
		if _, err := log.Append(e.Subject, e.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	testenv.FirstSnapshot(t, conn, cluster, log) // when all is written, as the state service does
	testenv.Eventually(t, patience, func() error {
		if p := b.replay.Position(); !p.Log.Equal(log.Acked().Log) || p.Rebuilding || p.Sequence != uint64(len(before)) {
			return fmt.Errorf("it is at %+v", p)
		}
		return nil
	})
	c := startReplay(t, conn, totals)
	w.history(200)
	write()
	readTo(b, len(before)+200)
	readTo(c, len(before)+200)
	counts := got(totals)
	for r, n := range w.expected(200) {
		if r.family != objectChanges && counts[r] != n {
			t.Errorf("%v: %d, want %d", r, counts[r], n)
		}
	}
}
