package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
)

// apiServer is as much of an API server, over HTTPS, as reviews need. A test bends it by replacing answer.
type apiServer struct {
	*httptest.Server
	kubeconfig string

	mu       sync.Mutex
	answer   http.HandlerFunc // instead of the usual one; nil for that
	tokens   []authenticationv1.TokenReviewSpec
	accesses []authorizationv1.SubjectAccessReviewSpec
}

// own is the token with which a guard asks.
const own = "guards-own-token"

// users are whom the tokens belong to. Only the scraper may get /metrics.
var users = map[string]authenticationv1.UserInfo{
	"scraper-token": {Username: "scraper", UID: "uid-1", Groups: []string{"monitoring"}, Extra: map[string]authenticationv1.ExtraValue{"pod": {"p-0"}}},
	"viewer-token":  {Username: "viewer"},
}

func newAPIServer(t testing.TB) *apiServer {
	t.Helper()
	a := new(apiServer)
	a.Server = httptest.NewUnstartedServer(a)
	a.EnableHTTP2 = true
	a.StartTLS()
	t.Cleanup(a.away)
	a.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: a.URL, CertificateAuthorityData: certificatePEM(a.Certificate().Raw)}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: own}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*config, a.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return a
}

// away ends the server and all its connections.
func (a *apiServer) away() {
	a.bend(nil)
	a.CloseClientConnections()
	a.Close()
}

func (a *apiServer) bend(answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

// reviews tells how many of each kind were asked for.
func (a *apiServer) reviews() (tokens, accesses int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.tokens), len(a.accesses)
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	answer := a.answer
	a.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	a.usual(w, r)
}

func (a *apiServer) usual(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+own {
		http.Error(w, "who?", http.StatusUnauthorized)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var review any
	switch r.URL.Path {
	case "/apis/authentication.k8s.io/v1/tokenreviews":
		token := new(authenticationv1.TokenReview)
		review = token
		if err := json.NewDecoder(r.Body).Decode(token); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.tokens = append(a.tokens, token.Spec)
		if token.Status.User, token.Status.Authenticated = users[token.Spec.Token]; !token.Status.Authenticated {
			token.Status.Error = "[invalid bearer token, token lookup failed]"
		}
	case "/apis/authorization.k8s.io/v1/subjectaccessreviews":
		access := new(authorizationv1.SubjectAccessReview)
		review = access
		if err := json.NewDecoder(r.Body).Decode(access); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.accesses = append(a.accesses, access.Spec)
		n := access.Spec.NonResourceAttributes
		access.Status.Allowed = access.Spec.User == "scraper" && n != nil && n.Path == "/metrics" && n.Verb == "get"
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(review)
}

// folder has what a web configuration names.
type folder struct {
	testing.TB
	dir       string
	authority *identity.Authority
}

func newFolder(t testing.TB) *folder {
	t.Helper()
	authority, err := identity.NewAuthority("tests")
	if err != nil {
		t.Fatal(err)
	}
	return &folder{TB: t, dir: t.TempDir(), authority: authority}
}

// write replaces a file at once, as a careful tool does, and returns its path.
func (f *folder) write(name, text string) string {
	f.Helper()
	path := filepath.Join(f.dir, name)
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
		f.Fatal(err)
	}
	return path
}

// issue signs a certificate for 127.0.0.1.
func (f *folder) issue(by *identity.Authority, name string) identity.Pair {
	f.Helper()
	pair, err := by.Issue(identity.Subject{CommonName: name, DNSNames: []string{name}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		f.Fatal(err)
	}
	return pair
}

// pair writes a new certificate and its key as server.crt and server.key.
func (f *folder) pair() identity.Pair {
	f.Helper()
	pair := f.issue(f.authority, "server")
	f.write("server.key", string(pair.KeyPEM))
	f.write("server.crt", string(pair.CertPEM))
	return pair
}

// client makes a client that knows the authority, with certificates of its own or none. Each request has a connection of
// its own unless keep.
func (f *folder) client(keep bool, own ...tls.Certificate) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: f.authority.Pool(), Certificates: own}, DisableKeepAlives: !keep, ForceAttemptHTTP2: keep,
	}
	f.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// serve serves what greets, behind a guard, until the test's end, and returns host:port.
func serve(t testing.TB, g *Guard) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: g.Protect(http.HandlerFunc(greet)), ReadHeaderTimeout: 5 * time.Second, ErrorLog: discardLog()}
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(listener, server) }()
	t.Cleanup(func() {
		_ = listener.Close()
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return listener.Addr().String()
}

func greet(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "hello over %s, credentials %q", r.Proto, r.Header.Get("Authorization"))
}

// get asks; header is name, value...
func get(ctx context.Context, client *http.Client, url string, header ...string) (*http.Response, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, strings.TrimSpace(string(body)), err
}
