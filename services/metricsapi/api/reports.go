package api

import (
	"slices"
	"sync"

	"github.com/headwater-metrics/headwater/schemas"
)

// reports holds the latest scrape report of each node that had one: why a node, or a pod, has no usage. It is kept as the
// message, and the lists of what was dropped only as long as there is room for them all. Its methods may be called
// concurrently.
type reports struct {
	room int // bytes

	mu    sync.Mutex // guards all below
	nodes map[string]heldReport
	held  int // bytes
}

// heldReport is a report, and what of it is needed often.
type heldReport struct {
	message []byte
	time    int64 // of the attempt, Unix nanoseconds
}

// reportsRoom is for 200,000 dropped containers.
const reportsRoom = 16 << 20

func newReports() *reports { return &reports{room: reportsRoom, nodes: map[string]heldReport{}} }

// put takes a node's report, which is message decoded. message is copied.
func (r *reports) put(report *schemas.ScrapeReport, message []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held -= len(r.nodes[report.Node].message)
	if len(report.Dropped) > 0 && r.held+len(message) > r.room {
		short := *report
		short.More += uint64(len(short.Dropped))
		short.Dropped = nil
		message = short.Marshal()
	} else {
		message = slices.Clone(message)
	}
	r.nodes[report.Node] = heldReport{message, report.Time}
	r.held += len(message)
}

// get returns a node's report, or false.
func (r *reports) get(node string) (*schemas.ScrapeReport, bool) {
	r.mu.Lock()
	held, ok := r.nodes[node]
	r.mu.Unlock()
	report := new(schemas.ScrapeReport)
	if !ok || report.Unmarshal(held.message) != nil {
		return nil, false
	}
	return report, true
}

// expire forgets the reports of attempts before the time given, Unix nanoseconds, and those of nodes that don't exist.
func (r *reports) expire(before int64, exists func(node string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for node, held := range r.nodes {
		if held.time < before || !exists(node) {
			r.held -= len(held.message)
			delete(r.nodes, node)
		}
	}
}

// all returns the nodes that have a report, in no order.
func (r *reports) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, 0, len(r.nodes))
	for node := range r.nodes {
		names = append(names, node)
	}
	return names
}
