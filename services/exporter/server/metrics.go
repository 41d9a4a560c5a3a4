package server

import (
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the exporter's own. How far the replays are, and which events couldn't be read, is told by package stream.
type metrics struct {
	log    *slog.Logger
	logged sync.Map // reasons of odd events that were logged

	events                                *prometheus.CounterVec // result
	changed, unchanged, removed, unwanted prometheus.Counter     // of events
	oddities                              *prometheus.CounterVec // reason
	skipped                               *prometheus.CounterVec // resource
	scrapes                               *prometheus.CounterVec // format, encoding
	refused                               prometheus.Counter
	broken                                prometheus.Counter
	duration                              prometheus.Histogram
	bytes                                 prometheus.Counter
	expired                               prometheus.Counter
}

// Reasons of odd events: they are applied as far as they make sense.
const (
	oddNoUID   = "no_uid"           // an object without UID: it is exported without
	oddUnknown = "unknown_deletion" // the deletion of an object that isn't known: nothing to do
	oddNewer   = "older_deletion"   // the deletion of an object that was created again since: the new one stays
)

func newMetrics(reg prometheus.Registerer, log *slog.Logger, s *Service) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "headwater_exporter_" + name, Help: help})
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headwater_exporter_" + name, Help: help}, labels)
	}
	m := &metrics{
		log:      log,
		events:   vector("events_total", "Object changes that were read, by what became of them: changed or unchanged series, removed, or unwanted because of the flags.", "result"),
		oddities: vector("odd_events_total", "Object changes that were not as they should be, by the reason.", "reason"),
		skipped:  vector("skipped_series_total", "Series that an object did not say enough for; kube-state-metrics panics on these.", "resource"),
		scrapes:  vector("scrapes_total", "Scrapes that were answered in full, by format and encoding.", "format", "encoding"),
		refused:  counter("scrapes_refused_total", "Scrapes that were answered with 503, because a view was not whole."),
		broken:   counter("scrapes_broken_total", "Scrapes whose client went away or was too slow."),
		bytes:    counter("scrape_bytes_total", "Bytes that answers to scrapes had, as they were sent."),
		expired:  counter("expired_nodes_total", "Nodes whose usage was forgotten after they had sent none for long."),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "headwater_exporter_scrape_duration_seconds", Help: "Time from a scrape's request to its last byte.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}),
	}
	m.changed, m.unchanged = m.events.WithLabelValues("changed"), m.events.WithLabelValues("unchanged")
	m.removed, m.unwanted = m.events.WithLabelValues("removed"), m.events.WithLabelValues("unwanted")
	for _, reason := range []string{oddNoUID, oddUnknown, oddNewer} {
		m.oddities.WithLabelValues(reason)
	}
	if reg != nil {
		reg.MustRegister(m.events, m.oddities, m.skipped, m.scrapes, m.refused, m.broken, m.bytes, m.expired, m.duration, &viewCollector{service: s})
	}
	return m
}

// odd counts an odd event; the first of each reason is logged.
func (m *metrics) odd(reason, resource, key string) {
	m.oddities.WithLabelValues(reason).Inc()
	if _, logged := m.logged.LoadOrStore(reason, true); !logged {
		m.log.Warn("an object change is not as it should be; more of this kind are only counted", "reason", reason, "resource", resource, "object", key)
	}
}

var (
	objectsDesc = prometheus.NewDesc("headwater_exporter_objects", "Objects in the view that is served.", []string{"resource"}, nil)
	nodesDesc   = prometheus.NewDesc("headwater_exporter_usage_nodes", "Nodes whose newest usage sample is held.", nil, nil)
	podsDesc    = prometheus.NewDesc("headwater_exporter_usage_pods", "Pods in the usage samples that are held.", nil, nil)
	newestDesc  = prometheus.NewDesc("headwater_exporter_usage_newest_timestamp_seconds", "When the newest usage sample that is held was taken.", nil, nil)
)

// viewCollector tells what is in the views.
type viewCollector struct{ service *Service }

// Describe implements prometheus.Collector.
func (c *viewCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{objectsDesc, nodesDesc, podsDesc, newestDesc} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (c *viewCollector) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if o := c.service.objects.Load(); o != nil {
		for i, r := range o.catalog.resources {
			gauge(objectsDesc, float64(o.store.Table(i).Objects()), r.Name)
		}
	}
	if u := c.service.usage.Load(); u != nil {
		nodes, pods, newest := u.store.Stats()
		gauge(nodesDesc, float64(nodes))
		gauge(podsDesc, float64(pods))
		if !newest.IsZero() {
			gauge(newestDesc, float64(newest.UnixMilli())/1000)
		}
	}
}
