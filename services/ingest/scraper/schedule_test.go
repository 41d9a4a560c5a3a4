package scraper

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// diary notes when which node was scraped; slow nodes take their time.
type diary struct {
	mu      sync.Mutex
	began   time.Time
	scrapes map[string][]time.Duration // since began
	slow    map[string]time.Duration
	skipped int
	running map[string]int
	overlap bool // a node was scraped twice at once
}

func newDiary() *diary {
	return &diary{began: time.Now(), scrapes: map[string][]time.Duration{}, slow: map[string]time.Duration{}, running: map[string]int{}}
}

func (d *diary) scrape(ctx context.Context, t *timeline) {
	d.mu.Lock()
	d.scrapes[t.node] = append(d.scrapes[t.node], time.Since(d.began))
	d.running[t.node]++
	d.overlap = d.overlap || d.running[t.node] > 1
	slow := d.slow[t.node]
	d.mu.Unlock()
	if slow > 0 {
		// Not time.After: its timers crash Go 1.26's race detector within a synctest bubble now and then.
		over := make(chan struct{})
		timer := time.AfterFunc(slow, func() { close(over) })
		select {
		case <-over:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	d.mu.Lock()
	d.running[t.node]--
	d.mu.Unlock()
}

func (d *diary) skip(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.skipped += n
}

func target(node string) Target {
	return Target{Node: node, URL: &url.URL{Scheme: "https", Host: node + ":10250", Path: metricsPath}}
}

func targets(n int) []Target {
	all := make([]Target, n)
	for i := range all {
		all[i] = target(fmt.Sprintf("node-%d", i))
	}
	return all
}

const resolution = 15 * time.Second

func TestEveryNodeHasItsOwnTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		d.slow["node-3"] = 40 * time.Second // hangs; its time-out would have ended it, if it had one
		d.slow["node-4"] = 9 * time.Second
		s := newSchedule(t.Context(), resolution, d.scrape, d.skip)
		defer s.stop()
		const n = 1000
		s.Replace(targets(n))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s.stop()

		for node, at := range d.scrapes {
			if at[0] > 4*time.Second {
				t.Errorf("%s: first scrape after %v", node, at[0])
			}
			phase, _ := place(node, resolution)
			for i := 1; i < len(at); i++ {
				gap := at[i] - at[i-1]
				least, most := resolution, resolution
				switch {
				case node == "node-3":
					least, most = 2*resolution, 4*resolution // 40 s and the wait for its phase
				case i == 1:
					least, most = resolution/2, 3*resolution/2
				}
				if gap < least || gap > most {
					t.Errorf("%s: %v between two scrapes", node, gap)
				}
				if late := time.Duration((d.began.Add(at[i]).UnixNano() - int64(phase)) % int64(resolution)); late != 0 {
					t.Errorf("%s: %v after it was due", node, late)
				}
			}
			if node != "node-3" && (len(at) < 40 || len(at) > 41) {
				t.Errorf("%s: %d scrapes in 10 minutes", node, len(at))
			}
		}
		if len(d.scrapes) != n || d.overlap {
			t.Errorf("%d nodes scraped, one twice at once: %v", len(d.scrapes), d.overlap)
		}
		if d.skipped < 20 || d.skipped > 40 { // two of every three of one node
			t.Errorf("%d scrapes skipped", d.skipped)
		}
	})
}

func TestPhasesAreSpreadAndStay(t *testing.T) {
	const n, parts = 5000, 15
	var phases, firsts [parts]int
	for i := range n {
		node := fmt.Sprintf("ip-10-0-%d-%d.eu-central-1.compute.internal", i/256, i%256)
		phase, first := place(node, resolution)
		if again, _ := place(node, resolution); again != phase {
			t.Fatal("a node's phase changed")
		}
		phases[int(phase*parts/resolution)]++
		firsts[int(first*parts)]++
	}
	for _, spread := range [][parts]int{phases, firsts} {
		for _, count := range spread {
			if count < n/parts*7/10 || count > n/parts*13/10 {
				t.Errorf("uneven: %v", spread)
			}
		}
	}
}

func TestNodesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		s := newSchedule(t.Context(), resolution, d.scrape, d.skip)
		defer s.stop()
		// counts returns how often each node was scraped in the next two resolutions.
		counts := func() map[string]int {
			synctest.Wait()
			d.mu.Lock()
			clear(d.scrapes)
			d.mu.Unlock()
			time.Sleep(2*resolution + time.Second)
			synctest.Wait()
			d.mu.Lock()
			defer d.mu.Unlock()
			c := map[string]int{}
			for node, at := range d.scrapes {
				c[node] = min(len(at), 2)
			}
			return c
		}
		equal := func(want map[string]int) {
			t.Helper()
			if diff := cmp.Diff(want, counts()); diff != "" {
				t.Error(diff)
			}
		}
		s.Replace(targets(3))
		equal(map[string]int{"node-0": 2, "node-1": 2, "node-2": 2})
		s.Remove("node-1")
		s.Remove("never-there")
		s.Set(target("new"))
		time.Sleep(8 * time.Millisecond)
		synctest.Wait()
		if len(d.scrapes["new"]) != 1 {
			t.Error("a new node isn't scraped at once")
		}
		equal(map[string]int{"node-0": 2, "node-2": 2, "new": 2})

		// A change of address neither restarts a timeline nor loses its history.
		before := s.timelines["node-0"]
		before.history.node.points = 1
		moved := target("node-0")
		moved.URL.Host = "elsewhere:10250"
		s.Set(moved)
		if after := s.timelines["node-0"]; after != before || after.target.Load().URL.Host != "elsewhere:10250" {
			t.Error("the timeline was restarted, or has the old address")
		}
		lost := Target{Node: "node-0", Err: failed(resultAddress, errEmpty)}
		s.Set(lost)
		s.Set(lost)
		if after := s.timelines["node-0"]; after != before || after.target.Load().Err == nil {
			t.Error("the timeline was restarted, or has the old address")
		}

		s.Replace(append(targets(2), target("other")))
		equal(map[string]int{"node-0": 2, "node-1": 2, "other": 2})
		s.Replace(nil)
		equal(map[string]int{})
		s.stop()
		s.Set(target("late"))
		s.Replace(targets(2))
		equal(map[string]int{})
	})
}

// A node that is taken away while it is scraped, and comes back: the old scrape is told to end, the new timeline goes on.
func TestStopEndsScrapesInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		d.slow["node-0"], d.slow["node-1"] = time.Hour, time.Hour
		s := newSchedule(t.Context(), resolution, d.scrape, d.skip)
		s.Replace(targets(2))
		time.Sleep(time.Second)
		synctest.Wait()
		s.Remove("node-0")
		synctest.Wait()
		d.mu.Lock()
		if d.running["node-0"] != 0 || d.running["node-1"] != 1 {
			t.Errorf("in progress: %v", d.running)
		}
		d.mu.Unlock()
		s.Set(target("node-0"))
		time.Sleep(time.Second)
		s.stop()
		if d.running["node-0"] != 0 || d.running["node-1"] != 0 || len(d.scrapes["node-0"]) != 2 {
			t.Errorf("in progress after the end: %v, scrapes: %v", d.running, d.scrapes)
		}
	})
}

// Nodes that appear one by one are spread as those that appear together.
func TestFirstScrapesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDiary()
		s := newSchedule(t.Context(), resolution, d.scrape, d.skip)
		defer s.stop()
		for _, target := range targets(1000) {
			s.Set(target)
		}
		var early int
		time.Sleep(time.Second)
		synctest.Wait()
		d.mu.Lock()
		early = len(d.scrapes)
		d.mu.Unlock()
		if early < 200 || early > 500 { // a quarter, and those that came when there were fewer
			t.Errorf("%d of 1000 nodes were scraped in the first second", early)
		}
		s.Replace(nil)
		if s.fresh != 0 {
			t.Errorf("%d nodes wait for their first scrape, of none", s.fresh)
		}
	})
}

func TestNext(t *testing.T) {
	at := func(s float64) time.Time {
		return time.Unix(1_500_000_000, 0).Add(time.Duration(s * float64(time.Second)))
	}
	phase := 5 * time.Second
	for _, test := range []struct {
		started, now float64
		wait         float64
		missed       int
	}{
		{5, 5.1, 14.9, 0},   // on time
		{5.2, 5.3, 14.7, 0}, // a little late
		{5, 14, 6, 0},       // slow
		{5, 21, 14, 1},      // over the next one
		{5, 51, 14, 3},
		{0, .1, 19.9, 0}, // the first, 5 s before its phase: not twice within half a resolution
		{6, 6.1, 13.9, 0}, {12, 12.1, 7.9, 0}, {13, 13.1, 21.9, 0},
		{5, 20, 15, 1}, // over just when the next one was due: that one is missed
	} {
		wait, missed := next(at(test.started), at(test.now), phase, resolution)
		if got := wait.Seconds(); got < test.wait-1e-6 || got > test.wait+1e-6 || missed != test.missed {
			t.Errorf("%v to %v: wait %v, %d missed; want %v, %d", test.started, test.now, wait, missed, test.wait, test.missed)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		phase := time.Duration(random.Int64N(int64(resolution)))
		started := time.Unix(0, random.Int64N(1<<62)-1<<61)
		now := started.Add(time.Duration(random.Int64N(int64(5 * resolution))))
		wait, missed := next(started, now, phase, resolution)
		due := now.Add(wait)
		if wait <= 0 || due.Sub(started) < resolution/2 || wait > resolution*3/2 || missed < 0 || (due.UnixNano()-int64(phase))%int64(resolution) != 0 {
			t.Fatalf("started %v, now %v, phase %v: wait %v, missed %d", started, now, phase, wait, missed)
		}
	}
}

// While 1 % of the nodes hang for 10 s at every scrape, all others are scraped at the very moments at which they would have
// been without: their samples are as old when they are read.
func TestNodesThatHangDelayNobody(t *testing.T) {
	const n = 1000
	scrapes := func(hanging bool) (all map[string][]time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			d := newDiary()
			if hanging {
				for i := 0; i < n; i += 100 {
					d.slow[fmt.Sprintf("node-%d", i)] = 10 * time.Second
				}
			}
			s := newSchedule(t.Context(), resolution, d.scrape, d.skip)
			defer s.stop()
			s.Replace(targets(n))
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			s.stop()
			all = d.scrapes
		})
		return all
	}
	without, with := scrapes(false), scrapes(true)
	for i := range n {
		node := fmt.Sprintf("node-%d", i)
		if i%100 == 0 {
			if n := len(with[node]); n < 19 || n > 22 { // it takes less than a resolution: none is left out
				t.Errorf("%s, which hangs: %d scrapes", node, n)
			}
			continue
		}
		if diff := cmp.Diff(without[node], with[node]); diff != "" || len(with[node]) < 20 {
			t.Fatalf("%s is scraped at other times: %s", node, diff)
		}
	}
}
