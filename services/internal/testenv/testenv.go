// Package testenv is what tests share: a real NATS server, polling with a deadline, logs that go to the test. It is the
// one package outside of tests that imports testing.
package testenv

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
)

// NATS runs a server with JetStream on a loopback port of its own, its files in a temporary directory, until the test ends,
// and says how to connect to it.
func NATS(t testing.TB) stream.ConnConfig {
	t.Helper()
	s, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Address: Address(t), Log: Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return stream.ConnConfig{URL: s.URL(), Name: t.Name(), Log: Logger(t)}
}

// Conn runs a server as NATS does and gives a connection to it, closed when the test ends.
func Conn(t testing.TB) *stream.Conn {
	t.Helper()
	return Connect(t, NATS(t))
}

// Connect returns a connection that is closed with the test.
func Connect(t testing.TB, cfg stream.ConnConfig) *stream.Conn {
	t.Helper()
	conn, err := stream.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// Eventually calls check, at short intervals, until it returns nil. A machine that has nothing else to do is done within
// timeout by far; another one is given four times that, and half a minute. Then the test fails at once with the last error.
func Eventually(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	deadline := 4*timeout + 30*time.Second
	end := time.Now().Add(deadline)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %v", deadline, err)
		}
		time.Sleep(wait)
	}
}

// Logger gives a log that goes to the test's own, up to the test's end: a line that a leftover goroutine writes later is
// dropped, where t.Log would panic.
func Logger(t testing.TB) *slog.Logger {
	w := &writer{t: t}
	t.Cleanup(w.close)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type writer struct {
	mu sync.Mutex
	t  testing.TB // nil after the test's end
}

func (w *writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(string(bytes.TrimRight(line, "\n")))
	}
	return len(line), nil
}

func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}
