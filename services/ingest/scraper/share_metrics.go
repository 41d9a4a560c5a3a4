package scraper

import "github.com/prometheus/client_golang/prometheus"

// shareMetrics tell of the division of the nodes.
type shareMetrics struct {
	changes prometheus.Counter
	moved   *prometheus.CounterVec // direction
}

const (
	movedTaken = "taken"
	movedGiven = "given"
)

func newShareMetrics(reg prometheus.Registerer, s *share) *shareMetrics {
	m := &shareMetrics{
		changes: register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_ingest_share_changes_total",
			Help: "How often the nodes were divided anew, because an ingester came, left or was lost.",
		})),
		moved: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_ingest_share_moved_nodes_total",
			Help: "Nodes that this ingester has taken over, new ones included, or given away to another ingester.",
		}, []string{"direction"})),
	}
	m.moved.WithLabelValues(movedTaken)
	m.moved.WithLabelValues(movedGiven)
	register(reg, prometheus.Collector(shareGauges{s}))
	return m
}

// shareGauges are worked out when asked for.
type shareGauges struct{ *share }

var (
	membersDesc = prometheus.NewDesc("headwater_ingest_members",
		"Ingesters among which the nodes are divided, as this one knows them: shards where their number is fixed, 0 while not known.", nil, nil)
	memberDesc = prometheus.NewDesc("headwater_ingest_member",
		"1 while this ingester is one of those among which the nodes are divided, else 0: then it scrapes nothing.", nil, nil)
	overlapDesc = prometheus.NewDesc("headwater_ingest_overlapping_ingesters",
		"Other ingesters that scrape nodes of this one too, because --shard and --total-shards don't fit together; the log names them. 0 where all is well.", nil, nil)
	shareDesc = prometheus.NewDesc("headwater_ingest_share_nodes",
		"Nodes that are to be scraped, by whether this ingester does it (own) or another one (others).", []string{"share"}, nil)
)

// Describe implements prometheus.Collector.
func (g shareGauges) Describe(to chan<- *prometheus.Desc) {
	to <- membersDesc
	to <- memberDesc
	to <- overlapDesc
	to <- shareDesc
}

// Collect implements prometheus.Collector.
func (g shareGauges) Collect(to chan<- prometheus.Metric) {
	g.mu.Lock()
	members, all, own, member := len(g.slots), len(g.targets), g.count(), 0
	if g.self >= 0 {
		member = 1
	}
	g.mu.Unlock()
	gauge := func(desc *prometheus.Desc, value int, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	gauge(membersDesc, members)
	gauge(memberDesc, member)
	gauge(overlapDesc, int(g.overlaps.Load()))
	gauge(shareDesc, own, "own")
	gauge(shareDesc, all-own, "others")
}
