package view

import (
	"sort"
	"time"
)

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

// Cursor is how far a reader is. In the middle of what he is told, its place says a little too much: an item that changed and
// then changed again is told at its last change. Here, that change is still behind the cursor, and elsewhere, too, but it may be
// that nothing is known there of the first change, because the order begins after it. So somebody who breaks off in the middle,
// which his place says, should not go on where the order is younger than his reading.
type Cursor struct {
	// Index: the reader has been told all changes up to here.
	Index uint64
	// Loose: the reader's picture is not exactly that of Index. It may be newer, as that of a list is, which is read after
	// its place was taken, or of a replica that is ahead; and in some items older, as that of a reader who broke off: an
	// item that had moved on was to be told later. Such a reader is told of everything that it may have, until Settle, and
	// if it comes from the middle of what it was told, it stays there until then.
	Loose bool
	// Since is the place from which a loose reader comes.
	Since Place
	// Match tells whether the reader wants an item with these labels.
	Match func(Key, *Labels) bool
	// At is the place of the reader.
	At Place

	// While the reader is being told: the index at which that began, and where the order ended then. Of an item behind that
	// end it isn't known which of its states the reader was told.
	reading    bool
	from, head uint64

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

// Arrive notes that the reader has been told everything up to a place.
func (c *Cursor) Arrive(place Place) {
	c.At = place
	c.At.Part = c.amid()
}

// knows tells whether a reader that came from elsewhere was told in an earlier reading what changed at an index.
func (c *Cursor) knows(index uint64) bool { return index > c.first() && index <= c.from }

// bears tells whether a reader that came from elsewhere may have what is born by a message of the objects: one that was read there,
// or of which a part was told, right behind its place. All messages count, so that is the next number.
func (c *Cursor) bears(born uint64) bool {
	return born <= c.Since.Objects || c.Since.Part && born == c.Since.Objects+1
}

// amid tells whether the reader may still be in the middle of what it was told elsewhere.
func (c *Cursor) amid() bool { return c.Loose && c.Since.Part }

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
		cursor.reading, cursor.from, cursor.head = true, cursor.Index, c.last
	}
	i := c.find(cursor.Index + 1)
	for end := min(len(c.order), i+visits); i < end && len(changes) < cap(changes); i++ {
		r := &c.order[i]
		cursor.Index, cursor.At = r.index, r.place()
		if r.index != c.last || cursor.amid() {
			cursor.At.Part = true
		}
		if r.item.news(r.index, cursor) {
			if change, ok := r.item.change(r.index, cursor); ok {
				change.At = cursor.At
				changes = append(changes, change)
			}
		}
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

// news tells whether a reader is to be told of the item at a step: at its last change, and a loose one, if it is gone, also when
// it was last touched; not if it was only touched since the reader was told that it is gone.
func (it *Item[S]) news(index uint64, cursor *Cursor) bool {
	if it.index == index {
		return true
	}
	supposed := it.past != nil && it.past.index > it.index
	return it.touched == index && !it.live && cursor.Loose && (supposed || it.index <= cursor.first())
}

// told is the index of a change of the item, before a step, that a loose reader was told of: in an earlier reading, or at the step
// of the last change, which is read before those at which the item was touched since; 0 if none is known.
func (it *Item[S]) told(index uint64, cursor *Cursor) uint64 {
	last := it.index
	if last != index && last > cursor.first() {
		return last
	}
	if last == index {
		last -= uint64(it.gap)
	}
	if cursor.knows(last) {
		return last
	}
	for p := it.past; p != nil; p = p.older {
		if !p.maybe && cursor.knows(p.index) {
			return p.index
		}
	}
	return 0
}

// change is what the item is to a reader at a step; false if nothing.
func (it *Item[S]) change(index uint64, cursor *Cursor) (Change[S], bool) {
	change := Change[S]{Key: it.key, State: it.state, Labels: it.labels, Index: it.index}
	is := it.live && cursor.Match(it.key, it.labels)
	// What is gone, loose readers may have if it was there at any time, here or elsewhere; at any time since they were told of
	// it in a reading before this one, if they were. What there is, they have if it was there at the cursor.
	loose, since := cursor.Loose && !is, cursor.from
	if loose {
		since = it.told(index, cursor)
	}
	any := loose || it.index > cursor.head
	found, was := false, is
	var before, elsewhere *Labels
	for p := it.past; p != nil && p.index > since; p = p.older {
		matches := p.labels != nil && cursor.Match(it.key, p.labels)
		switch {
		case p.maybe:
			if matches && loose && cursor.bears(p.born) {
				elsewhere = p.labels
			}
		case !found || !any || !was:
			found, was, before = true, matches, p.labels
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
		ended := it.past
		for ended != nil && ended.maybe { // what was supposed since then didn't bring it back
			ended = ended.older
		}
		if !t.at.clock || t.index > cursor.Index || it.live || ended == nil || ended.index != t.index {
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
