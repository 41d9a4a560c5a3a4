// Package stall tells how long the machine kept this process waiting, for tests that measure how soon something happens: a
// shared machine may stand still for seconds, and nothing that runs on it is in time then.
//
// From the start of the process a timer goes off fifty times a second, and what it is late by is a stall. [Since] adds them
// up, so that a test can take them off what it measured.
package stall

import (
	"sync"
	"time"
)

// period is the timer's, and usual what it may be late by on a machine that has time.
const period, usual = 20 * time.Millisecond, 10 * time.Millisecond

// meter collects stalls. Methods may be called concurrently.
type meter struct {
	mu     sync.Mutex
	stalls []stall
}

type stall struct {
	end  time.Time
	took time.Duration
}

var shared meter

func init() {
	go func() {
		for {
			before := time.Now()
			<-time.After(period)
			shared.note(before, time.Now())
		}
	}()
}

// note takes in that the timer was set and went off.
func (m *meter) note(set, off time.Time) {
	late := off.Sub(set) - period
	if late <= usual {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stalls = append(m.stalls, stall{off, late})
}

// since adds up the stalls after a moment. One that began before it counts from it.
func (m *meter) since(moment time.Time) (sum time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.stalls {
		sum += max(0, min(s.took, s.end.Sub(moment)))
	}
	return sum
}

// Since returns for how much of the time since a moment the machine kept this process waiting.
func Since(moment time.Time) time.Duration { return shared.since(moment) }
