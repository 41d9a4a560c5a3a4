package events

import (
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// expected goes through the log from its beginning and counts what lies behind start, in the simplest way.
func (w *world) expected(start int) map[row]uint64 {
	want := map[row]uint64{}
	runs := map[[2]string]int{}
	ended := map[string]bool{}
	for i, e := range w.log {
		counts := i+1 > start
		for _, c := range e.truth {
			k := [2]string{c.uid, c.container}
			for run := runs[k]; run < len(c.reasons) && counts; run++ {
				reason := "Unknown"
				if c.visible[run] && c.reasons[run] != "" {
					reason = c.reasons[run]
				}
				want[row{podTerminations, c.namespace, reason, ""}]++
			}
			runs[k] = len(c.reasons)
		}
		if e.hasEnd && !ended[e.endedAs] {
			ended[e.endedAs] = true
			if counts {
				want[e.end]++
			}
		}
		if counts {
			operation := map[schemas.Operation]string{schemas.Applied: "applied", schemas.Deleted: "deleted"}[e.change.Operation]
			want[row{objectChanges, "", e.change.Resource, operation}]++
		}
	}
	return want
}

// got is the counters that are not 0.
func got(t *Totals) map[row]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts := maps.Clone(t.counts.of)
	maps.DeleteFunc(counts, func(_ row, n uint64) bool { return n == 0 })
	return counts
}

// terminations sums over the reasons.
func terminations(counts map[row]uint64) (n uint64) {
	for r, count := range counts {
		if r.family == podTerminations {
			n += count
		}
	}
	return n
}

var theLog = time.Unix(1_767_000_000, 0)

// build is a build of the view, as a stream.Replay makes it.
type build struct {
	w        *world
	feed     *Feed
	fold     *Fold
	log      time.Time
	snapshot []int // indexes in the log of the events that the snapshot holds, in the order in which they come
	cursor   int   // how many events of the log are reflected
	fence    int
	whole    bool
}

// begin begins a build with a snapshot as of an event of the log. As in truth, its chunks may be newer than that.
func (w *world) begin(feed *Feed, log time.Time, from int) *build {
	b := &build{w: w, feed: feed, log: log, cursor: from, fence: len(w.log)}
	newest := map[schemas.ObjectKey]int{}
	var chunks [3]int
	for i := range chunks {
		chunks[i] = from + w.rng.IntN(len(w.log)-from+1)
	}
	for i, e := range w.log {
		k := e.change.Key()
		if i < chunks[crc32.ChecksumIEEE([]byte(k.Namespace+k.Name))%3] {
			newest[k] = i
		}
	}
	for _, i := range newest {
		if w.log[i].change.Operation == schemas.Applied {
			b.snapshot = append(b.snapshot, i)
		}
	}
	slices.Sort(b.snapshot)
	w.rng.Shuffle(len(b.snapshot), func(i, j int) { b.snapshot[i], b.snapshot[j] = b.snapshot[j], b.snapshot[i] })
	b.fold = feed.Begin(stream.Position{LogPosition: stream.LogPosition{Log: log, Sequence: uint64(from)}, Fence: uint64(b.fence)})
	return b
}

// step presents the next event, and returns false where there is none.
func (b *build) step() bool {
	switch {
	case len(b.snapshot) > 0:
		i := b.snapshot[0]
		b.snapshot = b.snapshot[1:]
		b.apply(i, true)
	case b.cursor >= b.fence && !b.whole:
		b.whole = true
		b.feed.Serve()
		b.fold.Whole(stream.Position{LogPosition: stream.LogPosition{Log: b.log, Sequence: uint64(b.cursor)}, Fence: uint64(b.fence)})
	case b.cursor < len(b.w.log):
		b.cursor++
		b.apply(b.cursor-1, false)
	default:
		return false
	}
	return true
}

func (b *build) drain() {
	for b.step() {
	}
}

func (b *build) apply(i int, snapshot bool) {
	if err := b.fold.Apply(uint64(i+1), snapshot, &b.w.log[i].change); err != nil {
		b.w.Errorf("event %d: %v", i+1, err)
	}
}
