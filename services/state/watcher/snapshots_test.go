package watcher_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/sim/fault"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

func TestSnapshots(t *testing.T) {
	w := newWorld(t)
	w.populate(20)
	s := w.start(func(c *watcher.Config) { c.SnapshotEvents, c.SnapshotInterval = 30, 200*time.Millisecond })
	s.isReady()
	for i := range 200 {
		w.touch("pods", []string{"a", "b"}[i%2], fmt.Sprint("p", i%20))
	}
	w.isTrue()
	testenv.Eventually(t, patience, func() error {
		v, _ := w.read()
		if v.snapshot != len(v.states) || v.events != 0 {
			return fmt.Errorf("%d of %d objects come from the snapshot, %d events from the log", v.snapshot, len(v.states), v.events)
		}
		return nil
	})
	w.isTrue()
	if s.metric("headwater_state_snapshots_total", "result", "ok") < 2 {
		t.Error("only one snapshot was counted")
	}
	// The next service replays from it, and its own snapshot is as good.
	s.stop()
	s = w.start()
	s.isReady()
	testenv.Eventually(t, patience, func() error {
		if s.metric("headwater_state_snapshots_total", "result", "ok") == 0 {
			return errors.New("no snapshot")
		}
		return nil
	})
	w.isTrue()
}

// TestNoSnapshotOfAPart: servers take a log's first snapshot for the whole world, so none is written while a list is
// missing, however many events there are.
func TestNoSnapshotOfAPart(t *testing.T) {
	w := newWorld(t)
	w.populate(50)
	mend := w.api.Bend(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/pods") }, fault.Status(http.StatusInternalServerError))
	s := w.start(func(c *watcher.Config) {
		c.SnapshotEvents, c.SnapshotInterval, c.RetryLast = 1, time.Hour, 100*time.Millisecond
	})
	written := func() error {
		if w.last() == 0 {
			return errors.New("the log is empty")
		}
		return nil
	}
	testenv.Eventually(t, patience, written)
	before := w.last()
	began := time.Now()
	testenv.Eventually(t, patience, func() error { // longer than a tick
		w.touch("nodes", "", "n")
		if last := w.last(); last < before+5 || time.Since(began) < 1500*time.Millisecond {
			return fmt.Errorf("the log ends at %d", last)
		}
		return nil
	})
	if v, _ := w.read(); v.snapshot > 0 {
		t.Errorf("%d objects come from a snapshot, though the pods were never listed", v.snapshot)
	}
	mend()
	s.isReady()
	testenv.Eventually(t, patience, func() error {
		if v, _ := w.read(); v.snapshot < 50 {
			return fmt.Errorf("%d objects come from the snapshot", v.snapshot)
		}
		return nil
	})
	w.isTrue()
}

// TestSnapshotsGoOn: what becomes of the stream of the snapshots is mended by the writer: that another one replaced its
// manifest and went away, that the stream is deleted.
func TestSnapshotsGoOn(t *testing.T) {
	w := newWorld(t)
	w.populate(20)
	s := w.start(func(c *watcher.Config) { c.SnapshotEvents, c.SnapshotInterval = 10, 100*time.Millisecond })
	s.isReady()
	snapshotOfAll := func() error {
		w.touch("pods", "a", "p2")
		v, _ := w.read()
		if v.snapshot != len(v.states) {
			return fmt.Errorf("%d of %d objects come from the snapshot", v.snapshot, len(v.states))
		}
		return nil
	}
	testenv.Eventually(t, patience, snapshotOfAll)
	nc, err := nats.Connect(w.nats.url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for name, harm := range map[string]*nats.Msg{
		"a foreign manifest": {Subject: schemas.SnapshotSubject{Cluster: cluster, Manifest: true}.String(), Data: []byte("garbage")},
		"no stream":          {Subject: "$JS.API.STREAM.DELETE.K8S_" + cluster + "_SNAPSHOTS"},
	} {
		if _, err := nc.RequestMsg(harm, patience); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := s.metric("headwater_state_snapshots_total", "result", "ok")
		testenv.Eventually(t, patience, func() error {
			w.touch("pods", "a", "p2")
			if s.metric("headwater_state_snapshots_total", "result", "ok") < before+2 {
				return fmt.Errorf("%s: no further snapshots", name)
			}
			return nil
		})
		testenv.Eventually(t, patience, snapshotOfAll)
	}
	w.isTrue()
	if s.metric("headwater_state_snapshots_total", "result", "failed") == 0 {
		t.Error("nothing failed")
	}
}
