package exposition

import (
	"hash/maphash"
	"sync"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

// packAt is how many bytes of lines may wait in one block before they are packed; pendingAt is how many may wait in the
// whole store. Below these, whoever scrapes next packs them: an object that changes ten times between two scrapes is packed
// once.
const (
	packAt    = 1 << 20
	pendingAt = 32 << 20
)

// Store keeps the lines of all objects of some resources. Its methods may be called concurrently.
type Store struct {
	tables []*Table
	seed   maphash.Seed

	packAt, pendingAt int // the constants, but for tests

	packing sync.Mutex // one Snapshot packs at a time; taken before mu
	last    *Snapshot  // guarded by packing

	mu      sync.Mutex // guards the tables and what follows; held for moments only, never while something is packed
	version uint64     // counts changes
	pending int        // bytes of lines that are not packed
	err     error      // the first failure to read lines back
}

// Table is the part of a Store that holds one resource.
type Table struct {
	store   *Store
	name    string
	headers []*Header

	// Guarded by store.mu.
	objects map[string]place
	blocks  []*block
	free    []place // slots that were given up
}

// place is where an object is kept.
type place struct {
	block *block
	slot  uint8
	uid   uint64 // hash of the object's UID, 0 for none
}

// NewStore makes an empty store with a table for each resource, in the order in which they are to be served. Each has at
// least one family.
func NewStore(resources []*collector.Resource) *Store {
	s := &Store{seed: maphash.MakeSeed(), packAt: packAt, pendingAt: pendingAt}
	for _, r := range resources {
		t := &Table{store: s, name: r.Name, objects: map[string]place{}}
		for _, f := range r.Families {
			t.headers = append(t.headers, NewHeader(f))
		}
		s.tables = append(s.tables, t)
	}
	return s
}

// Table returns the i-th resource's table.
func (s *Store) Table(i int) *Table { return s.tables[i] }

// Objects is how many objects the table holds.
func (t *Table) Objects() int {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	return len(t.objects)
}

// Name is the table's resource.
func (t *Table) Name() string { return t.name }

// Put sets the lines of an object: text, in which family i's end at ends[i]. Both are copied. Key is the object's name
// within the resource. It returns false where the object has the same lines already.
func (t *Table) Put(key, uid string, text []byte, ends []int) bool {
	s := t.store
	h := hashPool.Get().(*hashes)
	defer hashPool.Put(h)
	h.of(s.seed, text, ends)
	uidHash := s.hash(uid)

	s.mu.Lock()
	at, known := t.objects[key]
	if !known {
		at = t.allocate()
	}
	if !known || at.uid != uidHash {
		at.uid = uidHash
		t.objects[key] = at
	}
	changed := s.edit(at, text, ends, h.families)
	if !known && !changed {
		s.version++ // an object without lines: the resource's headers may appear by it
	}
	t.packIfDue(at.block, !known && at.slot == slots-1)
	return changed || !known
}

// Outcome of a Delete.
type Outcome int

// The outcomes.
const (
	Removed Outcome = iota
	Unknown         // there is no such object
	Newer           // there is one of that name, but with another UID: it was created after the deletion
)

// Delete removes an object and its lines. An object that has another UID is left alone; an empty uid means any.
func (t *Table) Delete(key, uid string) Outcome {
	s := t.store
	uidHash := s.hash(uid)
	s.mu.Lock()
	at, known := t.objects[key]
	if !known {
		s.mu.Unlock()
		return Unknown
	}
	if uidHash != 0 && at.uid != 0 && uidHash != at.uid {
		s.mu.Unlock()
		return Newer
	}
	delete(t.objects, key)
	t.free = append(t.free, at)
	at.block.used--
	s.edit(at, nil, nil, nil)
	s.version++
	t.packIfDue(at.block, false)
	return Removed
}

// allocate finds a slot. The store's mutex is held.
func (t *Table) allocate() place {
	if n := len(t.free); n > 0 {
		at := t.free[n-1]
		t.free = t.free[:n-1]
		at.block.used++
		return place{block: at.block, slot: at.slot}
	}
	families := len(t.headers)
	if n := len(t.blocks); n == 0 || len(t.blocks[n-1].hashes) == slots*families {
		t.blocks = append(t.blocks, &block{base: &base{pages: make([]*Page, families)}, hashes: make([]uint64, 0, slots*families)})
	}
	b := t.blocks[len(t.blocks)-1]
	at := place{block: b, slot: uint8(len(b.hashes) / families)}
	b.hashes = b.hashes[:len(b.hashes)+families]
	b.used++
	return at
}

// edit notes the families in which the lines of a slot differ from those it has; now has the hashes of the new lines,
// and is nil for an object that is gone. The store's mutex is held. It returns whether there are any.
func (s *Store) edit(at place, text []byte, ends []int, now []uint64) bool {
	families := len(at.block.base.pages)
	row := at.block.hashes[int(at.slot)*families : (int(at.slot)+1)*families]
	count, size := 0, 0
	for i := range row {
		if now == nil && row[i] != 0 {
			count++
		} else if now != nil && row[i] != now[i] {
			count++
			size += ends[i] - startOf(ends, i)
		}
	}
	if count == 0 {
		return false
	}
	e := edit{slot: at.slot, text: make([]byte, 0, size), parts: make([]part, 0, count)}
	for i := range row {
		switch {
		case now == nil && row[i] != 0:
			row[i] = 0
		case now != nil && row[i] != now[i]:
			row[i] = now[i]
			e.text = append(e.text, text[startOf(ends, i):ends[i]]...)
		default:
			continue
		}
		e.parts = append(e.parts, part{uint32(i), uint32(len(e.text))})
	}
	at.block.edits = append(at.block.edits, e)
	at.block.bytes += size
	s.pending += size
	s.version++
	return true
}

func startOf(ends []int, i int) int {
	if i == 0 {
		return 0
	}
	return ends[i-1]
}

// packIfDue packs the block if it has just been filled or much waits in it, or the whole store if much waits in all of
// it. The store's mutex is held, and given up.
func (t *Table) packIfDue(b *block, filled bool) {
	s := t.store
	if b.bytes < s.packAt && !filled {
		crowded := s.pending > s.pendingAt
		s.mu.Unlock()
		if crowded {
			s.Snapshot()
		}
		return
	}
	old, edits := b.base, b.edits
	s.mu.Unlock()
	s.pack(b, old, edits)
}

// pack merges edits into old, and makes the result the block's base unless somebody was faster. It returns the result.
func (s *Store) pack(b *block, old *base, edits []edit) *base {
	k := packers.Get().(*packer)
	merged, err := k.merge(old, edits)
	packers.Put(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.err == nil {
		s.err = err
	}
	if b.base == old {
		packed := 0
		for i := range edits {
			packed += len(edits[i].text)
		}
		b.base, b.edits = merged, append([]edit(nil), b.edits[len(edits):]...)
		b.bytes -= packed
		s.pending -= packed
	}
	return merged
}

func (s *Store) hash(text string) uint64 {
	if text == "" {
		return 0
	}
	return maphash.String(s.seed, text) | 1
}

// hashes are those of the families of one object.
type hashes struct{ families []uint64 }

var hashPool = sync.Pool{New: func() any { return new(hashes) }}

func (h *hashes) of(seed maphash.Seed, text []byte, ends []int) {
	h.families = h.families[:0]
	start := 0
	for _, end := range ends {
		var v uint64
		if end > start {
			v = max(maphash.Bytes(seed, text[start:end]), 1)
		}
		h.families = append(h.families, v)
		start = end
	}
}
