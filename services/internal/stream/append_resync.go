package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// resync finds out what became of the events in flight, and makes the writer go on behind the last that is stored.
func (a *Appender) resync(ctx context.Context, reason string) {
	a.settle(ctx, reason)
	a.mu.Lock()
	stuck := a.stuck
	if reason != "start" {
		a.metrics.resyncs.WithLabelValues(reason).Inc()
		a.stuck++
	}
	a.mu.Unlock()
	if stuck == stuckLogged {
		a.log.Warn("the log takes no events, buffering and trying again: "+advice(reason, a.stream), "reason", reason)
	}
	if stuck > 0 {
		pause(ctx, min(time.Duration(stuck)*50*time.Millisecond, time.Second), a.conn.reconnected())
	}
	logged := false
	for wait := 50 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, time.Second) {
		reached, err := a.verify(ctx)
		if err == nil {
			a.goOn(reached)
			return
		}
		if errors.Is(err, ErrFenced) || errors.Is(err, ErrLogChanged) {
			a.end(err)
			return
		}
		if !logged && ctx.Err() == nil && wait > 100*time.Millisecond {
			logged = true
			a.log.Warn("can't reach the log, buffering and trying again", "error", explain(err))
		}
		pause(ctx, wait, a.conn.reconnected())
	}
}

// advice says what to do when the stream takes nothing.
func advice(reason, stream string) string {
	switch reason {
	case "storage_full":
		return "the NATS server's storage is full: free some, or raise its limit (max_file_store)"
	case "no_responders", "timeout":
		return "the stream has no leader, or its server cannot write: see the NATS server's log"
	case "wrong_last_sequence": // though it has just said that it ends there
		return "the server refuses what it says itself is next, as it does when a file of the stream is damaged: see its log, and if that is so, " +
			"delete the stream (nats stream rm " + stream + "): it is written again"
	}
	return "see the NATS server's log"
}

// settle waits until everything in flight is answered, as far as answers can still come: what is sent again before that
// would be refused.
func (a *Appender) settle(ctx context.Context, reason string) {
	if reason == "disconnected" || reason == "reconnect" || reason == "timeout" {
		return
	}
	timeout := time.NewTimer(a.cfg.AckTimeout)
	defer timeout.Stop()
	reconnected := a.conn.reconnected()
	for !a.settled() {
		select {
		case <-a.wake:
		case <-timeout.C:
			return
		case <-reconnected:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (a *Appender) settled() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.queue[:a.sent] {
		if e := &a.queue[i]; !e.answered && !e.stored {
			return false
		}
	}
	return true
}

// verify reads where the log ends and checks that everything between the last acknowledged event and there is this
// writer's own. It returns the end. Errors that wrap ErrFenced or ErrLogChanged are final.
func (a *Appender) verify(ctx context.Context) (uint64, error) {
	// What is acknowledged while the answers travel makes none of this wrong, if it is read first.
	a.mu.Lock()
	identity, acked, reach, last := a.identity, a.acked, a.reach, a.last
	unsure := append([]event(nil), a.queue[:min(uint64(len(a.queue)), reach-acked)]...) // all that was ever sent
	a.mu.Unlock()
	info, err := a.conn.info(ctx, a.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, fmt.Errorf("%w: there is no stream %s", ErrLogChanged, a.stream)
	}
	if err != nil {
		return 0, err
	}
	if identity.IsZero() {
		identity = info.Created
		a.mu.Lock()
		a.identity = identity
		a.mu.Unlock()
	}
	switch {
	case !info.Created.Equal(identity):
		return 0, fmt.Errorf("%w: it was created again at %s", ErrLogChanged, info.Created.Format(time.RFC3339))
	case info.Last < acked && !info.wentBack(&a.behindSince):
		return 0, errBehind
	case info.Last < acked:
		return 0, fmt.Errorf("%w: it ends at %d, though %d was acknowledged", ErrLogChanged, info.Last, acked)
	case info.Last > reach:
		return 0, fmt.Errorf("%w: it ends at %d, but this writer has written no further than %d", ErrFenced, info.Last, reach)
	}
	if last.subject != "" && acked >= info.First {
		if err := a.compare(ctx, acked, last); err != nil {
			if errors.Is(err, ErrFenced) {
				err = fmt.Errorf("%w: the event at %d is not the one that was acknowledged there", ErrLogChanged, acked)
			}
			return 0, err
		}
	}
	for i, e := range unsure {
		sequence := acked + uint64(i) + 1
		if sequence > info.Last {
			break
		}
		if e.stored {
			continue
		}
		if err := a.compare(ctx, sequence, e); err != nil {
			return 0, err
		}
	}
	a.behindSince = time.Time{}
	return info.Last, nil
}

// compare checks that the log has this event at this place. An event that is equal to the byte is as good as this
// writer's own, whoever wrote it.
func (a *Appender) compare(ctx context.Context, sequence uint64, e event) error {
	stored, err := a.conn.storedMessage(ctx, a.stream, sequence)
	if errors.Is(err, ErrNoMessage) {
		return a.gone(ctx, sequence)
	}
	if err != nil {
		return err
	}
	if stored.Subject != e.subject || !bytes.Equal(stored.Data, e.payload) {
		return fmt.Errorf("%w: the event at %d is of another writer", ErrFenced, sequence)
	}
	return nil
}

// gone says why an event is not in the log that was there a moment ago.
func (a *Appender) gone(ctx context.Context, sequence uint64) error {
	info, err := a.conn.info(ctx, a.stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) || err == nil && !info.Created.Equal(a.Acked().Log):
		return fmt.Errorf("%w: it was deleted a moment ago", ErrLogChanged)
	case err != nil:
		return err
	case sequence >= info.First && !info.wentBack(&a.behindSince):
		return errBehind
	}
	return fmt.Errorf("%w: can't tell who wrote the event at %d, which is gone already", ErrFenced, sequence)
}

// goOn marks everything up to reached as stored and the rest as not sent.
func (a *Appender) goOn(reached uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.queue {
		if a.acked+uint64(i)+1 > reached {
			break
		}
		a.queue[i].stored = true
	}
	a.advance()
	a.sent, a.trouble = 0, ""
	a.epoch++
}
