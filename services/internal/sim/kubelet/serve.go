package kubelet

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/klauspost/compress/gzip"

	"github.com/headwater-metrics/headwater/services/internal/sim/fault"
	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
)

// server is one HTTP server over the listeners of all nodes: a request belongs to the node whose address it came to.
type server struct {
	farm *Farm
	http *http.Server
	key  *ecdsa.PrivateKey // shared by all kubelets; their certificates differ

	buffers sync.Pool
	gzips   sync.Pool

	// mu guards what follows.
	mu        sync.RWMutex
	endpoints map[string]*endpoint // by the listener's address
	byNode    map[string]*endpoint
	closed    bool
}

// endpoint is where one kubelet listens.
type endpoint struct {
	node, address string
	names         identity.Subject
	requests      atomic.Int64
	fault         atomic.Pointer[fault.Fault]

	// certificate is signed at the first handshake.
	sign        sync.Once
	certificate *tls.Certificate
	signError   error

	// mu guards what follows.
	mu       sync.Mutex
	listener net.Listener // nil while down
	conns    map[net.Conn]struct{}
}

func newServer(f *Farm) (*server, error) {
	key, err := identity.NewKey()
	if err != nil {
		return nil, err
	}
	s := &server{farm: f, key: key, endpoints: map[string]*endpoint{}, byNode: map[string]*endpoint{}}
	s.buffers.New = func() any { return new([]byte) }
	s.gzips.New = func() any {
		z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails only for a level that doesn't exist
		return z
	}
	s.http = &http.Server{
		Handler:     s,
		ConnContext: fault.ConnContext,
		ConnState:   s.connState,
		ErrorLog:    slog.NewLogLogger(f.cfg.Log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			GetCertificate: s.certificateFor,
			ClientAuth:     tls.VerifyClientCertIfGiven,
			ClientCAs:      f.cfg.CA.Pool(),
			MinVersion:     tls.VersionTLS12,
		},
	}
	return s, nil
}

// Listen opens a node's kubelet on an address, with port 0 on any free port, and returns the port. names are further
// names and addresses that its certificate is good for.
func (f *Farm) Listen(node string, address string, port int, names ...string) (int, error) {
	s := f.server
	listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return 0, fmt.Errorf("couldn't listen for the kubelet of %s: %w", node, explain(err))
	}
	e := &endpoint{node: node, address: listener.Addr().String(), listener: listener, conns: map[net.Conn]struct{}{}}
	e.names = identity.Subject{CommonName: "system:node:" + node, Organizations: []string{"system:nodes"}, DNSNames: []string{node}}
	for _, name := range append(names, address) {
		if ip := net.ParseIP(name); ip != nil {
			e.names.IPs = append(e.names.IPs, ip)
		} else if name != "" {
			e.names.DNSNames = append(e.names.DNSNames, name)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		listener.Close()
		return 0, fmt.Errorf("couldn't listen for the kubelet of %s: the simulation is closed", node)
	}
	s.endpoints[e.address], s.byNode[node] = e, e
	go s.serve(listener)
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// explain says what to do about an address that can't be listened on.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w; this system doesn't take all of 127.0.0.0/8 for loopback: give the kubelets one host instead", err)
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("%w; raise the limit of open files (ulimit -n), a node needs a few", err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; choose another kubelet port, or 0 for any", err)
	}
	return err
}

func (s *server) serve(listener net.Listener) {
	if err := s.http.ServeTLS(listener, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		s.farm.cfg.Log.Warn("a kubelet stopped serving", "address", listener.Addr(), "error", err)
	}
}

// Unlisten closes a node's kubelet for good.
func (f *Farm) Unlisten(node string) {
	s := f.server
	s.mu.Lock()
	e := s.byNode[node]
	if e != nil {
		delete(s.byNode, node)
		delete(s.endpoints, e.address)
	}
	s.mu.Unlock()
	if e != nil {
		e.down()
	}
}

// Down closes a node's port and its connections, until Up: clients are refused.
func (f *Farm) Down(node string) error {
	e, err := f.server.endpoint(node)
	if err != nil {
		return err
	}
	e.down()
	return nil
}

// Up opens a node's port again, at the same address.
func (f *Farm) Up(node string) error {
	e, err := f.server.endpoint(node)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", e.address)
	if err != nil {
		return fmt.Errorf("couldn't listen again for the kubelet of %s: %w", node, explain(err))
	}
	e.listener = listener
	go f.server.serve(listener)
	return nil
}

// Bend puts a fault in the way of all requests to a node's kubelet, until mend is called or another one is put there.
func (f *Farm) Bend(node string, with fault.Fault) (mend func(), err error) {
	e, err := f.server.endpoint(node)
	if err != nil {
		return nil, err
	}
	e.fault.Store(&with)
	return func() { e.fault.CompareAndSwap(&with, nil) }, nil
}

// Requests is how many requests a node's kubelet has got.
func (f *Farm) Requests(node string) int64 {
	e, err := f.server.endpoint(node)
	if err != nil {
		return 0
	}
	return e.requests.Load()
}

// Close ends all kubelets.
func (f *Farm) Close() error {
	f.server.mu.Lock()
	f.server.closed = true
	endpoints := f.server.endpoints
	f.server.mu.Unlock()
	err := f.server.http.Close()
	// A listener that Serve hasn't taken yet isn't known to the HTTP server.
	for _, e := range endpoints {
		e.down()
	}
	return err
}

func (s *server) endpoint(node string) (*endpoint, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.byNode[node]; e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("couldn't find the kubelet of %q: there is no such node", node)
}

func (s *server) at(local net.Addr) *endpoint {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.endpoints[local.String()]; e != nil {
		return e
	}
	// Listeners on all interfaces know nodes by the port alone.
	tcp, ok := local.(*net.TCPAddr)
	if !ok {
		return nil
	}
	port := strconv.Itoa(tcp.Port)
	if e := s.endpoints[net.JoinHostPort("::", port)]; e != nil {
		return e
	}
	return s.endpoints[net.JoinHostPort("0.0.0.0", port)]
}

func (e *endpoint) down() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.listener != nil {
		e.listener.Close()
		e.listener = nil
	}
	for conn := range e.conns {
		abort(conn)
	}
}

// connState keeps the open connections of each node, for down.
func (s *server) connState(conn net.Conn, state http.ConnState) {
	if state != http.StateNew && state != http.StateClosed && state != http.StateHijacked {
		return
	}
	e := s.at(conn.LocalAddr())
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if state != http.StateNew {
		delete(e.conns, conn)
		return
	}
	e.conns[conn] = struct{}{}
	if e.listener == nil {
		abort(conn)
	}
}

// abort closes a connection without TLS's farewell, which could wait for the client.
func abort(conn net.Conn) {
	if wrapped, ok := conn.(*tls.Conn); ok {
		conn = wrapped.NetConn()
	}
	conn.Close()
}

func (s *server) certificateFor(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	e := s.at(hello.Conn.LocalAddr())
	if e == nil {
		return nil, fmt.Errorf("no kubelet has the address %s", hello.Conn.LocalAddr())
	}
	e.sign.Do(func() {
		certificate, err := s.farm.cfg.CA.Sign(e.names, s.key)
		e.certificate, e.signError = &certificate, err
	})
	return e.certificate, e.signError
}

// ServeHTTP answers for the kubelet whose address the request came to.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	e := s.at(local)
	if e == nil {
		http.Error(w, "no kubelet here", http.StatusServiceUnavailable)
		return
	}
	e.requests.Add(1)
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, e) })
	if bent := e.fault.Load(); bent != nil {
		(*bent)(w, r, answer)
		return
	}
	answer(w, r)
}

func (s *server) answer(w http.ResponseWriter, r *http.Request, e *endpoint) {
	user, err := s.farm.cfg.Users.Authenticate(r)
	if err != nil || user.Name == "system:anonymous" {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	if r.URL.Path == latePath {
		s.late(w, r, e, user)
		return
	}
	s.farm.mu.RLock()
	n := s.farm.nodes[e.node]
	s.farm.mu.RUnlock()
	if n == nil {
		http.Error(w, "the node is not registered", http.StatusServiceUnavailable)
		return
	}
	n.mu.Lock()
	path := n.path
	n.mu.Unlock()
	attributes := identity.Attributes{Verb: "get", Resource: "nodes", Subresource: "proxy", Name: e.node}
	var render func(b []byte, n *node) []byte
	switch {
	case r.URL.Path == "/metrics/resource" || path != "" && r.URL.Path == path:
		attributes.Subresource, render = "metrics", s.farm.resourceMetrics
	case r.URL.Path == "/stats/summary":
		attributes.Subresource, render = "stats", s.farm.summary
	}
	if r.URL.Path != "/healthz" && !s.farm.cfg.Users.Authorize(user, attributes) {
		http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=%s, subresource=%s)", user.Name, attributes.Verb, attributes.Resource, attributes.Subresource), http.StatusForbidden)
		return
	}
	switch {
	case r.URL.Path == "/healthz":
		w.Write([]byte("ok"))
	case render == nil:
		http.NotFound(w, r)
	case attributes.Subresource == "stats":
		s.writeJSON(w, n, render)
	default:
		s.write(w, r, n, render)
	}
}

// write renders into a pooled buffer, and compresses for those who take it, as kubelets do.
func (s *server) write(w http.ResponseWriter, r *http.Request, n *node, render func(b []byte, n *node) []byte) {
	buffer := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buffer)
	*buffer = render((*buffer)[:0], n)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores")
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Length", strconv.Itoa(len(*buffer)))
		w.Write(*buffer)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z := s.gzips.Get().(*gzip.Writer)
	defer s.gzips.Put(z)
	z.Reset(w)
	z.Write(*buffer)
	z.Close()
}

// writeJSON renders into a pooled buffer. Kubelets don't compress JSON.
func (s *server) writeJSON(w http.ResponseWriter, n *node, render func(b []byte, n *node) []byte) {
	buffer := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buffer)
	*buffer = render((*buffer)[:0], n)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(*buffer)))
	w.Write(*buffer)
}

// Serve waits until the context ends, then closes.
func (f *Farm) Serve(ctx context.Context) error {
	<-ctx.Done()
	return f.Close()
}
