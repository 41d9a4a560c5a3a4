package server

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// relay is the registry of an edition's replay. Counters belong to all editions, so they go on where the one before
// stopped; what is asked of the replay itself (its position, its lag) is kept, and told of the edition in service alone: see
// currentReplay.
type relay struct {
	shared prometheus.Registerer // nil for none

	mu  sync.Mutex
	own []prometheus.Collector
}

// Register implements prometheus.Registerer.
func (r *relay) Register(c prometheus.Collector) error {
	_, settable := c.(interface{ Inc() })
	if _, single := c.(prometheus.Metric); single && !settable { // its value is a function's
		r.mu.Lock()
		defer r.mu.Unlock()
		r.own = append(r.own, c)
		return nil
	}
	if r.shared == nil {
		return nil
	}
	return r.shared.Register(c)
}

// MustRegister implements prometheus.Registerer.
func (r *relay) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if r.Register(c) != nil && r.shared != nil {
			r.shared.MustRegister(c)
		}
	}
}

// Unregister implements prometheus.Registerer. An edition's metrics end with it.
func (r *relay) Unregister(prometheus.Collector) bool { return false }

// currentReplay collects the metrics of the replay that fills the view in service; before there is one, of the first.
type currentReplay struct{ editions *editions }

// Describe implements prometheus.Collector: it says nothing, because there may be none yet.
func (c currentReplay) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c currentReplay) Collect(metrics chan<- prometheus.Metric) {
	e := c.editions.serving.Load()
	if e == nil {
		e = c.editions.newest()
	}
	if e == nil {
		return
	}
	e.registry.mu.Lock()
	own := e.registry.own
	e.registry.mu.Unlock()
	for _, m := range own {
		m.Collect(metrics)
	}
}
