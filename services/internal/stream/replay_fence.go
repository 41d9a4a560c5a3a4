package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
)

// catchUp applies what is between the cursor and the fence.
func (r *Replay) catchUp(ctx context.Context, t *tail, sink Sink, fence uint64) error {
	t.ticks = true
	defer func() { t.ticks = false }()
	var since time.Time // when the log was first seen to have nothing more; zero where it has
	for t.cursor < fence {
		m, err := t.next(ctx)
		switch {
		case errors.Is(err, errTick):
			if err := r.lost(ctx, t, fence, &since); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			since = time.Time{}
			r.apply(sink, m)
		}
	}
	return nil
}

// lost tells whether the log has none of the events up to the fence any more. It may have been restored to an older state
// since the fence was told. Where it still claims to have them, they are missing: a server that lost power may know of more
// than it has kept.
func (r *Replay) lost(ctx context.Context, t *tail, fence uint64, since *time.Time) error {
	info, err := t.look(ctx)
	changed := (*rebuild)(nil)
	switch {
	case errors.As(err, &changed):
		return err
	case err != nil:
		return nil // the connection is at fault
	}
	if info.Last >= fence {
		if _, err := t.conn.messageFrom(ctx, r.stream, t.cursor+1); !errors.Is(err, ErrNoMessage) {
			return nil // it comes, or the connection is at fault
		}
	}
	switch {
	case !info.wentBack(since):
		return nil // perhaps a leader that is behind
	case info.Last < fence:
		return &rebuild{reason: reasonWentBack, text: fmt.Sprintf("the log ends at %d, but ended at %d before: it was restored to an older state", info.Last, fence)}
	}
	return &rebuild{reason: reasonTrimmed, missing: fence,
		text: fmt.Sprintf("the log says that it ends at %d, but has nothing behind %d", fence, t.cursor)}
}

// usagePass is how long a pass to a fence of the usage stream may take to count: less than the time in which a node can
// have two samples (--metric-resolution is a second at least).
const usagePass = 500 * time.Millisecond

// catchUpUsage is catchUp for the usage stream, whose end moves while it is read: a node's samples leave the part that
// was not read yet for the end of the stream. But a node has two of them there, so it takes two new ones within one pass
// to hide it. When a pass was slow (fenced is when its fence was read), there is another one, to a new fence, unless
// nothing is left to read.
func (r *Replay) catchUpUsage(ctx context.Context, t *tail, sink Sink, fence uint64, fenced time.Time) error {
	t.ticks = true
	defer func() { t.ticks = false }()
	for {
		if t.cursor >= fence && time.Since(fenced) < usagePass {
			return nil
		}
		// What has come already is read first. What is delivered live has nothing behind it: a look, with its round trips, for each
		// such message would let a reader fall ever further behind where more of them come than there are round trips.
		if t.cursor >= fence || t.pending == 0 && len(t.messages) == 0 {
			fenced = time.Now()
			whole, last, err := r.usageWhole(ctx, t)
			if err != nil || whole {
				return err
			}
			fence = last
			r.update(func(p *Position) { p.Fence, p.Last = last, last })
		}
		m, err := t.next(ctx)
		switch {
		case errors.Is(err, errTick):
			t.pending = 0 // look again: what was to come may have been removed
		case err != nil:
			return err
		default:
			r.apply(sink, m)
		}
	}
}

// usageWhole tells whether a reader of the usage stream has everything, and where the stream ends.
func (r *Replay) usageWhole(ctx context.Context, t *tail) (whole bool, last uint64, err error) {
	for ; ; pause(ctx, 100*time.Millisecond, nil) {
		last := t.cursor // of a stream that is empty
		m, err := t.conn.lastMessage(ctx, r.stream, schemas.AllOf(r.cfg.Cluster))
		if err == nil {
			last = m.Sequence
		} else if errors.Is(err, ErrNoMessage) {
			err = nil
		}
		if err == nil {
			_, err = t.look(ctx) // the end of another stream tells nothing
		}
		changed := (*rebuild)(nil)
		switch {
		case err == nil || errors.As(err, &changed):
			return last <= t.cursor, last, err
		case ctx.Err() != nil:
			return false, 0, ctx.Err()
		}
	}
}
