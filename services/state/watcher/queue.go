package watcher

import "time"

// enqueueAll takes every object of a shelf. The caller holds mu.
func (b *book) enqueueAll(s *shelf) {
	for _, r := range s.records {
		b.enqueue(r)
	}
}

// enqueue puts an object on the list of those to write, if there is something to write of it and it may be written
// yet. The caller holds mu.
func (b *book) enqueue(r *record) {
	s := r.shelf
	switch {
	case r.queued || !s.synced:
		return
	case r.seen == nil && r.logged == nil:
		b.forget(r)
		return
	case r.seen.same(r.logged):
		return
	case s.pace > 0 && r.seen != nil && r.logged != nil:
		if due, later := b.due(r); later {
			if !r.waiting {
				r.waiting = true
				b.paced.add(r, due)
			}
			return
		}
	}
	r.queued = true
	b.queue = append(b.queue, r)
}

// forget takes an object off its shelf, of which there is nothing to tell any more. Another one may have its key by now.
func (b *book) forget(r *record) {
	if r.shelf.records[r.key] == r {
		delete(r.shelf.records, r.key)
	}
}

// due tells when the newest state of a paced object may be written, if that is later than now.
func (b *book) due(r *record) (due time.Time, later bool) {
	h := r.logged.head()
	if r.seen.head().uid != h.uid {
		return due, false // another object of the same name
	}
	due = time.Unix(0, h.time).Add(r.shelf.pace)
	now := b.now()
	return due, due.After(now) && !due.After(now.Add(r.shelf.pace)) // a clock that was ahead holds nothing up
}

// release writes what was paced and is due by now, and tells when the next will be.
func (b *book) release() (next time.Time, any bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		r, due, ok := b.paced.peek()
		if !ok || due.After(b.now()) {
			b.drain()
			return due, ok
		}
		b.paced.pop()
		r.waiting = false
		b.enqueue(r)
	}
}
