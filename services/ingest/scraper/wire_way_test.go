package scraper

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// otherWay is one to the kubelets that notes what went over it, and how often its idle connections were closed.
type otherWay struct {
	asked  []string
	closed int
}

func (r *otherWay) CloseIdleConnections() { r.closed++ }

func (r *otherWay) RoundTrip(request *http.Request) (*http.Response, error) {
	r.asked = append(r.asked, request.URL.String())
	return nil, errors.New("this way is closed")
}

func TestProxies(t *testing.T) {
	server, _ := newKubelet(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	w := newTestWire(t, server)
	other := &otherWay{}
	w.proxied = other
	w.proxy = func(r *http.Request) (*url.URL, error) {
		if r.URL.Path == "/away" {
			return url.Parse("http://proxy.invalid:3128")
		}
		return nil, nil
	}
	if body, err := fetch(t.Context(), w, server.URL+"/here"); err != nil || body != "hello" {
		t.Errorf("%q, %v", body, err)
	}
	if _, err := fetch(t.Context(), w, server.URL+"/away"); err == nil || len(other.asked) != 1 || other.asked[0] != server.URL+"/away" {
		t.Errorf("%v, %q", err, other.asked)
	}
	if w.CloseIdleConnections(); other.closed != 1 {
		t.Errorf("the idle connections through proxies were closed %d times", other.closed)
	}
}

func TestPlainConnections(t *testing.T) {
	var callers callers
	server := httptest.NewServer(http.HandlerFunc(callers.serve))
	t.Cleanup(server.Close)
	w := newTestWire(t, server)
	for range 3 {
		if body, err := fetch(t.Context(), w, server.URL); err != nil || body != "hello" {
			t.Fatalf("%q, %v", body, err)
		}
	}
	if n := callers.count(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestTheServersNameIsItsAddress(t *testing.T) {
	names := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }))
	server.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		names <- hello.ServerName
		return nil, nil
	}}
	server.StartTLS()
	t.Cleanup(server.Close)
	w := newTestWire(t, server)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if body, err := fetch(t.Context(), w, "https://localhost:"+port); err == nil {
		t.Errorf("%q: the certificate isn't for localhost", body)
	}
	if name := <-names; name != "localhost" {
		t.Errorf("the server was greeted as %q", name)
	}
	if body, err := fetch(t.Context(), w, server.URL); err != nil || body != server.Listener.Addr().String() {
		t.Errorf("%q, %v", body, err)
	}
}
