package stream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// What NATS never acknowledges is sent again, also while so much else is published that there is always something to send.
func TestWhatIsLostIsSentAgainUnderLoad(t *testing.T) {
	cfg := testenv.NATS(t)
	nc, js := raw(t, cfg)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "K8S_test_USAGE", Subjects: []string{schemas.AllUsage(cluster)},
		MaxMsgsPerSubject: stream.UsagePerNode}); err != nil {
		t.Fatal(err)
	}
	// Reports are heard, and acknowledged by nobody.
	heard := make(chan *nats.Msg, 64)
	if _, err := nc.ChanSubscribe(schemas.AllScrapes(cluster), heard); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	p, err := stream.NewUsagePublisher(stream.UsagePublisherConfig{Conn: connect(t, cfg), Cluster: cluster, AckTimeout: 200 * time.Millisecond, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	run(t, func(ctx context.Context) error {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
			if err := p.Publish(usageSubject(n%1000), []byte("sample")); err != nil && !errors.Is(err, stream.ErrClosed) {
				return err
			}
		}
	})
	if err := p.Publish(schemas.ScrapeSubject{Cluster: cluster, Node: "n"}.String(), []byte("report")); err != nil {
		t.Fatal(err)
	}
	for attempt := 1; attempt <= 3; attempt++ {
		select {
		case <-heard:
		case <-time.After(10 * time.Second):
			t.Fatalf("the report isn't sent for the %d. time", attempt)
		}
	}
}
