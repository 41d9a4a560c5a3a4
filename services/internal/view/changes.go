package view

import (
	"slices"
	"sort"
	"time"
)

// Key names an object. Namespace is "" for cluster-scoped ones.
type Key struct{ Namespace, Name string }

// Place is how far two streams have been read.
type Place struct {
	Usage, Objects uint64
	// Part tells that of the message behind, a part has been read, too. It only makes one place differ from another.
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
// only a part of them is where one is who has none of them.
//
// Its methods are not safe for concurrent use: those that only read may be called concurrently with each other.
type Changes[S any] struct {
	items map[Key]*Item[S]
	live  int       // how many of items exist
	order []step[S] // by index; those whose item has moved on are skipped, and swept out when they are many
	last  uint64    // the index of the last change
	at    *message
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
	live    bool  // whether it exists; if not, it is kept for those who still have it
	past    *past // newest first
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
	clock  bool   // no message but time that went by
}

// turn is an entry of the queue of what is past.
type turn[S any] struct {
	index uint64
	item  *Item[S]
	at    *message
	time  int64 // Unix nanoseconds
}

// NewChanges makes an empty one, that begins at a place: nobody from before can be told what he missed.
func NewChanges[S any](begin Place) *Changes[S] {
	return &Changes[S]{items: make(map[Key]*Item[S]), at: &message{place: begin}, floorPlace: begin}
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
func (c *Changes[S]) Begin(before, place Place) { c.at = &message{place: place, before: before} }

// BeginClock starts changes that no message causes but time: what was true has become too old. Whoever is at this very
// place may or may not have them, so Lapsed tells them again.
func (c *Changes[S]) BeginClock(place Place) { c.at = &message{place: place, clock: true} }

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
	if it.past == nil || it.past.labels != labels || it.past.time < now.Add(-time.Minute).UnixNano() {
		c.turn(it, now)
		it.past.labels, it.past.maybe, it.past.born = labels, true, born
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
	it.index = c.step(it)
}

// step appends an item to the order.
func (c *Changes[S]) step(it *Item[S]) uint64 {
	if len(c.order) > 1024+len(c.items)*3/2 {
		c.order = slices.DeleteFunc(c.order, func(r step[S]) bool {
			return r.item.index != r.index && (r.item.touched != r.index || r.item.live)
		})
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

// Change is what a reader is told of an item.
type Change[S any] struct {
	Type  ChangeType
	Key   Key
	State S
	// Labels are those of the item; of one that is Removed, those that it last matched by.
	Labels *Labels
	// Index of the change: it names this state of the item.
	Index uint64
	// At is the place of a reader that has been told this and all before.
	At Place
}

// ChangeType says what an item is to a reader.
type ChangeType uint8

// Added: the reader has not had it. Removed: it no longer exists, or no longer matches.
const (
	Added ChangeType = iota
	Modified
	Removed
)

// Cursor is how far a reader is. In the middle of what he is told, the place of a cursor says a little too much: an item that
// changed and then changed again is told at its last change. Here, that change is still behind the cursor, and elsewhere, too, but
// for one case: where nothing is known of the first change, because the order begins after it. So somebody who breaks off in the
// middle should not go on where the order is younger than his reading.
type Cursor struct {
	// Index: the reader has been told all changes up to here.
	Index uint64
	// Loose: the reader's picture is not exactly that of Index. It may be newer, as that of a list is, which is read after
	// its place was taken, or of a replica that is ahead; and in some items older, as that of a reader who broke off: an
	// item that had moved on was to be told later. Such a reader is told of everything that it may have, until Settle.
	Loose bool
	// Since is the place from which a loose reader comes.
	Since Place
	// Match tells whether the reader wants an item with these labels.
	Match func(Key, *Labels) bool
	// At is the place of the reader.
	At Place

	// While the reader is being told: the index at which that began, the one that its picture was of (0: unknown), and
	// where the order ended then. Of an item behind that end it isn't known which of its states the reader was told.
	reading          bool
	from, base, head uint64

	// Of a loose reader: the first index, plus one, once it has been told all that there was before.
	loose uint64
}

// first is the index at which a loose reader came.
func (c *Cursor) first() uint64 {
	if c.loose > 0 {
		return c.loose - 1
	}
	return c.from
}

// Settle ends a reader's looseness, if it has been told everything: to be called when what it had before is surely read here,
// too.
func (c *Cursor) Settle() {
	if c.Loose && c.loose > 0 && !c.reading {
		c.Loose, c.loose = false, 0
	}
}

// Seek returns the index up to which somebody at a place has been told everything; false if the place is before the
// floor, so that what he missed is no longer known.
func (c *Changes[S]) Seek(place Place) (index uint64, ok bool) {
	if !place.Covers(c.floorPlace) {
		return 0, false
	}
	n := sort.Search(len(c.order), func(i int) bool { return !place.Covers(c.order[i].at.place) })
	if n == 0 {
		return c.floor, true
	}
	return max(c.floor, c.order[n-1].index), true
}

// Reaches tells whether what a cursor missed is still known.
func (c *Changes[S]) Reaches(cursor *Cursor) bool {
	if cursor.reading {
		return cursor.from >= c.floor
	}
	return cursor.Index >= c.floor
}

// visits is how many steps are looked at in one go, so that a lock is held for tens of microseconds.
const visits = 1024

// Next appends to changes, up to its capacity, what changed behind the cursor, in order, and moves the cursor. It
// returns true when nothing is left.
func (c *Changes[S]) Next(cursor *Cursor, changes []Change[S]) ([]Change[S], bool) {
	if !cursor.reading {
		cursor.reading, cursor.from, cursor.base, cursor.head = true, cursor.Index, cursor.Index, c.last
		if cursor.Loose {
			cursor.base = max(cursor.loose, 1) - 1
		}
	}
	i := c.find(cursor.Index + 1)
	for end := min(len(c.order), i+visits); i < end && len(changes) < cap(changes); i++ {
		r := &c.order[i]
		it := r.item
		told := it.index == r.index || it.touched == r.index && !it.live && cursor.Loose && it.index <= cursor.first()
		if told {
			if change, ok := it.change(cursor); ok {
				change.At = r.place()
				changes = append(changes, change)
			}
		}
		cursor.Index, cursor.At = r.index, r.place()
	}
	if i < len(c.order) {
		return changes, false
	}
	if cursor.Loose && cursor.loose == 0 {
		cursor.loose = cursor.from + 1
	}
	cursor.Index, cursor.reading = c.last, false
	return changes, true
}

// find returns the position in the order of the first step at or behind index.
func (c *Changes[S]) find(index uint64) int {
	return sort.Search(len(c.order), func(i int) bool { return c.order[i].index >= index })
}

// place is that of a reader that has been told everything up to the step.
func (r *step[S]) place() Place {
	if r.index == r.at.last || r.at.clock {
		return r.at.place
	}
	p := r.at.before
	p.Part = true
	return p
}

// change is what the item is to a reader; false if nothing.
func (it *Item[S]) change(cursor *Cursor) (Change[S], bool) {
	change := Change[S]{Key: it.key, State: it.state, Labels: it.labels, Index: it.index}
	is := it.live && cursor.Match(it.key, it.labels)
	// Loose readers have, maybe, whatever the item was; once they have been told all, only what it was since, or elsewhere.
	any := cursor.Loose && (cursor.loose == 0 || !is) || it.index > cursor.head
	found, was := false, is
	var before, elsewhere *Labels
	for p := it.past; p != nil && p.index > cursor.base; p = p.older {
		matches := p.labels != nil && cursor.Match(it.key, p.labels)
		switch {
		case p.maybe:
			if matches && cursor.Loose && cursor.Since.Objects >= p.born {
				elsewhere = p.labels
			}
		case p.index > cursor.from || cursor.loose == 0:
			if !found || !any || !was {
				found, was, before = true, matches, p.labels
			}
		}
	}
	if !is && !was && elsewhere != nil {
		was, before = true, elsewhere
	}
	switch {
	case is && was:
		change.Type = Modified
	case is:
		change.Type = Added
	case was:
		change.Type, change.Labels = Removed, before
	default:
		return change, false
	}
	return change, true
}

// Lapsed returns the items that ended by the clock and not behind the cursor, of which somebody at a place may yet not have
// heard: at this very place, or since a time. See BeginClock.
func (c *Changes[S]) Lapsed(cursor *Cursor, place Place, since time.Time) (changes []Change[S]) {
	for i := len(c.past) - 1; i >= 0; i-- {
		t := &c.past[i]
		if t.time < since.UnixNano() && !t.at.place.Covers(place) {
			break
		}
		it := t.item
		if !t.at.clock || t.index > cursor.Index || it.live || it.past == nil || it.past.index != t.index {
			continue
		}
		for p := it.past; p != nil; p = p.older { // what happened before it ended may not have been told, either
			if p.labels != nil && cursor.Match(it.key, p.labels) {
				changes = append(changes, Change[S]{Type: Removed, Key: it.key, State: it.state, Labels: p.labels, Index: it.index, At: place})
				break
			}
		}
	}
	return changes
}

// Live returns the items that exist and match, in the order in which they changed.
func (c *Changes[S]) Live(match func(Key, *Labels) bool) []*Item[S] {
	items := make([]*Item[S], 0)
	for i := range c.order {
		if r := &c.order[i]; r.item.index == r.index && r.item.live && match(r.item.key, r.item.labels) {
			items = append(items, r.item)
		}
	}
	return items
}

// Read returns what a reader is to be told of an item that it hasn't had; false if the item doesn't exist any more, or
// doesn't match.
func (c *Changes[S]) Read(it *Item[S], match func(Key, *Labels) bool) (Change[S], bool) {
	if !it.live || !match(it.key, it.labels) {
		return Change[S]{}, false
	}
	return Change[S]{Type: Added, Key: it.key, State: it.state, Labels: it.labels, Index: it.index, At: c.order[c.find(it.index)].place()}, true
}

func orNone(labels *Labels) *Labels {
	if labels == nil {
		return none
	}
	return labels
}
