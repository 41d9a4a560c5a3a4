package events

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// Scope says which events count and which series are shown. A nil function wants all; all may be called concurrently.
type Scope struct {
	// Resource tells whether a resource is exported; group is "" for the legacy group.
	Resource func(group, resource string) bool
	// Namespace tells whether a namespace is exported; "" stands for objects in none.
	Namespace func(namespace string) bool
	// Shard tells whether an object belongs to this process.
	Shard func(uid string) bool
	// Node tells whether the pods of a node belong to this process; "" stands for pods that are not scheduled.
	Node func(node string) bool
}

func (s *Scope) resource(group, resource string) bool {
	return s.Resource == nil || s.Resource(group, resource)
}
func (s *Scope) namespace(namespace string) bool { return s.Namespace == nil || s.Namespace(namespace) }
func (s *Scope) shard(uid string) bool           { return s.Shard == nil || s.Shard(uid) }
func (s *Scope) node(node string) bool           { return s.Node == nil || s.Node(node) }

// Totals are the counters of a process, and the book that they are counted with. All its methods, and those of its feeds
// and folds, may be called concurrently.
type Totals struct {
	seed maphash.Seed

	mu    sync.Mutex // guards what follows; held for moments only
	scope Scope      // of the feed in service
	book  map[key]entry
	// log is the one that the sequences are of, and epoch counts how often they lost their meaning: with another log, or
	// with this one restored to an older state.
	log   time.Time
	epoch uint32
	// position is the sequence up to which every event is in the book, in the present epoch.
	position uint64
	// settled tells that the book holds exactly the objects that exist at position; if not, a build that reads everything is
	// under way, and since is the time of the newest event before it began, Unix nanoseconds. Whole is the last epoch in
	// which the book was settled.
	settled bool
	since   int64
	whole   uint32
	started bool  // a build was whole: counting has begun
	began   int64 // the time of the newest event then, Unix nanoseconds
	newest  int64 // the time of the newest event, Unix nanoseconds
	folds   uint32
	counts  counts

	rendering sync.Mutex // taken before mu
	rendered  rendered
}

// NewTotals makes the counters of a process.
func NewTotals() *Totals {
	return &Totals{seed: maphash.MakeSeed(), book: map[key]entry{}, counts: newCounts()}
}

// Stats says how many pods and jobs are in the book, and how many series there are.
func (t *Totals) Stats() (objects, series int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.book), len(t.counts.of)
}

// Feed is what one stream.Replay presents.
type Feed struct {
	totals *Totals
	scope  Scope

	// Guarded by totals.mu.
	epoch    uint32 // in which its present fold began
	position uint64 // the highest sequence of the log that its present fold presented; 0 for none
}

// Feed makes the feed of a replay.
func (t *Totals) Feed(scope Scope) *Feed { return &Feed{totals: t, scope: scope} }

// Serve tells that what this feed's replay builds is in service: its scope holds from now on, in the place of another's.
func (f *Feed) Serve() {
	t := f.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	t.scope = f.scope
	t.counts.version++
}

// Fold is what one build of the view presents. A fold whose build is given up needs no end.
type Fold struct {
	feed *Feed
	log  time.Time
	id   uint32
	// quick: the book was settled, and reached to where this build's log begins, so it needs no object from the snapshot.
	quick bool
	epoch uint32
}

// Begin makes the fold of a build, in stream.ReplayConfig.Begin. Position is what the replay's Position tells there: its
// sequence is that of the snapshot which the build begins with.
func (f *Feed) Begin(position stream.Position) *Fold {
	t := f.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	// A replay builds again when its log was lost, trimmed or restored. Unless it was trimmed, the build begins within what
	// the replay has read: then those sequences meant other events.
	restored := f.position > 0 && f.epoch == t.epoch && position.Sequence <= f.position
	fold := &Fold{feed: f, log: position.Log}
	switch {
	case !position.Log.Equal(t.log) || restored:
		t.unsettle()
		t.epoch++
		t.log, t.position = position.Log, 0
		for k, e := range t.book {
			e.sequence = 0
			t.book[k] = e
		}
	case !t.settled || position.Sequence > t.position:
		t.unsettle()
	default:
		fold.quick = true
	}
	t.folds++
	fold.id, fold.epoch = t.folds, t.epoch
	f.epoch, f.position = t.epoch, 0
	return fold
}

func (t *Totals) unsettle() {
	if t.settled {
		t.since = t.newest
	}
	t.settled = false
}

// Whole tells that the build is whole, in stream.ReplayConfig.Whole. The first one begins the counting.
func (f *Fold) Whole(position stream.Position) {
	t := f.feed.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	if !f.log.Equal(t.log) {
		return // a newer log is being read already
	}
	if !t.started {
		t.started, t.began = true, t.newest
		t.counts.version++
	}
	t.position = max(t.position, position.Sequence)
	if f.quick || f.epoch != t.epoch {
		return
	}
	// The build has presented everything that exists at its position. What it has not is gone, and nobody saw it go.
	for k, e := range t.book {
		if e.fold < f.id && e.sequence <= position.Sequence {
			delete(t.book, k)
		}
	}
	t.settled, t.whole = true, t.epoch
}
