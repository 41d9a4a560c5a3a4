package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/kubeconfig"
)

// ReviewTimeout bounds how long a request waits for the API server, both of its reviews together. It is half of
// Prometheus' usual time-out for a scrape, so that the scraper still gets to see the reason.
const ReviewTimeout = 5 * time.Second

// What becomes of a request, as counted.
const (
	resultAllowed         = "allowed"
	resultUnauthenticated = "unauthenticated" // no token, or none that the API server knows
	resultForbidden       = "forbidden"
	resultUnavailable     = "unavailable" // the API server didn't say
)

// filter asks the API server about each request.
type filter struct {
	reviews   *reviewer
	timeout   time.Duration
	results   *prometheus.CounterVec
	log       *slog.Logger
	complaint rate.Sometimes // paces what is logged about an API server that doesn't answer
}

func newFilter(o *Options, timeout time.Duration, log *slog.Logger, reg prometheus.Registerer) (*filter, error) {
	config, err := kubeconfig.LoadFor(o.APIServer, o.Kubeconfig, "--kubeconfig")
	if err != nil {
		return nil, fmt.Errorf("--auth-filter has to ask the API server: %w", err)
	}
	config = rest.CopyConfig(config)
	config.UserAgent = "headwater"
	f := &filter{timeout: timeout, log: log, complaint: rate.Sometimes{First: 1, Interval: time.Minute}}
	if f.reviews, err = newReviewer(config, timeout); err != nil {
		return nil, fmt.Errorf("couldn't set up --auth-filter: %w; check --kubeconfig and --apiserver", err)
	}
	f.results = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_web_authorizations_total",
		Help: "Requests that --auth-filter decided on: allowed, unauthenticated (401), forbidden (403), or unavailable (503) because the API server gave no answer.",
	}, []string{"result"})
	for _, result := range []string{resultAllowed, resultUnauthenticated, resultForbidden, resultUnavailable} {
		f.results.WithLabelValues(result)
	}
	if reg != nil {
		if err := reg.Register(f.results); err != nil {
			return nil, fmt.Errorf("couldn't count what --auth-filter decides: %w; make one guard for a registry", err)
		}
	}
	return f, nil
}

func (f *filter) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result, text := f.decide(r)
		f.results.WithLabelValues(result).Inc()
		switch result {
		case resultAllowed:
			r.Header.Del("Authorization") // nobody behind this needs it
			next.ServeHTTP(w, r)
		case resultUnauthenticated:
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, text, http.StatusUnauthorized)
		case resultForbidden:
			http.Error(w, text, http.StatusForbidden)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, text, http.StatusServiceUnavailable)
		}
	})
}

// decide says what becomes of a request, and why, in words for the client.
func (f *filter) decide(r *http.Request) (result, text string) {
	const unauthorized = "unauthorized: the request needs a bearer token that the API server knows"
	token := bearer(r)
	if token == "" {
		return resultUnauthenticated, unauthorized
	}
	ctx, cancel := context.WithTimeout(r.Context(), f.timeout)
	defer cancel()
	user, err := f.reviews.who(ctx, token)
	switch {
	case err != nil:
		return f.unanswered(r, "who you are", "tokenreviews.authentication.k8s.io", err)
	case user == nil:
		return resultUnauthenticated, unauthorized
	}
	verb := strings.ToLower(r.Method)
	allowed, err := f.reviews.may(ctx, user, verb, r.URL.Path)
	switch {
	case err != nil:
		return f.unanswered(r, "whether you may", "subjectaccessreviews.authorization.k8s.io", err)
	case !allowed:
		return resultForbidden, fmt.Sprintf("forbidden: user %q may not %s %s; a ClusterRole that names it in nonResourceURLs allows that", user.Username, verb, r.URL.Path)
	}
	return resultAllowed, ""
}

// bearer is the token that a request brings; "" for none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// unanswered is the decision when the API server gave none. The client is not told the reason, which may name machines.
func (f *filter) unanswered(r *http.Request, what, resource string, err error) (result, text string) {
	if r.Context().Err() == nil { // else the client went away, and it isn't the API server's fault
		f.complaint.Do(func() {
			hint := "is it up, and is this its address?"
			var status *statusError
			if errors.As(err, &status) && (status.code == http.StatusForbidden || status.code == http.StatusUnauthorized) {
				hint = "grant create on " + resource + " to this process, as the ClusterRole system:auth-delegator does"
			}
			f.log.Warn("a request was refused, because the API server didn't say whether it is allowed; more of these are only counted, for a minute",
				"path", r.URL.Path, "client", r.RemoteAddr, "error", err, "hint", hint)
		})
	}
	return resultUnavailable, "unavailable: couldn't ask the API server " + what + "; try again, the log here has the reason"
}
