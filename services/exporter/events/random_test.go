package events

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var unexported = cmp.AllowUnexported(row{})

// TestEveryEventCountsOnce lets builds of the view come and go over a random history, each from a snapshot of its own, at
// its own speed, and compares the counters with those of a model that goes through the log once.
func TestEveryEventCountsOnce(t *testing.T) {
	histories := 200
	if testing.Short() {
		histories = 50
	}
	joined, unfinished, beside := 0, 0, 0
	for seed := range histories {
		w := newWorld(t, uint64(seed))
		totals := NewTotals()
		var builds []*build
		presented, start, compared := 0, -1, 0
		for range w.rng.IntN(60) {
			w.step()
		}
		begin := func() {
			from := w.rng.IntN(len(w.log) + 1)
			if start >= 0 { // else there would be a gap
				from = w.rng.IntN(presented + 1)
			}
			b := w.begin(totals.Feed(Scope{}), theLog, from)
			if b.fold.quick {
				joined++
			}
			if start < 0 { // before the first view is whole, there is one build at a time
				builds = nil
			}
			builds = append(builds, b)
		}
		begin()
		for range 600 {
			switch n := w.rng.IntN(100); {
			case n < 30:
				w.step()
			case n < 33 && len(builds) < 4:
				begin()
			case n == 33 && len(builds) > 1: // one that is not whole is given up
				if last := builds[len(builds)-1]; !last.whole {
					unfinished++
					builds = builds[:len(builds)-1]
				}
			case n == 34: // those that an other one has replaced end
				if i := slices.IndexFunc(builds, func(b *build) bool { return b.whole }); i >= 0 && i < len(builds)-1 && builds[len(builds)-1].whole {
					builds = builds[len(builds)-1:]
				}
			default:
				b := pick(w, builds...)
				for range 1 + w.rng.IntN(5) {
					whole := b.whole
					b.step()
					if b.whole && !whole && start < 0 {
						start, presented = b.cursor, b.cursor
					}
					if start >= 0 && len(b.snapshot) == 0 {
						presented = max(presented, b.cursor)
					}
				}
			}
			if len(builds) > 1 {
				beside++
			}
			if start >= 0 && presented == len(w.log) && compared != presented {
				compared = presented
				if want, got := w.expected(start), got(totals); !maps.Equal(want, got) {
					t.Fatalf("seed %d, %d events, counted from %d (-model +counters):\n%s", seed, len(w.log), start, cmp.Diff(want, got, unexported))
				}
			}
		}
		if start < 0 {
			start = builds[0].fence // the only one
		}
		for _, b := range builds {
			b.drain()
		}
		if diff := cmp.Diff(w.expected(start), got(totals), unexported); diff != "" {
			t.Fatalf("seed %d, at the end, counted from %d (-model +counters):\n%s", seed, start, diff)
		}
		if objects, _ := totals.Stats(); objects != len(w.pods)+len(w.jobs) {
			t.Fatalf("seed %d: the book holds %d objects of %d", seed, objects, len(w.pods)+len(w.jobs))
		}
	}
	if joined < histories/4 || unfinished < histories/8 || beside < histories*10 {
		t.Errorf("the histories are too tame: %d builds joined, %d were given up, %d steps with several", joined, unfinished, beside)
	}
}

// TestBuildsAtOnce is the same with goroutines: several builds run through the same log at full speed.
func TestBuildsAtOnce(t *testing.T) {
	for seed := range 5 {
		w := newWorld(t, uint64(seed))
		w.history(100)
		totals := NewTotals()
		first := w.begin(totals.Feed(Scope{}), theLog, 50)
		first.drain()
		start := len(w.log)
		w.history(1000)
		var builds []*build
		for _, from := range []int{0, 70, 100} {
			b := w.begin(totals.Feed(Scope{}), theLog, from)
			if !b.fold.quick {
				t.Errorf("a build from %d has not joined", from)
			}
			builds = append(builds, b)
		}
		var running sync.WaitGroup
		for _, b := range append(builds, first) {
			running.Go(b.drain)
		}
		stop := make(chan struct{})
		var scraping sync.WaitGroup
		scraping.Go(func() {
			last := map[row]uint64{}
			for {
				now := got(totals)
				for r, n := range last {
					if now[r] < n {
						t.Errorf("%v went back from %d to %d", r, n, now[r])
					}
				}
				if _, ok := totals.Group(); !ok {
					t.Error("no group")
				}
				last = now
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		running.Wait()
		close(stop)
		scraping.Wait()
		if diff := cmp.Diff(w.expected(start), got(totals), unexported); diff != "" {
			t.Fatalf("seed %d (-model +counters):\n%s", seed, diff)
		}
	}
}

// TestGaps loses the log, trims it, or lets a build begin beyond what was read: then only differences can be told, but
// no run of a container is missed, and none counts twice.
func TestGaps(t *testing.T) {
	for seed := range 300 {
		w := newWorld(t, uint64(seed))
		w.deletes = false // what a deleted pod did within a gap is lost
		w.history(40)
		totals := NewTotals()
		feed := totals.Feed(Scope{})
		b := w.begin(feed, theLog, 10)
		b.drain()
		start := len(w.log)
		w.history(w.rng.IntN(50))
		b.drain()
		truth := w.expected(start) // up to here every reason is known
		if diff := cmp.Diff(truth, got(totals), unexported); diff != "" {
			t.Fatal(diff)
		}
		w.history(1 + w.rng.IntN(50)) // unseen
		want := terminations(w.expected(start))
		gap := len(w.log)
		switch seed % 3 {
		case 0: // trimmed: the same replay goes on from a snapshot beyond
			read := b.cursor
			b = w.begin(feed, theLog, b.cursor+1+w.rng.IntN(gap-b.cursor))
			changes := read - start + gap - b.cursor // what was in the log counts, what was trimmed does not
			b.drain()
			for r, n := range got(totals) {
				if r.family == objectChanges {
					changes -= int(n)
				}
			}
			if changes != 0 {
				t.Fatalf("seed %d: %d changes too few", seed, changes)
			}
		case 1: // another replay does
			b = w.begin(totals.Feed(Scope{}), theLog, b.cursor+1+w.rng.IntN(gap-b.cursor))
			b.drain()
		case 2: // lost, and written anew in any order
			w.log = nil
			for _, p := range w.pods {
				w.writePod(p)
			}
			for _, j := range w.jobs {
				w.writeJob(j)
			}
			w.rng.Shuffle(len(w.log), func(i, j int) { w.log[i], w.log[j] = w.log[j], w.log[i] })
			b = w.begin(feed, theLog.Add(time.Hour), w.rng.IntN(len(w.log)+1))
			b.drain()
			gap = len(w.log)
			for r, n := range got(totals) {
				if r.family == objectChanges && n > truth[r] {
					t.Fatalf("seed %d: what the new log tells again counts as a change: %v, %d of %d", seed, r, n, truth[r])
				}
			}
		}
		if n := terminations(got(totals)); n != want {
			t.Fatalf("seed %d: %d terminations over a gap, %d are true", seed, n, want)
		}
		before := got(totals)
		w.history(50)
		b.drain()
		after := got(totals)
		for r, n := range w.expected(gap) {
			if after[r]-before[r] != n {
				t.Fatalf("seed %d: %v grew by %d behind the gap, not %d", seed, r, after[r]-before[r], n)
			}
		}
	}
}

// TestALaggardAndABuildBeyondIt lets a build begin beyond what the one in service has read: both present events from then
// on, the one in service older ones. Where objects are deleted meanwhile, some of it may be missed; nothing counts twice.
func TestALaggardAndABuildBeyondIt(t *testing.T) {
	for seed := range 400 {
		w := newWorld(t, uint64(seed))
		w.deletes = seed%2 == 0
		w.history(40)
		totals := NewTotals()
		a := w.begin(totals.Feed(Scope{}), theLog, 0)
		a.drain()
		start := len(w.log)
		w.history(60)
		for range w.rng.IntN(20) {
			a.step()
		}
		b := w.begin(totals.Feed(Scope{}), theLog, a.cursor+1+w.rng.IntN(len(w.log)-a.cursor))
		w.history(10)
		for a.cursor < len(w.log) || b.cursor < len(w.log) || !b.whole {
			pick(w, a, b).step()
		}
		n, want := terminations(got(totals)), terminations(w.expected(start))
		if n > want || n < want && !w.deletes {
			t.Fatalf("seed %d: %d terminations, %d are true", seed, n, want)
		}
		if objects, _ := totals.Stats(); objects != len(w.pods)+len(w.jobs) {
			t.Fatalf("seed %d: the book holds %d objects of %d", seed, objects, len(w.pods)+len(w.jobs))
		}
	}
}

func TestKeysAndNamespacesDoNotMix(t *testing.T) {
	w := newWorld(t, 1)
	totals := NewTotals()
	b := w.begin(totals.Feed(Scope{}), theLog, 0)
	b.drain()
	for i := range 3 {
		p := &simPod{namespace: fmt.Sprint("n", i), name: "same", uid: w.uid(), created: w.now, containers: []*simContainer{{name: "c", reasons: []string{"Error"}, run: 1}}}
		w.writePod(p)
		w.writeJob(&simJob{namespace: p.namespace, name: "same", uid: w.uid(), created: w.now, end: complete})
	}
	b.drain()
	if objects, _ := totals.Stats(); objects != 6 {
		t.Errorf("%d objects", objects)
	}
	for i := range 3 {
		if n := got(totals)[row{podTerminations, fmt.Sprint("n", i), "Error", ""}]; n != 1 {
			t.Errorf("n%d: %d", i, n)
		}
	}
}
