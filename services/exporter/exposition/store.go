package exposition

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

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
	tables atomic.Pointer[[]*Table] // replaced as a whole, under mu
	seed   maphash.Seed

	packAt, pendingAt int // the constants, but for tests

	packing sync.Mutex    // one Snapshot packs at a time; taken before mu
	last    *Snapshot     // guarded by packing
	begun   atomic.Uint64 // snapshots

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
	objects map[uint64]place // by the hash of the key; among a million objects two share one with a chance of 1 in 40 million
	blocks  []*block
	free    []slot // slots that were given up
}

// place is where an object is kept, and which object it is.
type place struct {
	slot slot
	uid  uint32 // hash of the object's UID, 0 for none
}

// slot is a block's index in its table, and a row of that block.
type slot uint32

func (at slot) block() int { return int(at / slots) }
func (at slot) row() int   { return int(at % slots) }

// NewStore makes an empty store with a table for each resource, in the order in which they are to be served. Each has at
// least one family.
func NewStore(resources []*collector.Resource) *Store {
	s := &Store{seed: maphash.MakeSeed(), packAt: packAt, pendingAt: pendingAt}
	s.tables.Store(new([]*Table))
	for _, r := range resources {
		s.Add(r)
	}
	return s
}

// Add makes a table for a further resource, which is served behind the others, and returns its index. A family that
// several resources have, custom resources for example, is served as one: see NewAnswer.
func (s *Store) Add(r *collector.Resource) int {
	t := &Table{store: s, name: r.Name, objects: map[uint64]place{}}
	for _, f := range r.Families {
		t.headers = append(t.headers, NewHeader(f))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := *s.tables.Load()
	tables := append(slices.Clip(known), t)
	s.tables.Store(&tables)
	return len(known)
}

// Table returns the i-th resource's table.
func (s *Store) Table(i int) *Table { return (*s.tables.Load())[i] }

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
	now := hashPool.Get().(*hashes)
	defer hashPool.Put(now)
	now.set(s.seed, text, ends)
	id, uidHash := maphash.String(s.seed, key), s.uidHash(uid)

	s.mu.Lock()
	at, known := t.objects[id]
	if !known {
		at.slot = t.allocate()
	}
	if !known || at.uid != uidHash {
		at.uid = uidHash
		t.objects[id] = at
	}
	b := t.blocks[at.slot.block()]
	changed := s.edit(b, at.slot.row(), text, ends, *now)
	if !known && !changed {
		s.version++ // an object without lines: the resource's headers may appear by it
	}
	t.packIfDue(b, !known && at.slot.row() == slots-1)
	return changed || !known
}

// Holds tells whether the table has an object; an empty uid means any of the name.
func (t *Table) Holds(key, uid string) bool {
	s := t.store
	id, uidHash := maphash.String(s.seed, key), s.uidHash(uid)
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := t.objects[id]
	return known && (uidHash == 0 || at.uid == 0 || uidHash == at.uid)
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
	id, uidHash := maphash.String(s.seed, key), s.uidHash(uid)
	s.mu.Lock()
	at, known := t.objects[id]
	if !known {
		s.mu.Unlock()
		return Unknown
	}
	if uidHash != 0 && at.uid != 0 && uidHash != at.uid {
		s.mu.Unlock()
		return Newer
	}
	delete(t.objects, id)
	t.free = append(t.free, at.slot)
	b := t.blocks[at.slot.block()]
	s.edit(b, at.slot.row(), nil, nil, nil)
	if b.used--; b.used == 0 {
		s.pending -= b.bytes
		b.empty()
	}
	s.version++
	t.packIfDue(b, false)
	return Removed
}

// allocate finds a slot: the one that was given up last, so that change stays in few blocks. The store's mutex is held.
func (t *Table) allocate() slot {
	if n := len(t.free); n > 0 {
		at := t.free[n-1]
		t.free = t.free[:n-1]
		t.blocks[at.block()].used++
		return at
	}
	n := len(t.blocks)
	if n == 0 || t.blocks[n-1].begun == slots {
		t.blocks = append(t.blocks, newBlock(len(t.headers)))
		n++
	}
	b := t.blocks[n-1]
	at := slot((n-1)*slots + b.begun)
	b.begun++
	b.used++
	return at
}

// edit notes the families in which the lines of a row differ from those it has; now has the hashes of the new lines, and
// is nil for an object that is gone. The store's mutex is held. It returns whether there are any.
func (s *Store) edit(b *block, row int, text []byte, ends []int, now hashes) bool {
	count, size := 0, 0
	for i := range b.hashes {
		if b.hash(i, row) == now.of(i) {
			continue
		}
		count++
		if now != nil {
			size += ends[i] - startOf(ends, i)
		}
	}
	if count == 0 {
		return false
	}
	e := edit{row: uint8(row), text: make([]byte, 0, size), parts: make([]part, 0, count)}
	for i := range b.hashes {
		if b.hash(i, row) == now.of(i) {
			continue
		}
		b.setHash(i, row, now.of(i))
		if now != nil {
			e.text = append(e.text, text[startOf(ends, i):ends[i]]...)
		}
		e.parts = append(e.parts, part{uint32(i), uint32(len(e.text))})
	}
	b.edits = append(b.edits, e)
	b.bytes += size
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

// uidHash is 0 for no UID.
func (s *Store) uidHash(uid string) uint32 {
	if uid == "" {
		return 0
	}
	return uint32(maphash.String(s.seed, uid)) | 1
}
