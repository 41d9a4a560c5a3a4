package watcher

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are those of the service.
type metrics struct {
	events         *prometheus.CounterVec // resource, operation
	unchanged      *prometheus.CounterVec // resource
	leftOut        *prometheus.CounterVec // resource, reason
	shrunk         *prometheus.CounterVec // resource
	requests       *prometheus.CounterVec // resource, verb, result
	terms          *prometheus.CounterVec // reason
	snapshots      *prometheus.CounterVec // result
	availabilities *prometheus.CounterVec // result
	overflows      prometheus.Counter
	leader         prometheus.Gauge
	unusable       prometheus.Gauge

	availability *prometheus.GaugeVec // resource, reason
}

// newMetrics registers them; s tells what the gauges show.
func newMetrics(reg prometheus.Registerer, s *Service) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "headwater_state_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: "headwater_state_" + name, Help: help}, value)
	}
	m := &metrics{
		events:    counter("events_total", "Events that were given to the log's writer.", "resource", "operation"),
		unchanged: counter("unchanged_total", "Objects of a list or watch that the log had already, and that were not written again.", "resource"),
		leftOut: counter("left_out_total", "States of objects that are not in the log: paced and behind were overtaken by a newer state; encode, too_large, subject and unreadable could not be written.",
			"resource", "reason"),
		shrunk:         counter("shrunk_total", "Objects that were written without their largest fields, since the NATS server takes no message of their size.", "resource"),
		requests:       counter("requests_total", "Lists and watches that were asked of the API server.", "resource", "verb", "result"),
		terms:          counter("terms_total", "Terms as the log's writer that were ended, by the reason.", "reason"),
		snapshots:      counter("snapshots_total", "Snapshots that were tried.", "result"),
		availabilities: counter("availability_published_total", "Messages that tell consumers which kinds are available.", "result"),
		overflows:      f.NewCounter(prometheus.CounterOpts{Name: "headwater_state_overflows_total", Help: "Times that the writer's buffer was full, so that only the newest state of each object is kept for it."}),
		leader:         f.NewGauge(prometheus.GaugeOpts{Name: "headwater_state_leader", Help: "1 while this process may write to the log."}),
		unusable:       f.NewGauge(prometheus.GaugeOpts{Name: "headwater_state_unusable_definitions", Help: "CustomResourceDefinitions that are wanted and can't be read, so that their custom resources are left as they are."}),
		availability: f.NewGaugeVec(prometheus.GaugeOpts{Name: "headwater_state_resource_available",
			Help: "1 when the API server gives the kind (custom resources: plural.group), else 0 with the reason: pending, forbidden, unauthorized, not_found, unreachable, overloaded or error."},
			[]string{"resource", "reason"}),
	}
	gauge("queued_objects", "Objects whose newest state waits for room in the writer's buffer.", func() float64 { return float64(s.stats().queued) })
	gauge("paced_objects", "Objects whose newest state waits for the kind's pace.", func() float64 { return float64(s.stats().paced) })
	gauge("object_bytes", "Bytes of the encoded objects that the log has. They are held packed, which takes much less.", func() float64 { return float64(s.stats().bytes) })
	if reg != nil {
		reg.MustRegister(objectsCollector{s, prometheus.NewDesc("headwater_state_objects", "Objects that the log has.", []string{"resource"}, nil)})
	}
	return m
}

// available sets a kind's availability.
func (m *metrics) available(resource string, ok bool, reason string) {
	m.gone(resource)
	value := 0.0
	if ok {
		value = 1
	}
	m.availability.WithLabelValues(resource, reason).Set(value)
}

// gone removes a kind's availability.
func (m *metrics) gone(resource string) {
	m.availability.DeletePartialMatch(prometheus.Labels{"resource": resource})
}

// configMetrics are those of a file that is followed.
type configMetrics struct {
	reloads, failed prometheus.Counter
	reloaded        prometheus.Gauge // 1 or 0
	reloadedAt      prometheus.Gauge
}

func newConfigMetrics(reg prometheus.Registerer) *configMetrics {
	f := promauto.With(reg)
	reloads := f.NewCounterVec(prometheus.CounterOpts{Name: "headwater_state_config_reloads_total",
		Help: "Changes of the file with the configuration of custom resources, by whether they could be used."}, []string{"result"})
	return &configMetrics{
		reloads: reloads.WithLabelValues("success"), failed: reloads.WithLabelValues("failure"),
		reloaded: f.NewGauge(prometheus.GaugeOpts{Name: "headwater_state_config_last_reload_successful",
			Help: "1 when the configuration of custom resources could be used as its file was read last, 0 when an older state of it is in use."}),
		reloadedAt: f.NewGauge(prometheus.GaugeOpts{Name: "headwater_state_config_last_reload_success_timestamp_seconds",
			Help: "When a configuration of custom resources was last read that could be used."}),
	}
}

// loaded takes the outcome of reading it.
func (m *configMetrics) loaded(err error) {
	if err != nil {
		m.reloaded.Set(0)
		return
	}
	m.reloaded.Set(1)
	m.reloadedAt.SetToCurrentTime()
}

// objectsCollector counts the objects when it is asked.
type objectsCollector struct {
	service *Service
	desc    *prometheus.Desc
}

func (c objectsCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c objectsCollector) Collect(ch chan<- prometheus.Metric) {
	for resource, n := range c.service.stats().objects {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), resource)
	}
}
