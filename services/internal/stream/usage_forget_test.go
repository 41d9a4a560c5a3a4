package stream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// publisherOverLine makes a publisher of usage, with its stream, over a line that a test can break. cfg is of the server behind it.
func publisherOverLine(t *testing.T, ackTimeout time.Duration) (p *stream.UsagePublisher, line *proxy, cfg stream.ConnConfig) {
	t.Helper()
	cfg = testenv.NATS(t)
	if err := stream.EnsureUsage(t.Context(), connect(t, cfg), stream.Streams{Cluster: cluster}); err != nil {
		t.Fatal(err)
	}
	line, through := newProxy(t, cfg)
	p, err := stream.NewUsagePublisher(stream.UsagePublisherConfig{Conn: connect(t, through), Cluster: cluster, AckTimeout: ackTimeout, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, line, cfg
}

// What was forgotten while NATS is away doesn't come late; what wasn't does.
func TestUsageForget(t *testing.T) {
	p, line, cfg := publisherOverLine(t, 200*time.Millisecond)
	subject := func(node string) string { return schemas.UsageSubject{Cluster: cluster, Node: node}.String() }
	publish := func(node, payload string) {
		t.Helper()
		if err := p.Publish(subject(node), []byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
	flushed := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := p.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range []string{"a", "b", "c"} {
		publish(node, "old")
	}
	flushed()

	line.hold(toServer)
	publish("a", "on its way")
	publish("b", "on its way")
	testenv.Eventually(t, 5*time.Second, func() error { // in flight, and a newer one of a behind it
		if p.Waiting() != 2 {
			return errors.New("not taken")
		}
		return nil
	})
	publish("a", "newer")
	line.refuse(true)
	publish("c", "waits")
	p.Forget(map[string]bool{subject("a"): true, subject("c"): true, subject("nobody"): true})
	line.refuse(false)
	flushed()
	for node, want := range map[string]string{"a": "old", "b": "on its way", "c": "old"} {
		data, err := stream.LastUsage(t.Context(), connect(t, cfg), cluster, node)
		if err != nil || string(data) != want {
			t.Errorf("%s: %q, %v; want %q", node, data, err, want)
		}
	}
	publish("a", "again")
	flushed()
	if data, _ := stream.LastUsage(t.Context(), connect(t, cfg), cluster, "a"); string(data) != "again" {
		t.Errorf("%q", data)
	}
}
