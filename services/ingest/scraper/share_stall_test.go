package scraper

import (
	"sync"
	"testing"
	"time"
)

// stalls measures what a busy machine takes from a test: for how long a goroutine that has something to do every few
// milliseconds was not let. What has to happen within a time may take that much longer; on a machine that has nothing else to
// do it is nothing.
type stalls struct {
	mu  sync.Mutex
	all []stall
}

type stall struct {
	at   time.Time
	took time.Duration
}

func measureStalls(t testing.TB) *stalls {
	const every, unnoticed = 5 * time.Millisecond, 20 * time.Millisecond
	s := &stalls{}
	end, ended := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(end)
		<-ended
	})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-tick.C:
			case <-end:
				return
			}
			now := time.Now()
			if took := now.Sub(last); took > unnoticed {
				s.mu.Lock()
				s.all = append(s.all, stall{now, took})
				s.mu.Unlock()
			}
			last = now
		}
	}()
	return s
}

// since is how much time was lost from a time on. What many goroutines wait for one after the other, each loses anew: it counts
// twice.
func (s *stalls) since(from time.Time) (lost time.Duration) { return s.between(from, time.Now()) }

// between is since up to a time.
func (s *stalls) between(from, to time.Time) (lost time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		if one.at.After(from) && one.at.Add(-one.took).Before(to) {
			lost += 2 * one.took
		}
	}
	return lost
}
