package collector

import (
	"bytes"
	"hash/maphash"
)

// fewLines is up to how many lines of a family are compared each with each other, before they are looked up by their hash.
const fewLines = 10

// lines are those of one family of one object. Lines that are distinct by construction, such as those of each phase, count
// as one: the first.
type lines struct {
	all   []line
	head  int     // bytes that each of them begins with: the name and the identity
	slots []int32 // a hash table of lines: 1 + an index in all, or 0
	seed  maphash.Seed
}

// line is where in the text a line begins, and where its labels end.
type line struct{ start, labels int }

// labelsOf returns the labels that tell a line from the others.
func (l *lines) labelsOf(line line, text []byte) []byte { return text[line.start+l.head : line.labels] }

// distinct tells whether no two lines have the same labels. It may say no where they are many.
func (l *lines) distinct(text []byte) bool {
	if len(l.all) > fewLines {
		return false
	}
	for i, a := range l.all {
		for _, b := range l.all[:i] {
			if a.labels-a.start == b.labels-b.start && string(l.labelsOf(a, text)) == string(l.labelsOf(b, text)) {
				return false
			}
		}
	}
	return true
}

// dropRepeated leaves the first of the lines that have the same labels, and tells how many others it dropped. The lines
// are the end of the text.
//
// Kubernetes' API takes objects that make one series twice: equal entries in a list, two owners of one name, two metrics
// that differ in what no label tells. A scrape must not have it twice, even with one value.
func (l *lines) dropRepeated(text []byte) ([]byte, int) {
	l.clearSlots()
	kept, end, dropped := 0, l.all[0].start, 0
	for i, line := range l.all {
		from, to := line.start, len(text)
		if i+1 < len(l.all) {
			to = l.all[i+1].start
		}
		if l.known(text, kept, line) {
			dropped += bytes.Count(text[from:to], []byte("\n"))
			continue
		}
		if moved := from - end; moved > 0 {
			copy(text[end:], text[from:to])
			line.start, line.labels = line.start-moved, line.labels-moved
			l.all[kept] = line // whose place was another one's
		}
		end += to - from
		kept++
	}
	return text[:end], dropped
}

// known tells whether one of the first kept lines has the same labels. If none has, the line takes a slot as number kept.
func (l *lines) known(text []byte, kept int, line line) bool {
	labels := l.labelsOf(line, text)
	mask := uint64(len(l.slots) - 1)
	at := maphash.Bytes(l.seed, labels) & mask
	for ; l.slots[at] != 0; at = (at + 1) & mask {
		if other := l.all[l.slots[at]-1]; string(l.labelsOf(other, text)) == string(labels) {
			return true
		}
	}
	l.slots[at] = int32(kept) + 1
	return false
}

// clearSlots makes the slots empty, and at least twice as many as there are lines: a power of two.
func (l *lines) clearSlots() {
	if l.slots == nil {
		l.seed = maphash.MakeSeed()
	}
	size := 32
	for size < 2*len(l.all) {
		size *= 2
	}
	if size > cap(l.slots) {
		l.slots = make([]int32, size)
		return
	}
	l.slots = l.slots[:size]
	clear(l.slots)
}
