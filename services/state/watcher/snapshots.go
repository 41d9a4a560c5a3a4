package watcher

import (
	"context"
	"errors"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// snapshotPace tells when a snapshot is due: when enough events are not in the newest one, or some for long enough.
type snapshotPace struct {
	events   uint64
	interval time.Duration
	// position is what the newest snapshot is as of; at first, where the term began. What was on its way to the log when it
	// was written is not in it, and counts for the next one: else the log could end with events that no snapshot ever has,
	// and grow too old to be read from there.
	position uint64
	at       time.Time // when it was written
}

// due tells whether one is due, where the log's next event has this sequence.
func (p *snapshotPace) due(next uint64, now time.Time) bool {
	tail := next - 1 - p.position
	return tail >= p.events || tail > 0 && now.Sub(p.at) >= p.interval
}

// snapshots writes one as soon as everything is synced, and then whenever enough was written or time has passed.
func (t *term) snapshots(ctx context.Context) {
	config := stream.SnapshotConfig{
		Conn: t.cfg.Conn, Cluster: t.cfg.Streams.Cluster, Appender: t.appender, Log: t.log, Registry: t.cfg.Registry,
	}
	writer := stream.NewSnapshotWriter(config)
	tick := time.NewTicker(min(time.Second, t.cfg.SnapshotInterval))
	defer tick.Stop()
	pace := snapshotPace{events: uint64(t.cfg.SnapshotEvents), interval: t.cfg.SnapshotInterval, position: t.began, at: time.Now()}
	synced := t.synced
	for p := newPauses(); ; {
		due := false
		select {
		case <-ctx.Done():
			return
		case <-synced:
			synced, due = nil, true
		case <-tick.C:
			if synced != nil && time.Since(pace.at) < t.cfg.SnapshotInterval {
				continue // a log's first snapshot says that all is there; only a pass that takes too long isn't waited for
			}
			due = pace.due(t.appender.Next(), time.Now())
		}
		for due && ctx.Err() == nil {
			position := t.appender.Acked().Sequence
			_, err := writer.Write(ctx, position, t.book.snapshot())
			if err == nil {
				t.metrics.snapshots.WithLabelValues("ok").Inc()
				pace.position, pace.at = position, time.Now()
				break
			}
			if ctx.Err() != nil || t.appender.Err() != nil {
				return
			}
			t.metrics.snapshots.WithLabelValues("failed").Inc()
			t.log.Warn("consumers have an older snapshot to start from, trying again", "error", err)
			if p.wait(ctx) != nil {
				return
			}
			if errors.Is(err, stream.ErrFenced) {
				// Whoever replaced the snapshot may be gone by now: a leader that was paused, a hand. If it really
				// writes, the log's own fence ends the term.
				writer = stream.NewSnapshotWriter(config)
			}
			if err := stream.EnsureLog(ctx, t.cfg.Conn, t.cfg.Streams); err != nil && ctx.Err() == nil {
				t.log.Warn("the stream of the snapshots can't be created", "error", err)
			}
		}
	}
}
