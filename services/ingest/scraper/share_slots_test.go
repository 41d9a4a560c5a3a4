package scraper

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

func group(names ...string) (members []stream.Member) {
	for i, name := range names {
		members = append(members, stream.Member{Key: fmt.Sprintf("%s.%d", name, i), Name: name})
	}
	return members
}

// owners tells which member has each of many nodes.
func owners(members []stream.Member) map[string]string {
	s, _ := memberSlots(members, stream.Member{})
	owners := map[string]string{}
	for i := range 5000 {
		node := fmt.Sprintf("ip-10-0-%d-%d.example.internal", i/250, i%250)
		owners[node] = members[s.owner(hashName(node))].Name
	}
	return owners
}

// TestSlotsStay: ingesters of different versions have to agree, so what decides must stay for ever. The values come from
// another implementation of the rule.
func TestSlotsStay(t *testing.T) {
	s, _ := memberSlots(group("ingest-0", "ingest-1", "ingest-1", "ingest-7f9c-x2x"), stream.Member{})
	got := map[string]int{}
	for _, node := range []string{"", "node-1", "node-2", "node-3", "node-4", "ip-10-0-0-1.eu-central-1.compute.internal"} {
		got[node] = s.owner(hashName(node))
	}
	fixed := []int{}
	for i := range 8 {
		fixed = append(fixed, fixedSlots(3).owner(hashName(fmt.Sprint("node-", i))))
	}
	want := map[string]int{"": 1, "node-1": 2, "node-2": 2, "node-3": 1, "node-4": 1, "ip-10-0-0-1.eu-central-1.compute.internal": 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if want := []int{2, 2, 1, 2, 2, 2, 1, 2}; !slices.Equal(fixed, want) {
		t.Errorf("shards %v, want %v", fixed, want)
	}
}

func TestSlotsEven(t *testing.T) {
	for n := 1; n <= 12; n++ {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprint("ingest-", i))
		}
		counts := map[string]int{}
		for _, owner := range owners(group(names...)) {
			counts[owner]++
		}
		for _, name := range names {
			if mean := 5000 / n; counts[name] < mean*85/100 || counts[name] > mean*115/100 {
				t.Errorf("of %d members %s has %d nodes, the mean is %d", n, name, counts[name], mean)
			}
		}
	}
}

// TestSlotsMove: only what has to move moves, and from and to all alike.
func TestSlotsMove(t *testing.T) {
	four, three := owners(group("a", "b", "c", "d")), owners(group("a", "b", "d"))
	to := map[string]int{}
	for node, owner := range four {
		if owner != "c" && three[node] != owner {
			t.Fatalf("%s moved from %s to %s when c went", node, owner, three[node])
		}
		if owner == "c" {
			to[three[node]]++
		}
	}
	for name, n := range to {
		if n < 330 || n > 500 {
			t.Errorf("%s got %d of c's nodes", name, n)
		}
	}
	if len(to) != 3 {
		t.Errorf("c's nodes went to %v", to)
	}
}

func TestMemberSlots(t *testing.T) {
	members := group("a", "b", "b", "c")
	for i, m := range members {
		if _, at := memberSlots(members, m); at != i {
			t.Errorf("%v is at %d", m, at)
		}
	}
	s, at := memberSlots(members, stream.Member{Key: "b.9", Name: "b"})
	if at != -1 {
		t.Errorf("one that is no member is at %d", at)
	}
	if s[1] == s[2] {
		t.Error("two of one name have the same share")
	}
	// One of a name that is alone has the share of that name, whichever process it is.
	again, _ := memberSlots([]stream.Member{members[0], members[2], members[3]}, stream.Member{})
	if !slices.Equal(again, slots{s[0], s[1], s[3]}) {
		t.Error("a restart changed the shares")
	}
	if s, at := memberSlots(nil, members[0]); len(s) != 0 || at != -1 {
		t.Error(s, at)
	}
}

func BenchmarkDivide(b *testing.B) {
	for _, members := range []int{3, 300} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			var names []string
			for i := range members {
				names = append(names, fmt.Sprint("ingest-", i))
			}
			g := group(names...)
			hashes := make([]uint64, 5000)
			for i := range hashes {
				hashes[i] = hashName(fmt.Sprint("node-", i))
			}
			for b.Loop() {
				s, _ := memberSlots(g, g[0])
				for _, h := range hashes {
					s.owner(h)
				}
			}
		})
	}
}

func TestUpcoming(t *testing.T) {
	const resolution = 15 * time.Second
	base := time.Unix(0, 0).Add(1000 * resolution)
	at := func(seconds float64) time.Time { return base.Add(time.Duration(seconds * float64(time.Second))) }
	phase := 5 * time.Second // due at 5, 20 ...
	for _, test := range []struct {
		now   float64
		since time.Time
		wait  time.Duration
		made  bool
	}{
		{12, time.Time{}, 8 * time.Second, false},       // nobody knows
		{12, at(12), 8 * time.Second, true},             // somebody was at it until now
		{12, at(5.1), 8 * time.Second, false},           // perhaps not any more
		{12, at(4), 8 * time.Second, false},             // lost before it was due
		{5.2, at(5.2), 14800 * time.Millisecond, false}, // it may be in progress
		{4, at(-7), time.Second, true},                  // lost, but it was due before that
		{4, at(-11), time.Second, false},                // due at -10
		{4, at(100), time.Second, true},                 // a clock that jumped
	} {
		if wait, made := upcoming(at(test.now), test.since, phase, resolution); wait != test.wait || made != test.made {
			t.Errorf("at %v since %v: %v, %v; want %v, %v", test.now, test.since.Sub(base), wait, made, test.wait, test.made)
		}
	}
}
