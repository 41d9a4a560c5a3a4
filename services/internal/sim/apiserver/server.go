package apiserver

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/headwater-metrics/headwater/services/internal/sim/fault"
	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
)

// bodyLimit is the most that a request's body may hold, as in the real server.
const bodyLimit = 3 << 20

// Config is what a Server needs.
type Config struct {
	// Store holds the objects. Required.
	Store *Store
	// Users says who may do what. Required.
	Users *identity.Registry
	// Bookmarks is the time between two bookmarks of a watch that takes them. Default: a minute.
	Bookmarks time.Duration
	// FrontProxy is the client certificate for aggregated APIs.
	FrontProxy tls.Certificate
	// Admit, if set, completes an object that is about to be created over the wire: where a real cluster would have
	// defaults, a scheduler and a kubelet.
	Admit func(obj runtime.Object)
	// Wrote, if set, is called after every change that came over the wire, outside the store's lock: where a real
	// cluster has controllers.
	Wrote func(Change)
	// Log is for what goes wrong. Required.
	Log *slog.Logger
}

// Server answers the requests of the Kubernetes API. It may be used concurrently.
type Server struct {
	store      *Store
	users      *identity.Registry
	bookmarks  time.Duration
	frontProxy tls.Certificate
	admit      func(runtime.Object)
	wrote      func(Change)
	log        *slog.Logger

	// watchList says whether streaming lists are offered.
	watchList atomic.Bool
	// asked counts the requests.
	asked requests
	// metrics is who serves metrics.k8s.io; nil when nobody does.
	metrics atomic.Pointer[aggregate]

	// bendsMu guards bends, the faults that are in force, the newest last.
	bendsMu sync.RWMutex
	bends   []*bend
}

type bend struct {
	applies func(*http.Request) bool
	fault   fault.Fault
}

// NewServer makes a server for a store.
func NewServer(cfg Config) *Server {
	s := &Server{
		store: cfg.Store, users: cfg.Users, bookmarks: cfg.Bookmarks, frontProxy: cfg.FrontProxy,
		admit: cfg.Admit, wrote: cfg.Wrote, log: cfg.Log,
	}
	if s.bookmarks <= 0 {
		s.bookmarks = time.Minute
	}
	s.watchList.Store(true)
	return s
}

// OfferWatchList says whether watches with sendInitialEvents are served, or refused as by an older server.
func (s *Server) OfferWatchList(offered bool) { s.watchList.Store(offered) }

// Bend puts a fault in the way of the requests that applies says true for, until mend is called. Of several, the
// newest is used.
func (s *Server) Bend(applies func(*http.Request) bool, f fault.Fault) (mend func()) {
	b := &bend{applies: applies, fault: f}
	s.bendsMu.Lock()
	defer s.bendsMu.Unlock()
	s.bends = append(s.bends, b)
	return func() {
		s.bendsMu.Lock()
		defer s.bendsMu.Unlock()
		var left []*bend
		for _, other := range s.bends {
			if other != b {
				left = append(left, other)
			}
		}
		s.bends = left
	}
}

func (s *Server) bent(r *http.Request) fault.Fault {
	s.bendsMu.RLock()
	bends := s.bends
	s.bendsMu.RUnlock()
	for i := len(bends) - 1; i >= 0; i-- {
		if bends[i].applies(r) {
			return bends[i].fault
		}
	}
	return nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f := s.bent(r); f != nil {
		f(w, r, http.HandlerFunc(s.serve))
		return
	}
	s.serve(w, r)
}

// open are the paths that anybody may read.
var open = map[string]bool{"/healthz": true, "/livez": true, "/readyz": true, "/version": true}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	user, err := s.users.Authenticate(r)
	if err != nil {
		s.fail(w, r, errors.NewUnauthorized("Unauthorized"))
		return
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		s.fail(w, r, errors.NewBadRequest(err.Error()))
		return
	}
	q := parse(r, query, s.store.row)
	if q.res != nil && q.res.custom {
		r = jsonOnly(r)
	}
	s.asked.add(r, q)
	attributes := q.attributes(r.URL.Path)
	if !open[r.URL.Path] && !s.users.Authorize(user, attributes) && !selfReview(q) {
		s.fail(w, r, forbidden(user, attributes))
		return
	}
	switch {
	case !q.isAPI:
		s.plain(w, r)
	case q.isAPI && len(q.segments) > 0 && q.segments[0] == metricsGroup:
		s.proxyMetrics(w, r, user)
	case q.resource == "":
		s.discover(w, r, q)
	case isReview(q):
		s.review(w, r, q, user)
	case q.res == nil || s.store.isHidden(q.res):
		s.fail(w, r, notServed())
	case q.subresource != "":
		s.subresource(w, r, q, query)
	default:
		s.objects(w, r, q, query)
	}
}

func (s *Server) objects(w http.ResponseWriter, r *http.Request, q request, query url.Values) {
	switch {
	case q.res.Namespaced && q.namespace == "" && q.verb != "list" && q.verb != "watch":
		s.fail(w, r, notServed())
	case q.verb == "get":
		s.get(w, r, q)
	case q.verb == "list":
		s.list(w, r, q, query)
	case q.verb == "watch":
		s.watch(w, r, q, query)
	case q.verb == "create" && q.name == "":
		s.create(w, r, q, query)
	case q.verb == "update" && q.name != "":
		s.update(w, r, q, query)
	case q.verb == "patch" && q.name != "":
		s.patch(w, r, q, query)
	case q.verb == "delete":
		s.delete(w, r, q, query)
	case q.verb == "deletecollection":
		s.deleteCollection(w, r, q, query)
	default:
		s.fail(w, r, errors.NewMethodNotSupported(q.res.GR(), q.verb))
	}
}

// notServed is what the API says of a path that names no resource.
func notServed() error {
	return errors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, true)
}

// forbidden says, in the API's words, what a user may not do.
func forbidden(user identity.User, a identity.Attributes) error {
	gr := schema.GroupResource{Group: a.Group, Resource: a.Resource}
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	switch {
	case a.Resource == "":
		//lint:ignore ST1005 word for word what kube-apiserver says
		return errors.NewForbidden(gr, "", fmt.Errorf("User %q cannot %s path %q", user.Name, a.Verb, a.Path))
	case a.Namespace != "":
		//lint:ignore ST1005 word for word what kube-apiserver says
		return errors.NewForbidden(gr, a.Name, fmt.Errorf("User %q cannot %s resource %q in API group %q in the namespace %q", user.Name, a.Verb, resource, a.Group, a.Namespace))
	}
	//lint:ignore ST1005 word for word what kube-apiserver says
	return errors.NewForbidden(gr, a.Name, fmt.Errorf("User %q cannot %s resource %q in API group %q at the cluster scope", user.Name, a.Verb, resource, a.Group))
}

// accept negotiates, or answers 406.
func (s *Server) accept(w http.ResponseWriter, r *http.Request) (format, bool) {
	f, ok := negotiate(r, r.URL.Query().Get("includeObject"))
	if !ok {
		s.fail(w, r, errors.NewGenericServerResponse(http.StatusNotAcceptable, r.Method, schema.GroupResource{}, "",
			"only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf", 0, false))
	}
	return f, ok
}

// read decodes a request's body into a typed object, of the given kind unless it says another one itself.
func (s *Server) read(r *http.Request, gvk schema.GroupVersionKind) (runtime.Object, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, bodyLimit))
	if err != nil {
		return nil, errors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", bodyLimit))
	}
	obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, &gvk, nil)
	if err != nil {
		return nil, errors.NewBadRequest(err.Error())
	}
	return obj, nil
}

// plain answers what isn't an API.
func (s *Server) plain(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case open[path] && path != "/version":
		io.WriteString(w, "ok")
	case path == "/version":
		s.writeVersion(w)
	case path == "/metrics":
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		s.asked.write(w)
	case strings.HasPrefix(path, "/openapi/"):
		s.openapi(w, r)
	case path == "/":
		s.writeDocument(w, map[string]any{"paths": []string{"/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"}})
	default:
		http.NotFound(w, r)
	}
}
