package api

import "github.com/prometheus/client_golang/prometheus"

// serviceMetrics are the server's own metrics. How far the replays are is told by package stream.
type serviceMetrics struct {
	freshness   *freshness // a metrics_server_ one: on /metrics of the HTTPS port only
	unavailable prometheus.Counter
	forgotten   prometheus.Counter
}

func newMetrics(registry prometheus.Registerer, s *Service) *serviceMetrics {
	m := &serviceMetrics{
		freshness: newFreshness(),
		unavailable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_metricsapi_unavailable_total",
			Help: "Requests for metrics answered with 503, because a view was not whole or out of date.",
		}),
		forgotten: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_metricsapi_forgotten_nodes_total",
			Help: "Nodes whose usage was dropped after they had sent none for long.",
		}),
	}
	if registry == nil {
		return m
	}
	size := func(kind, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "headwater_metricsapi_view_" + kind, Help: help,
		}, func() float64 { return float64(value()) })
	}
	usage := func(pick func(nodes, pods int) int) func() int {
		return func() int {
			if usage := s.usage.Load(); usage != nil {
				return pick(usage.Len())
			}
			return 0
		}
	}
	objects := func(pick func(*catalog) int) func() int {
		return func() int {
			if catalog := s.catalogs.Load(); catalog != nil {
				return pick(catalog)
			}
			return 0
		}
	}
	registry.MustRegister(m.unavailable, m.forgotten,
		size("nodes", "Nodes that are known from the object log.", objects(func(c *catalog) int { return c.nodes.Len() })),
		size("running_pods", "Running pods that are known from the object log.", objects(func(c *catalog) int { return c.pods.Len() })),
		size("usage_nodes", "Nodes whose last usage sample is held.", usage(func(nodes, _ int) int { return nodes })),
		size("usage_pods", "Pods that are in the usage samples held.", usage(func(_, pods int) int { return pods })),
		size("label_sets", "Distinct label sets of the objects held.", s.cataloger.labels.Len),
	)
	return m
}
