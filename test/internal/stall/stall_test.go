package stall

import (
	"testing"
	"time"
)

func TestSince(t *testing.T) {
	var m meter
	start := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	m.note(at(0), at(period+usual)) // no more than usual
	m.note(at(time.Second), at(3*time.Second+period))
	m.note(at(4*time.Second), at(4500*time.Millisecond+period))
	for since, want := range map[time.Duration]time.Duration{
		0:                      2500 * time.Millisecond,
		2*time.Second + period: 1500 * time.Millisecond,
		4 * time.Second:        500 * time.Millisecond,
		5 * time.Second:        0,
	} {
		if sum := m.since(at(since)); sum != want {
			t.Errorf("since %v: %v, want %v", since, sum, want)
		}
	}
}

func TestTheMeterRuns(t *testing.T) {
	before := time.Now()
	if lost := Since(before); lost < 0 || lost > time.Since(before) {
		t.Errorf("%v of %v were lost", lost, time.Since(before))
	}
}
