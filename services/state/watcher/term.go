package watcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// errLeadershipLost ends a term whose Lease another may have by now.
var errLeadershipLost = errors.New("the Lease is lost")

// flushTime is how long a service that is told to stop waits for what it has written to be acknowledged.
const flushTime = 2 * time.Second

// term is the time in which this process writes to the log, with one book.
type term struct {
	*Service
	book      *book
	appender  *stream.Appender
	began     uint64 // the log's last sequence then
	discovery *discovery
	synced    chan struct{} // closed once everything was listed, written and acknowledged
}

// term writes until ctx ends or the log is another's. mayWrite ends before ctx does where only the Lease is lost. follower
// has followed the log up to now; nil: the log is replayed first.
func (s *Service) term(ctx, mayWrite context.Context, follower *follower) error {
	err := s.write(ctx, mayWrite, follower)
	if follower != nil && errors.Is(err, stream.ErrFenced) && mayWrite.Err() == nil {
		// The follower may have been some events short of what the one before us wrote last.
		err = s.write(ctx, mayWrite, nil)
	}
	if mayWrite.Err() != nil && ctx.Err() == nil {
		return errLeadershipLost
	}
	return err
}

func (s *Service) write(ctx, mayWrite context.Context, follower *follower) error {
	if err := stream.EnsureLog(mayWrite, s.cfg.Conn, s.cfg.Streams); err != nil {
		return fmt.Errorf("couldn't create the log: %w", err)
	}
	b, position, ok := follower.take()
	if !ok {
		var err error
		if b, position, err = s.rebuild(mayWrite); err != nil {
			return err
		}
	}
	appender, err := stream.NewAppender(stream.AppenderConfig{
		Conn: s.cfg.Conn, Cluster: s.cfg.Streams.Cluster, After: position, MaxBuffered: s.cfg.MaxBuffered,
		Log: s.log, Registry: s.cfg.Registry,
	})
	if err != nil {
		return err
	}
	defer appender.Close()
	t := &term{Service: s, book: b, appender: appender, began: position.Sequence, synced: make(chan struct{})}
	s.log.Info("writing to the log", "after", position.Sequence, "kinds", len(s.kinds))
	s.metrics.leader.Set(1)
	defer s.metrics.leader.Set(0)
	t.run(ctx, mayWrite)
	if err := appender.Err(); err != nil {
		return err
	}
	return ctx.Err()
}

// messageRoom is what a message needs of the server's limit beside its payload.
const messageRoom = 512

// run is term with everything at hand.
func (t *term) run(ctx, mayWrite context.Context) {
	working, stop := context.WithCancel(mayWrite)
	defer stop()
	var running sync.WaitGroup
	t.discovery = newDiscovery(t, &running)
	t.Service.book.Store(t.book)
	t.setReady(t.why)
	t.book.lead(t.appender, t.cfg.Conn.MaxPayload()-messageRoom)
	for _, f := range t.feeds() {
		running.Go(func() { f.run(working) })
	}
	running.Go(func() { t.discovery.run(working) })
	running.Go(func() { t.availability(working) })
	running.Go(func() { t.drain(working) })
	running.Go(func() { t.sync(working) })
	running.Go(func() { t.snapshots(working) })
	if len(t.cfg.Pace) > 0 {
		running.Go(func() { t.pace(working) })
	}
	select {
	case <-working.Done():
	case <-t.appender.Done():
	}
	stop()
	if ctx.Err() != nil && context.Cause(mayWrite) != errLeadershipLost {
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
		defer cancel()
		if err := t.appender.Flush(flush); err != nil {
			events, _ := t.appender.Buffered()
			t.log.Warn("stopping before everything was acknowledged; it is written at the next start", "events", events, "error", err)
		}
	}
	t.book.end()
	// A reflector may be in the middle of a pause that it doesn't interrupt. Its book is closed, so it is let be.
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	timeout := time.NewTimer(flushTime)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
	}
}

// feeds makes those of all kinds of the table.
func (t *term) feeds() []*feed {
	var all []*feed
	for _, kind := range t.kinds {
		all = append(all, t.feed(kind, t.book.shelves[shelfKey{kind.Group, kind.Resource}], t.encoders[kind.Resource], t.sources[kind.Resource]))
	}
	return all
}

// feed makes that of one kind.
func (t *term) feed(kind objects.Kind, shelf *shelf, encoder *objects.Encoder, source source) *feed {
	return &feed{
		book: t.book, shelf: shelf, kind: kind, name: kind.Name(), encoder: encoder,
		source: source, health: t.health, metrics: t.metrics, log: t.log,
		backoff: backoffOf(t.cfg.RetryFirst, t.cfg.RetryLast),
	}
}

// drain writes what had no room in the writer's buffer, as soon as half of it is free.
func (t *term) drain(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.book.stuck:
		}
		if halfStored(ctx, t.appender) != nil {
			return
		}
		t.book.mu.Lock()
		t.book.drain()
		t.book.mu.Unlock()
	}
}

// buffer is what is known of events that are not stored yet; *stream.Appender has it.
type buffer interface {
	Acked() stream.LogPosition
	Next() uint64
	Wait(ctx context.Context, sequence uint64) error
}

// halfStored waits until half of the events that are not stored yet are. What is stored while it looks makes the wait
// shorter: it never waits for an event that there may never be.
func halfStored(ctx context.Context, b buffer) error {
	acked := b.Acked().Sequence
	return b.Wait(ctx, acked+(b.Next()-acked)/2)
}

// pace writes what was held back, when it is due.
func (t *term) pace(ctx context.Context) {
	const longest = 200 * time.Millisecond // others may become due earlier meanwhile
	for {
		wait := longest
		if next, any := t.book.release(); any {
			wait = max(min(time.Until(next), longest), 5*time.Millisecond)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// unsynced lists what was not listed yet, and tells how many kinds are watched.
func (t *term) unsynced() (names []string, watched int) {
	settled := t.discovery.settled.Load() // before the book: what is found settles on its shelves first
	names, watched = t.book.unsynced()
	if !settled {
		names = append(names, definitionsName)
		watched++
	}
	return names, watched
}

// listed tells whether all kinds were listed that may be, and at least one.
func (t *term) listed() bool {
	unsynced, watched := t.unsynced()
	return len(unsynced) < watched && len(t.health.blocking(unsynced)) == 0
}

// why says why the service isn't ready.
func (t *term) why() error {
	select {
	case <-t.synced:
		return nil
	default:
	}
	unsynced, watched := t.unsynced()
	if missing := t.health.blocking(unsynced); len(missing) > 0 {
		return t.health.said(missing)
	}
	if len(unsynced) == watched {
		return errors.New("the API server allows none of the kinds: give the service a ClusterRole with the verbs list and watch")
	}
	events, _ := t.appender.Buffered()
	_, _, queued, _ := t.book.counts()
	return fmt.Errorf("%d changes are not in the log yet", events+queued)
}

// sync waits until everything was listed, written and acknowledged.
func (t *term) sync(ctx context.Context) {
	for {
		if t.listed() && t.book.idle() {
			if t.appender.Flush(ctx) == nil {
				close(t.synced)
				t.log.Info("the log is as the API server says", "position", t.appender.Acked().Sequence)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.book.moved:
		}
	}
}
