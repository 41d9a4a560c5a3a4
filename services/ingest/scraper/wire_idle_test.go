package scraper

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// runCounting runs a server that tells of each connection that has ended.
func runCounting(t testing.TB) (server *httptest.Server, ended <-chan struct{}) {
	closed := make(chan struct{}, 16)
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, closed
}

func wait(t testing.TB, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("a connection that nobody needs any more is still open")
	}
}

// The connections of nodes that are another ingester's now, or gone, are closed although nothing else is asked.
func TestConnectionsThatNobodyNeeds(t *testing.T) {
	server, ended := runCounting(t)
	w := newTestWire(t, server)
	w.patience = 50 * time.Millisecond
	for range 2 { // the looks begin again
		if _, err := fetch(t.Context(), w, server.URL); err != nil {
			t.Fatal(err)
		}
		wait(t, ended)
		if n := w.kept(); n != 0 {
			t.Errorf("%d connections are kept", n)
		}
	}
}

// At the end of the service no connection is left, whatever its requests go through.
func TestConnectionsAtTheEnd(t *testing.T) {
	server, ended := runCounting(t)
	c := trusting(server).complete()
	c.Rest.BearerToken, c.Rest.BearerTokenFile = "", filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(c.Rest.BearerTokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := newKubelets(&c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := askWith(t, k, server.URL, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	k.close()
	wait(t, ended)
}
