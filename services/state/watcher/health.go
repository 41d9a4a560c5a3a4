package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
)

// Reasons why a kind isn't available, as the metric has them.
const (
	reasonForbidden    = "forbidden"    // RBAC doesn't allow it
	reasonUnauthorized = "unauthorized" // the API server doesn't know us
	reasonNotFound     = "not_found"    // the API server doesn't have the kind
	reasonUnreachable  = "unreachable"  // no answer
	reasonOverloaded   = "overloaded"   // 429 or 503
	reasonError        = "error"        // anything else
)

// health knows which kinds the API server gives us, and tells of every change once.
type health struct {
	metrics *metrics
	log     *slog.Logger
	changed func() // called, without mu, when a kind's availability has changed

	mu          sync.Mutex
	reasons     map[string]string // by resource; "" is available, absent not asked yet
	unreachable bool              // and logged
}

func newHealth(resources []string, m *metrics, log *slog.Logger, changed func()) *health {
	h := &health{metrics: m, log: log, changed: changed, reasons: map[string]string{}}
	for _, resource := range resources {
		h.metrics.available(resource, false, "pending")
	}
	return h
}

// heard takes the outcome of a request.
func (h *health) heard(resource, verb string, err error) {
	reason := reasonOf(err)
	result := reason
	if err == nil {
		result = "ok"
	}
	h.metrics.requests.WithLabelValues(resource, verb, result).Inc()
	if ignorable(verb, err) {
		return
	}
	h.mu.Lock()
	known, asked := h.reasons[resource]
	h.reasons[resource] = reason
	first := reason == reasonUnreachable && !h.unreachable
	back := reason != reasonUnreachable && h.unreachable
	h.unreachable = h.unreachable && !back || first
	h.mu.Unlock()
	switch {
	case first:
		h.log.Error("the API server doesn't answer, trying on; check the kubeconfig's server address and the network", "error", err)
	case back:
		h.log.Info("the API server answers")
	}
	if asked && known == reason {
		return
	}
	h.metrics.available(resource, reason == "", reason)
	switch {
	case reason == "" && asked && known != reasonUnreachable:
		h.log.Info("the kind is available again", "resource", resource)
	case reason != "" && reason != reasonUnreachable:
		h.log.Warn("the kind can't be watched, trying on; the others are not affected: "+advice(reason, resource), "resource", resource, "reason", reason, "error", err)
	}
	h.changed()
}

// advice says what to do about a reason.
func advice(reason, resource string) string {
	switch reason {
	case reasonForbidden:
		return "allow it with a ClusterRole (verbs list and watch), or leave it out of --resources"
	case reasonUnauthorized:
		return "the credentials aren't known to the API server: check the kubeconfig or the service account"
	case reasonNotFound:
		return "this API server doesn't have it: leave it out of --resources"
	case reasonOverloaded:
		return "the API server is overloaded"
	}
	return "see the error"
}

// blocking lists, of the given kinds, those that may still come: not those that we may not have.
func (h *health) blocking(resources []string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(resources), func(resource string) bool {
		reason := h.reasons[resource]
		return reason == reasonForbidden || reason == reasonNotFound
	})
}

// said says what is known of the kinds that are waited for.
func (h *health) said(resources []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unreachable {
		return errors.New("the API server doesn't answer")
	}
	shown := slices.Clone(resources)
	for i, resource := range shown {
		if reason := h.reasons[resource]; reason != "" {
			shown[i] += " (" + reason + ")"
		}
	}
	if len(shown) > 5 {
		shown = append(shown[:5], fmt.Sprintf("and %d more", len(resources)-5))
	}
	return fmt.Errorf("not listed yet: %s", strings.Join(shown, ", "))
}

// ignorable tells whether an error says nothing of the kind: the watch is too old, or streaming lists aren't offered. A
// list follows.
func ignorable(verb string, err error) bool {
	if err == nil {
		return false
	}
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsTimeout(err) && verb == "list" {
		return true
	}
	if errors.Is(err, context.Canceled) {
		return true
	}
	return verb == "watch" && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err))
}

// reasonOf is the reason that an error stands for; "" for none.
func reasonOf(err error) string {
	var network net.Error
	var request *url.Error
	switch {
	case err == nil:
		return ""
	case apierrors.IsForbidden(err):
		return reasonForbidden
	case apierrors.IsUnauthorized(err):
		return reasonUnauthorized
	case apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err), meta.IsNoMatchError(err):
		return reasonNotFound
	case apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err):
		return reasonOverloaded
	case errors.As(err, &request), errors.As(err, &network):
		return reasonUnreachable
	}
	return reasonError
}
