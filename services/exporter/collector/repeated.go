package collector

import "hash/maphash"

// fewLines is up to how many lines of a family are compared each with each other; more are looked up by their hash.
const fewLines = 10

// lines are those of one family of one object.
type lines struct {
	all   []line
	slots []int32 // a hash table of lines: 1 + an index in all, or 0
	seed  maphash.Seed
}

// line is where the own labels of a line are in the text: what follows the identity, up to the space before the value.
type line struct{ own, value int }

func (l line) labels(text []byte) []byte { return text[l.own:l.value] }

// dropRepeated leaves the first of the lines that have the same labels, and tells how many others it dropped. The lines
// are the end of the text; each begins with head bytes that are the same in all of them, and its own labels follow.
//
// Kubernetes' API takes objects that make one series twice: equal entries in a list, two owners of one name, two metrics
// that differ in what no label tells. A scrape must not have it twice, even with one value.
func (l *lines) dropRepeated(text []byte, head int) ([]byte, int) {
	l.findValues(text, head)
	hashed := len(l.all) > fewLines
	if hashed {
		l.clearSlots()
	}
	kept, end := 0, l.all[0].own-head
	for i, line := range l.all {
		from, to := line.own-head, len(text)
		if i+1 < len(l.all) {
			to = l.all[i+1].own - head
		}
		if hashed && l.known(text, kept, line) || !hashed && l.among(text, kept, line) {
			continue
		}
		if moved := from - end; moved > 0 {
			copy(text[end:], text[from:to])
			line.own, line.value = line.own-moved, line.value-moved
			l.all[kept] = line // whose place was another one's
		}
		end += to - from
		kept++
	}
	return text[:end], len(l.all) - kept
}

// findValues finds where the values of the lines begin.
func (l *lines) findValues(text []byte, head int) {
	end := len(text)
	for i := len(l.all) - 1; i >= 0; i-- {
		line := &l.all[i]
		for line.value = end - len(" \n"); text[line.value] != ' '; {
			line.value--
		}
		end = line.own - head
	}
}

// among tells whether one of the first kept lines has the same labels.
func (l *lines) among(text []byte, kept int, line line) bool {
	n := line.value - line.own
	for _, other := range l.all[:kept] {
		if other.value-other.own == n && string(other.labels(text)) == string(line.labels(text)) {
			return true
		}
	}
	return false
}

// known is among by way of the slots. A line that is not known takes one, because it becomes line number kept.
func (l *lines) known(text []byte, kept int, line line) bool {
	labels := line.labels(text)
	mask := uint64(len(l.slots) - 1)
	at := maphash.Bytes(l.seed, labels) & mask
	for ; l.slots[at] != 0; at = (at + 1) & mask {
		if other := l.all[l.slots[at]-1]; string(other.labels(text)) == string(labels) {
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
