package scraper

import (
	"math"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
)

// step is one scrape of one container (or node): seconds, core-seconds; start < 0: there is none.
type step struct {
	at, cpu float64
	start   float64

	window float64 // that it must have; 0: no previous point
	cores  float64 // that it must have; -1: no rate
}

func (s step) point() schemas.Point {
	p := schemas.Point{Time: base + int64(s.at*1e9), CPU: uint64(s.cpu * 1e9), Memory: 1}
	if s.start >= 0 {
		p.Start = base + int64(s.start*1e9)
	}
	return p
}

// base is when the tests' seconds begin.
const base = int64(1_700_000_000e9)

func check(t *testing.T, i int, p schemas.Point, s step) {
	t.Helper()
	if want := int64(s.window * 1e9); p.Window != want {
		t.Errorf("step %d: window %v, want %v", i, time.Duration(p.Window), time.Duration(want))
		return
	}
	if s.window == 0 {
		return
	}
	want := uint64(s.cores * 1e9)
	if s.cores < 0 {
		want = schemas.NoRate
	}
	if p.Rate != want {
		t.Errorf("step %d: %d nanocores, want %d", i, p.Rate, want)
	}
}

func TestNodeRates(t *testing.T) {
	for name, steps := range map[string][]step{
		"10 s apart, 10 core-seconds more": {{at: 10, cpu: 10}, {at: 20, cpu: 20, window: 10, cores: 1}},
		"a late point is measured from before the one that it is earlier than": {
			{at: 15, cpu: 10}, {at: 35, cpu: 50, window: 20, cores: 2}, {at: 25, cpu: 35, window: 10, cores: 2.5},
		},
		"the same point again keeps its rate": {
			{at: 0, cpu: 10}, {at: 10, cpu: 15, window: 10, cores: .5}, {at: 10, cpu: 15, window: 10, cores: .5}, {at: 20, cpu: 25, window: 10, cores: 1},
		},
		"the first point again has none":         {{at: 0, cpu: 10}, {at: 0, cpu: 10}, {at: 10, cpu: 20, window: 10, cores: 1}},
		"back to before all that is known: none": {{at: 10, cpu: 10}, {at: 20, cpu: 20, window: 10, cores: 1}, {at: 5, cpu: 5}, {at: 15, cpu: 10, window: 10, cores: .5}},
		"back to the very point measured from: none": {
			{at: 10, cpu: 10}, {at: 20, cpu: 20, window: 10, cores: 1}, {at: 10, cpu: 10},
		},
		"a counter that fell has no rate once": {{at: 0, cpu: 100}, {at: 10, cpu: 5, window: 10, cores: -1}, {at: 20, cpu: 15, window: 10, cores: 1}},
		"an idle counter":                      {{at: 0, cpu: 100}, {at: 10, cpu: 100, window: 10}},
		"rounded down":                         {{at: 0, cpu: 1}, {at: 3, cpu: 2, window: 3, cores: .333333333}},
		"away for minutes: over all of them":   {{at: 0, cpu: 0}, {at: 240, cpu: 60, window: 240, cores: .25}},
		"away for hours: none at first":        {{at: 0, cpu: 0}, {at: 7200, cpu: 60}, {at: 7215, cpu: 75, window: 15, cores: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var past track
			for i, s := range steps {
				s.start = -1
				p := s.point()
				rulesFor(15*time.Second).continuous(&past, &p)
				check(t, i, p, s)
			}
		})
	}
}

func TestContainerRates(t *testing.T) {
	for name, test := range map[string]struct {
		resolution time.Duration
		steps      []step
	}{
		"an old container": {15 * time.Second, []step{
			{at: 100, cpu: 10, start: 0}, {at: 110, cpu: 15, start: 0, window: 10, cores: .5},
		}},
		"no start time": {15 * time.Second, []step{{at: 100, cpu: 10, start: -1}, {at: 110, cpu: 15, start: -1, window: 10, cores: .5}}},
		"10 s old: measured from its start": {15 * time.Second, []step{
			{at: 10, cpu: 5, start: 0, window: 10, cores: .5}, {at: 25, cpu: 12.5, start: 0, window: 15, cores: .5},
		}},
		"14.999 s old, still": {15 * time.Second, []step{{at: 14.999, cpu: 0.14999, start: 0, window: 14.999, cores: .01}}},
		"15 s old, no longer": {15 * time.Second, []step{{at: 15, cpu: 5, start: 0}}},
		"9 s old, not yet":    {15 * time.Second, []step{{at: 9, cpu: 5, start: 0}, {at: 24, cpu: 20, start: 0, window: 15, cores: 1}}},
		"at a resolution of 10 s, never": {10 * time.Second, []step{
			{at: 10, cpu: 5, start: 0}, {at: 20, cpu: 10, start: 0, window: 10, cores: .5},
		}},
		"at a resolution of 60 s, also with an older point": {time.Minute, []step{
			{at: 12, cpu: 6, start: 0, window: 12, cores: .5}, {at: 42, cpu: 42, start: 0, window: 42, cores: 1}, {at: 72, cpu: 72, start: 0, window: 30, cores: 1},
		}},
		"start in the future": {15 * time.Second, []step{{at: 10, cpu: 5, start: 20}, {at: 25, cpu: 10, start: 20}}},
		"restarted": {15 * time.Second, []step{
			{at: 100, cpu: 10, start: 0}, {at: 110, cpu: 15, start: 0, window: 10, cores: .5},
			{at: 125, cpu: 1, start: 118}, {at: 140, cpu: 16, start: 118, window: 15, cores: 1},
		}},
		"restarted in the very moment of the last point": {15 * time.Second, []step{
			{at: 100, cpu: 10, start: 0}, {at: 110, cpu: 15, start: 0, window: 10, cores: .5},
			{at: 125, cpu: 15, start: 110}, {at: 140, cpu: 30, start: 110, window: 15, cores: 1},
		}},
		"restarted a microsecond before the last point": {15 * time.Second, []step{
			{at: 100, cpu: 10, start: 0}, {at: 110, cpu: 15, start: 0, window: 10, cores: .5},
			{at: 125, cpu: 30, start: 109.999999, window: 15, cores: 1},
		}},
		"restarted 12 s ago: measured from there": {15 * time.Second, []step{
			{at: 100, cpu: 10, start: 0}, {at: 115, cpu: 6, start: 103, window: 12, cores: .5},
		}},
		"restarted, with a counter above the old one": {15 * time.Second, []step{
			{at: 100, cpu: 10, start: 0}, {at: 115, cpu: 20, start: 110}, {at: 130, cpu: 35, start: 110, window: 15, cores: 1},
		}},
		"a counter that fell without a restart": {15 * time.Second, []step{
			{at: 100, cpu: 10, start: 0}, {at: 115, cpu: 5, start: 0, window: 15, cores: -1}, {at: 130, cpu: 20, start: 0, window: 15, cores: 1},
		}},
		"a start time that fell": {15 * time.Second, []step{
			{at: 100, cpu: 10, start: 50}, {at: 115, cpu: 25, start: 0, window: 15, cores: -1}, {at: 130, cpu: 40, start: 0, window: 15, cores: 1},
		}},
		"repeated, then late": {15 * time.Second, []step{
			{at: 115, cpu: 10, start: 0}, {at: 135, cpu: 50, start: 0, window: 20, cores: 2}, {at: 135, cpu: 50, start: 0, window: 20, cores: 2},
			{at: 125, cpu: 35, start: 0, window: 10, cores: 2.5},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var past track
			for i, s := range test.steps {
				p := s.point()
				rulesFor(test.resolution).container(&past, &p)
				check(t, i, p, s)
			}
		})
	}
}

// An ingester that starts goes on where the last message ended, also if the kubelet has nothing new yet.
func TestRatesGoOnFromAMessage(t *testing.T) {
	r := rulesFor(15 * time.Second)
	for name, test := range map[string]struct{ before, after []step }{
		"two points before":   {[]step{{at: 100, cpu: 10}, {at: 115, cpu: 13.456789}}, []step{{at: 130, cpu: 28.456789, window: 15, cores: 1}}},
		"one point before":    {[]step{{at: 100, cpu: 10}}, []step{{at: 115, cpu: 25, window: 15, cores: 1}}},
		"nothing new":         {[]step{{at: 100, cpu: 10}, {at: 107, cpu: 13.456789}}, []step{{at: 107, cpu: 13.456789, window: 7, cores: .493827}, {at: 114, cpu: 20.456789, window: 7, cores: 1}}},
		"nothing new, at all": {[]step{{at: 100, cpu: 10}}, []step{{at: 100, cpu: 10}, {at: 107, cpu: 17, window: 7, cores: 1}}},
		"a counter that fell": {[]step{{at: 100, cpu: 10}, {at: 115, cpu: 3}}, []step{{at: 130, cpu: 18, window: 15, cores: 1}}},
		"restarted meanwhile": {[]step{{at: 100, cpu: 10}, {at: 115, cpu: 13}}, []step{{at: 150, cpu: 18, start: 120}, {at: 165, cpu: 33, start: 120, window: 15, cores: 1}}},
		"an old message":      {[]step{{at: 100, cpu: 10}}, []step{{at: 1000, cpu: 18}, {at: 1015, cpu: 33, window: 15, cores: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			var past track
			var p schemas.Point
			for _, s := range test.before {
				p = s.point()
				r.container(&past, &p)
			}
			var again track
			again.restore(&p)
			for i, s := range test.after {
				p := s.point()
				r.container(&again, &p)
				check(t, i, p, s)
			}
		})
	}
}

func TestARateThatFitsNoNumberIsNone(t *testing.T) {
	if got := rate(mark{time: 1, cpu: 0}, mark{time: 2, cpu: math.MaxUint64}); got != schemas.NoRate {
		t.Error(got)
	}
}

// What a body doesn't name is forgotten: a container that comes back has a first point again.
func TestAbsenceIsForgotten(t *testing.T) {
	var h history
	scrape := func(body string) *schemas.UsageSample {
		t.Helper()
		s, _, err := decodeNext(t, &h, body)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	with := func(second string) string {
		return nodes + cpu1 + "1 " + second + "000\n" + mem1 + "1 " + second + "000\n"
	}
	scrape(with("1"))
	if p := point(scrape(with("2"))); !p.HasRate() {
		t.Error("no rate at the second scrape")
	}
	scrape(nodes) // no containers
	if p := point(scrape(with("4"))); p.Window != 0 {
		t.Errorf("measured from before it was absent: %+v", p)
	}
	if p := point(scrape(with("5"))); !p.HasRate() {
		t.Error("no rate")
	}
	scrape(nodes + cpu1 + "0 6000\n" + mem1 + "1 6000\n") // dropped is as good as absent
	if p := point(scrape(with("7"))); p.Window != 0 {
		t.Errorf("measured from before it was dropped: %+v", p)
	}
	scrape(with("8"))
	s := scrape("node_memory_working_set_bytes 1 1000\n" + cpu1 + "1 9000\n" + mem1 + "1 9000\n")
	if s.Point != nil || !point(s).HasRate() {
		t.Errorf("%+v", s)
	}
	if s := scrape(with("10")); s.Point == nil || s.Point.Window != 0 {
		t.Errorf("the node's point is measured from before it was absent: %+v", s.Point)
	}
}
