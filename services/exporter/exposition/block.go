package exposition

import "encoding/binary"

// slots is how many objects a block has room for. More make pages pack better and a change cost more.
const slots = 64

// block holds the lines of up to 64 objects of one resource: pages, and what changed since they were packed. Its fields
// are guarded by the store's mutex, but what base and the elements of edits point to never changes: who has seen them
// under the mutex may read them afterwards.
type block struct {
	base   *base
	edits  []edit   // in the order in which they happened; only ever appended to, or replaced as a whole
	bytes  int      // of the edits' text
	used   int      // slots that hold an object
	hashes []uint64 // of the lines of each family of each slot; 0 for none. A row a slot
}

// base is the pages of a block, one a family; nil for a family without lines.
type base struct{ pages []*Page }

// edit is the new lines of an object in those families in which they changed.
type edit struct {
	slot  uint8
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
			k.latest[int(p.family)*slots+int(e.slot)] = int32(len(k.pieces))
			k.touched[p.family] = true
			start = p.end
		}
	}
	var failed error
	for family, touched := range k.touched {
		if touched {
			if err := k.collect(old.pages[family], k.latest[family*slots:(family+1)*slots]); err != nil {
				failed = err // memory is broken; the other families go on
			}
			merged.pages[family] = k.pack(k.text, k.lengths)
		}
	}
	clear(k.pieces) // lets go of the edits
	return merged, failed
}

// collect puts the lines of a family together: of each slot the newest ones. It leaves latest empty.
func (k *packer) collect(page *Page, latest []int32) (err error) {
	var lengths slotLengths
	k.text, k.lengths, k.old = k.text[:0], k.lengths[:0], k.old[:0]
	if page != nil {
		if k.old, err = k.unpack(k.old, page); err == nil {
			lengths.rest = page.lengths
		}
	}
	start := 0
	for slot, at := range latest {
		end := start + lengths.next()
		lines := k.old[start:end]
		if at != 0 {
			lines = k.pieces[at-1]
			latest[slot] = 0
		}
		k.text = append(k.text, lines...)
		k.lengths = binary.AppendUvarint(k.lengths, uint64(len(lines)))
		start = end
	}
	return err
}
