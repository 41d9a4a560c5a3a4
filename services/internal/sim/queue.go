package sim

import (
	"sync"

	"github.com/headwater-metrics/headwater/services/internal/sim/apiserver"
)

// queue holds the changes that came over the wire until controllers look at them. It has no bound: people and tests
// are slow.
type queue struct {
	mu      sync.Mutex
	changes []apiserver.Change
	// wake has room for one: there is something to take.
	wake chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) wrote(change apiserver.Change) {
	q.mu.Lock()
	q.changes = append(q.changes, change)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) take() []apiserver.Change {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.changes
	q.changes = nil
	return taken
}
