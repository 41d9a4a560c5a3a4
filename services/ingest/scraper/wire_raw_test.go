package scraper

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
)

// newTestWire returns a wire without credentials that trusts the server.
func newTestWire(t testing.TB, server *httptest.Server) *wire {
	t.Helper()
	config := &rest.Config{}
	if server.TLS != nil {
		config.CAData = certificatePEM(server)
		config.NextProtos = []string{"http/1.1"}
	}
	transport, err := newTransport(config, func(_ []byte, err error) { t.Errorf("the files changed: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	w := transport.(*wire)
	t.Cleanup(w.CloseIdleConnections)
	return w
}

// fetch asks for a server's root over w and reads the answer.
func fetch(ctx context.Context, w *wire, address string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	response, err := w.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// kept is how many connections w keeps.
func (w *wire) kept() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, lines := range w.idle {
		n += len(lines)
	}
	return n
}

// raw answers each request on a connection with the same bytes, and counts connections and requests.
type raw struct {
	connections, requests atomic.Int64
	answer                string
	then                  func(net.Conn) // after each answer
}

func (r *raw) serve(w http.ResponseWriter, _ *http.Request) {
	r.connections.Add(1)
	r.requests.Add(1)
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		if _, err := io.WriteString(conn, r.answer); err != nil {
			return
		}
		if r.then != nil {
			r.then(conn)
		}
		if _, err := http.ReadRequest(bufio.NewReader(buffered.Reader)); err != nil {
			return
		}
		r.requests.Add(1)
	}
}

// callers greets whoever asks, and knows over how many connections they did.
type callers struct{ addresses sync.Map }

func (c *callers) serve(w http.ResponseWriter, r *http.Request) {
	c.addresses.Store(r.RemoteAddr, true)
	io.WriteString(w, "hello")
}

func (c *callers) count() (n int) {
	c.addresses.Range(func(any, any) bool { n++; return true })
	return n
}
