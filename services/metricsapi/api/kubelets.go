package api

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// kubeletMetrics are those of metrics-server's own metrics that tell of scrapes. Here they tell of what ingest does, of
// each attempt whose sample or report arrives while this server runs:
//
//	metrics_server_kubelet_request_total{success}             attempts
//	metrics_server_kubelet_request_duration_seconds{node}     how long they took
//	metrics_server_kubelet_last_request_time_seconds{node}    when the last one ended, Unix seconds
//	metrics_server_manager_tick_duration_seconds              the longest attempt of each round of one resolution
//
// Its methods may be called concurrently. What a deleted node has here goes with it.
type kubeletMetrics struct {
	requests, duration, last, tick *prometheus.Desc
	tickBounds                     []float64

	mu        sync.Mutex // guards all below
	succeeded uint64
	failed    uint64
	nodes     map[string]*kubeletRequests
	ticks     histogram
	longest   time.Duration // of this round
	attempts  int           // in this round
}

// kubeletRequests are the attempts at one node.
type kubeletRequests struct {
	durations histogram
	last      int64 // when the last one ended, Unix seconds
}

// histogram counts seconds by bucket; the last one is for all beyond the bounds. Its bounds are elsewhere.
type histogram struct {
	buckets []uint64
	count   uint64
	sum     float64
}

func (h *histogram) observe(seconds float64, bounds []float64) {
	if h.buckets == nil {
		h.buckets = make([]uint64, len(bounds)+1)
	}
	i, _ := slices.BinarySearch(bounds, seconds)
	h.buckets[i]++
	h.count++
	h.sum += seconds
}

func (h *histogram) metric(desc *prometheus.Desc, bounds []float64, labels ...string) prometheus.Metric {
	cumulative, below := make(map[float64]uint64, len(bounds)), uint64(0)
	for i, bound := range bounds {
		if h.buckets != nil {
			below += h.buckets[i]
		}
		cumulative[bound] = below
	}
	return prometheus.MustNewConstHistogram(desc, h.count, h.sum, cumulative, labels...)
}

func newKubeletMetrics(resolution time.Duration) *kubeletMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("metrics_server_"+name, "[ALPHA] "+help, labels, nil)
	}
	return &kubeletMetrics{
		requests:   desc("kubelet_request_total", "Attempts to scrape a kubelet, by whether they succeeded.", "success"),
		duration:   desc("kubelet_request_duration_seconds", "How long the attempts to scrape a node's kubelet took, in seconds.", "node"),
		last:       desc("kubelet_last_request_time_seconds", "When the last attempt to scrape a node's kubelet ended, in Unix seconds.", "node"),
		tick:       desc("manager_tick_duration_seconds", "The longest attempt to scrape a kubelet in each round, a round being as long as the resolution, in seconds."),
		tickBounds: tickBounds(resolution),
		nodes:      map[string]*kubeletRequests{},
	}
}

// tickBounds are the upper bounds of a tick's buckets, seconds: the usual ones, and some around the resolution, as
// metrics-server chooses them, so that one sees whether rounds last as long as that.
func tickBounds(resolution time.Duration) []float64 {
	const near = 0.005 // a bound this near to the resolution makes another one needless
	bounds, seconds := slices.Clone(prometheus.DefBuckets), resolution.Seconds()
	if last := bounds[len(bounds)-1]; seconds > last {
		return append(bounds, last+(seconds-last)/2, seconds, seconds*1.5, seconds*2)
	}
	i, found := slices.BinarySearch(bounds, seconds)
	if found || i < len(bounds) && bounds[i]-seconds < near || i > 0 && seconds-bounds[i-1] < near {
		return bounds
	}
	return slices.Insert(bounds, i, seconds)
}

// attempt takes in one attempt; began is Unix nanoseconds.
func (k *kubeletMetrics) attempt(node string, began int64, took time.Duration, success bool) {
	took = max(took, 0)
	k.mu.Lock()
	defer k.mu.Unlock()
	if success {
		k.succeeded++
	} else {
		k.failed++
	}
	n := k.nodes[node]
	if n == nil {
		n = &kubeletRequests{}
		k.nodes[node] = n
	}
	n.durations.observe(took.Seconds(), prometheus.DefBuckets)
	n.last = (began + int64(took)) / int64(time.Second)
	k.attempts++
	k.longest = max(k.longest, took)
}

// endRound ends a round. One without any attempt wasn't one.
func (k *kubeletMetrics) endRound() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.attempts > 0 {
		k.ticks.observe(k.longest.Seconds(), k.tickBounds)
	}
	k.attempts, k.longest = 0, 0
}

// forget drops the nodes that are not there any more.
func (k *kubeletMetrics) forget(exists func(node string) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for node := range k.nodes {
		if !exists(node) {
			delete(k.nodes, node)
		}
	}
}

// Describe implements prometheus.Collector.
func (k *kubeletMetrics) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{k.requests, k.duration, k.last, k.tick} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector. A result that never was has no series, as in metrics-server.
func (k *kubeletMetrics) Collect(out chan<- prometheus.Metric) {
	for _, metric := range k.collect() {
		out <- metric
	}
}

// collect makes the metrics under the lock; whoever reads them may be slow.
func (k *kubeletMetrics) collect() []prometheus.Metric {
	k.mu.Lock()
	defer k.mu.Unlock()
	metrics := make([]prometheus.Metric, 0, 3+2*len(k.nodes))
	for success, n := range map[string]uint64{"true": k.succeeded, "false": k.failed} {
		if n > 0 {
			metrics = append(metrics, prometheus.MustNewConstMetric(k.requests, prometheus.CounterValue, float64(n), success))
		}
	}
	metrics = append(metrics, k.ticks.metric(k.tick, k.tickBounds))
	for name, node := range k.nodes {
		metrics = append(metrics,
			node.durations.metric(k.duration, prometheus.DefBuckets, name),
			prometheus.MustNewConstMetric(k.last, prometheus.GaugeValue, float64(node.last), name))
	}
	return metrics
}

// storedPoints is metrics_server_storage_points: how many nodes' and containers' points there are that have one before
// them, so that they can be served. They are counted when somebody asks.
type storedPoints struct {
	desc  *prometheus.Desc
	count func() (nodes, containers int)
}

func newStoredPoints(s *Service) *storedPoints {
	return &storedPoints{
		desc: prometheus.NewDesc("metrics_server_storage_points", "[ALPHA] Points held of nodes and of containers that have one before them, so that they can be served.", []string{"type"}, nil),
		count: func() (nodes, containers int) {
			usage := s.usage.Load()
			if usage == nil {
				return 0, 0
			}
			var selected view.UsageReader = usage
			if catalog := s.catalogs.Load(); catalog != nil {
				selected = catalog.selectUsage(usage)
			}
			oldest := s.now().Add(-s.cfg.Options.maxSampleAge()).UnixNano()
			for _, sample := range selected.All() {
				if sample.Time >= oldest {
					n, c := servable(sample)
					nodes, containers = nodes+n, containers+c
				}
			}
			return nodes, containers
		},
	}
}

// servable counts the points of a sample that have one before them.
func servable(sample *schemas.UsageSample) (nodes, containers int) {
	if sample.Point != nil && sample.Point.Window > 0 {
		nodes = 1
	}
	for i := range sample.Pods {
		for j := range sample.Pods[i].Containers {
			if sample.Pods[i].Containers[j].Point.Window > 0 {
				containers++
			}
		}
	}
	return nodes, containers
}

// Describe implements prometheus.Collector.
func (p *storedPoints) Describe(descs chan<- *prometheus.Desc) { descs <- p.desc }

// Collect implements prometheus.Collector.
func (p *storedPoints) Collect(out chan<- prometheus.Metric) {
	nodes, containers := p.count()
	out <- prometheus.MustNewConstMetric(p.desc, prometheus.GaugeValue, float64(nodes), "node")
	out <- prometheus.MustNewConstMetric(p.desc, prometheus.GaugeValue, float64(containers), "container")
}
