package scraper

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the service's own. None has a label of a node: the log and the age gauges tell of single ones.
type metrics struct {
	scrapes   map[result]prometheus.Counter
	summaries map[result]prometheus.Counter
	duration  prometheus.Histogram
	bodies    prometheus.Counter
	dropped   [lastDrop]prometheus.Counter
	skipped   prometheus.Counter
	bytes     prometheus.Counter
	recalls   *prometheus.CounterVec
	reports   *prometheus.CounterVec
}

// outcomes of reading a node's last message back at the start.
const (
	recallFound  = "found"
	recallNone   = "none"
	recallFailed = "failed"
)

func newMetrics(reg prometheus.Registerer, s *Service) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: "headwater_ingest_" + name, Help: help}))
	}
	vector := func(name, label, help string) *prometheus.CounterVec {
		return register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headwater_ingest_" + name, Help: help}, []string{label}))
	}
	m := &metrics{
		scrapes:   make(map[result]prometheus.Counter, len(results)),
		summaries: make(map[result]prometheus.Counter, len(results)),
		duration: register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "headwater_ingest_scrape_duration_seconds",
			Help:    "Time from a scrape's request to its sample's publication, successful or not.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		})),
		bodies:  counter("scraped_bytes_total", "Bytes of kubelets' answers, decompressed."),
		skipped: counter("skipped_scrapes_total", "Scrapes that were not made because the node's previous one took too long."),
		bytes:   counter("published_bytes_total", "Bytes of usage samples handed to the stream layer."),
		recalls: vector("recalls_total", "result", "Looks for the last message of a node before its first sample, by whether there was one."),
	}
	m.reports = vector("reports_total", "result", "Scrape reports: of failures, and of what was in a kubelet's answer and isn't published. Lost ones were larger than NATS takes.")
	scrapes := vector("scrapes_total", "result", "Scrapes by what came of them. Whatever is not \"success\" left the node's previous sample standing.")
	summaries := vector("summaries_total", "result", "Requests for /stats/summary with --source=summary, by what came of them. A scrape where only this one failed is a success: its sample lacks what the summary adds.")
	for _, r := range results {
		m.scrapes[r], m.summaries[r] = scrapes.WithLabelValues(string(r)), summaries.WithLabelValues(string(r))
	}
	dropped := vector("dropped_total", "reason", "Series, pods and nodes' own points that were in a kubelet's answer and were not published as they were.")
	for d := notDropped + 1; d < lastDrop; d++ {
		m.dropped[d] = dropped.WithLabelValues(dropReasons[d])
	}
	for _, r := range []string{reportPublished, reportLost} {
		m.reports.WithLabelValues(r)
	}
	for _, r := range []string{recallFound, recallNone, recallFailed} {
		m.recalls.WithLabelValues(r)
	}
	register(reg, prometheus.Collector(ages{s}))
	return m
}

// register registers c, if there is where.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg != nil {
		reg.MustRegister(c)
	}
	return c
}

// ages tells how long ago nodes were last read, worked out when asked for.
type ages struct{ service *Service }

var (
	nodesDesc = prometheus.NewDesc("headwater_ingest_nodes",
		"Nodes that are scraped, by the age of their last good scrape: fresh up to two resolutions, stale beyond, never where there was none yet.",
		[]string{"state"}, nil)
	oldestDesc = prometheus.NewDesc("headwater_ingest_oldest_success_age_seconds",
		"Age of the last good scrape of the node where that is longest ago, nodes without any left out.", nil, nil)
)

// Describe implements prometheus.Collector.
func (a ages) Describe(to chan<- *prometheus.Desc) {
	to <- nodesDesc
	to <- oldestDesc
}

// Collect implements prometheus.Collector.
func (a ages) Collect(to chan<- prometheus.Metric) {
	var fresh, stale, never int
	var oldest time.Duration
	now := time.Now()
	if s := a.service.schedule.Load(); s != nil {
		s.each(func(t *timeline) {
			success := t.success.Load()
			if success == 0 {
				never++
				return
			}
			age := now.Sub(time.Unix(0, success))
			oldest = max(oldest, age)
			if age <= 2*s.resolution {
				fresh++
			} else {
				stale++
			}
		})
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(nodesDesc, float64(fresh), "fresh")
	gauge(nodesDesc, float64(stale), "stale")
	gauge(nodesDesc, float64(never), "never")
	gauge(oldestDesc, oldest.Seconds())
}
