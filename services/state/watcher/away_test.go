package watcher_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

func TestAPIServerAwayAtStart(t *testing.T) {
	w := newWorld(t)
	w.populate(10)
	w.front.close()
	s := w.start()
	testenv.Eventually(t, patience, func() error {
		if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "API server doesn't answer") {
			return fmt.Errorf("ready says %v", err)
		}
		if s.metric("headwater_state_resource_available", "reason", "unreachable") != 0 {
			return errors.New("an unreachable kind counts as available")
		}
		return nil
	})
	w.front.open()
	s.isReady()
	w.isTrue()
	// And away for a while: nothing is written, nothing is forgotten.
	before := w.last()
	w.front.close()
	testenv.Eventually(t, patience, func() error {
		if s.metric("headwater_state_requests_total", "result", "unreachable") < 60 {
			return errors.New("nobody has noticed")
		}
		return nil
	})
	if err := s.Ready(); err != nil {
		t.Errorf("what was whole is not any more: %v", err)
	}
	w.front.open()
	w.touch("pods", "a", "p2")
	w.isTrue()
	if after := w.last(); after != before+1 {
		t.Errorf("one pod was changed, the log went from %d to %d", before, after)
	}
}

func TestLogIsGone(t *testing.T) {
	w := newWorld(t)
	w.populate(50)
	s := w.start()
	s.isReady()
	w.isTrue()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := stream.Recreate(ctx, w.conn, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 256 << 20}); err != nil {
		t.Fatal(err)
	}
	w.touch("pods", "a", "p2")
	w.isTrue()
	if s.metric("headwater_state_terms_total", "reason", "log_changed") == 0 {
		t.Error("no term ended because the log was another one")
	}
}

// TestNATSAway: while nothing can be written the newest states are kept, and written when it can be.
func TestNATSAway(t *testing.T) {
	w := newWorld(t)
	w.nats.stop()
	w.populate(300)
	s := w.start(func(c *watcher.Config) { c.MaxBuffered = 16 << 10 })
	testenv.Eventually(t, patience, func() error {
		if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "NATS") {
			return fmt.Errorf("ready says %v", err)
		}
		return nil
	})
	w.nats.start()
	s.isReady()
	w.isTrue()
	v := w.follow()
	before := w.last()

	w.nats.stop()
	for range 3 {
		for i := range 300 {
			w.touch("pods", []string{"a", "b"}[i%2], fmt.Sprint("p", i))
		}
	}
	for i := range 50 {
		w.remove("pods", []string{"a", "b"}[i%2], fmt.Sprint("p", i))
	}
	for i := range 10 {
		w.put(pod([]string{"a", "b"}[i%2], fmt.Sprint("p", i)))
	}
	testenv.Eventually(t, patience, func() error {
		if s.metric("headwater_state_overflows_total") == 0 {
			return errors.New("the buffer hasn't overflown")
		}
		return nil
	})
	w.nats.start()
	w.isTrue()
	if n := s.metric("headwater_state_left_out_total", "resource", "pods", "reason", "behind"); n == 0 {
		t.Error("900 changes of 300 pods were all written through a buffer of 16 kB")
	} else if written := w.last() - before; int(written)+int(n) < 900 {
		t.Errorf("%d events and %v left out don't make 900 changes", written, n)
	}
	testenv.Eventually(t, patience, func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		if len(v.states) != len(w.truth()) {
			return fmt.Errorf("the follower has %d objects", len(v.states))
		}
		return nil
	})
	for _, wrong := range v.wrong {
		t.Error(wrong)
	}
}

// TestKilledWithAFullBuffer: what was never acknowledged is written by the next service, whether some of it had reached
// the log or not.
func TestKilledWithAFullBuffer(t *testing.T) {
	w := newWorld(t)
	w.populate(100)
	s := w.start()
	s.isReady()
	w.isTrue()
	w.nats.stop()
	for i := range 100 {
		w.touch("pods", []string{"a", "b"}[i%2], fmt.Sprint("p", i))
	}
	w.remove("pods", "a", "p0")
	testenv.Eventually(t, patience, func() error {
		if n := s.metric("headwater_state_events_total", "resource", "pods"); n < 201 {
			return fmt.Errorf("%v events were taken", n)
		}
		return nil
	})
	s.stop() // takes a while: it waits for acknowledgements, in vain
	w.nats.start()
	s = w.start()
	s.isReady()
	w.isTrue()
}
