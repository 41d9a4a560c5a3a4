package watcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// Reasons why a kind isn't available, as the metric has them.
const (
	reasonPending      = schemas.PendingReason      // not asked yet
	reasonForbidden    = schemas.ForbiddenReason    // RBAC doesn't allow it
	reasonUnauthorized = schemas.UnauthorizedReason // the API server doesn't know us
	reasonNotFound     = schemas.NotFoundReason     // the API server doesn't have the kind
	reasonUnreachable  = schemas.UnreachableReason  // no answer
	reasonOverloaded   = schemas.OverloadedReason   // 429 or 503
	reasonError        = schemas.ErrorReason        // anything else
)

// health knows which kinds the API server gives us, and tells of every change once.
type health struct {
	metrics *metrics
	log     *slog.Logger
	changed func() // called, without mu, when a kind's availability has changed

	mu          sync.Mutex
	kinds       map[string]*kindHealth // by the kind's name
	unreachable bool                   // and logged
}

// kindHealth is what is known of one kind.
type kindHealth struct {
	kind   objects.Kind
	reason string // "" is available
	since  time.Time
}

func newHealth(kinds []objects.Kind, m *metrics, log *slog.Logger, changed func()) *health {
	h := &health{metrics: m, log: log, changed: changed, kinds: map[string]*kindHealth{}}
	for _, kind := range kinds {
		h.add(kind)
	}
	return h
}

// add begins to keep a kind.
func (h *health) add(kind objects.Kind) {
	name := kind.Name()
	h.mu.Lock()
	_, known := h.kinds[name]
	if !known {
		h.kinds[name] = &kindHealth{kind: kind, reason: reasonPending, since: time.Now()}
		h.metrics.available(name, false, reasonPending)
	}
	h.mu.Unlock()
	if !known {
		h.changed()
	}
}

// forget stops to keep a kind.
func (h *health) forget(name string) {
	h.mu.Lock()
	_, known := h.kinds[name]
	if known {
		delete(h.kinds, name)
		h.metrics.gone(name)
	}
	h.mu.Unlock()
	if known {
		h.changed()
	}
}

// forgetCustom forgets all custom resources: they are found anew.
func (h *health) forgetCustom() {
	h.mu.Lock()
	var names []string
	for name, k := range h.kinds {
		if k.kind.Custom && name != definitionsName {
			names = append(names, name)
		}
	}
	h.mu.Unlock()
	for _, name := range names {
		h.forget(name)
	}
}

// heard takes the outcome of a request.
func (h *health) heard(name, verb string, err error) {
	h.count(name, verb, err)
	h.note(name, verb, err)
}

// count is heard for the metric alone.
func (h *health) count(name, verb string, err error) {
	result := reasonOf(err)
	if err == nil {
		result = "ok"
	}
	h.metrics.requests.WithLabelValues(name, verb, result).Inc()
}

// note is heard without the metric.
func (h *health) note(name, verb string, err error) {
	if ignorable(verb, err) {
		return
	}
	reason := reasonOf(err)
	h.mu.Lock()
	k := h.kinds[name]
	if k == nil { // forgotten meanwhile
		h.mu.Unlock()
		return
	}
	known := k.reason
	if known != reason {
		k.reason, k.since = reason, time.Now()
		h.metrics.available(name, reason == "", reason)
	}
	custom := k.kind.Custom
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
	if known == reason {
		return
	}
	switch {
	case reason == "" && known != reasonPending && known != reasonUnreachable:
		h.log.Info("the kind is available again", "resource", name)
	case reason != "" && reason != reasonUnreachable && name == definitionsName:
		h.log.Warn("it can't be known which custom resources there are, trying on; the log keeps what it has of them: "+definitionsAdvice(reason), "resource", name, "reason", reason, "error", err)
	case reason != "" && reason != reasonUnreachable:
		h.log.Warn("the kind can't be watched, trying on; the others are not affected: "+advice(reason, custom), "resource", name, "reason", reason, "error", err)
	}
	h.changed()
}

// advice says what to do about a reason.
func advice(reason string, custom bool) string {
	flag := "--resources"
	if custom {
		flag = "--custom-resources and the configuration of custom resources"
	}
	switch reason {
	case reasonForbidden:
		return "allow it with a ClusterRole (verbs list and watch), or leave it out of " + flag
	case reasonUnauthorized:
		return "the credentials aren't known to the API server: check the kubeconfig or the service account"
	case reasonNotFound:
		return "this API server doesn't have it: leave it out of " + flag
	case reasonOverloaded:
		return "the API server is overloaded"
	}
	return "see the error"
}

// definitionsAdvice is advice for CustomResourceDefinitions.
func definitionsAdvice(reason string) string {
	if reason == reasonForbidden {
		return "allow the verbs get, list and watch on customresourcedefinitions of apiextensions.k8s.io with a ClusterRole"
	}
	return advice(reason, true)
}

// availability lists the kinds, sorted by group and resource.
func (h *health) availability() []schemas.KindAvailability {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]schemas.KindAvailability, 0, len(h.kinds))
	for _, k := range h.kinds {
		all = append(all, schemas.KindAvailability{Group: k.kind.Group, Resource: k.kind.Resource, Reason: k.reason, Since: k.since.UnixNano()})
	}
	slices.SortFunc(all, func(a, b schemas.KindAvailability) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource))
	})
	return all
}

// blocking lists, of the named kinds, those that may still come: not those that we may not have.
func (h *health) blocking(names []string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		reason := h.reason(name)
		return reason == reasonForbidden || reason == reasonNotFound
	})
}

// reason is what is known of a kind. The caller holds mu.
func (h *health) reason(name string) string {
	if k := h.kinds[name]; k != nil {
		return k.reason
	}
	return reasonPending
}

// said says what is known of the kinds that are waited for.
func (h *health) said(names []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unreachable {
		return errors.New("the API server doesn't answer")
	}
	shown := slices.Clone(names)
	for i, name := range shown {
		if reason := h.reason(name); reason != "" && reason != reasonPending {
			shown[i] += " (" + reason + ")"
		}
	}
	if len(shown) > 5 {
		shown = append(shown[:5], fmt.Sprintf("and %d more", len(names)-5))
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
