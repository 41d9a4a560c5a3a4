package scraper

import (
	"context"
	"errors"
	"fmt"
	"net/url"
)

// The values of Config.Source.
const (
	// SourceResource is the kubelets' /metrics/resource: CPU time, working set, start and swap of containers, pods and node.
	SourceResource = "resource"
	// SourceSummary is the same, and of /stats/summary what that one has besides.
	//
	// CPU time and working set are not taken from /stats/summary, which has them too: it gives times in whole seconds, so
	// that a rate over 15 s would be wrong by up to 7 %. So both sources give the same points, by the same rules.
	SourceSummary = "summary"
)

// summaryPath is the kubelets' second endpoint. No annotation names another one.
const summaryPath = "/stats/summary"

// withoutSummary is the failure of the request for the summary: the sample has none.
type withoutSummary struct {
	url string // that was asked
	err error  // a *failure
}

func (w *withoutSummary) Error() string { return w.err.Error() }
func (w *withoutSummary) Unwrap() error { return w.err }

// lacksSummary returns what err says of the summary; nil where it is something else.
func lacksSummary(err error) *withoutSummary {
	var w *withoutSummary
	errors.As(err, &w)
	return w
}

// more asks a kubelet for what SourceSummary adds; nil with SourceResource. Whoever has it gives it back by release. It takes
// two thirds of the time at most, so that there is some left for what matters most. An error is a *withoutSummary.
func (s *Service) more(ctx context.Context, target *Target) (*summary, error) {
	if s.cfg.Source != SourceSummary {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.KubeletRequestTimeout*2/3)
	defer cancel()
	m := summaries.Get().(*summary)
	u := &url.URL{Scheme: target.URL.Scheme, Host: target.URL.Host, Path: summaryPath}
	err := s.kubelets.get(ctx, u, func(body []byte) error {
		s.metrics.bodies.Add(float64(len(body)))
		if err := m.decode(body); err != nil {
			return failed(resultDecode, fmt.Errorf("%w; if it isn't a kubelet that answers, check --kubelet-port; --source=resource does without this", err))
		}
		return nil
	})
	s.metrics.summaries[resultOf(err, resultSuccess)].Inc()
	if err != nil {
		m.release()
		return nil, &withoutSummary{u.Redacted(), failed(resultOf(err, resultInternal), fmt.Errorf("%s: %w", summaryPath, err))}
	}
	return m, nil
}

// statusAdvice says what to do about an answer to a request for path with a status other than 200; "" for no idea.
func statusAdvice(path string, status int) string {
	const (
		badRequest   = 400
		unauthorized = 401
		forbidden    = 403
		notFound     = 404
		serverError  = 500
	)
	summary := path == summaryPath
	switch {
	case status == badRequest:
		return "if it wants HTTPS, leave --deprecated-kubelet-completely-insecure out; else see what answers there, and check --kubelet-port"
	case status == unauthorized:
		return "it doesn't accept the credentials: check --kubeconfig or the service account, and the kubelet's --authentication-token-webhook"
	case status == forbidden && summary:
		return "grant get on nodes/stats to the identity that it names, or use --source=resource"
	case status == forbidden:
		return "grant get on nodes/metrics to the identity that it names"
	case status == notFound && summary:
		return "it has no such path: use --source=resource, or check --kubelet-port"
	case status == notFound:
		return "kubelets have the path since Kubernetes 1.18: check the node's annotation " + pathAnnotation + " and --kubelet-port"
	case status >= serverError:
		return "the kubelet is in trouble itself: see its log on the node (journalctl -u kubelet), and whether its container runtime answers"
	}
	return ""
}
