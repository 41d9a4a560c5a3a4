package watcher

import (
	"errors"
	"slices"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// drainBatch is how many objects are written before others get the lock.
const drainBatch = 4096

// drain writes what is queued, until there is no room in the writer's buffer. The caller holds mu.
func (b *book) drain() {
	if b.log == nil || b.ended {
		return
	}
	for range drainBatch {
		if b.next == len(b.queue) {
			clear(b.queue)
			if b.queue, b.next = b.queue[:0], 0; cap(b.queue) > 1<<16 {
				b.queue = nil
			}
			signal(b.moved)
			return
		}
		if b.next >= drainBatch && 2*b.next >= len(b.queue) {
			b.queue = slices.Delete(b.queue, 0, b.next)
			b.next = 0
		}
		r := b.queue[b.next]
		err := b.write(r)
		switch {
		case err == nil:
		case errors.Is(err, stream.ErrOverflow):
			b.metrics.overflows.Inc()
			signal(b.stuck)
			return
		case errors.Is(err, stream.ErrTooLarge), errors.Is(err, stream.ErrSubject), errors.Is(err, objects.ErrTooLarge):
			b.refused(r, err)
		default: // the writer has ended, and with it the term
			return
		}
		r.queued = false
		b.next++
	}
	signal(b.stuck) // go on, after whoever waits for mu
}

// write appends what the log doesn't know of an object. The caller holds mu.
func (b *book) write(r *record) error {
	if r.logged != nil {
		h := r.logged.head()
		if r.seen == nil || r.seen.head().uid != h.uid {
			if _, err := b.log.Append(b.subject(r), h.deletion(b.now().UnixNano())); err != nil {
				return err
			}
			b.displace(r, r.logged.len())
			r.logged = nil
			b.count(r, "deleted")
		}
	}
	switch {
	case r.seen == nil:
		b.forget(r)
		return nil
	case r.seen.same(r.logged):
		return nil
	}
	if r.seen.len() > b.limit {
		if err := b.shrink(r); err != nil {
			return err
		}
	}
	sequence, err := b.log.Append(b.subject(r), r.seen.message())
	if err != nil {
		return err
	}
	grown := r.seen.len() - r.logged.len()
	r.logged, r.sequence = r.seen, sequence
	b.place(r, grown)
	b.count(r, "applied")
	return nil
}

func (b *book) count(r *record, operation string) {
	b.metrics.events.WithLabelValues(r.shelf.name, operation).Inc()
}

// shrink leaves the largest fields of an object out.
func (b *book) shrink(r *record) error {
	var c schemas.ObjectChange
	if err := c.Unmarshal(r.seen.message()); err != nil {
		return err
	}
	if err := objects.Fit(&c, b.limit); err != nil {
		return err
	}
	b.metrics.shrunk.WithLabelValues(r.shelf.name).Inc()
	b.logger.Warn("an object is larger than the NATS server takes, its largest fields are left out; raise the server's max_payload to have them",
		"resource", r.shelf.name, "object", r.key, "bytes", r.seen.len(), "limit", b.limit, "dropped", c.Dropped)
	k, err := r.shelf.packer.keep(c.Marshal())
	if err == nil {
		r.seen = k
	}
	return err
}

// refused gives up a state of an object that can't be written.
func (b *book) refused(r *record, err error) {
	reason := "too_large"
	if errors.Is(err, stream.ErrSubject) {
		reason = "subject"
	}
	b.metrics.leftOut.WithLabelValues(r.shelf.name, reason).Inc()
	b.logger.Error("an object can't be written to the log", "resource", r.shelf.name, "object", r.key, "error", err)
}
