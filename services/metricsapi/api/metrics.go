package api

import "github.com/prometheus/client_golang/prometheus"

// serviceMetrics are the server's own metrics. How far the replays are is told by package stream.
type serviceMetrics struct {
	// Those whose names begin with metrics_server_: on /metrics of the HTTPS port only.
	freshness *freshness
	kubelets  *kubeletMetrics
	points    *storedPoints

	unavailable prometheus.Counter
	forgotten   prometheus.Counter
	refused     *prometheus.CounterVec

	certificateReloads *prometheus.CounterVec
	certificateExpiry  prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer, s *Service) *serviceMetrics {
	m := &serviceMetrics{
		freshness: newFreshness(),
		kubelets:  newKubeletMetrics(s.cfg.Options.Resolution),
		points:    newStoredPoints(s),
		unavailable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_metricsapi_unavailable_total",
			Help: "Requests for metrics answered with 503, because a view was not whole or out of date.",
		}),
		forgotten: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "headwater_metricsapi_forgotten_nodes_total",
			Help: "Nodes whose usage was dropped after they had sent none for long.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_metricsapi_refused_total",
			Help: "Requests refused because answering them would cost too much, by reason.",
		}, []string{"reason"}),
		certificateReloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_metricsapi_serving_certificate_reloads_total",
			Help: "Changes of the serving certificate's files that were taken over (success) or could not be (failure), and renewals.",
		}, []string{"result"}),
		certificateExpiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "headwater_metricsapi_serving_certificate_expiry_timestamp_seconds",
			Help: "When the serving certificate in use expires, in Unix seconds.",
		}),
	}
	for _, reason := range []string{refusedLabels, refusedFields} {
		m.refused.WithLabelValues(reason)
	}
	for _, result := range []string{"success", "failure"} {
		m.certificateReloads.WithLabelValues(result)
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
	registry.MustRegister(m.unavailable, m.forgotten, m.refused, m.certificateReloads, m.certificateExpiry,
		size("nodes", "Nodes that are known from the object log.", objects(func(c *catalog) int { return c.nodes.Len() })),
		size("running_pods", "Running pods that are known from the object log.", objects(func(c *catalog) int { return c.pods.Len() })),
		size("usage_nodes", "Nodes whose last usage sample is held.", usage(func(nodes, _ int) int { return nodes })),
		size("usage_pods", "Pods that are in the usage samples held.", usage(func(_, pods int) int { return pods })),
		size("label_sets", "Distinct label sets of the objects held.", s.cataloger.labels.Len),
	)
	return m
}
