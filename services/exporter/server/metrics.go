package server

import (
	"cmp"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/services/internal/daemon"
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

	served, superseded     prometheus.Counter // editions
	reloads, reloadsFailed prometheus.Counter
	reloaded               prometheus.Gauge // 1 or 0
	reloadedAt             prometheus.Gauge

	// As kube-state-metrics has them, by type and filename.
	fileHash, fileLoaded, fileLoadedAt *prometheus.GaugeVec
}

// Reasons of odd events: they are applied as far as they make sense.
const (
	oddNoUID        = "no_uid"           // an object without UID: it is exported without
	oddUnknown      = "unknown_deletion" // the deletion of an object that isn't known: nothing to do
	oddNewer        = "older_deletion"   // the deletion of an object that was created again since: the new one stays
	oddAvailability = "availability"     // what state says of the kinds can't be read: what it said before stays
	oddRival        = "duplicate_series" // a custom resource whose series another one has already: it is exported without these
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
		skipped:  vector("skipped_series_total", "Series that were left out: those that an object did not say enough for, on which kube-state-metrics panics, and those that it said again.", "resource"),
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
	editions := vector("editions_total", "States of the configuration and the shard that were begun to build and then served, or given up for a newer one.", "result")
	m.served, m.superseded = editions.WithLabelValues("served"), editions.WithLabelValues("superseded")
	reloads := vector("config_reloads_total", "Changes of the configuration files, by whether they could be used.", "result")
	m.reloads, m.reloadsFailed = reloads.WithLabelValues("success"), reloads.WithLabelValues("failure")
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "headwater_exporter_" + name, Help: help})
	}
	m.reloaded = gauge("config_last_reload_successful", "1 when the configuration files could be used as they were read last, 0 when an older state of them is in use.")
	m.reloadedAt = gauge("config_last_reload_success_timestamp_seconds", "When configuration files were last read that could be used.")
	perFile := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kube_state_metrics_" + name, Help: help}, []string{"type", "filename"})
	}
	m.fileHash = perFile("config_hash", "Hash of the configuration file that is in use.")
	m.fileLoaded = perFile("last_config_reload_successful", "1 when the configuration file could be used as it was read last.")
	m.fileLoadedAt = perFile("last_config_reload_success_timestamp_seconds", "When the configuration file was last read and could be used.")
	m.changed, m.unchanged = m.events.WithLabelValues("changed"), m.events.WithLabelValues("unchanged")
	m.removed, m.unwanted = m.events.WithLabelValues("removed"), m.events.WithLabelValues("unwanted")
	for _, reason := range []string{oddNoUID, oddUnknown, oddNewer, oddRival, oddAvailability} {
		m.oddities.WithLabelValues(reason)
	}
	if reg != nil {
		reg.MustRegister(m.events, m.oddities, m.skipped, m.scrapes, m.refused, m.broken, m.bytes, m.expired, m.duration,
			editions, reloads, m.reloaded, m.reloadedAt, m.fileHash, m.fileLoaded, m.fileLoadedAt, buildInfo(), &viewCollector{service: s})
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

// put counts an object that was put into the view.
func (m *metrics) put(changed bool) {
	if changed {
		m.changed.Inc()
	} else {
		m.unchanged.Inc()
	}
}

// loaded tells of configuration files that were read; err is why they can't be used.
func (m *metrics) loaded(files []file, err error) {
	for i := range files {
		f := &files[i]
		switch {
		case f.err != nil:
			m.fileLoaded.WithLabelValues(f.kind, f.path).Set(0)
		case !f.missing:
			m.fileLoaded.WithLabelValues(f.kind, f.path).Set(1)
			m.fileLoadedAt.WithLabelValues(f.kind, f.path).SetToCurrentTime()
			m.fileHash.WithLabelValues(f.kind, f.path).Set(f.hash())
		}
	}
	if err != nil {
		m.reloaded.Set(0)
		return
	}
	m.reloaded.Set(1)
	m.reloadedAt.SetToCurrentTime()
}

// buildInfo is what dashboards of kube-state-metrics join on.
func buildInfo() prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kube_state_metrics_build_info", Help: "The release of the exporter, which stands in for kube-state-metrics; always 1.",
		ConstLabels: prometheus.Labels{"version": daemon.Version(), "goversion": runtime.Version(), "goos": runtime.GOOS, "goarch": runtime.GOARCH},
	})
	info.Set(1)
	return info
}

var (
	objectsDesc  = prometheus.NewDesc("headwater_exporter_objects", "Objects in the view that is served.", []string{"resource"}, nil)
	buildingDesc = prometheus.NewDesc("headwater_exporter_building", "1 while a view for a changed configuration or shard is built beside the one that is served.", nil, nil)
	pendingDesc  = prometheus.NewDesc("headwater_exporter_building_lag", "Events that the view which is being built has yet to read until it is whole.", nil, nil)
	nodesDesc    = prometheus.NewDesc("headwater_exporter_usage_nodes", "Nodes whose newest usage sample is held.", nil, nil)
	podsDesc     = prometheus.NewDesc("headwater_exporter_usage_pods", "Pods in the usage samples that are held.", nil, nil)
	newestDesc   = prometheus.NewDesc("headwater_exporter_usage_newest_timestamp_seconds", "When the newest usage sample that is held was taken.", nil, nil)

	ordinalDesc = prometheus.NewDesc("kube_state_metrics_shard_ordinal", "Number of the shard that is served, from 0.", []string{"shard_ordinal"}, nil)
	shardsDesc  = prometheus.NewDesc("kube_state_metrics_total_shards", "Number of shards that the objects are divided into.", nil, nil)
	customDesc  = prometheus.NewDesc("kube_state_metrics_custom_resource_state_cache", "Kinds of custom resources that the view has, or had, objects of.", nil, nil)
)

// viewCollector tells what is in the views, and how far they are.
type viewCollector struct{ service *Service }

// Describe implements prometheus.Collector.
func (c *viewCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{objectsDesc, buildingDesc, pendingDesc, nodesDesc, podsDesc, newestDesc, ordinalDesc, shardsDesc, customDesc} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (c *viewCollector) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.service
	if e := s.editions.serving.Load(); e != nil {
		view, counts := e.view.Load(), map[string]int{}
		for i, r := range e.catalog.resources {
			counts[r.Name] = view.store.Table(i).Objects()
		}
		if view.custom != nil {
			kinds := 0
			view.custom.objects(func(name string, count int) {
				counts[name] += count
				kinds++
			})
			gauge(customDesc, float64(kinds))
		}
		for name, count := range counts {
			gauge(objectsDesc, float64(count), name)
		}
		filter := &e.options.Shard
		gauge(ordinalDesc, float64(filter.Shard), strconv.Itoa(filter.Shard))
		gauge(shardsDesc, float64(max(filter.Total, 1)))
		// Before the first view there is nothing beside which another one is built.
		building, lag := 0.0, 0.0
		if p := s.editions.progress(); p != nil {
			building, lag = 1, float64(p.Fence-min(p.Sequence, p.Fence))
		}
		gauge(buildingDesc, building)
		gauge(pendingDesc, lag)
	}
	if u := s.usage.Load(); u != nil {
		nodes, pods, newest := u.store.Stats()
		gauge(nodesDesc, float64(nodes))
		gauge(podsDesc, float64(pods))
		if !newest.IsZero() {
			gauge(newestDesc, float64(newest.UnixMilli())/1000)
		}
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
