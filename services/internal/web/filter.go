package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/kubeconfig"
)

// ReviewTimeout bounds how long a request waits for the API server, both of its reviews together. It is half of
// Prometheus' usual time-out for a scrape, so that the scraper still gets to see the reason.
const ReviewTimeout = 5 * time.Second

// How long an answer of the API server is used again: as in kube-state-metrics.
const (
	identityTTL = time.Minute
	allowedTTL  = 5 * time.Minute
	deniedTTL   = 30 * time.Second
)

// What becomes of a request, as counted.
const (
	resultAllowed         = "allowed"
	resultUnauthenticated = "unauthenticated" // no token, or none that the API server knows
	resultForbidden       = "forbidden"
	resultUnavailable     = "unavailable" // the API server didn't say
)

// filter asks the API server about each request.
type filter struct {
	authenticator authenticator.Request
	authorizer    authorizer.Authorizer
	results       *prometheus.CounterVec
	log           *slog.Logger
	timeout       time.Duration
	complaint     rate.Sometimes // paces what is logged about an API server that doesn't answer
}

func newFilter(o *Options, timeout time.Duration, log *slog.Logger, reg prometheus.Registerer) (*filter, error) {
	config, err := kubeconfig.LoadFor(o.APIServer, o.Kubeconfig, "--kubeconfig")
	if err != nil {
		return nil, fmt.Errorf("--auth-filter has to ask the API server: %w", err)
	}
	config = rest.CopyConfig(config)
	config.UserAgent = "headwater"
	config.Timeout = timeout
	config.QPS = -1 // a client that tries many tokens must not use up the turns of the others

	f := &filter{log: log, timeout: timeout, complaint: rate.Sometimes{First: 1, Interval: time.Minute}}
	f.results = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "headwater_web_authorizations_total",
		Help: "Requests that --auth-filter decided on: allowed, unauthenticated (401), forbidden (403), or unavailable (503) because the API server gave no answer.",
	}, []string{"result"})
	for _, result := range []string{resultAllowed, resultUnauthenticated, resultForbidden, resultUnavailable} {
		f.results.WithLabelValues(result)
	}
	if f.authenticator, f.authorizer, err = delegated(config); err != nil {
		return nil, fmt.Errorf("couldn't set up --auth-filter: %w; check --kubeconfig and --apiserver", err)
	}
	if reg != nil {
		if err := reg.Register(f.results); err != nil {
			return nil, fmt.Errorf("couldn't count what --auth-filter decides: %w; make one guard for a registry", err)
		}
	}
	return f, nil
}

// delegated makes what sends TokenReviews and SubjectAccessReviews.
func delegated(config *rest.Config) (authenticator.Request, authorizer.Authorizer, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, nil, err
	}
	tokens, err := authenticationv1.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, nil, err
	}
	accesses, err := authorizationv1.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, nil, err
	}
	retry := &wait.Backoff{Duration: 250 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 3}
	authentication, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:                &apiserver.AnonymousAuthConfig{Enabled: false},
		TokenAccessReviewClient:  tokens,
		TokenAccessReviewTimeout: config.Timeout,
		WebhookRetryBackoff:      retry,
		CacheTTL:                 identityTTL,
	}.New()
	if err != nil {
		return nil, nil, err
	}
	authorization, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: accesses,
		AllowCacheTTL:             allowedTTL,
		DenyCacheTTL:              deniedTTL,
		WebhookRetryBackoff:       retry,
	}.New()
	return authentication, authorization, err
}

func (f *filter) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result, text := f.decide(r)
		f.results.WithLabelValues(result).Inc()
		switch result {
		case resultAllowed:
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
	ctx, cancel := context.WithTimeout(r.Context(), f.timeout)
	defer cancel()
	who, known, err := f.authenticator.AuthenticateRequest(r.WithContext(ctx))
	switch because := cmp.Or(away(err), ctx.Err()); {
	case because != nil:
		return f.unanswered(r, "who you are", "tokenreviews.authentication.k8s.io", because)
	case err != nil || !known:
		return resultUnauthenticated, "unauthorized: the request needs a bearer token that the API server knows"
	}
	verb := strings.ToLower(r.Method)
	decision, _, err := f.authorizer.Authorize(ctx, authorizer.AttributesRecord{User: who.User, Verb: verb, Path: r.URL.Path})
	if err != nil {
		return f.unanswered(r, "whether you may", "subjectaccessreviews.authorization.k8s.io", err)
	}
	if decision != authorizer.DecisionAllow {
		return resultForbidden, fmt.Sprintf("forbidden: user %q may not %s %s; a ClusterRole that names it in nonResourceURLs allows that", who.User.GetName(), verb, r.URL.Path)
	}
	return resultAllowed, ""
}

// unanswered is the decision when the API server gave none. The client is not told the reason, which may name machines.
func (f *filter) unanswered(r *http.Request, what, resource string, err error) (result, text string) {
	if r.Context().Err() == nil { // else the client went away, and it isn't the API server's fault
		f.complaint.Do(func() {
			hint := "is it up, and is this its address?"
			if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
				hint = "grant create on " + resource + " to this process, as the ClusterRole system:auth-delegator does"
			}
			f.log.Warn("a request was refused, because the API server didn't say whether it is allowed; more of these are only counted, for a minute",
				"path", r.URL.Path, "client", r.RemoteAddr, "error", err, "hint", hint)
		})
	}
	return resultUnavailable, "unavailable: couldn't ask the API server " + what + "; try again, the log here has the reason"
}

// away is the error by which the API server gave no answer; nil for one that says that it doesn't know a token.
func away(err error) error {
	var several utilerrors.Aggregate // doesn't lead errors.As to what it holds
	if errors.As(err, &several) {
		for _, one := range several.Errors() {
			if found := away(one); found != nil {
				return found
			}
		}
		return nil
	}
	var (
		status    apierrors.APIStatus
		transport *url.Error
		network   net.Error
	)
	if errors.As(err, &status) || errors.As(err, &transport) || errors.As(err, &network) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
