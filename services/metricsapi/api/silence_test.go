package api

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

func TestHowLongASilenceIsBorne(t *testing.T) {
	for _, c := range []struct{ resolution, maxAge, bearable, lull, recovery time.Duration }{
		{15 * time.Second, 0, 27 * time.Second, 21 * time.Second, 20 * time.Second},
		{10 * time.Second, 0, 18 * time.Second, 14 * time.Second, 15 * time.Second},
		{time.Minute, 0, 108 * time.Second, 84 * time.Second, 65 * time.Second},
		{15 * time.Second, time.Minute, 42 * time.Second, 21 * time.Second, 20 * time.Second},
		{time.Second, 5 * time.Second, 3 * time.Second, 3 * time.Second, 6 * time.Second},
		{time.Second, 0, stream.Silent, 3 * time.Second, 6 * time.Second},
		{15 * time.Second, 15 * time.Second, stream.Silent, 21 * time.Second, 20 * time.Second},
	} {
		o := &Options{Resolution: c.resolution, MaxSampleAge: c.maxAge}
		if o.bearable() != c.bearable || o.lull() != c.lull || o.recovery() != c.recovery {
			t.Errorf("%+v: %v, %v, %v", c, o.bearable(), o.lull(), o.recovery())
		}
	}
}

// TestDeaf goes through silences with a clock that is set: the resolution is 15 s, samples are true for 45 s. node-a was healthy
// when the silence began, node-b had failed.
func TestDeaf(t *testing.T) {
	s := newServed(t, selecting("pool!=red"))
	var clock atomic.Int64
	at := func(seconds float64) time.Time { return epoch.Add(time.Duration(seconds * float64(time.Second))) }
	s.service.now = func() time.Time { return time.Unix(0, clock.Load()) }
	// sample is of a scrape at a moment, and comes when the clock says.
	sample := func(node string, seconds float64) {
		p := point(1, 1, time.Second)
		sample := nodeSample(node, &p)
		sample.Time = at(seconds).UnixNano()
		s.sample(sample)
	}
	// hear says that the server was heard for the last time at a moment, and for the first time since a silence.
	hear := func(last, since, until float64) {
		s.usage.heard.Store(at(last).UnixNano())
		s.usage.silence.Store(&stream.Silence{Since: at(since), Until: at(until)})
	}
	check := func(seconds float64, want string) {
		t.Helper()
		clock.Store(at(seconds).UnixNano())
		got := fmt.Sprint(s.service.usageReady())
		if (want == "") != (got == "<nil>") || !strings.Contains(got, want) {
			t.Errorf("at %v: %s, want %q", seconds, got, want)
		}
	}
	gone, red := newNode("node-c", nil), newNode("node-d", map[string]string{"pool": "red"})
	for _, node := range []*corev1.Node{newNode("node-a", nil), newNode("node-b", nil), gone, red} {
		s.apply(node)
	}
	s.whole()
	clock.Store(at(-35).UnixNano())
	sample("node-b", -35)
	clock.Store(at(-14).UnixNano())
	sample("node-a", -14)
	s.usage.heard.Store(at(0).UnixNano())
	check(2, "")
	check(10, "") // node-b's sample has lapsed, as it would have
	check(26.9, "")
	check(27.1, "nothing has been heard of the usage stream for 27s")
	check(50, "nothing has been heard of the usage stream for 50s")

	const waiting = "nothing was heard of the usage stream for 50s, and some nodes have no newer samples yet"
	hear(50, 0, 50)
	check(50, waiting)
	hear(55, 0, 50)
	check(55, waiting)
	check(59, "nothing was heard of the usage stream for 59s, and some") // silent again, before it has recovered
	check(90, "nothing has been heard of the usage stream for 35s")
	hear(69.9, 0, 50)
	check(70, waiting)
	hear(70.1, 0, 50) // node-a doesn't come back
	check(70.1, "")

	hear(55, 0, 50)
	sample("node-a", 3) // it was on its way, and is too old by now, too
	check(55, waiting)
	sample("node-a", 51)
	check(55, "")
	check(70, "")

	// A shorter silence is borne while node-a's sample is true, and is waited for no longer than another one.
	hear(75, 55, 75)
	check(75, "")
	hear(92.9, 55, 75)
	check(93, "")
	hear(94.4, 55, 75)
	check(94.5, "nothing was heard of the usage stream for 20s")
	hear(95, 55, 75)
	check(95.1, "")

	// A node that was deleted is not waited for, nor is one that isn't selected.
	clock.Store(at(125).UnixNano())
	sample(gone.Name, 125)
	sample(red.Name, 125)
	hear(180, 130, 180)
	clock.Store(at(181).UnixNano())
	sample("node-a", 181)
	check(181, waiting)
	s.remove(gone)
	check(181, "")
}
