package stream_test

import (
	"fmt"
	"maps"
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
			comes(t, opens, "the reader makes no consumer")
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

// The stream of the snapshots is deleted and created again while a reader, which has read the manifest, is about to read the
// chunks, and the same numbers are other chunks in it now: they are not taken for those that the manifest lists.
func TestSnapshotsAreRecreatedWhileTheyAreRead(t *testing.T) {
	cfg := testenv.NATS(t)
	direct := testenv.Connect(t, cfg)
	ensure(t, direct)
	w := newWorld(appender(t, direct, stream.LogPosition{}), 100)
	fill(t, w, 200)
	writeSnapshot(t, stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: direct, Cluster: cluster, Appender: w.a}), w)
	p, through := newProxy(t, cfg)
	opens := p.holdAt("CONSUMER.CREATE.K8S_test_SNAPSHOTS")
	reg := prometheus.NewRegistry()
	r, views := replayWith(t, connect(t, through), "reader", reg)
	comes(t, opens, "the reader doesn't read the chunks")

	deleteStream(t, cfg, "K8S_test_SNAPSHOTS")
	ensure(t, direct)
	next := newWorld(w.a, 20) // smaller chunks, so more of them
	next.history, next.first = w.history, w.first
	for object, e := range w.objects {
		next.keep(object, e)
	}
	writeSnapshot(t, stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: direct, Cluster: cluster, Appender: w.a}), next)
	p.release()
	testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 200) })
	if err := views.served().check(w.at(200)); err != nil {
		t.Error(err)
	}
	if err := counted(reg, "headwater_stream_rebuilds_total", "snapshot", 1); err != nil {
		t.Error(err)
	}
}

// The usage stream is deleted and created again in the moment when a reader looks whether it has all: the end of the new one
// doesn't say so.
func TestUsageIsRecreatedWhileItIsRead(t *testing.T) {
	cfg := testenv.NATS(t)
	direct := testenv.Connect(t, cfg)
	ensure(t, direct)
	samples := publisher(t, direct, nil)
	for node := range 3 {
		publish(t, samples, node, "old")
	}
	flushUsage(t, samples)
	p, through := newProxy(t, cfg)
	opens := p.holdAt("CONSUMER.CREATE.K8S_test_USAGE")
	type result struct {
		last map[string]string
		err  error
	}
	done := make(chan result, 1)
	conn := connect(t, through)
	go func() {
		last := map[string]string{}
		err := stream.AllLastUsage(t.Context(), conn, cluster, func(subject string, data []byte) error {
			last[subject] = string(data)
			return nil
		})
		done <- result{last, err}
	}()
	comes(t, opens, "the reader makes no consumer")
	held := time.Now()
	testenv.Eventually(t, time.Second, func() error { // a pass that was so slow isn't the last one
		if d := time.Since(held); d < time.Second {
			return fmt.Errorf("held for only %v", d)
		}
		return nil
	})
	looks := p.holdAt("STREAM.MSG.GET.K8S_test_USAGE")
	p.release()
	comes(t, looks, "the reader doesn't look whether it has all")
	deleteStream(t, cfg, "K8S_test_USAGE")
	ensure(t, direct)
	publish(t, samples, 9, "new")
	flushUsage(t, samples)
	p.release()
	got := <-done
	if want := map[string]string{usageSubject(9): "new"}; got.err != nil || !maps.Equal(got.last, want) {
		t.Errorf("got %v, %v, want %v", got.last, got.err, want)
	}
}

// A log that is restored to an older state while it is read will never have what it had: the reader takes it as it is now, and
// no writer deletes it because it seemed to have lost events.
func TestLogGoesBackWhileItIsRead(t *testing.T) {
	server := newProcess(t)
	server.start()
	direct := server.connect()
	ensure(t, direct)
	w := newWorld(appender(t, direct, stream.LogPosition{}), 100)
	fill(t, w, 100)
	server.stop()
	older := t.TempDir()
	copyDir(t, older, server.dir)
	server.start()
	fill(t, w, 100)

	p, through := newProxy(t, server.config())
	opens := p.holdAt("CONSUMER.CREATE")
	type result struct {
		stream.Position
		*countingView
		error
	}
	done := make(chan result, 1)
	conn := connect(t, through)
	go func() {
		position, v, err := replayOnce(t, conn, "reader", 1)
		done <- result{position, v, err}
	}()
	comes(t, opens, "the reader makes no consumer")
	server.stop()
	server.dir = older
	server.start()
	p.cut()
	got := <-done
	if got.error != nil {
		t.Fatal(got.error)
	}
	if got.Sequence != 100 {
		t.Errorf("the position is %+v, want 100", got.Position)
	}
	if err := got.check(w.at(100)); err != nil {
		t.Error(err)
	}
}

// comes waits until a channel is closed.
func comes(t testing.TB, closed <-chan struct{}, otherwise string) {
	t.Helper()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal(otherwise)
	}
}

func deleteStream(t testing.TB, cfg stream.ConnConfig, name string) {
	t.Helper()
	_, js := raw(t, cfg)
	if err := js.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}
