package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// still is a replay that does nothing.
type still struct{}

func (still) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (still) Ready() error                  { return nil }
func (still) Position() stream.Position     { return stream.Position{} }

func TestTheNewViewIsServedWhenItIsAsFarAsTheOldOne(t *testing.T) {
	options := NewOptions()
	in, err := readInputs(options)
	if err != nil {
		t.Fatal(err)
	}
	with, err := in.settings(cluster, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newEditions(Config{}, testenv.Logger(t))
	s.metrics = newMetrics(nil, testenv.Logger(t), nil)
	begin := func() *edition {
		e := &edition{settings: with, editions: s, replay: still{}, cancel: func() {}}
		s.building = e
		return e
	}
	log := stream.LogPosition{Log: time.Unix(1, 0)}
	at := func(sequence uint64) stream.Position {
		p := stream.Position{LogPosition: log}
		p.Sequence = sequence
		return p
	}
	apply := func(sink stream.Sink, sequence uint64) {
		if err := sink.Apply(stream.Event{Sequence: sequence, Subject: "unwanted"}); err != nil {
			t.Error(err)
		}
	}
	old := begin()
	oldView := old.beginView()
	old.wholeView(oldView, at(5))
	for n := uint64(6); n <= 10; n++ {
		apply(oldView, n)
	}
	next := begin()
	view := next.beginView()
	next.wholeView(view, at(8))
	applied := newDone()
	go func() { apply(oldView, 11); applied.close() }()
	apply(view, 9)
	if s.serving.Load() != old {
		t.Fatal("an older view is served")
	}
	if applied.closed() {
		t.Fatal("the old view went on")
	}
	apply(view, 10)
	if s.serving.Load() != next {
		t.Fatal("the new view is not served")
	}
	applied.wait(t)

	// One that is given up while it catches up lets the old one go on.
	third := begin()
	view = third.beginView()
	apply(next.view.Load(), 11)
	third.wholeView(view, at(10))
	applied = newDone()
	go func() { apply(next.view.Load(), 12); applied.close() }()
	s.abandon()
	third.letGo() // as its goroutine does
	applied.wait(t)
	apply(view, 11)
	if s.serving.Load() != next || s.building != nil {
		t.Error("what was given up is served")
	}

	// Of another log, it is served at once.
	fourth := begin()
	log.Log = time.Unix(2, 0)
	fourth.wholeView(fourth.beginView(), at(1))
	if s.serving.Load() != fourth {
		t.Error("a view of another log waits")
	}
}

// done is closed when something has happened.
type done chan struct{}

func newDone() done { return make(done) }

func (d done) close() { close(d) }

func (d done) closed() bool {
	select {
	case <-d:
		return true
	default:
		return false
	}
}

func (d done) wait(t *testing.T) {
	t.Helper()
	select {
	case <-d:
	case <-time.After(patience):
		t.Fatal("it waits for ever")
	}
}

func TestAChangeThatNeedsTheUsageWaitsForIt(t *testing.T) {
	w := &world{TB: t, conn: testenv.Conn(t)}
	streams := stream.Streams{Cluster: cluster, ObjectsMaxBytes: 256 << 20}
	if err := stream.EnsureLog(t.Context(), w.conn, streams); err != nil {
		t.Fatal(err)
	}
	w.openLog()
	w.have(3)
	path := filepath.Join(t.TempDir(), "config.yaml")
	write(t, path, "metric_allowlist: [^kube_pod_info$]\n") // it has no usage, so that isn't waited for
	w.start(func(o *Options) { o.ConfigFile = path })
	w.ready()
	stop := w.looking(func(text string) error {
		if n := len(uids(text)); n != 3 {
			return fmt.Errorf("%d pods", n)
		}
		if strings.Contains(text, "kube_pod_status_phase") && !strings.Contains(text, "node_cpu_usage_seconds_total") {
			return errors.New("the usage is missing")
		}
		return nil
	})
	write(t, path, "\n")
	w.metric("headwater_exporter_config_reloads_total", `result="success"`, 1)
	write(t, path, "metric_denylist: [kube_pod_labels]\n")
	w.metric("headwater_exporter_config_reloads_total", `result="success"`, 2)
	w.served(1)
	usage, err := stream.NewUsagePublisher(stream.UsagePublisherConfig{Conn: w.conn, Cluster: cluster, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(usage.Close)
	w.usage = usage
	if err := stream.EnsureUsage(t.Context(), w.conn, streams); err != nil {
		t.Fatal(err)
	}
	w.report(schemas.UsageSample{Node: "node", Time: time.Now().UnixNano(), Point: &schemas.Point{CPU: 1}})
	w.served(2)
	w.eventually("# TYPE kube_pod_status_phase gauge", "!kube_pod_labels{", "# TYPE node_cpu_usage_seconds_total counter")
	stop()
}
