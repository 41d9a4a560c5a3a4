package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// The log is deleted and created again: the view is rebuilt, and the old one served until the new one is whole.
func TestLogIsRecreated(t *testing.T) {
	c := testenv.Conn(t)
	ensure(t, c)
	reg := prometheus.NewRegistry()
	r, views := replayWith(t, c, "reader", reg)
	old := newWorld(appender(t, c, stream.LogPosition{}), 100)
	fill(t, old, 200)
	testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 200) })
	served := views.served()
	before := old.at(200)

	if err := stream.Recreate(t.Context(), c, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error { return counted(reg, "headwater_stream_rebuilds_total", "recreated", 1) })
	if err := r.Ready(); err != nil {
		t.Error("the old view is no longer served:", err)
	}
	if err := served.check(before); err != nil {
		t.Error("the old view has changed:", err)
	}
	w := newWorld(appender(t, c, stream.LogPosition{}), 100)
	fill(t, w, 50)
	testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 50) })
	if err := views.served().check(w.at(50)); err != nil {
		t.Error(err)
	}
	if err := served.check(before); err != nil {
		t.Error("the old view has changed:", err)
	}
}

// The log is deleted and created again at the very moment when a reader, which has just looked which log it is, makes its
// consumer: it does not take the new log's events for those that follow what it has read of the old one.
func TestLogIsRecreatedWhileItIsOpened(t *testing.T) {
	for _, events := range []int{0, 200} { // the reader is whole and opens the log for what comes, or has all of it to read
		t.Run(fmt.Sprint(events, " events"), func(t *testing.T) {
			cfg := testenv.NATS(t)
			direct := testenv.Connect(t, cfg)
			ensure(t, direct)
			fill(t, newWorld(appender(t, direct, stream.LogPosition{}), 100), events)
			p, through := newProxy(t, cfg)
			through.Name = "through"
			conn := connect(t, through)
			opens := p.holdAt("CONSUMER.CREATE")
			reg := prometheus.NewRegistry()
			r, views := replayWith(t, conn, "reader", reg)
			select {
			case <-opens:
			case <-time.After(time.Minute):
				t.Fatal("the reader makes no consumer")
			}
			if err := stream.Recreate(t.Context(), direct, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 64 << 20}); err != nil {
				t.Fatal(err)
			}
			w := newWorld(appender(t, direct, stream.LogPosition{}), 100)
			fill(t, w, 50)
			p.release()
			testenv.Eventually(t, 10*time.Second, func() error { return counted(reg, "headwater_stream_rebuilds_total", "recreated", 1) })
			testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 50) })
			if err := views.served().check(w.at(50)); err != nil {
				t.Error(err)
			}
		})
	}
}
