package scraper

import (
	"context"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"
)

// timeline is one node through time. Between scrapes it is a timer and a history, no goroutine.
type timeline struct {
	node   string
	target atomic.Pointer[Target]
	phase  time.Duration // when its scrapes are due, as a part of the resolution
	first  float64       // the same for its first scrape, as a part (0 to 1) of the time that first ones are spread over

	// ctx ends when the node is no longer a target.
	ctx     context.Context
	cancel  context.CancelFunc
	timer   *time.Timer // set once, under schedule.mu
	begun   bool        // its first scrape is not ahead any more; under schedule.mu
	at      time.Time   // when the timer is to fire; under schedule.mu
	delayed bool        // the scrape that is due was put off; under schedule.mu

	// success is the time of the last good scrape, Unix nanoseconds; 0 before the first. Scrapes change it with outcome.
	success atomic.Int64
	// due is when the next scrape is to begin, Unix nanoseconds; in the past while one is in progress.
	due atomic.Int64

	mu      sync.Mutex // guards what follows
	outcome outcome    // of the last scrape

	past    sync.Mutex // guards history, which is read from outside too
	history history

	// Only the scrape in progress touches what follows; there is never more than one.
	recalled bool   // the history was read back from the stream, or there was nothing to read
	size     int    // of the last message, bytes
	dropped  drops  // of the last good scrape
	pods     int    // that the last good scrape published
	reported report // the last one that was published
}

// schedule gives every target its timeline: a scrape soon after it appears, then one at its own phase of every
// resolution. Phases follow from names alone, so that they stay over restarts and spread evenly.
type schedule struct {
	resolution time.Duration
	scrape     func(ctx context.Context, t *timeline)
	skipped    func(ticks int) // told of the scrapes that were left out because the one before took too long

	mu        sync.Mutex // guards what follows
	timelines map[string]*timeline
	fresh     int             // how many of them wait for their first scrape
	parent    context.Context // nil: no longer running
	running   sync.WaitGroup  // scrapes; only added to while parent isn't nil
}

func newSchedule(ctx context.Context, resolution time.Duration, scrape func(context.Context, *timeline), skipped func(int)) *schedule {
	return &schedule{
		resolution: resolution,
		scrape:     scrape,
		skipped:    skipped,
		timelines:  make(map[string]*timeline),
		parent:     ctx,
	}
}

// Replace implements TargetSink.
func (s *schedule) Replace(all []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := make(map[string]bool, len(s.timelines))
	for node := range s.timelines {
		gone[node] = true
	}
	added := 0
	for _, t := range all {
		if !gone[t.Node] {
			added++
		}
		delete(gone, t.Node)
	}
	for node := range gone {
		s.remove(node)
	}
	for _, t := range all {
		s.set(t, added)
	}
}

// Set implements TargetSink.
func (s *schedule) Set(t Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(t, 1)
}

// Remove implements TargetSink.
func (s *schedule) Remove(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(node)
}

// set starts the target's timeline, as one of some that are new, or tells it where the kubelet is now.
func (s *schedule) set(target Target, some int) {
	if s.parent == nil {
		return
	}
	if t := s.timelines[target.Node]; t != nil {
		if !t.target.Load().same(target) {
			t.target.Store(&target)
		}
		return
	}
	t := &timeline{node: target.Node}
	t.target.Store(&target)
	t.phase, t.first = place(target.Node, s.resolution)
	t.ctx, t.cancel = context.WithCancel(s.parent)
	s.fresh++
	wait := time.Duration(t.first * float64(spread(max(some, s.fresh), s.resolution)))
	if due, made := upcoming(time.Now(), target.since, t.phase, s.resolution); made {
		wait = due
	}
	s.ahead(t, wait)
	t.timer = time.AfterFunc(wait, func() { s.tick(t) })
	s.timelines[target.Node] = t
}

// ahead notes how long it is until t's next scrape. The caller holds mu.
func (s *schedule) ahead(t *timeline, wait time.Duration) {
	t.at = time.Now().Add(wait)
	t.due.Store(t.at.UnixNano())
}

func (s *schedule) remove(node string) {
	if t := s.timelines[node]; t != nil {
		t.cancel()
		t.timer.Stop()
		s.begun(t)
		delete(s.timelines, node)
	}
}

// begun notes that t no longer waits for its first scrape.
func (s *schedule) begun(t *timeline) {
	if !t.begun {
		t.begun = true
		s.fresh--
	}
}

// tick runs a scrape of t and sets the timer for the next.
func (s *schedule) tick(t *timeline) {
	s.mu.Lock()
	if s.parent == nil || t.ctx.Err() != nil {
		s.mu.Unlock()
		return
	}
	if time.Since(t.at) > overdue && !t.delayed {
		t.delayed = true
		wait := time.Duration(t.first * float64(spread(len(s.timelines), s.resolution)))
		s.ahead(t, wait)
		t.timer.Reset(wait)
		s.mu.Unlock()
		return
	}
	t.delayed = false
	s.begun(t)
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()

	started := time.Now()
	s.scrape(t.ctx, t)
	wait, skipped := next(started, time.Now(), t.phase, s.resolution)

	s.mu.Lock()
	defer s.mu.Unlock()
	if t.ctx.Err() == nil {
		s.skipped(skipped)
		s.ahead(t, wait)
		t.timer.Reset(wait)
	}
}

// overdue is by how much a timer may be late without a pause of the process, which makes all of them late: then the scrapes
// that are due are spread as first ones are, once, so that thousands of answers don't come at the same moment.
const overdue = time.Second

// stop ends all timelines and waits until the scrapes in progress are over.
func (s *schedule) stop() {
	s.mu.Lock()
	s.parent = nil
	for node := range s.timelines {
		s.remove(node)
	}
	s.mu.Unlock()
	s.running.Wait()
}

// each calls f for every timeline.
func (s *schedule) each(f func(*timeline)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.timelines {
		f(t)
	}
}

// spread is the time over which the first scrapes of n new targets are spread.
func spread(n int, resolution time.Duration) time.Duration {
	return min(time.Duration(n)*8*time.Millisecond, 4*time.Second, resolution)
}

// place derives from a node's name when its scrapes are due.
func place(node string, resolution time.Duration) (phase time.Duration, first float64) {
	h := fnv.New64a()
	h.Write([]byte(node))
	sum := mix(h.Sum64())
	const bits = 1 << 32
	phase = time.Duration(float64(sum>>32) / bits * float64(resolution))
	return phase, float64(sum%bits) / bits
}

// mix spreads what differs between two hashes over all bits: the finalizer of MurmurHash3.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// inTime is how long before somebody was last heard a scrape of theirs must have been due to count as made.
const inTime = 500 * time.Millisecond

// upcoming returns how long it is until a scrape is due, and whether the one before was made, by somebody who was at it up
// to since: then there is nothing to catch up on, and the node doesn't notice who asks.
func upcoming(now, since time.Time, phase, resolution time.Duration) (wait time.Duration, made bool) {
	into := time.Duration((now.UnixNano() - int64(phase)) % int64(resolution))
	return resolution - into, !since.IsZero() && now.Add(inTime-into).Before(since)
}

// next returns how long to wait for the next scrape after one that began at started and is over now, and how many were
// missed. Scrapes are due when phase of the resolution has passed, by the wall clock; one that would begin less than
// half a resolution after the last one began is no use, since the kubelet has nothing new.
func next(started, now time.Time, phase, resolution time.Duration) (wait time.Duration, missed int) {
	from := now
	if earliest := started.Add(resolution / 2); earliest.After(now) {
		from = earliest
	}
	into := time.Duration((from.UnixNano() - int64(phase)) % int64(resolution))
	if into < 0 {
		into += resolution
	}
	wait = from.Sub(now) + resolution - into
	return wait, max(0, int((now.Add(wait).Sub(started)+resolution/2)/resolution)-1)
}
