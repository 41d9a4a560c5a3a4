package topparity

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// The clients of the kubelets, by the names in their certificates: one of each side, and one of each that scrapes more rarely.
const (
	ours        = "headwater-ingest"
	theirs      = "metrics-server"
	rarelyOurs  = "headwater-ingest-rarely"
	rarelyTheir = "metrics-server-rarely"
)

// gate gives out the readings of all kubelets, in rounds. Round 0 is open: everybody is told 503 as often as they ask.
// In every later round each client gets each node's reading once; who comes again waits for the next round.
type gate struct {
	mu      sync.Mutex
	round   int
	answers map[string]cluster.Fault  // by node
	next    chan struct{}             // closed when the round is over
	open    bool                      // nobody waits: the last round's readings are repeated
	given   map[string]map[string]int // client -> node -> the last round it got
	last    map[string]time.Time      // when each client came last
	extra   []string                  // requests that a script doesn't foresee
	parting map[string]bool           // nodes that theirs may stop waiting for, because the Node goes
	their   string                    // the client that comes to all nodes at once
}

func newGate(our, their string) *gate {
	g := &gate{next: make(chan struct{}), open: true, given: map[string]map[string]int{our: {}, their: {}}, last: map[string]time.Time{}, parting: map[string]bool{}, their: their}
	return g
}

// gates are those of all clients.
type gates []*gate

// kubelet answers the scrapes of a node.
func (all gates) kubelet(node string) cluster.Fault {
	return func(w http.ResponseWriter, r *http.Request) {
		client := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		g := all[0]
		for _, other := range all {
			if other.given[client] != nil {
				g = other
			}
		}
		answer := g.take(client, node, r)
		if answer == nil {
			http.Error(w, "there is no reading yet", http.StatusServiceUnavailable)
			return
		}
		answer(w, r)
	}
}

// take waits for the client's next reading of the node.
func (g *gate) take(client, node string, r *http.Request) cluster.Fault {
	g.mu.Lock()
	defer g.mu.Unlock()
	given := g.given[client]
	if given == nil {
		g.extra = append(g.extra, fmt.Sprintf("%s asked %s", client, node))
		return nil
	}
	g.last[client] = time.Now()
	for !g.open && given[node] >= g.round {
		next := g.next
		g.mu.Unlock()
		select {
		case <-r.Context().Done():
		case <-next:
		}
		g.mu.Lock()
		if r.Context().Err() != nil {
			// Ours loses nothing by a scrape that fails, and asks again. Theirs would begin anew.
			if client == g.their && !g.parting[node] {
				g.extra = append(g.extra, fmt.Sprintf("%s gave up waiting for round %d at %s", client, g.round+1, node))
			}
			return nil
		}
	}
	given[node] = g.round
	return g.answers[node]
}

// parts says that a Node is about to be deleted: theirs may give up waiting for its next reading.
func (g *gate) parts(node string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parting[node] = true
}

// step begins the next round.
func (g *gate) step(answers map[string]cluster.Fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.round++
	g.open, g.answers = false, answers
	close(g.next)
	g.next = make(chan struct{})
}

// release lets everybody have the last round's readings from now on, as often as they ask.
func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = true
	close(g.next)
	g.next = make(chan struct{})
}

// taken says who lacks a reading of this round.
func (g *gate) taken(nodes []string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for client, given := range g.given {
		for _, node := range nodes {
			if given[node] < g.round {
				return fmt.Errorf("%s has not scraped %s in round %d", client, node, g.round)
			}
		}
	}
	return nil
}

// asked says how long ago their client came last, and whether all nodes were asked by both.
func (g *gate) asked(nodes []string) (quiet time.Duration, all bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all = true
	for _, given := range g.given {
		for _, node := range nodes {
			_, ok := given[node]
			all = all && ok
		}
	}
	return time.Since(g.last[g.their]), all
}

// unforeseen are the requests that nobody expected.
func (g *gate) unforeseen() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.extra
}
