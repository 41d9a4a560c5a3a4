package stream_test

import (
	"sync"
	"time"
)

// A shared machine may stand still for seconds, and nothing that runs on it is in time then. stalls is what a timer that goes
// off fifty times a second was late by, so that tests can take it off what they measure.
var stalls struct {
	mu  sync.Mutex
	all []stall
}

type stall struct {
	end  time.Time
	took time.Duration
}

func init() {
	const period, usual = 20 * time.Millisecond, 10 * time.Millisecond
	go func() {
		for {
			before := time.Now()
			<-time.After(period)
			now := time.Now()
			if late := now.Sub(before) - period; late > usual {
				stalls.mu.Lock()
				stalls.all = append(stalls.all, stall{now, late})
				stalls.mu.Unlock()
			}
		}
	}()
}

// stalled is for how much of the time since a moment the machine kept this process waiting, in all and at once.
func stalled(since time.Time) (sum, longest time.Duration) {
	stalls.mu.Lock()
	defer stalls.mu.Unlock()
	for _, s := range stalls.all {
		took := max(0, min(s.took, s.end.Sub(since)))
		sum, longest = sum+took, max(longest, took)
	}
	return sum, longest
}

// worked is how long it is since a moment, without what the machine stood still.
func worked(since time.Time) time.Duration {
	sum, _ := stalled(since)
	return time.Since(since) - sum
}
