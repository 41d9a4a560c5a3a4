package api

import (
	"context"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// run does what time demands, until ctx ends; then all watches end. ready says why answers can't be given at all: those who
// watch are told the same then, and nothing else.
func (w *watches) run(ctx context.Context, ready func() error) error {
	if w == nil {
		return nil
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			w.mu.Lock()
			w.catalog.Store(nil)
			w.over = true
			w.end(nil)
			w.mu.Unlock()
			return nil
		case <-ticker.C:
			now := w.now() // before ready: what it says is true of then
			if err := ready(); err != nil {
				w.mu.Lock()
				w.end(unavailable(err)) // again and again: somebody may have come in just before
				w.mu.Unlock()
				continue
			}
			w.tick(now)
		}
	}
}

// tick ends the answers whose samples have become too old, and forgets what was long ago.
// Nothing that is too old may be so for want of news: the caller has made sure.
func (w *watches) tick(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes.changes.Trim(now, window, turns+turnsEach*w.nodes.changes.Len())
	w.pods.changes.Trim(now, window, turns+turnsEach*w.pods.changes.Len())
	if w.following() && !now.Before(w.expires) {
		w.lapse(now)
		w.wake()
	}
}

// lapse ends the answers whose samples are too old. The caller holds mu.
func (w *watches) lapse(now time.Time) {
	w.expires = time.Time{}
	place := w.place()
	w.nodes.changes.BeginClock(place, now)
	w.pods.changes.BeginClock(place, now)
	lapsed := make(map[string]*schemas.UsageSample)
	for _, sample := range w.usage.Load().All() {
		if !expired(sample, now, w.maxAge) {
			w.expires = earlier(w.expires, expiry(sample, w.maxAge))
			continue
		}
		lapsed[sample.Node] = sample
		if w.lapsed[sample.Node] == sample {
			continue
		}
		if _, has := w.nodes.changes.Get(view.Key{Name: sample.Node}); has {
			w.node(view.Key{Name: sample.Node}, now)
		}
		for i := range sample.Pods {
			key := view.Key{Namespace: sample.Pods[i].Namespace, Name: sample.Pods[i].Name}
			if _, has := w.pods.changes.Get(key); has {
				w.pod(key, now)
			}
		}
	}
	w.lapsed = lapsed
	if w.expires.IsZero() {
		w.expires = now.Add(time.Second)
	}
}

// forget drops what a view of the usage has of nodes whose latest sample was taken before the time given, Unix nanoseconds, and
// returns of how many. Their answers end before that, if time hasn't ended them yet: afterwards nobody would know of them.
// Nothing that is too old may be so for want of news: the caller has made sure.
func (w *watches) forget(u *view.Usage, before int64) int {
	if w == nil {
		return u.Expire(before)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := w.now(); w.following() && w.usage.Load() == u && !now.Before(w.expires) {
		w.lapse(now)
		w.wake()
	}
	return u.Expire(before)
}

// expiry is the first moment at which a sample is too old.
func expiry(sample *schemas.UsageSample, maxAge time.Duration) time.Time {
	return time.Unix(0, sample.Time+int64(maxAge)+1)
}

// earlier is the earlier of two times, of which the first may be none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
