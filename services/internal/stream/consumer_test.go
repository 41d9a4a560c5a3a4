package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// The consumer is lost without a word, or removed from the server: the reader notices by itself, within some seconds,
// and goes on behind its position with nothing lost or repeated.
func TestLostConsumer(t *testing.T) {
	cfg := testenv.NATS(t)
	direct := connect(t, cfg)
	ensure(t, direct)
	a := appender(t, direct, stream.LogPosition{})
	w := newWorld(a, 100)
	p, through := newProxy(t, cfg)
	reg := prometheus.NewRegistry()
	r, built := replayWith(t, connect(t, through), "reader", reg)
	fill(t, w, 100)
	testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 100) })

	_, js := raw(t, cfg)
	log, err := js.Stream(t.Context(), "K8S_test_OBJECTS")
	if err != nil {
		t.Fatal(err)
	}
	removed := 0
	for name := range log.ConsumerNames(t.Context()).Name() {
		if err := log.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		removed++
	}
	if removed != 1 {
		t.Errorf("the reader has %d consumers, want 1", removed)
	}
	fill(t, w, 100)
	testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 200) })
	if err := counted(reg, "headwater_stream_consumer_resets_total", "refused", 1); err != nil {
		t.Error(err)
	}

	p.hold(toClient)
	began := time.Now()
	fill(t, w, 100)
	testenv.Eventually(t, 10*time.Second, func() error { return counted(reg, "headwater_stream_consumer_resets_total", "silence", 1) })
	if d := worked(began); d > 4*time.Second {
		t.Errorf("the silence was noticed after %v", d)
	}
	p.release()
	testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 300) })
	if err := built.served().check(w.at(300)); err != nil {
		t.Error(err)
	}
	if n := built.begun(); n != 1 {
		t.Errorf("%d views were begun, want 1", n)
	}
	if heard := r.Position().Heard; worked(heard) > 3*time.Second {
		t.Errorf("the server was last heard at %v", heard)
	}
}

// A reader that ends leaves nothing on the server.
func TestReaderCleansUp(t *testing.T) {
	cfg := testenv.NATS(t)
	c := connect(t, cfg)
	ensure(t, c)
	fill(t, newWorld(appender(t, c, stream.LogPosition{}), 100), 100)
	if _, _, err := replayOnce(t, c, "reader", 1); err != nil {
		t.Fatal(err)
	}
	_, js := raw(t, cfg)
	testenv.Eventually(t, 10*time.Second, func() error {
		log, err := js.Stream(t.Context(), "K8S_test_OBJECTS")
		if err != nil {
			return err
		}
		if n := log.CachedInfo().State.Consumers; n != 0 {
			return fmt.Errorf("%d consumers are left", n)
		}
		return nil
	})
}
