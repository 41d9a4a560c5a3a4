// Package view holds the latest value of everything, in memory: what a replay folds the streams into, and what the
// servers read.
//
//	usage.<node>                    -> Usage:      node -> sample;  (namespace, pod) -> its part of a sample
//	object.<group>.<resource>.<...> -> Objects[T]: (namespace, name) -> T, sorted, and grouped by label set
//
// What flows in: decoded messages, in the order of their stream, through the writer face (Apply, Delete, Expire, Settle).
// What flows out: values that never change once they are in the view, through the read-only face (UsageReader,
// ObjectsReader); whoever reads must not modify them.
//
// Changes[S] is the order in which what was made of both last changed, for those who watch; its caller has the lock.
//
// Promised: all methods may be called concurrently. A reader holds a lock only while it copies pointers out of one
// namespace, or looks up one batch of pods: tens of microseconds, and never while anything is encoded, so that neither
// writers nor other readers wait for a large list. A list is consistent within one namespace.
//
// A view knows nothing of completeness: a replay fills a fresh one out of sight and, when it is whole, hands it to
// Live, which goes on serving the old one until then.
//
// The package knows neither NATS nor Kubernetes.
package view

import (
	"sync/atomic"
)

// Live is where servers find the view that is whole, and where a replay puts it. The zero value serves nothing yet.
type Live[V any] struct{ current atomic.Pointer[V] }

// Serve makes v the view that readers get from now on. Those who hold the previous one go on reading it unharmed.
func (l *Live[V]) Serve(v *V) { l.current.Store(v) }

// Load returns the view that serves, nil while none has been whole yet.
func (l *Live[V]) Load() *V { return l.current.Load() }

// position is the sequence of the last message that a view has taken in.
type position struct{ sequence atomic.Uint64 }

// Advance tells the view that the message of this sequence has been applied. It never goes back, because parts of a
// snapshot arrive in any order.
func (p *position) Advance(sequence uint64) {
	for {
		current := p.sequence.Load()
		if sequence <= current || p.sequence.CompareAndSwap(current, sequence) {
			return
		}
	}
}

// Position is the highest sequence of its stream that the view has taken in; 0 for none.
func (p *position) Position() uint64 { return p.sequence.Load() }
