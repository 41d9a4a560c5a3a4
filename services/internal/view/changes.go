package view

import (
	"math"
	"slices"
	"time"
)

// Key names an object. Namespace is "" for cluster-scoped ones.
type Key struct{ Namespace, Name string }

// Place is how far two streams have been read.
type Place struct {
	Usage, Objects uint64
	// Part tells that somebody is in the middle of what he is told: part of what is behind has been told, too, and what changed
	// before and again behind has not.
	Part bool
}

// Covers tells whether whoever is at p has read all that somebody at q has.
func (p Place) Covers(q Place) bool { return p.Usage >= q.Usage && p.Objects >= q.Objects }

// Changes holds the latest state of each item in the order in which the items last changed. It is what a watch reads:
//
//	index         -> item     the order; each change of an item moves it to the end
//	item          -> state    the latest one only
//	item, index   -> labels   which labels it had before, or that it did not exist, for a while
//
// A reader is a cursor into that order (see Cursor): it is told every item that changed behind it, once and in its latest
// state. So a reader that falls behind is told less and not more, and costs no memory, and one that comes from elsewhere
// is told what it missed as long as its place is not older than the floor (see Trim). Whether an item is new to a reader,
// known to it, or to be forgotten by it follows from the labels that the item had at the cursor.
//
// Changes come in messages: Begin starts one. All changes of a message have the message's place, and a reader that has
// only a part of them is where one is who has none of them, in the middle.
//
// Its methods are not safe for concurrent use: those that only read may be called concurrently with each other.
type Changes[S any] struct {
	items map[Key]*Item[S]
	live  int       // how many of items exist
	order []step[S] // by index; those whose item has moved on are skipped, and swept out when they are many
	swept int       // the length of order when it was last swept
	last  uint64    // the index of the last change
	at    *message
	began time.Time
	past  []turn[S] // when items came, went or changed labels, oldest first

	below      int    // how many of past are not above the floor
	floor      uint64 // the lowest index that a cursor may have
	floorPlace Place
}

// Item is one item. It is opaque: see Changes.Read.
type Item[S any] struct {
	key    Key
	state  S
	labels *Labels
	index  uint64 // of its last change
	// touched is the index at which it was last touched without a change: see Touch.
	touched uint64
	live    bool   // whether it exists; if not, it is kept for those who still have it
	gap     uint32 // by how much the index of the change before was lower, or by more
	past    *past  // newest first
}

// past is what an item was before the change at index.
type past struct {
	index  uint64
	labels *Labels // nil: it did not exist
	maybe  bool    // not here, but where the streams are read in another order,
	born   uint64  // by those who have read this message of the objects' stream
	time   int64   // Unix nanoseconds
	older  *past
}

type step[S any] struct {
	index uint64
	item  *Item[S]
	at    *message
}

// message is where a change comes from.
type message struct {
	place  Place
	before Place  // without the message
	last   uint64 // the index of its last change
	time   time.Time
	clock  bool // no message but time that went by
}

// turn is an entry of the queue of what is past.
type turn[S any] struct {
	index uint64
	item  *Item[S]
	at    *message
	time  int64 // Unix nanoseconds
}

// NewChanges makes an empty one, that begins at a place: nobody from before can be told what he missed.
func NewChanges[S any](begin Place, now time.Time) *Changes[S] {
	return &Changes[S]{items: make(map[Key]*Item[S]), at: &message{place: begin, time: now}, began: now, floorPlace: begin}
}

// Load puts an item that exists from the beginning on. To be called before the first Begin.
func (c *Changes[S]) Load(key Key, state S, labels *Labels) {
	it := &Item[S]{key: key, live: true}
	c.items[key] = it
	c.live++
	c.move(it, state, orNone(labels))
	c.floor = c.last
}

// Begin starts a message, by which before becomes place. The changes that follow are its, until the next one.
func (c *Changes[S]) Begin(before, place Place, now time.Time) {
	c.at = &message{place: place, before: before, time: now}
}

// BeginClock starts changes that no message causes but time: what was true has become too old. Whoever is at this very
// place may or may not have them, so Lapsed tells them again.
func (c *Changes[S]) BeginClock(place Place, now time.Time) {
	c.at = &message{place: place, time: now, clock: true}
}

// Get returns an item's state, false if it does not exist.
func (c *Changes[S]) Get(key Key) (state S, ok bool) {
	if it := c.items[key]; it != nil && it.live {
		return it.state, true
	}
	return state, false
}

// Put makes state the latest of an item, which changes by that.
func (c *Changes[S]) Put(key Key, state S, labels *Labels, now time.Time) {
	it := c.items[key]
	if it == nil {
		it = &Item[S]{key: key}
		c.items[key] = it
	}
	labels = orNone(labels)
	if !it.live || it.labels != labels {
		c.turn(it, now)
	}
	if !it.live {
		it.live = true
		c.live++
	}
	c.move(it, state, labels)
}

// Replace makes state the latest of an item that exists without a change: nobody could tell it from the one before.
func (c *Changes[S]) Replace(key Key, state S) {
	if it := c.items[key]; it != nil && it.live {
		it.state = state
	}
}

// Remove ends an item that exists. Its last state is kept for those who have to be told.
func (c *Changes[S]) Remove(key Key, last S, now time.Time) {
	it := c.items[key]
	if it == nil || !it.live {
		return
	}
	c.turn(it, now)
	it.live = false
	c.live--
	c.move(it, last, it.labels)
}

// Touch notes that a message was about an item that did not exist before it, nor does after it, but did once. Where the
// streams are read in another order it may have existed in between: somebody who comes from there is told that it doesn't.
func (c *Changes[S]) Touch(key Key) {
	if it := c.items[key]; it != nil && !it.live && it.index > 0 {
		it.touched = c.step(it)
	}
}

// Suppose is Touch for an item of which it is known how it would have been: with this state and these labels, and not
// before the message of that number in the stream of the objects (0: at any time).
func (c *Changes[S]) Suppose(key Key, state S, labels *Labels, born uint64, now time.Time) {
	it := c.items[key]
	labels = orNone(labels)
	switch {
	case it == nil:
		it = &Item[S]{key: key, state: state, labels: labels}
		c.items[key] = it
	case it.live:
		return
	}
	if p := it.past; p == nil || !p.maybe || p.labels != labels || p.time < now.Add(-time.Minute).UnixNano() {
		c.turn(it, now)
		it.past.labels, it.past.maybe, it.past.born = labels, true, born
	} else { // as it was supposed already, and now for those as well who have come since
		p.index, p.born = c.last+1, min(p.born, born)
	}
	it.touched = c.step(it)
}

// turn notes what an item was before the change to come.
func (c *Changes[S]) turn(it *Item[S], now time.Time) {
	before := &past{index: c.last + 1, time: now.UnixNano(), older: it.past}
	if it.live {
		before.labels = it.labels
	}
	it.past = before
	c.past = append(c.past, turn[S]{c.last + 1, it, c.at, now.UnixNano()})
}

// move changes an item, which puts it at the end of the order.
func (c *Changes[S]) move(it *Item[S], state S, labels *Labels) {
	it.state, it.labels = state, labels
	before := it.index
	it.index = c.step(it)
	it.gap = uint32(min(it.index-before, math.MaxUint32))
}

// Where all items have moved on, a sweep would leave nothing behind that tells when the order was where. So it leaves a step of
// every ten seconds, for longer than anybody goes on from.
const signEvery, signFor = 10 * time.Second, 10 * time.Minute

// step appends an item to the order. That is swept when it is half as long again as it may be after a sweep: an item that is
// gone may have two steps that count.
func (c *Changes[S]) step(it *Item[S]) uint64 {
	if rest := max(len(c.items), min(c.swept, 2*len(c.items))); len(c.order) > 1024+rest*3/2 {
		var kept time.Time
		c.order = slices.DeleteFunc(c.order, func(r step[S]) bool {
			if r.item.index == r.index || r.item.touched == r.index && !r.item.live {
				return false
			}
			if t := r.at.time; t.Sub(kept) < signEvery || t.Before(c.at.time.Add(-signFor)) {
				return true
			}
			kept = r.at.time
			return false
		})
		c.swept = len(c.order)
	}
	c.last++
	c.at.last = c.last
	c.order = append(c.order, step[S]{c.last, it, c.at})
	return c.last
}

// Trim lets the floor rise to where it is a window ago, or nearer, while more than half of limit turns are above it: from
// below, there is no reading on. What is past is forgotten after another window, or when there is more than limit of it,
// because somebody may have been told the last change above the floor in a long reading that began below.
func (c *Changes[S]) Trim(now time.Time, window time.Duration, limit int) {
	for len(c.past) > c.below && (c.past[c.below].time < now.Add(-window).UnixNano() || len(c.past)-c.below > limit/2) {
		c.floor, c.floorPlace = c.past[c.below].index, c.past[c.below].at.place
		c.below++
	}
	n := 0
	for n < c.below && (c.past[n].time < now.Add(-2*window).UnixNano() || len(c.past)-n > limit) {
		it := c.past[n].item
		cut(&it.past)
		if it.past == nil && !it.live {
			delete(c.items, it.key)
			it.index, it.touched = 0, 0
		}
		n++
	}
	if n > 0 {
		c.past = slices.Delete(c.past, 0, n)
		c.below -= n
	}
}

// cut takes the oldest off.
func cut(p **past) {
	for (*p).older != nil {
		p = &(*p).older
	}
	*p = nil
}

// Len is the number of items that exist.
func (c *Changes[S]) Len() int { return c.live }

// Past is the number of turns (see Trim) that are kept.
func (c *Changes[S]) Past() int { return len(c.past) }

// Last is the index of the last change.
func (c *Changes[S]) Last() uint64 { return c.last }

// Began is when the order began.
func (c *Changes[S]) Began() time.Time { return c.began }

// When is when the change at an index came, or the last one before it; when the order began if there is none.
func (c *Changes[S]) When(index uint64) time.Time {
	if i := c.find(index + 1); i > 0 {
		return c.order[i-1].at.time
	}
	return c.began
}

func orNone(labels *Labels) *Labels {
	if labels == nil {
		return none
	}
	return labels
}
