package view

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestChangesTouch(t *testing.T) {
	c := NewChanges[int](placed(1, 1), clock(0))
	c.Load(k("a"), 1, red)
	exact := &Cursor{Index: c.Last(), Match: onlyRed}
	c.Begin(c.at.place, placed(1, 2), clock(0))
	c.Remove(k("a"), 1, clock(1))
	expect(t, "removed", told(c, exact), "- a=1 red @1.2")
	c.Begin(c.at.place, placed(2, 2), clock(0))
	c.Touch(k("a"))
	c.Touch(k("nobody"))
	c.Suppose(k("b"), 7, red, 2, clock(1)) // b never existed here
	c.Suppose(k("c"), 8, blue, 0, clock(1))
	c.Touch(k("b"))
	expect(t, "touched", told(c, exact))
	from := func(place Place) *Cursor {
		index, _ := c.Seek(place)
		return &Cursor{Index: index, Loose: true, Since: place, Match: onlyRed}
	}
	// Where the second message came first, they may have existed at the first, and b not before it.
	expect(t, "elsewhere", told(c, from(placed(1, 2))), "- a=1 red @1.2+", "- b=7 red @1.2+")
	expect(t, "before", told(c, from(placed(1, 1))), "- a=1 red @1.2+")
	c.Begin(c.at.place, placed(2, 3), clock(0))
	c.Put(k("a"), 2, red, clock(2))
	c.Touch(k("a"))
	c.Suppose(k("a"), 0, blue, 0, clock(1))
	c.Put(k("b"), 2, blue, clock(2))
	c.Put(k("b"), 3, red, clock(2))
	expect(t, "back", told(c, exact), "+ a=2 red @2.2+", "+ b=3 red @2.3")
}

// TestChangesSupposedAgain: somebody who comes after an item was there, or was supposed, has it from a part of a message. It is
// supposed once more, soon after, and he is told that it is gone, whether or not it comes back as one that he doesn't want.
func TestChangesSupposedAgain(t *testing.T) {
	for name, before := range map[string]func(*Changes[int]){
		"it was there": func(c *Changes[int]) {
			c.Put(k("a"), 1, red, clock(1))
			c.Remove(k("a"), 1, clock(1))
		},
		"it was supposed":        func(c *Changes[int]) { c.Suppose(k("a"), 1, red, 0, clock(1)) },
		"it was supposed as new": func(c *Changes[int]) { c.Suppose(k("a"), 1, red, 3, clock(1)) },
	} {
		for _, back := range []bool{false, true} {
			c := NewChanges[int](placed(1, 1), clock(0))
			c.Begin(c.at.place, placed(1, 2), clock(0))
			before(c)
			loose := &Cursor{Index: c.Last(), Loose: true, Since: placed(1, 2), Match: onlyRed}
			expect(t, name, told(c, loose))
			past := c.Past()
			want := "- a=1 red @1.3"
			c.Begin(c.at.place, placed(1, 3), clock(0))
			for range 5 {
				c.Suppose(k("a"), 1, red, 0, clock(2))
			}
			if c.Past() > past+1 {
				t.Errorf("%s: %d past, and %d before", name, c.Past(), past)
			}
			if back {
				c.Begin(c.at.place, placed(2, 3), clock(0))
				c.Put(k("a"), 2, blue, clock(3))
				want = "- a=2 red @2.3"
			}
			expect(t, name, told(c, loose), want)
		}
	}
}

// TestChangesBornInAPart: somebody who was told a part of a message may have what is born by it, but not what a later one bears.
func TestChangesBornInAPart(t *testing.T) {
	for _, part := range []bool{false, true} {
		c := NewChanges[int](placed(1, 1), clock(0))
		since := placed(1, 1)
		since.Part = part
		loose := &Cursor{Index: c.Last(), Loose: true, Since: since, Match: onlyRed}
		c.Begin(c.at.place, placed(1, 2), clock(0))
		c.Suppose(k("a"), 1, red, 2, clock(1))
		c.Begin(c.at.place, placed(1, 3), clock(0))
		c.Suppose(k("b"), 1, red, 3, clock(1))
		var want []string
		if part {
			want = []string{"- a=1 red @1.2+"} // he is still in the middle
		}
		expect(t, fmt.Sprint(since), told(c, loose), want...)
	}
}

// TestChangesToldOnce: what ends and is touched afterwards, as a pod that is made anew under its name before it has usage, is told
// once to a loose reader, in one reading or two.
func TestChangesToldOnce(t *testing.T) {
	for _, between := range []bool{false, true} {
		c := NewChanges[int](placed(1, 1), clock(0))
		c.Load(k("a"), 1, red)
		loose := &Cursor{Index: c.Last(), Loose: true, Since: placed(1, 1), Match: onlyRed}
		expect(t, "nothing yet", told(c, loose))
		c.Begin(c.at.place, placed(1, 2), clock(0))
		c.Remove(k("a"), 1, clock(1))
		var got []string
		if between {
			got = told(c, loose)
		}
		c.Begin(c.at.place, placed(1, 3), clock(0))
		c.Suppose(k("a"), 2, red, 3, clock(2))
		got = append(got, told(c, loose)...)
		if len(got) != 1 || !strings.HasPrefix(got[0], "- a=1 red") {
			t.Errorf("read in between %v: %v", between, got)
		}
	}
}

// TestChangesSettle: a loose reader who has everything is still told of what it may have from elsewhere.
func TestChangesSettle(t *testing.T) {
	c := NewChanges[int](placed(1, 1), clock(0))
	c.Load(k("a"), 1, red)
	loose := &Cursor{Index: c.Last(), Loose: true, Since: placed(1, 2), Match: onlyRed}
	loose.Settle() // not before it has been told
	expect(t, "at once", told(c, loose))
	c.Begin(c.at.place, placed(1, 2), clock(0))
	c.Suppose(k("b"), 1, red, 2, clock(1))
	expect(t, "loose", told(c, loose), "- b=1 red @1.2")
	loose.Settle()
	c.Suppose(k("c"), 1, red, 2, clock(1))
	expect(t, "settled", told(c, loose))
}

// TestChangesGoneBefore: somebody has from elsewhere what was gone here before he came, or had other labels, and is told so when it is
// touched or changes; also if he has been told all that there was before. Once he was told, he isn't again.
func TestChangesGoneBefore(t *testing.T) {
	c := NewChanges[int](placed(1, 1), clock(0))
	c.Load(k("gone"), 1, red)
	c.Load(k("painted"), 1, red)
	c.Begin(c.at.place, placed(1, 2), clock(1))
	c.Remove(k("gone"), 1, clock(1))
	c.Put(k("painted"), 2, blue, clock(1))
	loose := &Cursor{Index: c.Last(), Loose: true, Since: placed(1, 2), Match: onlyRed}
	expect(t, "before", told(c, loose))
	c.Begin(c.at.place, placed(2, 2), clock(2))
	c.Touch(k("gone"))
	c.Put(k("painted"), 3, blue, clock(2))
	expect(t, "later", told(c, loose), "- gone=1 red @1.2+", "- painted=3 red @2.2")
	c.Begin(c.at.place, placed(3, 2), clock(3))
	c.Put(k("painted"), 4, blue, clock(3))
	expect(t, "again", told(c, loose))
	c.Begin(c.at.place, placed(4, 2), clock(4))
	c.Put(k("painted"), 5, red, clock(4))
	c.Put(k("painted"), 6, blue, clock(4))
	expect(t, "there and back", told(c, loose), "- painted=6 red @4.2")
	c.Begin(c.at.place, placed(5, 2), clock(5))
	c.Put(k("painted"), 7, blue, clock(5))
	c.Put(k("painted"), 8, blue, clock(5))
	expect(t, "twice", told(c, loose))
}

// TestChangesSupposedAfterItsEnd: what he wasn't told of at its end, as it had other labels here, it may have had elsewhere.
func TestChangesSupposedAfterItsEnd(t *testing.T) {
	c := NewChanges[int](placed(1, 1), clock(0))
	c.Load(k("a"), 1, blue)
	loose := &Cursor{Index: c.Last(), Loose: true, Since: placed(1, 1), Match: onlyRed}
	expect(t, "before", told(c, loose))
	c.Begin(c.at.place, placed(2, 1), clock(1))
	c.Remove(k("a"), 1, clock(1))
	expect(t, "its end", told(c, loose))
	c.Begin(c.at.place, placed(2, 2), clock(2))
	c.Suppose(k("a"), 1, red, 0, clock(2))
	expect(t, "supposed", told(c, loose), "- a=1 red @2.2")
	c.Begin(c.at.place, placed(3, 2), clock(3))
	c.Touch(k("a"))
	c.Touch(k("a"))
	expect(t, "touched", told(c, loose), "- a=1 red @3.2")
}

// TestChangesInTheMiddle: a place says that a reader is in the middle, also when he goes on elsewhere, until he is settled there.
func TestChangesInTheMiddle(t *testing.T) {
	c := NewChanges[int](placed(1, 1), clock(0))
	c.Begin(c.at.place, placed(2, 1), clock(1))
	c.Put(k("a"), 1, red, clock(1))
	c.Begin(c.at.place, placed(3, 1), clock(2))
	c.Put(k("b"), 1, red, clock(2))
	exact := &Cursor{Match: all}
	changes, done := c.Next(exact, make([]Change[int], 0, 1))
	if len(changes) != 1 || done || changes[0].At != (Place{2, 1, true}) || exact.At != (Place{2, 1, true}) {
		t.Errorf("%+v, %v, at %+v", changes, done, exact.At)
	}
	if changes, done = c.Next(exact, make([]Change[int], 0, 1)); len(changes) != 1 || changes[0].At != placed(3, 1) || exact.At != placed(3, 1) {
		t.Errorf("%+v, %v, at %+v", changes, done, exact.At)
	}
	loose := &Cursor{Index: 1, Loose: true, Since: Place{2, 1, true}, Match: all}
	expect(t, "loose", told(c, loose), "+ b=1 red @3.1+")
	if loose.Arrive(placed(4, 1)); loose.At != (Place{4, 1, true}) {
		t.Errorf("loose, at %+v", loose.At)
	}
	loose.Settle()
	if loose.Arrive(placed(4, 1)); loose.At != placed(4, 1) {
		t.Errorf("settled, at %+v", loose.At)
	}
}

func TestChangesWhen(t *testing.T) {
	c := NewChanges[int](placed(1, 1), clock(7))
	if got := c.When(0); got != clock(7) || c.Began() != clock(7) {
		t.Errorf("%v, began %v", got, c.Began())
	}
	c.Load(k("a"), 1, red)
	c.Begin(c.at.place, placed(2, 1), clock(8))
	c.Put(k("b"), 1, red, clock(8))
	c.Begin(c.at.place, placed(3, 1), clock(9))
	c.Put(k("c"), 1, red, clock(9))
	for index, want := range []int{7, 7, 8, 9, 9} {
		if got := c.When(uint64(index)); got != clock(want) {
			t.Errorf("%d: %v, want %v", index, got.Unix(), want)
		}
	}
}

// TestChangesWhenAllHaveMovedOn: for minutes it is known when the order was where, though nothing is left there: each item has
// changed since, again and again. A sweep leaves few steps for that.
func TestChangesWhenAllHaveMovedOn(t *testing.T) {
	const items, every, end = 100, 15, 3600
	c := NewChanges[int](placed(1, 1), clock(0))
	for i := range items {
		c.Load(k(fmt.Sprint(i)), 1, red)
	}
	places := map[int]Place{}
	for second := 0; second <= end; second += every {
		for i := range items {
			c.Begin(c.at.place, placed(c.at.place.Usage+1, 1), clock(second))
			c.Put(k(fmt.Sprint(i)), second, red, clock(second))
		}
		c.Trim(clock(second), 5*time.Minute, 1000)
		places[second] = c.at.place
	}
	for second := end - 540; second <= end; second += every {
		index, ok := c.Seek(places[second])
		if when := c.When(index); !ok || when.After(clock(second)) || when.Before(clock(second-every)) {
			t.Errorf("of %v s: %v, %v", second, when, ok)
		}
	}
	if most := 1024 + 3*items + 60; len(c.order) > most {
		t.Errorf("%d steps, want %d at most", len(c.order), most)
	}
}
