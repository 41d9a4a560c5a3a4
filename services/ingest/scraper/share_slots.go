package scraper

import (
	"fmt"
	"hash/fnv"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// slots are those that nodes are divided among, each by a number drawn from its name. A node is that slot's with which it
// scores highest (rendezvous hashing): when one goes, only its nodes move, evenly to all others; when one comes, it gets
// some of everybody's. All ingesters have to agree, so the numbers must never change between versions:
//
//	number = mix(FNV-1a of the name), score = mix(number of the slot XOR number of the node)
type slots []uint64

// owner returns the place of the slot that has a node.
func (s slots) owner(node uint64) int {
	best, score := 0, uint64(0)
	for i, slot := range s {
		if at := mix(slot ^ node); at > score {
			best, score = i, at
		}
	}
	return best
}

// fixedSlots are the shards 0 to n-1, named so.
func fixedSlots(n int) slots {
	s := make(slots, n)
	for i := range s {
		s[i] = hashName(fmt.Sprint(i))
	}
	return s
}

// memberSlots are the members, in the order given, and the place of self among them; -1 where it isn't. A second member of
// a name counts as another one. An ingester that is restarted under its name gets the nodes again that it had.
func memberSlots(members []stream.Member, self stream.Member) (s slots, at int) {
	at = -1
	same := 0
	for i, m := range members {
		name := m.Name
		if i > 0 && members[i-1].Name == m.Name {
			same++
			name = fmt.Sprintf("%s\x00%d", m.Name, same)
		} else {
			same = 0
		}
		s = append(s, hashName(name))
		if m.Key == self.Key {
			at = i
		}
	}
	return s, at
}

// hashName draws a number from a name.
func hashName(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return mix(h.Sum64())
}
