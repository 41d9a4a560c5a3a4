package collector

import (
	"bytes"
	"hash/maphash"
)

// fewLines is up to how many lines of a family are compared each with each other, before they are looked up by their hash.
const fewLines = 10

// Lines are those of one family of one object, whose text is being written: where they are, so that none of them stays that
// repeats another one's labels. Lines that go together, such as those of each phase, count as one: the first. The zero value
// has none.
//
// Kubernetes' API takes objects that make one series twice: equal entries in a list, two owners of one name, two metrics
// that differ in what no label tells. A scrape must not have it twice, even with one value.
type Lines struct {
	all   []line
	head  int     // bytes that each of them begins with, while repeated ones are looked for
	slots []int32 // a hash table of lines: 1 + an index in all, or 0
	seed  maphash.Seed
}

// line is where in the text a line begins, and where its labels end.
type line struct{ start, labels int }

// Add takes a line that begins at start and whose labels end at the other offset.
func (l *Lines) Add(start, labels int) { l.all = append(l.all, line{start, labels}) }

// Clear forgets the lines, for another family.
func (l *Lines) Clear() { l.all = l.all[:0] }

// DropRepeated returns the text with the first of the lines that have the same labels, and how many others it left out. The
// lines are the end of the text, and begin with the same head bytes: the name, and what else they have in common.
func (l *Lines) DropRepeated(text []byte, head int) ([]byte, int) {
	l.head = head
	if len(l.all) < 2 || l.distinct(text) {
		return text, 0
	}
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

// labelsOf returns the labels that tell a line from the others.
func (l *Lines) labelsOf(line line, text []byte) []byte { return text[line.start+l.head : line.labels] }

// distinct tells whether no two lines have the same labels. It may say no where they are many.
func (l *Lines) distinct(text []byte) bool {
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

// known tells whether one of the first kept lines has the same labels. If none has, the line takes a slot as number kept.
func (l *Lines) known(text []byte, kept int, line line) bool {
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
func (l *Lines) clearSlots() {
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
