package embedded_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
)

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func jetStream(t *testing.T, url string, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// What was stored is there after a restart, for clients inside of the process and outside.
func TestRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	s := start(t, embedded.Config{Dir: dir})
	if s.URL() != "" {
		t.Errorf("it listens on %s, though no address was given", s.URL())
	}
	js := jetStream(t, "", nats.InProcessServer(s))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()

	s = start(t, embedded.Config{Dir: dir, Address: "127.0.0.1:0"})
	stream, err := jetStream(t, s.URL()).Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetMsg(t.Context(), 1)
	if err != nil || string(m.Data) != "kept" {
		t.Errorf("got %v, %v", m, err)
	}
}

// Whatever keeps the server from starting is one error that says what to do.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	start(t, embedded.Config{Dir: dir})
	if _, err := embedded.Start(embedded.Config{Dir: dir}); !errors.Is(err, embedded.ErrLocked) || !strings.Contains(err.Error(), "stop it, or give this one another directory") {
		t.Errorf("a directory in use: got %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	free := t.TempDir()
	if _, err := embedded.Start(embedded.Config{Dir: free, Address: l.Addr().String()}); err == nil || !strings.Contains(err.Error(), "address already in use: choose another address") {
		t.Errorf("a port in use: got %v", err)
	}
	start(t, embedded.Config{Dir: free}) // the failed one has left no lock
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, cfg := range map[string]embedded.Config{
		"no directory":           {},
		"a file":                 {Dir: file},
		"an address that is bad": {Dir: t.TempDir(), Address: "nowhere"},
	} {
		if _, err := embedded.Start(cfg); err == nil || !strings.HasPrefix(err.Error(), "couldn't ") {
			t.Errorf("%s: got %v", what, err)
		}
	}
	// The place of the streams can't be used.
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(embedded.Config{Dir: bad}); err == nil || !strings.Contains(err.Error(), "couldn't start the embedded NATS server") {
		t.Errorf("streams that can't be stored: got %v", err)
	} else {
		t.Log(err)
	}
}
