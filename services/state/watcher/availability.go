package watcher

import (
	"context"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

const (
	// availabilityInterval is how long an availability counts before it is published again though nothing has changed: the
	// stream may have been lost, or a leader of before may have had the last word.
	availabilityInterval = time.Minute
	// availabilityPause lies between two that are published, so that 39 kinds that change together are one or two.
	availabilityPause = 100 * time.Millisecond
)

// availability publishes which kinds the API server gives: at the term's start, at every change, and now and then.
func (t *term) availability(ctx context.Context) {
	tick := time.NewTicker(availabilityInterval)
	defer tick.Stop()
	said := false
	for p := newPauses(); ; {
		a := schemas.Availability{Time: time.Now().UnixNano(), Kinds: t.health.availability()}
		err := stream.PublishAvailability(ctx, t.cfg.Conn, t.cfg.Streams.Cluster, a.Marshal())
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			t.metrics.availabilities.WithLabelValues("ok").Inc()
			said, p = false, newPauses()
			timer := time.NewTimer(availabilityPause)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		default:
			t.metrics.availabilities.WithLabelValues("failed").Inc()
			if !said {
				said = true
				t.log.Warn("consumers don't learn which kinds are available, trying on", "error", err)
			}
			if p.wait(ctx) != nil {
				return
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-t.unpublished:
		case <-tick.C:
		}
	}
}
