package view

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// clock is the time in these tests: Unix seconds.
func clock(seconds int) time.Time { return time.Unix(int64(seconds), 0) }

var red, blue = newLabels(map[string]string{"color": "red"}), newLabels(map[string]string{"color": "blue"})

func all(Key, *Labels) bool              { return true }
func onlyRed(_ Key, labels *Labels) bool { return labels.Get("color") == "red" }

// placed is a place.
func placed(usage, objects uint64) Place { return Place{Usage: usage, Objects: objects} }

func k(name string) Key { return Key{"ns", name} }

// told reads on until nothing is left, a few at a time, and returns what it was told as text.
func told(c *Changes[int], cursor *Cursor) (lines []string) {
	for done := false; !done; {
		var changes []Change[int]
		changes, done = c.Next(cursor, make([]Change[int], 0, 2))
		for _, change := range changes {
			lines = append(lines, fmt.Sprintf("%s %s=%d %s @%d.%d", [...]string{"+", "~", "-"}[change.Type], change.Key.Name, change.State,
				change.Labels.Get("color"), change.At.Usage, change.At.Objects)+map[bool]string{true: "+"}[change.At.Part])
		}
	}
	return lines
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func TestChangesTellTheLatestStateOnce(t *testing.T) {
	c := NewChanges[int](placed(10, 100), clock(0))
	c.Load(k("a"), 1, red)
	c.Load(k("b"), 1, blue)
	c.Load(k("c"), 1, nil)
	everything, reds := &Cursor{Index: c.Last(), Match: all}, &Cursor{Index: c.Last(), Match: onlyRed}
	expect(t, "at the beginning", told(c, everything))
	c.Begin(c.at.place, placed(11, 100), clock(0))
	c.Put(k("a"), 2, red, clock(1))
	c.Put(k("b"), 2, blue, clock(1))
	c.Begin(c.at.place, placed(12, 101), clock(0))
	c.Put(k("a"), 3, red, clock(2))
	c.Put(k("d"), 1, red, clock(2))
	c.Remove(k("c"), 9, clock(2))
	c.Remove(k("nobody"), 9, clock(2))
	expect(t, "all", told(c, everything), "~ b=2 blue @11.100+", "~ a=3 red @11.100+", "+ d=1 red @11.100+", "- c=9  @12.101")
	expect(t, "all, again", told(c, everything))
	expect(t, "red", told(c, reds), "~ a=3 red @11.100+", "+ d=1 red @11.100+")

	c.Begin(c.at.place, placed(12, 102), clock(0))
	c.Put(k("a"), 4, blue, clock(3)) // leaves the red ones
	c.Put(k("b"), 3, red, clock(3))  // joins them
	c.Replace(k("d"), 7)             // changes nothing
	expect(t, "red", told(c, reds), "- a=4 red @12.101+", "+ b=3 red @12.102")
	expect(t, "all", told(c, everything), "~ a=4 blue @12.101+", "~ b=3 red @12.102")

	c.Begin(c.at.place, placed(13, 102), clock(0))
	c.Put(k("b"), 4, blue, clock(4)) // there and back
	c.Put(k("b"), 5, red, clock(4))
	c.Put(k("e"), 1, red, clock(4)) // came and went
	c.Remove(k("e"), 1, clock(4))
	c.Remove(k("d"), 8, clock(4)) // went and came
	c.Put(k("d"), 9, red, clock(4))
	expect(t, "red", told(c, reds), "~ b=5 red @12.102+", "~ d=9 red @13.102")
	if state, ok := c.Get(k("d")); !ok || state != 9 || c.Len() != 3 {
		t.Errorf("d is %d, %v; %d items", state, ok, c.Len())
	}
	if _, ok := c.Get(k("e")); ok {
		t.Error("e is there")
	}
}

// TestChangesOfAnInexactReader: one whose picture may be newer than its place must be told to forget what it may have.
func TestChangesOfAnInexactReader(t *testing.T) {
	c := NewChanges[int](placed(1, 1), clock(0))
	c.Load(k("a"), 1, red)
	c.Begin(c.at.place, placed(2, 1), clock(0))
	c.Put(k("b"), 1, red, clock(1))
	c.Begin(c.at.place, placed(3, 1), clock(0))
	c.Remove(k("b"), 1, clock(2))
	c.Begin(c.at.place, placed(3, 2), clock(0))
	c.Put(k("a"), 2, blue, clock(2))
	index, ok := c.Seek(placed(1, 1))
	if !ok || index != 1 {
		t.Fatalf("%d, %v", index, ok)
	}
	expect(t, "exact", told(c, &Cursor{Index: index, Match: onlyRed}), "- a=2 red @3.2")
	expect(t, "inexact", told(c, &Cursor{Index: index, Loose: true, Match: onlyRed}), "- b=1 red @3.1+", "- a=2 red @3.2")
}

// TestChangesOfAReaderFromElsewhere: what there was at the place that a reader comes from is modified, however young it was
// then, and what there was not is added, also if it had been there before.
func TestChangesOfAReaderFromElsewhere(t *testing.T) {
	c := NewChanges[int](placed(1, 1), clock(0))
	c.Load(k("old"), 1, red)
	at := func(usage uint64, change func(now time.Time)) {
		c.Begin(c.at.place, placed(usage, 1), clock(0))
		change(clock(int(usage)))
	}
	put := func(name string, state int, labels *Labels) func(time.Time) {
		return func(now time.Time) { c.Put(k(name), state, labels, now) }
	}
	remove := func(name string) func(time.Time) { return func(now time.Time) { c.Remove(k(name), 0, now) } }
	at(2, put("young", 1, red))
	at(3, put("painted", 1, blue))
	at(4, put("painted", 2, red))
	at(5, put("gone", 1, red))
	at(6, remove("gone"))
	at(7, put("faded", 1, red))
	at(8, put("faded", 2, blue))
	at(9, put("again", 1, red))
	reader := func(match func(Key, *Labels) bool) *Cursor {
		index, ok := c.Seek(placed(9, 1))
		if !ok {
			t.Fatal("the place is gone")
		}
		return &Cursor{Index: index, Loose: true, Since: placed(9, 1), Match: match}
	}
	reds, everything := reader(onlyRed), reader(all)
	at(10, put("old", 2, red))
	at(11, put("young", 2, red))
	at(12, put("painted", 3, red))
	at(13, put("gone", 2, red))
	at(14, put("faded", 3, red))
	at(15, put("born", 1, red))
	at(16, remove("again"))
	at(17, put("again", 2, red))
	expect(t, "red", told(c, reds), "~ old=2 red @10.1+", "~ young=2 red @11.1+", "~ painted=3 red @12.1+", "+ gone=2 red @13.1+", "+ faded=3 red @14.1+", "+ born=1 red @15.1+", "~ again=2 red @17.1")
	expect(t, "all", told(c, everything), "~ old=2 red @10.1+", "~ young=2 red @11.1+", "~ painted=3 red @12.1+", "+ gone=2 red @13.1+", "~ faded=3 red @14.1+", "+ born=1 red @15.1+", "~ again=2 red @17.1")
	at(18, remove("gone"))
	at(19, put("gone", 3, blue))
	expect(t, "red, further", told(c, reds), "- gone=3 red @19.1")
	expect(t, "all, further", told(c, everything), "~ gone=3 blue @19.1")
}

func TestChangesSeek(t *testing.T) {
	c := NewChanges[int](placed(10, 100), clock(0))
	c.Load(k("a"), 1, nil)
	c.Begin(c.at.place, placed(12, 100), clock(0))
	c.Put(k("a"), 2, nil, clock(1)) // 2
	c.Begin(c.at.place, placed(12, 105), clock(0))
	c.Put(k("b"), 2, nil, clock(2)) // 3
	c.Put(k("c"), 2, nil, clock(2)) // 4
	c.Begin(c.at.place, placed(14, 105), clock(0))
	c.Put(k("a"), 3, nil, clock(3)) // 5
	for place, want := range map[Place]uint64{
		placed(10, 100): 1, placed(11, 100): 1, placed(11, 200): 1, placed(12, 100): 2, placed(12, 104): 2, placed(13, 104): 2, placed(12, 105): 4, placed(13, 105): 4, placed(14, 104): 2,
		placed(14, 105): 5, placed(99, 999): 5,
	} {
		if got, ok := c.Seek(place); !ok || got != want {
			t.Errorf("%v: %d, %v, want %d", place, got, ok, want)
		}
	}
	for _, place := range []Place{placed(9, 100), placed(10, 99), placed(9, 200), placed(200, 99), {}} {
		if got, ok := c.Seek(place); ok {
			t.Errorf("%v: %d", place, got)
		}
	}
}

func TestChangesTrim(t *testing.T) {
	c := NewChanges[int](placed(1, 1), clock(0))
	c.Load(k("a"), 1, nil)
	beginning := &Cursor{Index: c.Last(), Match: all}
	for i := range 10 {
		c.Begin(c.at.place, placed(2, uint64(2+i)), clock(0))
		c.Put(k(fmt.Sprint(i)), 1, nil, clock(i))
		c.Remove(k(fmt.Sprint(i)), 2, clock(i))
	}
	if c.Past() != 20 || c.Len() != 1 {
		t.Fatalf("%d past, %d live", c.Past(), c.Len())
	}
	c.Trim(clock(14), 10*time.Second, 100)
	if c.Past() != 20 || len(c.items) != 11 || c.Reaches(beginning) {
		t.Errorf("%d past, %d items, reaches %v", c.Past(), len(c.items), c.Reaches(beginning))
	}
	if _, ok := c.Seek(placed(2, 4)); ok {
		t.Error("found a place below the floor")
	}
	index, ok := c.Seek(placed(2, 5))
	if !ok || index != 9 {
		t.Errorf("%d, %v", index, ok)
	}
	late := &Cursor{Index: index, Loose: true, Match: all}
	if got := told(c, late); len(got) != 6 || !c.Reaches(late) {
		t.Errorf("told %q", got)
	}
	c.Trim(clock(24), 10*time.Second, 100)
	if c.Past() != 12 || len(c.items) != 7 {
		t.Errorf("%d past, %d items", c.Past(), len(c.items))
	}
	c.Trim(clock(0), 10*time.Second, 2)
	if c.Past() != 2 || len(c.items) != 2 {
		t.Errorf("%d past, %d items", c.Past(), len(c.items))
	}
	if index, ok := c.Seek(placed(2, 11)); !ok || index != 21 {
		t.Errorf("%d, %v", index, ok)
	}
	c.Trim(clock(100), 10*time.Second, 100)
	if c.Past() != 0 || len(c.items) != 1 {
		t.Errorf("%d past, %d items", c.Past(), len(c.items))
	}
}

func TestChangesByTheClock(t *testing.T) {
	c := NewChanges[int](placed(5, 5), clock(0))
	c.Load(k("a"), 1, red)
	c.Load(k("b"), 1, blue)
	c.BeginClock(placed(5, 5), clock(100))
	c.Remove(k("a"), 2, clock(100))
	c.Remove(k("b"), 2, clock(100))
	index, _ := c.Seek(placed(5, 5))
	cursor := &Cursor{Index: index, Match: onlyRed}
	expect(t, "behind the cursor", told(c, cursor))
	if lapsed := c.Lapsed(cursor, placed(6, 5), clock(90)); len(lapsed) != 1 || lapsed[0].Type != Removed || lapsed[0].Key.Name != "a" || lapsed[0].At != placed(6, 5) {
		t.Errorf("%+v", lapsed)
	}
	if lapsed := c.Lapsed(cursor, placed(6, 5), clock(101)); len(lapsed) != 0 {
		t.Errorf("of long ago: %+v", lapsed)
	}
	if lapsed := c.Lapsed(cursor, placed(5, 5), clock(101)); len(lapsed) != 1 {
		t.Errorf("of long ago, at this very place: %+v", lapsed)
	}
	c.Begin(c.at.place, placed(5, 6), clock(0))
	c.Suppose(k("a"), 2, blue, 0, clock(101))
	c.Suppose(k("b"), 2, blue, 0, clock(101)) // as it was
	for color, want := range map[*Labels]int{red: 1, blue: 2} {
		cursor := &Cursor{Index: c.Last(), Match: func(_ Key, labels *Labels) bool { return labels == color }}
		if lapsed := c.Lapsed(cursor, placed(5, 6), clock(90)); len(lapsed) != want {
			t.Errorf("of those that are supposed to have changed since: %+v, want %d", lapsed, want)
		}
	}
	c.Begin(c.at.place, placed(6, 6), clock(0))
	c.Put(k("a"), 3, red, clock(110))
	if lapsed := c.Lapsed(cursor, placed(5, 5), clock(90)); len(lapsed) != 0 {
		t.Errorf("of one that came back: %+v", lapsed)
	}
}

func TestChangesLive(t *testing.T) {
	c := NewChanges[int](placed(5, 5), clock(0))
	c.Load(k("a"), 1, red)
	c.Load(k("b"), 1, blue)
	c.Begin(c.at.place, placed(6, 5), clock(0))
	c.Put(k("c"), 1, red, clock(1))
	c.Put(k("a"), 2, red, clock(1))
	items := c.Live(onlyRed)
	if len(items) != 2 || items[0].key.Name != "c" || items[1].key.Name != "a" {
		t.Fatalf("%+v", items)
	}
	c.Remove(k("c"), 1, clock(2))
	if _, ok := c.Read(items[0], onlyRed); ok {
		t.Error("read one that is gone")
	}
	change, ok := c.Read(items[1], onlyRed)
	if !ok || change.Type != Added || change.State != 2 || change.At != (Place{Usage: 5, Objects: 5, Part: true}) {
		t.Errorf("%+v, %v", change, ok)
	}
	c.Put(k("a"), 3, blue, clock(3))
	if _, ok := c.Read(items[1], onlyRed); ok {
		t.Error("read one that doesn't match")
	}
}

// TestChangesSweepSeldom: items that are gone and were touched have two steps each, which no sweep takes away. To sweep for
// each further step would hold everybody up for minutes in a large cluster.
func TestChangesSweepSeldom(t *testing.T) {
	const items = 20_000
	c := NewChanges[int](placed(1, 1), clock(0))
	for i := range items {
		c.Load(k(fmt.Sprint(i)), 1, red)
	}
	c.Begin(c.at.place, placed(2, 1), clock(0))
	for i := range items {
		c.Remove(k(fmt.Sprint(i)), 1, clock(1))
	}
	sweeps, longest := 0, 0
	for round := range 3 {
		c.Begin(c.at.place, placed(uint64(3+round), 1), clock(0))
		for i := range items {
			before := c.swept
			c.Touch(k(fmt.Sprint(i)))
			if c.swept != before {
				sweeps++
			}
			longest = max(longest, len(c.order))
		}
	}
	if sweeps == 0 || sweeps > 10 || longest > 4*items {
		t.Errorf("%d sweeps, %d steps at the most", sweeps, longest)
	}
	c.Trim(clock(10000), time.Minute, 10) // the items are forgotten, and so are their steps
	c.Trim(clock(10000), time.Minute, 10)
	c.Begin(c.at.place, placed(9, 1), clock(0))
	c.Put(k("new"), 1, red, clock(10000))
	if len(c.order) > 2000 {
		t.Errorf("%d steps are left of %d items", len(c.order), len(c.items))
	}
}
