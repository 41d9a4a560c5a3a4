package api

import (
	"fmt"
	"slices"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// A replica that hears nothing of the usage stream, because NATS is away or it is cut off, can't tell a node whose kubelet has
// died from one whose samples don't reach it. So it gives no answer that lacks a node for that reason, but 503:
//
//	silent for up to bearable   the samples of healthy nodes are still true, and are served
//	silent for longer           503
//	heard again                 503 while a node that was healthy lacks a sample, for recovery at most
//
// So too when nothing came because no ingester wrote, or when the replica wasn't there yet: see arrivals. Nobody can say how long
// that will go on, so only the time after it counts.
//
// Nodes that had failed before lapse as always.

// slack is how much longer than the resolution the way from one sample of a node to the next may take, its scrape not counted.
func (o *Options) slack() time.Duration { return max(o.Resolution/5, time.Second) }

// bearable is the silence that the samples of healthy nodes bear: when it begins, they are up to a resolution old, and some
// slack. It is no shorter than what makes a silence: with a MaxSampleAge closer to the resolution than that and slack, as 3 s are to
// 1 s, samples may become too old a moment before it is over.
func (o *Options) bearable() time.Duration {
	return max(o.maxSampleAge()-o.Resolution-o.slack(), stream.Silent)
}

// lull is how long nobody may write to the usage stream without a reason: a single node is heard once a resolution.
func (o *Options) lull() time.Duration { return o.Resolution + 2*o.slack() }

// recovery is how long after a silence at most each node that is still there has a sample again: ingesters connect, and then it is
// each node's turn once.
func (o *Options) recovery() time.Duration { return o.Resolution + 5*time.Second }

// deaf says why samples that are too old may be so only because nothing is heard, or was until just now; nil when that is not so.
func (s *Service) deaf() error {
	o, p, now := s.cfg.Options, s.usageReplay.Position(), s.now()
	if p.Heard.IsZero() {
		return nil
	}
	silence := now.Sub(p.Heard)
	if silence > o.bearable() {
		return fmt.Errorf("nothing has been heard of the usage stream for %v: samples are out of date", silence.Round(time.Second))
	}
	missed := []stream.Silence{p.Silence, s.arrivals.lately()}
	missed = slices.DeleteFunc(missed, func(m stream.Silence) bool { return p.Heard.Sub(m.Until) >= o.recovery() })
	if silence > stream.Silent {
		missed = append(missed, stream.Silence{Since: p.Heard})
		for i := range missed {
			missed[i].Until = now // it goes on
		}
	}
	for _, m := range missed {
		if s.lacking(m, now) {
			return fmt.Errorf("nothing was heard of the usage stream for %v, and some nodes have no newer samples yet", m.Until.Sub(m.Since).Round(time.Second))
		}
	}
	return nil
}

// lacking tells whether a node that was healthy when a silence began has no sample since, and the last one is too old, or about to be.
// It was healthy if its last sample had come a resolution before, or later: that is by one clock, this server's, while it is too
// old by the time that stands in it. Nobody waits for a node that was deleted, or isn't selected: there may be no other sample of it.
func (s *Service) lacking(missed stream.Silence, now time.Time) bool {
	o := s.cfg.Options
	healthy, until := missed.Since.Add(-o.Resolution-o.slack()), missed.Until.UnixNano()
	soon, maxAge := now.Add(o.slack()), o.maxSampleAge()
	catalog := s.catalogs.Load()
	return s.usage.Load().Any(func(sample *schemas.UsageSample) bool {
		return sample.Time <= until && expired(sample, soon, maxAge) && !s.arrivals.of(sample.Node).Before(healthy) &&
			(catalog == nil || catalog.scraped(sample.Node))
	})
}
