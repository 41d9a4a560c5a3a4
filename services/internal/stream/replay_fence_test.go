package stream_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// A reader of the usage stream whose pass was slow reads what has come meanwhile without asking again where the stream ends
// for each message: at more samples a second than there are round trips it would never be whole.
func TestUsageCatchesUpWithoutLookingForEachMessage(t *testing.T) {
	cfg := testenv.NATS(t)
	c := connect(t, cfg)
	ensure(t, c)
	p := publisher(t, c, nil)
	write := func(node int) {
		t.Helper()
		if err := p.Publish(usageSubject(node), []byte("sample")); err != nil {
			t.Fatal(err)
		}
		flushUsage(t, p)
	}
	write(0)
	nc, js := raw(t, cfg)
	var looks atomic.Int32
	if _, err := nc.Subscribe("$JS.API.STREAM.MSG.GET.K8S_test_USAGE", func(*nats.Msg) { looks.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}

	reads, goOn, whole := make(chan struct{}, 1), make(chan struct{}), make(chan stream.Position, 1)
	r, err := stream.NewUsageReplay(stream.ReplayConfig{
		Conn: c, Cluster: cluster, Name: "reader",
		Begin: func() stream.Sink {
			return stream.SinkFunc(func(e stream.Event) error {
				if e.Sequence == 1 {
					reads <- struct{}{}
					<-goOn
				}
				return nil
			})
		},
		Whole: func(_ stream.Sink, p stream.Position) { whole <- p },
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, r.Run)
	comes(t, reads, "the reader reads nothing")
	slow := time.After(600 * time.Millisecond) // a pass that takes so long isn't the last one
	usage, err := js.Stream(t.Context(), "K8S_test_USAGE")
	if err != nil {
		t.Fatal(err)
	}
	const live = 50
	for n := 1; n <= live; n++ {
		write(n)
		testenv.Eventually(t, 10*time.Second, func() error { // it was delivered before there was another one behind it
			for consumer := range usage.ListConsumers(t.Context()).Info() {
				if consumer.Delivered.Stream >= uint64(n+1) {
					return nil
				}
			}
			return fmt.Errorf("the sample of node %d was not delivered", n)
		})
	}
	<-slow
	close(goOn)
	select {
	case p := <-whole:
		if p.Sequence != live+1 {
			t.Errorf("whole at %d, want %d", p.Sequence, live+1)
		}
	case <-time.After(time.Minute):
		t.Fatal("it is never whole")
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := looks.Load(); n == 0 || n > live/5 {
		t.Errorf("it looked %d times for %d messages", n, live)
	}
}
