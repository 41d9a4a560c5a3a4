package objects

import (
	"hash/maphash"
	"sync/atomic"
)

// interns shares the memory of equal strings. It is a table of fixed size in which a newcomer takes the place of
// whatever was there before: it forgets, but it never grows, never locks, and needs no clean-up.
type interns struct {
	seed  maphash.Seed
	slots [1 << 12]atomic.Pointer[string]
}

// maxInterned bounds the strings that are shared; longer ones are rarely equal to others.
const maxInterned = 128

func newInterns() *interns { return &interns{seed: maphash.MakeSeed()} }

// get returns a string that equals b and is no part of it, if possible the one that it returned before.
func (t *interns) get(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > maxInterned {
		return string(b)
	}
	slot := &t.slots[maphash.Bytes(t.seed, b)%uint64(len(t.slots))]
	if known := slot.Load(); known != nil && *known == string(b) {
		return *known
	}
	text := string(b)
	slot.Store(&text)
	return text
}
