package view

import (
	"fmt"
	"testing"
)

func TestChangesTouch(t *testing.T) {
	c := NewChanges[int](placed(1, 1))
	c.Load(k("a"), 1, red)
	exact := &Cursor{Index: c.Last(), Match: onlyRed}
	c.Begin(c.at.place, placed(1, 2))
	c.Remove(k("a"), 1, clock(1))
	expect(t, "removed", told(c, exact), "- a=1 red @1.2")
	c.Begin(c.at.place, placed(2, 2))
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
	expect(t, "before", told(c, from(placed(1, 1))), "- a=1 red @1.2")
	c.Begin(c.at.place, placed(2, 3))
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
			c := NewChanges[int](placed(1, 1))
			c.Begin(c.at.place, placed(1, 2))
			before(c)
			loose := &Cursor{Index: c.Last(), Loose: true, Since: placed(1, 2), Match: onlyRed}
			expect(t, name, told(c, loose))
			past := c.Past()
			want := "- a=1 red @1.3"
			c.Begin(c.at.place, placed(1, 3))
			for range 5 {
				c.Suppose(k("a"), 1, red, 0, clock(2))
			}
			if c.Past() > past+1 {
				t.Errorf("%s: %d past, and %d before", name, c.Past(), past)
			}
			if back {
				c.Begin(c.at.place, placed(2, 3))
				c.Put(k("a"), 2, blue, clock(3))
				want = "- a=2 red @2.3"
			}
			expect(t, name, told(c, loose), want)
		}
	}
}

// TestChangesBornInAPart: somebody who was told a part of a message may have what is born by it.
func TestChangesBornInAPart(t *testing.T) {
	for _, part := range []bool{false, true} {
		c := NewChanges[int](placed(1, 1))
		since := placed(1, 1)
		since.Part = part
		loose := &Cursor{Index: c.Last(), Loose: true, Since: since, Match: onlyRed}
		c.Begin(c.at.place, placed(1, 2))
		c.Suppose(k("a"), 1, red, 2, clock(1))
		var want []string
		if part {
			want = []string{"- a=1 red @1.2"}
		}
		expect(t, fmt.Sprint(since), told(c, loose), want...)
	}
}

// TestChangesSettle: a loose reader who has everything is still told of what it may have from elsewhere.
func TestChangesSettle(t *testing.T) {
	c := NewChanges[int](placed(1, 1))
	c.Load(k("a"), 1, red)
	loose := &Cursor{Index: c.Last(), Loose: true, Since: placed(1, 2), Match: onlyRed}
	loose.Settle() // not before it has been told
	expect(t, "at once", told(c, loose))
	c.Begin(c.at.place, placed(1, 2))
	c.Suppose(k("b"), 1, red, 2, clock(1))
	expect(t, "loose", told(c, loose), "- b=1 red @1.2")
	loose.Settle()
	c.Suppose(k("c"), 1, red, 2, clock(1))
	expect(t, "settled", told(c, loose))
}
