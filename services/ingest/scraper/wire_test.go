package scraper

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func TestConnectionsThatAreKept(t *testing.T) {
	const large = 100_000
	for name, test := range map[string]struct {
		answer      string
		want        string
		connections int64 // for three requests
	}{
		"with a length":        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 1},
		"in chunks":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "hello", 1},
		"chunks and a trailer": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n", "hello", 1},
		"large":                {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", large, strings.Repeat("x", large)), strings.Repeat("x", large), 1},
		"empty":                {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", 1},
		"no content":           {"HTTP/1.1 204 No Content\r\n\r\n", "", 1},
		"after interim ones":   {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 1},
		"the last":             {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "hello", 3},
		"HTTP/1.0":             {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 3},
		"more than announced":  {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforged!", "hello", 3},
		"another protocol":     {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "", 3},
		"more behind chunks":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nmore", "hello", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peer := &raw{answer: test.answer}
			server, _ := newKubelet(t, peer.serve)
			w := newTestWire(t, server)
			for range 3 {
				if body, err := fetch(t.Context(), w, server.URL); err != nil || body != test.want {
					t.Fatalf("%.20q, %v", body, err)
				}
			}
			if got := peer.connections.Load(); got != test.connections {
				t.Errorf("%d connections for three requests, want %d", got, test.connections)
			}
		})
	}
}

// What a kubelet sends beyond its answer isn't taken for the next one, also where it hasn't left the connection's own buffers
// when the answer has been read: here the answer fills that of the reader.
func TestWhatIsLeftInTheBuffers(t *testing.T) {
	const forged = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforged!"
	const header = "HTTP/1.1 200 OK\r\nContent-Length: %4d\r\n\r\n"
	size := 4<<10 - len(fmt.Sprintf(header, 0))
	want := strings.Repeat("x", size)
	for name, start := range map[string]func(*httptest.Server){
		"plain": (*httptest.Server).Start,
		"TLS": func(s *httptest.Server) {
			s.TLS = &tls.Config{DynamicRecordSizingDisabled: true} // all in one record
			s.StartTLS()
		},
	} {
		peer := &raw{answer: fmt.Sprintf(header, size) + want + forged}
		server := httptest.NewUnstartedServer(http.HandlerFunc(peer.serve))
		start(server)
		t.Cleanup(server.Close)
		w := newTestWire(t, server)
		for range 3 {
			if body, err := fetch(t.Context(), w, server.URL); err != nil || body != want {
				t.Errorf("%s: %d bytes, %.20q, %v", name, len(body), body, err)
			}
		}
		if w.kept() != 0 {
			t.Errorf("%s: the connection is kept", name)
		}
	}
}

// What comes while nobody waits for it is no answer to the next request.
func TestWhatComesOverAnIdleConnection(t *testing.T) {
	var connections atomic.Int64
	speak, spoken := make(chan struct{}), make(chan struct{}, 1)
	peer := &raw{answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", then: func(c net.Conn) {
		if connections.Add(1) > 1 {
			return
		}
		<-speak
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforged!")
		spoken <- struct{}{}
	}}
	server := httptest.NewServer(http.HandlerFunc(peer.serve))
	t.Cleanup(server.Close)
	w := newTestWire(t, server)
	for i := range 2 {
		if body, err := fetch(t.Context(), w, server.URL); err != nil || body != "hello" {
			t.Fatalf("request %d: %q, %v", i, body, err)
		}
		if i > 0 {
			break
		}
		if w.kept() != 1 {
			t.Fatal("the connection isn't kept, so nothing is tried here")
		}
		close(speak)
		<-spoken
		testenv.Eventually(t, 5*time.Second, func() error {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, lines := range w.idle {
				if lines[0].socket.quiet() {
					return errors.New("nothing has come yet")
				}
			}
			return nil
		})
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for name, test := range map[string]struct{ answer, says string }{
		"only interim ones":   {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 7), "1xx"},
		"a header of 2 MB":    {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 2000) + "\r\n", "longer than"},
		"a line of 2 MB":      {"HTTP/1.1 200 " + strings.Repeat("O", 2<<20) + "\r\n\r\n", "longer than"},
		"two lengths":         {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", ""},
		"a negative length":   {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", ""},
		"an unknown encoding": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: smoke\r\n\r\nhello", ""},
		"HTTP/0.9":            {"hello\r\n", ""},
		"an enormous chunk":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello", ""},
		"chunks of nonsense":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peer := &raw{answer: test.answer, then: func(c net.Conn) { c.Close() }}
			server, _ := newKubelet(t, peer.serve)
			w := newTestWire(t, server)
			body, err := fetch(t.Context(), w, server.URL)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("%.20q, %v; want an error with %q", body, err, test.says)
			}
			if w.kept() != 0 {
				t.Error("the connection is kept")
			}
		})
	}
}

func TestAConnectionThatTheKubeletClosed(t *testing.T) {
	var closes atomic.Bool
	var requests atomic.Int64
	server, _ := newKubelet(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if closes.Load() {
			hijacked(func(c net.Conn) { c.Close() })(w, r)
			return
		}
		io.WriteString(w, "hello")
	})
	w := newTestWire(t, server)
	ask := func() error {
		body, err := fetch(t.Context(), w, server.URL)
		if err == nil && body != "hello" {
			err = fmt.Errorf("%q", body)
		}
		return err
	}
	for range 3 {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		server.CloseClientConnections()
	}
	if got := requests.Load(); got != 3 {
		t.Errorf("%d requests came, want 3", got)
	}
	// One that closes every connection without an answer is asked again once, over a new connection, and no more.
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	closes.Store(true)
	requests.Store(0)
	if err := ask(); err == nil {
		t.Error("no error")
	}
	if got := requests.Load(); got != 2 {
		t.Errorf("%d requests came, want 2", got)
	}
	if w.kept() != 0 {
		t.Error("a connection is kept")
	}
}

func TestARequestThatIsGivenUp(t *testing.T) {
	came, gone := make(chan struct{}, 2), make(chan struct{}, 2)
	waits := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "hello")
			w.(http.Flusher).Flush()
		}
		came <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}
	server, _ := newKubelet(t, waits)
	for _, path := range []string{"/header", "/body"} {
		w := newTestWire(t, server)
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			_, err := fetch(ctx, w, server.URL+path)
			result <- err
		}()
		select {
		case err := <-result:
			t.Fatalf("%s: %v before it was given up", path, err)
		case <-came:
		}
		cancel()
		for range 2 {
			select {
			case err := <-result:
				if err == nil {
					t.Errorf("%s: no error", path)
				}
				result = nil
			case <-gone: // the connection is closed
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: nothing happens", path)
			}
		}
		if w.kept() != 0 {
			t.Errorf("%s: the connection is kept", path)
		}
	}
}

func TestConnectionsThatAreOld(t *testing.T) {
	var callers callers
	server, _ := newKubelet(t, callers.serve)
	w := newTestWire(t, server)
	ask := func() {
		t.Helper()
		if _, err := fetch(t.Context(), w, server.URL); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	age := func(by time.Duration) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, lines := range w.idle {
			for _, l := range lines {
				l.since = l.since.Add(-by)
			}
		}
	}
	age(idleTimeout - 10*time.Second)
	ask()
	if callers.count() != 1 {
		t.Error("a connection that isn't too old was not used")
	}
	age(idleTimeout)
	ask()
	if callers.count() != 2 {
		t.Error("a connection that is too old was used")
	}
}

func TestManyRequestsAtOnce(t *testing.T) {
	servers := make([]*httptest.Server, 4)
	for i := range servers {
		servers[i], _ = newKubelet(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				select {
				case <-r.Context().Done():
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
			fmt.Fprint(w, r.Host, r.URL.Path, strings.Repeat("x", 20_000))
		})
	}
	before := runtime.NumGoroutine()
	w := newTestWire(t, servers[0])
	var group sync.WaitGroup
	for range 40 {
		group.Go(func() {
			for range 25 {
				server := servers[rand.IntN(len(servers))]
				path, ctx, cancel := "/", t.Context(), context.CancelFunc(func() {})
				if rand.IntN(4) == 0 {
					path = "/slow"
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(10))*time.Millisecond)
				}
				body, err := fetch(ctx, w, server.URL+path)
				want := strings.TrimPrefix(server.URL, "https://") + path
				switch {
				case err == nil && (!strings.HasPrefix(body, want+"x") || len(body) != len(want)+20_000):
					t.Errorf("%.40q, want %s", body, want)
				case err != nil && path != "/slow":
					t.Error(err)
				}
				cancel()
			}
		})
	}
	group.Wait()
	if n := w.kept(); n == 0 || n > len(servers)*idlePerHost {
		t.Errorf("%d connections are kept", n)
	}
	w.CloseIdleConnections()
	if n := w.kept(); n != 0 {
		t.Errorf("%d connections are kept after all were closed", n)
	}
	testenv.Eventually(t, 10*time.Second, func() error { // the servers' own end too
		if now := runtime.NumGoroutine(); now > before+8 {
			return fmt.Errorf("%d goroutines, %d before", now, before)
		}
		return nil
	})
}

func TestAConnectionIsSmall(t *testing.T) {
	server, _ := newKubelet(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", 50_000)) })
	w := newTestWire(t, server)
	before := runtime.NumGoroutine()
	if _, err := fetch(t.Context(), w, server.URL); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, lines := range w.idle {
		for _, l := range lines {
			if l.reader != nil || l.socket.buffer != nil {
				t.Error("a connection that waits has buffers")
			}
		}
	}
	if now := runtime.NumGoroutine(); now > before+2 { // the server's: a connection, and who waits for its next request
		t.Errorf("%d goroutines, %d before", now, before)
	}
}
