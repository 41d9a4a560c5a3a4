package api

import (
	"maps"
	"sync"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// arrivals notes when the messages of the usage stream came, by this server's clock: the times in them are by their ingesters'
// clocks. A message that is replayed came when it was stored.
//
//	samples   node -> when its latest sample came
//	lull      the latest time in which nobody wrote
//
// A lull is as good as a silence that this server has heard, and tells of those that it hasn't: it was not there, or NATS was
// there and every ingester was away. The stream keeps the last two messages of each subject, so for about as long as anybody
// waits, it has what was stored right before and right after.
//
// Its methods may be called concurrently.
type arrivals struct {
	mu       sync.Mutex // guards all below
	sequence uint64     // of the latest message
	stored   time.Time  // when NATS stored it; zero before the first
	at       time.Time  // when it came
	lull     stream.Silence
	samples  map[string]time.Time
}

func newArrivals() *arrivals { return &arrivals{samples: map[string]time.Time{}} }

// message takes a message, before it is applied, that came at a time. If it follows directly upon the one before, and was stored
// later than that by more than longest, nobody wrote in between. Elsewhere in the stream that can't be known: what was there may
// have been replaced by newer messages.
func (a *arrivals) message(e stream.Event, at time.Time, longest time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stored.IsZero() && e.Sequence == a.sequence+1 && e.Time.Sub(a.stored) > longest {
		a.lull = stream.Silence{Since: a.at, Until: at}
	}
	a.sequence, a.stored, a.at = e.Sequence, e.Time, at
}

// sample takes a node's sample, after it was applied, that came at a time.
func (a *arrivals) sample(node string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.samples[node] = at
}

// of is when a node's latest sample came.
func (a *arrivals) of(node string) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.samples[node]
}

// lately is the latest lull; zero for none.
func (a *arrivals) lately() stream.Silence {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lull
}

// forget drops the nodes whose latest sample came before a time.
func (a *arrivals) forget(before time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.samples, func(_ string, at time.Time) bool { return at.Before(before) })
}
