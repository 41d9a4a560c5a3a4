package exposition

import "bytes"

// slots is how many objects a block has room for. More make pages pack better and a change cost more.
const slots = 64

// block holds the lines of up to 64 objects of one resource: pages, and what changed since they were packed. Its fields
// are guarded by the store's mutex, but what base and the elements of edits point to never changes: who has seen them
// under the mutex may read them afterwards.
type block struct {
	base   *base
	edits  []edit    // in the order in which they happened; only ever appended to, or replaced as a whole
	bytes  int       // of the edits' text
	begun  int       // rows that have ever held an object
	used   int       // rows that hold one
	hashes []*column // of each family, edits included; nil for one that has had no lines
}

func newBlock(families int) *block {
	return &block{base: &base{pages: make([]*Page, families)}, hashes: make([]*column, families)}
}

// empty lets go of everything, when no row holds an object.
func (b *block) empty() {
	b.base = &base{pages: make([]*Page, len(b.base.pages))}
	b.edits, b.bytes = nil, 0
	clear(b.hashes)
}

func (b *block) hash(family, row int) hash {
	if c := b.hashes[family]; c != nil {
		return c[row]
	}
	return hash{}
}

func (b *block) setHash(family, row int, h hash) {
	if b.hashes[family] == nil {
		b.hashes[family] = new(column)
	}
	b.hashes[family][row] = h
}

// base is the pages of a block, one a family; nil for a family without lines.
type base struct{ pages []*Page }

// edit is the new lines of an object in those families in which they changed.
type edit struct {
	row   uint8
	text  []byte
	parts []part
}

// part is a family of an edit: its lines begin where the previous part's end.
type part struct{ family, end uint32 }

// merge makes the pages that base becomes with the edits.
func (k *packer) merge(old *base, edits []edit) (*base, error) {
	merged := &base{pages: append([]*Page(nil), old.pages...)}
	if need := len(old.pages) * slots; len(k.latest) < need {
		k.latest = make([]int32, need)
	}
	k.pieces = k.pieces[:0]
	k.touched = append(k.touched[:0], make([]bool, len(old.pages))...)
	for i := range edits {
		e := &edits[i]
		start := uint32(0)
		for _, p := range e.parts {
			k.pieces = append(k.pieces, e.text[start:p.end])
			k.latest[int(p.family)*slots+int(e.row)] = int32(len(k.pieces))
			k.touched[p.family] = true
			start = p.end
		}
	}
	var failed error
	for family, touched := range k.touched {
		if !touched {
			continue
		}
		page := old.pages[family]
		if err := k.collect(page, k.latest[family*slots:(family+1)*slots]); err != nil {
			failed = err // memory is broken; the other families go on
		}
		if page == nil || !bytes.Equal(k.text, k.old) || !bytes.Equal(k.counts, page.counts()) {
			merged.pages[family] = k.pack(k.text, k.counts)
		}
	}
	clear(k.pieces) // lets go of the edits
	return merged, failed
}

// collect puts the lines of a family together: of each row the newest ones. It leaves latest empty.
func (k *packer) collect(page *Page, latest []int32) (err error) {
	k.text, k.counts, k.old = k.text[:0], k.counts[:0], k.old[:0]
	var counts []byte
	if page != nil {
		if k.old, err = k.unpack(k.old, page); err == nil {
			counts = page.counts()
		}
	}
	rest, known, written := k.old, lineCounts{packed: counts}, lineCounts{}
	for row, at := range latest {
		count := known.next()
		lines := rest[:lengthOf(rest, count)]
		rest = rest[len(lines):]
		if at != 0 {
			lines = k.pieces[at-1]
			count = bytes.Count(lines, newline)
			latest[row] = 0
		}
		k.text = append(k.text, lines...)
		k.counts = written.append(k.counts, count)
	}
	k.counts = written.flush(k.counts)
	return err
}
