package watcher_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

// candidate makes a service one of two, with a connection and a way to the API server of its own.
func (w *world) candidate(name string, f *front) func(*watcher.Config) {
	conn := w.connect()
	return func(c *watcher.Config) {
		c.Conn, c.Rest = conn, f.rest()
		c.LeaderElection.Enabled, c.LeaderElection.Identity, c.LeaderElection.Namespace = true, name, "a"
		// So long that nobody loses the Lease because the machine stands still for a moment.
		c.LeaderElection.LeaseDuration, c.LeaderElection.RenewDeadline, c.LeaderElection.RetryPeriod = 8*time.Second, 6*time.Second, 200*time.Millisecond
		c.Resources = []string{"namespaces", "nodes", "pods", "secrets"} // not the Lease itself, which never rests
	}
}

func noLeases(subject string) bool { return strings.Contains(subject, ".leases.") }

// churn changes pods all the time, until stop, which tells how often.
func (w *world) churn() (stop func() int) {
	quit, done := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				done <- n
				return
			case <-tick.C:
				namespace, name := []string{"a", "b"}[n%2], fmt.Sprint("p", n%40)
				if n%7 == 0 {
					w.remove("pods", namespace, name)
					w.put(pod(namespace, name))
				} else {
					w.touch("pods", namespace, name)
				}
				n++
			}
		}
	}()
	return sync.OnceValue(func() int { close(quit); return <-done })
}

// TestTwoServicesWriteAsOne: one leads, it goes, then it is cut off; the log stays what one writer would have made.
func TestTwoServicesWriteAsOne(t *testing.T) {
	w := newWorld(t)
	w.populate(40)
	frontA, frontB := w.newFront(), w.newFront()
	a := w.start(w.candidate("a", frontA))
	testenv.Eventually(t, patience, func() error {
		if !a.Leading() {
			return errors.New("a doesn't lead")
		}
		return a.Ready()
	})
	b := w.start(w.candidate("b", frontB))
	b.isReady() // standing by, it has replayed the log
	if b.Leading() || b.metric("headwater_state_leader") != 0 || a.metric("headwater_state_leader") != 1 {
		t.Fatal("two lead")
	}
	follower := w.follow()
	stop := w.churn()
	defer stop()
	some := func(what string) {
		t.Helper()
		from := w.last()
		testenv.Eventually(t, patience, func() error {
			if last := w.last(); last < from+50 {
				return fmt.Errorf("%s: the log is at %d, it was at %d", what, last, from)
			}
			return nil
		})
	}
	some("a leads")

	a.stop() // gives the Lease back
	testenv.Eventually(t, patience, func() error {
		if !b.Leading() {
			return errors.New("b doesn't lead")
		}
		return b.Ready()
	})
	some("b leads")

	a = w.start(w.candidate("a", frontA))
	a.isReady()
	frontB.close() // b can't renew
	testenv.Eventually(t, patience, func() error {
		switch {
		case !a.Leading():
			return errors.New("a doesn't lead")
		case b.Leading():
			return errors.New("b still leads")
		}
		return a.Ready()
	})
	some("a leads again")
	testenv.Eventually(t, patience, func() error { // its last requests may not be over
		if b.metric("headwater_state_terms_total", "reason", "leadership_lost") == 0 {
			return errors.New("b hasn't noticed")
		}
		return nil
	})
	frontB.open()
	stop()
	w.isTrue(noLeases)
	testenv.Eventually(t, patience, func() error {
		follower.mu.Lock()
		defer follower.mu.Unlock()
		if len(follower.states) != 46 {
			return fmt.Errorf("the follower has %d objects", len(follower.states))
		}
		return nil
	})
	for _, wrong := range follower.wrong {
		t.Error(wrong)
	}
}

// TestUninvitedWriter: a second service without an election ends the first one's term, and nothing is lost or repeated.
func TestUninvitedWriter(t *testing.T) {
	w := newWorld(t)
	w.populate(40)
	quiet := func(c *watcher.Config) { c.Resources = []string{"namespaces", "nodes", "pods", "secrets"} }
	a := w.start(quiet)
	a.isReady()
	follower := w.follow()
	stop := w.churn()
	defer stop()
	b := w.start(quiet)
	testenv.Eventually(t, patience, func() error {
		if n := a.metric("headwater_state_terms_total", "reason", "fenced") + b.metric("headwater_state_terms_total", "reason", "fenced"); n < 2 {
			return fmt.Errorf("%v terms were ended by the other's writing", n)
		}
		return nil
	})
	b.stop()
	stop()
	w.isTrue(noLeases)
	for _, wrong := range follower.wrong {
		t.Error(wrong)
	}
}
