package stream_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// Under 2,000 writes/s, with snapshots written all the time, every replay holds at its fence exactly what was
// acknowledged at that sequence.
func TestReplayIsExactUnderWriting(t *testing.T) {
	const objects, replays = 20_000, 30
	c := testenv.Conn(t)
	ensure(t, c)
	a := appender(t, c, stream.LogPosition{})
	w := newWorld(a, 100)
	for i := range objects {
		if err := w.set(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	writing, stop := context.WithCancel(t.Context())
	defer stop()
	var background errgroup.Group
	background.Go(func() error { return w.churn(writing, objects, 2000) })
	snapshots := 0
	background.Go(func() error {
		sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a, Log: testenv.Logger(t)})
		for writing.Err() == nil {
			if _, err := sw.Write(writing, a.Acked().Sequence, w.chunks()); err != nil && writing.Err() == nil {
				return err
			}
			snapshots++
		}
		return nil
	})
	fromSnapshot := 0
	for i := range replays {
		p, v, err := replayOnce(t, c, fmt.Sprintf("replay-%d", i), 1+i%4)
		if err != nil {
			t.Fatal(err)
		}
		if p.Sequence != p.Fence || !p.Whole {
			t.Errorf("replay %d: did not end at its fence: %+v", i, p)
		}
		if err := v.check(w.at(p.Sequence)); err != nil {
			t.Errorf("replay %d, at %d: %v", i, p.Sequence, err)
		}
		if v.snapshot > 0 {
			fromSnapshot++
		}
	}
	stop()
	if err := background.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d replays, %d of them from one of %d snapshots, at %d events", replays, fromSnapshot, snapshots, a.Acked().Sequence)
	if fromSnapshot < replays/2 {
		t.Errorf("only %d of %d replays began with a snapshot", fromSnapshot, replays)
	}
}

// countingView also counts what came from a snapshot.
type countingView struct {
	*view
	count    sync.Mutex
	snapshot int
}

func (v *countingView) Apply(e stream.Event) error {
	if e.Snapshot {
		v.count.Lock()
		v.snapshot++
		v.count.Unlock()
	}
	return v.view.Apply(e)
}

// replayOnce replays the log and returns the view as it was when it was whole.
func replayOnce(t testing.TB, c *stream.Conn, name string, workers int) (stream.Position, *countingView, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var whole *countingView
	p, err := stream.ReplayOnce(ctx, stream.ReplayConfig{
		Conn: c, Cluster: cluster, Name: name, Workers: workers, Log: testenv.Logger(t),
		Begin: func() stream.Sink { return &countingView{view: newView()} },
		Whole: func(s stream.Sink, p stream.Position) { whole = s.(*countingView) },
	})
	return p, whole, err
}
