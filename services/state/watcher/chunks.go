package watcher

import (
	"iter"
	"slices"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// Bounds of a chunk of the snapshot. One that its objects outgrow is written in parts by the stream layer.
const (
	chunkObjects = 256
	chunkBytes   = 512 << 10
)

// chunk is a part of the snapshot: objects of one kind, so that those that change all the time (Leases) don't make
// every chunk one to write again. An object stays in its chunk as long as it exists.
type chunk struct {
	id      uint32
	records [chunkObjects]*record
	n       int
	bytes   int
	dirty   bool
	open    bool // it is in its shelf's list of chunks with room
}

func (c *chunk) full() bool { return c.n == chunkObjects || c.bytes >= chunkBytes }

// place notes that the log has r's object now, as of a message of this many bytes more than before. The caller holds mu.
func (b *book) place(r *record, grown int) {
	if r.chunk == nil {
		c := r.shelf.room(b)
		for i := range c.records {
			if c.records[i] == nil {
				c.records[i], r.chunk, r.slot = r, c, uint16(i)
				break
			}
		}
		c.n++
	}
	r.chunk.bytes += grown
	r.chunk.dirty = true
	b.bytes += grown
}

// displace notes that the log has r's object no more. The caller holds mu.
func (b *book) displace(r *record, size int) {
	c := r.chunk
	if c == nil {
		return
	}
	c.records[r.slot], r.chunk = nil, nil
	c.n--
	c.bytes -= size
	c.dirty = true
	b.bytes -= size
	if !c.open && !c.full() {
		c.open = true
		r.shelf.open = append(r.shelf.open, c)
	}
}

// room is a chunk of the shelf that takes one more object.
func (s *shelf) room(b *book) *chunk {
	for len(s.open) > 0 {
		c := s.open[len(s.open)-1]
		if !c.full() {
			return c
		}
		c.open = false
		s.open = s.open[:len(s.open)-1]
	}
	c := &chunk{id: uint32(len(b.chunks)), open: true}
	b.chunks = append(b.chunks, c)
	s.open = append(s.open, c)
	return c
}

// snapshot gives the chunks to a snapshot's writer. The writer may take its time: each is read under the lock that
// orders the events, when it is its turn, and what it has is to be used before the next one is.
func (b *book) snapshot() iter.Seq[stream.Chunk] {
	return func(yield func(stream.Chunk) bool) {
		var room []byte // for the content of one chunk
		for i := 0; ; i++ {
			b.mu.Lock()
			if i >= len(b.chunks) {
				b.mu.Unlock()
				return
			}
			c := b.chunks[i]
			empty, dirty := c.n == 0, c.dirty
			b.mu.Unlock()
			if empty {
				continue
			}
			read := func() (position uint64, entries []stream.Entry) {
				position, entries, room = b.read(c, room)
				return position, entries
			}
			if !yield(stream.Chunk{ID: c.id, Dirty: dirty, Read: read}) {
				return
			}
		}
	}
}

// read gives a chunk's content and the newest event that may be reflected in it, and marks it clean. The content is
// written to room, and stays until that is used again.
func (b *book) read(c *chunk, room []byte) (position uint64, entries []stream.Entry, used []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.dirty = false
	entries = make([]stream.Entry, 0, c.n)
	room = slices.Grow(room[:0], c.bytes)
	for _, r := range c.records {
		if r != nil {
			begin := len(room)
			room = r.logged.append(room)
			entries = append(entries, stream.Entry{Sequence: r.sequence, Subject: b.subject(r), Data: room[begin:len(room):len(room)]})
		}
	}
	return b.log.Next() - 1, entries, room
}
