package view

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestChangesModel: whoever applies what he is told has what there is, wherever he begins, however seldom he looks, and
// whatever he selects by. Of one whose picture is that of his place, no item is added that he has, and none modified that he
// hasn't; once he isn't loose any more, none is removed that he hasn't, either.
func TestChangesModel(t *testing.T) {
	const keys = 12
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 4))
		c := NewChanges[int](placed(1, 1), clock(0))
		now, state, place := 0, 0, placed(1, 1)
		truth := map[string]int{}
		colors := map[string]*Labels{}
		load := random.IntN(keys)
		for i := range load {
			name := fmt.Sprint(i)
			state++
			truth[name], colors[name] = state, []*Labels{red, blue}[random.IntN(2)]
			c.Load(k(name), state, colors[name])
		}
		wanted := func(match func(Key, *Labels) bool) map[string]int {
			result := map[string]int{}
			for name, state := range truth {
				if match(k(name), colors[name]) {
					result[name] = state
				}
			}
			return result
		}
		type reader struct {
			cursor Cursor
			has    map[string]int
			sure   bool // has is what there was at the cursor
		}
		var readers []*reader
		read := func(r *reader) {
			exact, sure := !r.cursor.Loose && !r.cursor.reading, r.sure && !r.cursor.reading
			for done := false; !done; {
				var changes []Change[int]
				changes, done = c.Next(&r.cursor, make([]Change[int], 0, 1+random.IntN(4)))
				for _, change := range changes {
					_, has := r.has[change.Key.Name]
					if (exact || sure && change.Type != Removed) && has != (change.Type != Added) {
						t.Fatalf("seed %d: type %d of %s, had %v, loose %v", seed, change.Type, change.Key.Name, has, r.cursor.Loose)
					}
					if change.Type == Removed {
						delete(r.has, change.Key.Name)
					} else {
						r.has[change.Key.Name] = change.State
					}
				}
			}
			r.sure = true
		}
		for range 200 {
			now++
			if random.IntN(2) == 0 {
				place.Usage++
			} else {
				place.Objects += uint64(1 + random.IntN(3))
			}
			c.Begin(c.at.place, place, clock(0))
			for range random.IntN(5) {
				name := fmt.Sprint(random.IntN(keys))
				if _, exists := truth[name]; exists && random.IntN(3) == 0 {
					delete(truth, name)
					c.Remove(k(name), -1, clock(now))
				} else {
					state++
					truth[name] = state
					if !exists || random.IntN(4) == 0 {
						colors[name] = []*Labels{red, blue}[random.IntN(2)]
					}
					c.Put(k(name), state, colors[name], clock(now))
				}
			}
			if random.IntN(3) == 0 { // somebody comes, whose list may be newer than his place
				r := &reader{cursor: Cursor{Match: []func(Key, *Labels) bool{all, onlyRed}[random.IntN(2)]}}
				r.has = wanted(r.cursor.Match)
				old := placed(place.Usage-uint64(random.IntN(3)), place.Objects-uint64(random.IntN(3)))
				if index, ok := c.Seek(old); ok {
					r.cursor = Cursor{Index: index, Loose: true, Match: r.cursor.Match}
					r.sure = old == place
					readers = append(readers, r)
				}
			}
			for i := len(readers) - 1; i >= 0; i-- {
				switch r := readers[i]; random.IntN(6) {
				case 0, 1:
					if !c.Reaches(&r.cursor) {
						readers = slices.Delete(readers, i, i+1)
						continue
					}
					read(r)
					if want := wanted(r.cursor.Match); !maps.Equal(r.has, want) {
						t.Fatalf("seed %d: has %v, want %v", seed, r.has, want)
					}
					if random.IntN(2) == 0 {
						r.cursor.Settle()
					}
					if random.IntN(3) == 0 { // breaks off, and goes on from where it was told that it is
						if index, ok := c.Seek(r.cursor.At); ok {
							r.cursor = Cursor{Index: index, Loose: true, Match: r.cursor.Match}
						}
					}
				case 2: // is told a part, breaks off, and goes on
					if !c.Reaches(&r.cursor) {
						continue
					}
					r.sure = false
					changes, _ := c.Next(&r.cursor, make([]Change[int], 0, 1))
					for _, change := range changes {
						if delete(r.has, change.Key.Name); change.Type != Removed {
							r.has[change.Key.Name] = change.State
						}
						if index, ok := c.Seek(change.At); ok {
							r.cursor = Cursor{Index: index, Loose: true, Match: r.cursor.Match}
						}
					}
				}
			}
			if random.IntN(10) == 0 {
				c.Trim(clock(now), 20*time.Second, 60)
			}
		}
	}
}
