package debugpage

import (
	"cmp"
	"slices"
	"time"
)

// Page is what a service knows of nodes, or of one node or pod.
type Page struct {
	// Service is who tells: "ingest ingest-7c5d9-x2x4v".
	Service string `json:"service"`
	// Time is when this was so.
	Time time.Time `json:"time"`
	// Resolution is the time between two scrapes of a node.
	Resolution time.Duration `json:"-"`
	// Notes are about the whole: "not ready: ...". They stand above the list.
	Notes []string `json:"notes,omitempty"`
	// Unknown says that the service doesn't know yet which nodes there are.
	Unknown bool `json:"-"`
	// Nodes are those that were asked for: all, or the one. The handler sorts and cuts them.
	Nodes []Node `json:"nodes"`
	// Pod is the one that was asked for; nil where none was.
	Pod *Pod `json:"pod,omitempty"`
}

// The values of Node.State, worst first.
const (
	Failing = "failing" // the last attempt failed
	Stale   = "stale"   // no failure is known, but the last success is too long ago
	Waiting = "waiting" // not scraped yet
	Partial = "partial" // scraped, but a part of the answer was not published, or could not be read
	Fresh   = "fresh"   // all is well
)

// rank orders states, worst first. An unknown one comes before all: somebody should look at it.
var rank = map[string]int{Failing: 1, Stale: 2, Waiting: 3, Partial: 4, Fresh: 5}

// Node is how the scraping of one node goes. Zero times are unknown, or have not come yet.
type Node struct {
	Name  string `json:"node"`
	State string `json:"state"`
	// URL is what is asked; "" where the node has no address.
	URL string `json:"url,omitempty"`
	// Scraper is which ingester scrapes it; "" where the page is that ingester's.
	Scraper string `json:"scraper,omitempty"`

	LastSuccess time.Time `json:"lastSuccess,omitzero"` // when the last good attempt began
	LastAttempt time.Time `json:"lastAttempt,omitzero"`
	// Took is how long the last attempt took.
	Took time.Duration `json:"-"`
	// Result is what came of the last attempt: "success", or the reason as headwater_ingest_scrapes_total has it.
	Result string `json:"result,omitempty"`
	// Error says what was wrong and what to do; "" for a success. With Failures 0 the sample was published without a part.
	Error       string    `json:"error,omitempty"`
	Failures    uint64    `json:"failures"` // in a row
	NextAttempt time.Time `json:"nextAttempt,omitzero"`

	// Pods is how many pods the last sample has.
	Pods int `json:"pods"`
	// Dropped is what was in the last good answer and is not in the sample; More is how many there are beside them. In a
	// list of nodes the handler counts them instead of showing them.
	Dropped []Dropped `json:"dropped,omitempty"`
	More    uint64    `json:"droppedMore,omitempty"`

	// Set by the handler.
	AgeSeconds   *float64 `json:"ageSeconds,omitempty"` // of the last success
	TookSeconds  float64  `json:"tookSeconds"`
	DroppedCount uint64   `json:"droppedCount"`
}

// Dropped is something that a kubelet told of and that was not published.
type Dropped struct {
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`       // "": the node's own figures
	Container string `json:"container,omitempty"` // the one at fault; "": the pod as such
	Reason    string `json:"reason"`
	Explained string `json:"explained,omitempty"` // Reason in words; set by the handler where it is empty
}

// Pod is why a pod has metrics, or has none.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// HasMetrics is the answer, Verdict the same in a sentence.
	HasMetrics bool   `json:"hasMetrics"`
	Verdict    string `json:"verdict"`
	// Steps are the rules that decide, in their order, up to the one that the pod doesn't pass.
	Steps []Step `json:"steps"`
}

// Step is one rule.
type Step struct {
	Rule   string `json:"rule"`   // what must be so: "the pod is Running"
	OK     bool   `json:"ok"`     // whether it is
	Detail string `json:"detail"` // what was found, and what to do where it is not so
}

// Explain says in words what the reason of something dropped means; "" for one that it doesn't know.
func Explain(reason string) string { return reasons[reason] }

// reasons are those of headwater_ingest_dropped_total that a pod or node can have in a report.
var reasons = map[string]string{
	"pod_container_without_cpu":    "the kubelet gave no CPU time of this container, or 0, so the whole pod is left out; usual for the first seconds of a container, else see the kubelet's log",
	"pod_container_without_memory": "the kubelet gave no memory of this container, or 0, so the whole pod is left out; usual for the first seconds and for containers that have ended, else see the kubelet's log",
	"node_without_cpu":             "the kubelet gave no CPU time of the node; see the kubelet's log",
	"node_without_memory":          "the kubelet gave no memory of the node; see the kubelet's log",
	"message_too_large":            "the node has more pods than fit into one message; raise the NATS server's max_payload",
	"series_not_finite":            "the kubelet gave a figure that is no number (NaN or infinite)",
	"series_negative":              "the kubelet gave a negative figure",
	"series_out_of_range":          "the kubelet gave a figure that is larger than any can be",
	"series_in_future":             "the kubelet's time is more than 2 minutes ahead of the ingester's; compare the clocks of the two hosts",
	"series_too_old":               "the kubelet's figures are more than 10 minutes old; the container may have ended without being removed, or the clocks of the two hosts differ",
}

// complete fills in what the handler owes the page: sorted, and with the derived fields.
func (p *Page) complete(whole bool) {
	slices.SortStableFunc(p.Nodes, func(a, b Node) int {
		return cmp.Or(
			cmp.Compare(rank[a.State], rank[b.State]),
			a.LastSuccess.Compare(b.LastSuccess), // the longest ago first, never before all
			cmp.Compare(a.Name, b.Name),
		)
	})
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if !n.LastSuccess.IsZero() {
			age := p.Time.Sub(n.LastSuccess).Round(time.Millisecond).Seconds()
			n.AgeSeconds = &age
		}
		n.TookSeconds = n.Took.Round(time.Microsecond).Seconds()
		n.DroppedCount = uint64(len(n.Dropped)) + n.More
		if !whole {
			n.Dropped, n.More = nil, 0
			continue
		}
		n.Dropped = slices.Clone(n.Dropped)
		for j := range n.Dropped {
			d := &n.Dropped[j]
			d.Explained = cmp.Or(d.Explained, Explain(d.Reason))
		}
	}
}
