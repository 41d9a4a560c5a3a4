package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	apimetrics "k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/restclient" // the library's rest_client_* metrics
)

// metricsHandler serves /metrics: what the API server library counts (apiserver_*, rest_client_*, go_*, process_*), then
// the metrics_server_ ones, then the process's own.
func (s *Service) metricsHandler() http.Handler {
	apimetrics.Register() // into the library's own registry; once for all servers of a process
	own := prometheus.NewRegistry()
	own.MustRegister(s.metrics.freshness, s.metrics.kubelets, s.metrics.points)
	gatherers := joined{legacyregistry.DefaultGatherer, own}
	if s.cfg.Gatherer != nil {
		gatherers = append(gatherers, s.cfg.Gatherer)
	}
	return promhttp.HandlerFor(gatherers, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// joined is several gatherers as one. Where two have a family of one name, the first one's counts: both the library and
// the process have collectors for Go and the process, and a page must not have a series twice.
type joined []prometheus.Gatherer

// Gather implements prometheus.Gatherer.
func (j joined) Gather() ([]*dto.MetricFamily, error) {
	var (
		families []*dto.MetricFamily
		errs     []error
		seen     = map[string]bool{}
	)
	for _, gatherer := range j {
		gathered, err := gatherer.Gather()
		errs = append(errs, err)
		for _, family := range gathered {
			if name := family.GetName(); !seen[name] {
				seen[name] = true
				families = append(families, family)
			}
		}
	}
	slices.SortStableFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families, errors.Join(errs...)
}
