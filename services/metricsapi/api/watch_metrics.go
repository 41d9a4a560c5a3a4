package api

import (
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
)

// watchMetrics are the metrics of watching. They exist only where it is on.
type watchMetrics struct {
	ended *prometheus.CounterVec
}

func newWatchMetrics(registry prometheus.Registerer, w *watches) *watchMetrics {
	m := &watchMetrics{ended: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_metricsapi_watches_refused_total",
		Help: "Watches that could not begin or go on, by the reason that the client was told; Expired: it has to list again.",
	}, []string{"reason"})}
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_metricsapi_watch_events_total",
		Help: "Events that were sent to those who watch, bookmarks included.",
	}, []string{"resource", "type"})
	of := func(resource string) map[watch.EventType]prometheus.Counter {
		counters := map[watch.EventType]prometheus.Counter{}
		for _, kind := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted, watch.Bookmark} {
			counters[kind] = events.WithLabelValues(resource, string(kind))
		}
		return counters
	}
	w.nodes.events, w.pods.events = of("nodes"), of("pods")
	if registry == nil {
		return m
	}
	gauge := func(name, help, resource string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "headwater_metricsapi_" + name, Help: help, ConstLabels: prometheus.Labels{"resource": resource},
		}, func() float64 { return float64(value()) })
	}
	const watchers, past = "Watches that are open.", "Arrivals, departures and changes of labels that are remembered for those who watch."
	locked := func(value func() int) func() int {
		return func() int {
			w.mu.RLock()
			defer w.mu.RUnlock()
			return value()
		}
	}
	registry.MustRegister(m.ended, events,
		gauge("watchers", watchers, "nodes", func() int { return int(w.nodes.watchers.Load()) }),
		gauge("watchers", watchers, "pods", func() int { return int(w.pods.watchers.Load()) }),
		gauge("watch_past", past, "nodes", locked(func() int { return w.nodes.changes.Past() })),
		gauge("watch_past", past, "pods", locked(func() int { return w.pods.changes.Past() })),
	)
	return m
}

// refused counts a watch that could not begin or go on.
func (m *watchMetrics) refused(err error) {
	m.ended.WithLabelValues(string(apierrors.ReasonForError(err))).Inc()
}
