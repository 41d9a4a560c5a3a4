package scraper

import (
	"math"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
)

// mark is the moment of a cumulative counter that a rate is measured from.
type mark struct {
	time  int64 // Unix nanoseconds
	start int64 // Unix nanoseconds, 0 where unknown
	cpu   uint64
}

// track is one counter's past: the last point, and the one that the last point's rate was measured from.
//
//	rate = (last.cpu - previous.cpu) / (last.time - previous.time)
type track struct {
	last, previous mark
	points         int8 // how many of them are there: 0; 1, last only; 2, both
}

// rules say what a rate may be measured from.
type rules struct {
	// resolution is the time between scrapes: a container that is at least freshAge old and younger than this is
	// measured from its start.
	resolution int64
	// longest is how far back the previous point may be. What a node that was away for hours did meanwhile is no answer
	// to what it does now.
	longest int64
}

// freshAge is the least age of a container whose first point is measured from its start, when it had used nothing.
const freshAge = int64(10 * time.Second)

// rulesFor returns the rules at a resolution.
func rulesFor(resolution time.Duration) rules {
	return rules{resolution: int64(resolution), longest: int64(max(5*time.Minute, 4*resolution))}
}

// container adds a container's point to its past and fills in the point's rate and window.
func (r rules) container(t *track, p *schemas.Point) {
	age := p.Time - p.Start
	switch {
	case p.Start > 0 && p.Start < p.Time && age >= freshAge && age < r.resolution:
		t.previous, t.points = mark{time: p.Start, start: p.Start}, 2
	case t.points > 0 && p.Start < t.last.time:
		r.follow(t, p)
	default: // its first point, or it was restarted since the last one
		t.points = 1
	}
	t.finish(p)
}

// continuous adds a point of what has no start time, a node or a pod's own cgroup, and fills in its rate and window.
func (r rules) continuous(t *track, p *schemas.Point) {
	if t.points > 0 {
		r.follow(t, p)
	} else {
		t.points = 1
	}
	t.finish(p)
}

// follow decides what the rate of a point that continues t is measured from: the last point; where the source repeats
// itself or went back in time, whatever that one was measured from, as long as it is earlier.
func (r rules) follow(t *track, p *schemas.Point) {
	switch {
	case p.Time > t.last.time:
		t.previous, t.points = t.last, 2
	case t.points == 2 && t.previous.time < p.Time:
	default:
		t.points = 1
	}
	if t.points == 2 && p.Time-t.previous.time > r.longest {
		t.points = 1
	}
}

// finish makes p the last point and measures its rate.
func (t *track) finish(p *schemas.Point) {
	t.last = mark{time: p.Time, start: p.Start, cpu: p.CPU}
	p.Rate, p.Window = 0, 0
	if t.points < 2 {
		return
	}
	p.Window = p.Time - t.previous.time
	p.Rate = rate(t.previous, t.last)
}

// rate returns the nanocores (billionths of a core) between two marks, rounded down; schemas.NoRate where the counter
// or the start time went backwards. Seconds are floating point, as metrics-server has them, so that the last digit
// agrees.
func rate(from, to mark) uint64 {
	if to.start < from.start || to.cpu < from.cpu {
		return schemas.NoRate
	}
	cores := float64(to.cpu-from.cpu) / time.Duration(to.time-from.time).Seconds()
	if cores >= maxInt64 {
		return schemas.NoRate
	}
	return uint64(cores)
}

// restore makes t the track whose last point was p, as published: what an ingester that starts goes on from.
func (t *track) restore(p *schemas.Point) {
	*t = track{last: mark{time: p.Time, start: p.Start, cpu: p.CPU}, points: 1}
	if !p.HasRate() {
		return
	}
	// The previous counter isn't in the message; the smallest difference that gives the same rate is as good.
	used := math.Ceil(float64(p.Rate) * time.Duration(p.Window).Seconds())
	if used > float64(p.CPU) {
		return
	}
	t.previous, t.points = mark{time: p.Time - p.Window, start: p.Start, cpu: p.CPU - uint64(used)}, 2
}
