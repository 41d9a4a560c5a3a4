package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// NATS away at the start, the stream not created yet, the server killed for a while: the reader says what it waits for,
// and goes on where it was.
func TestNATSComesAndGoes(t *testing.T) {
	server := newProcess(t)
	c := server.connect()
	r, views := replay(t, c, "reader")
	testenv.Eventually(t, 10*time.Second, func() error { return saysNotReady(r, "NATS") })
	server.start()
	testenv.Eventually(t, 10*time.Second, func() error { return saysNotReady(r, "the stream K8S_test_OBJECTS, which") })
	ensure(t, c)
	testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 0) })
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
	a := appender(t, c, stream.LogPosition{})
	w := newWorld(a, 100)
	for round := range uint64(2) {
		fill(t, w, 100)
		testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 200*round+100) })
		server.kill()
		testenv.Eventually(t, 10*time.Second, func() error {
			if c.Connected() == nil {
				return errors.New("still connected")
			}
			return nil
		})
		for i := range 100 { // what is written meanwhile comes later
			if err := w.set(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Ready(); err != nil {
			t.Error("the view is not served while NATS is away:", err)
		}
		if err := views.served().check(w.at(200*round + 100)); err != nil {
			t.Error("while NATS is away:", err)
		}
		server.start()
		testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 200*round+200) })
		if err := views.served().check(w.at(200*round + 200)); err != nil {
			t.Error(err)
		}
	}
	if n := views.begun(); n != 1 {
		t.Errorf("%d views were begun, want 1", n)
	}
}

func saysNotReady(r *stream.Replay, text string) error {
	err := r.Ready()
	if err == nil || !strings.Contains(err.Error(), text) {
		return fmt.Errorf("Ready says %v, want %q in it", err, text)
	}
	return nil
}

// A server that comes back with older files: the reader notices that the log ends before its position, or, where it has
// grown beyond it meanwhile, that the event at its position is another one. A snapshot of the future that is no more is
// not used.
func TestLogWentBack(t *testing.T) {
	for _, grown := range []int{0, 20, 250} {
		t.Run(fmt.Sprint(grown, " events later"), func(t *testing.T) {
			server := newProcess(t)
			server.start()
			direct := server.connect()
			ensure(t, direct)
			old := newWorld(appender(t, direct, stream.LogPosition{}), 10)
			fill(t, old, 100)
			server.stop()
			older := t.TempDir()
			copyDir(t, older, server.dir)
			server.start()

			p, through := newProxy(t, server.config())
			reg := prometheus.NewRegistry()
			r, views := replayWith(t, connect(t, through), "reader", reg)
			fill(t, old, 100)
			testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 200) })
			sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: direct, Cluster: cluster, Appender: old.a})
			writeSnapshot(t, sw, old)
			snapshot := snapshotMessages(t, server.config())

			p.refuse(true)
			server.stop()
			server.dir = older
			server.start()
			position, v, err := replayOnce(t, direct, "writer", 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.check(old.at(100)); err != nil {
				t.Error("the older log:", err)
			}
			w := newWorld(appender(t, direct, position.LogPosition), 100)
			w.history, w.first = old.history[:100:100], 1
			fill(t, w, grown)
			restore(t, server.config(), snapshot) // as if only the log had gone back
			p.refuse(false)
			testenv.Eventually(t, 10*time.Second, func() error { return counted(reg, "headwater_stream_rebuilds_total", "went_back", 1) })
			end := uint64(100 + grown)
			testenv.Eventually(t, 10*time.Second, func() error { return reached(r, end) })
			if err := views.served().check(w.at(end)); err != nil {
				t.Error(err)
			}
			reason := map[bool]string{true: "ahead", false: "other_log"}[grown < 100]
			if err := counted(reg, "headwater_stream_snapshot_unusable_total", reason, 1); err != nil {
				t.Error(err)
			}
		})
	}
}

// The log is trimmed beyond the newest snapshot: the reader waits for another one, and says so; with the snapshot it is
// exact. A reader that is overtaken by the trimming rebuilds from the snapshot.
func TestTrimmedLog(t *testing.T) {
	cfg := testenv.NATS(t)
	direct := connect(t, cfg)
	ensure(t, direct)
	a := appender(t, direct, stream.LogPosition{})
	w := newWorld(a, 100)
	p, through := newProxy(t, cfg)
	reg := prometheus.NewRegistry()
	overtaken, built := replayWith(t, connect(t, through), "overtaken", reg)
	fill(t, w, 300)
	testenv.Eventually(t, 10*time.Second, func() error { return reached(overtaken, 300) })
	p.refuse(true)
	fill(t, w, 300)
	_, js := raw(t, cfg)
	log, err := js.Stream(t.Context(), "K8S_test_OBJECTS")
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Purge(t.Context(), jetstream.WithPurgeSequence(500)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := replayOnce(t, direct, "once", 1); !errors.Is(err, stream.ErrTrimmed) {
		t.Errorf("ReplayOnce: got %v, want ErrTrimmed", err)
	}
	r, late := replay(t, direct, "late")
	testenv.Eventually(t, 10*time.Second, func() error {
		return saysNotReady(r, "a snapshot that reaches to event 500, where the log begins (the newest one: there is none)")
	})
	p.refuse(false)
	testenv.Eventually(t, 10*time.Second, func() error { return counted(reg, "headwater_stream_rebuilds_total", "trimmed", 1) })
	if err := overtaken.Ready(); err != nil {
		t.Error("the old view is no longer served:", err)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		if got := overtaken.Position(); !got.Rebuilding || !strings.Contains(got.Waiting, "a snapshot") {
			return fmt.Errorf("the overtaken reader's position is %+v, want that it waits for a snapshot", got)
		}
		return nil
	})

	sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: direct, Cluster: cluster, Appender: a})
	writeSnapshot(t, sw, w)
	for name, reader := range map[string]struct {
		*stream.Replay
		*views
	}{"late": {r, late}, "overtaken": {overtaken, built}} {
		testenv.Eventually(t, 10*time.Second, func() error { return reached(reader.Replay, 600) })
		if err := reader.served().check(w.at(600)); err != nil {
			t.Error(name, err)
		}
	}

	// A snapshot that ends before the log begins is no better than none.
	fill(t, w, 100)
	if err := log.Purge(t.Context(), jetstream.WithPurgeSequence(650)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := replayOnce(t, direct, "once", 1); !errors.Is(err, stream.ErrTrimmed) || !strings.Contains(err.Error(), "as of 600") {
		t.Errorf("ReplayOnce: got %v, want ErrTrimmed, and that the snapshot is as of 600", err)
	}
	// One that ends right before it will do.
	writeSnapshot(t, sw, w)
	if err := log.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	position, v, err := replayOnce(t, direct, "once", 4)
	if err != nil || position.Sequence != 700 {
		t.Fatalf("got %+v, %v, want 700", position, err)
	}
	if err := v.check(w.at(700)); err != nil {
		t.Error(err)
	}
}

// A snapshot that can't be used is counted with the reason, and the log is read instead.
func TestUnusableSnapshots(t *testing.T) {
	cfg := testenv.NATS(t)
	c := connect(t, cfg)
	ensure(t, c)
	a := appender(t, c, stream.LogPosition{})
	w := newWorld(a, 100)
	fill(t, w, 1000)
	sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a})
	writeSnapshot(t, sw, w)
	fill(t, w, 50)
	_, js := raw(t, cfg)
	good := snapshotMessages(t, cfg)
	manifest := schemas.SnapshotSubject{Cluster: cluster, Manifest: true}.String()
	chunk := ""
	for subject := range good {
		if subject != manifest {
			chunk = subject
		}
	}
	change := func(subject string, change func([]byte) []byte) func(t *testing.T) {
		return func(t *testing.T) {
			data := change(append([]byte(nil), good[subject]...))
			if _, err := js.Publish(t.Context(), subject, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name, reason string
		damage       func(*testing.T)
	}{
		{"a manifest of an unknown version", "version", change(manifest, func(b []byte) []byte { b[1] = 99; return b })},
		{"a manifest that is cut off", "damaged", change(manifest, func(b []byte) []byte { return b[:len(b)/2] })},
		{"an empty manifest", "damaged", change(manifest, func(b []byte) []byte { return nil })},
		{"a manifest of a huge claimed length", "damaged", change(manifest, func(b []byte) []byte { return []byte("\x95\x01\x00\x00\x00\xdd\xff\xff\xff\xff") })},
		{"a manifest of another log", "other_log", change(manifest, func(b []byte) []byte { b[3] ^= 1; return b })},
		{"a chunk of an unknown version", "version", change(chunk, func(b []byte) []byte { b[1] = 99; return b })},
		{"a chunk of another log", "other_log", change(chunk, func(b []byte) []byte { b[3] ^= 1; return b })},
		{"a chunk that is cut off", "damaged", change(chunk, func(b []byte) []byte { return b[:len(b)-20] })},
		{"a chunk whose content is damaged", "damaged", change(chunk, func(b []byte) []byte {
			for i := range 300 {
				b[len(b)-2*i-1] ^= 0x55
			}
			return b
		})},
		{"a chunk that is missing", "incomplete", func(t *testing.T) {
			s, err := js.Stream(t.Context(), "K8S_test_SNAPSHOTS")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(chunk)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			restore(t, cfg, good)
			test.damage(t)
			reg := prometheus.NewRegistry()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var whole *view
			p, err := stream.ReplayOnce(ctx, stream.ReplayConfig{Conn: c, Cluster: cluster, Name: "reader", Registry: reg,
				Begin: func() stream.Sink { return newView() },
				Whole: func(s stream.Sink, _ stream.Position) { whole = s.(*view) }})
			if err != nil {
				t.Fatal(err)
			}
			if err := whole.check(w.at(p.Sequence)); err != nil || p.Sequence != 1050 {
				t.Errorf("at %d: %v", p.Sequence, err)
			}
			if err := counted(reg, "headwater_stream_snapshot_unusable_total", test.reason, 1); err != nil {
				t.Error(err)
			}
		})
	}
}

// Events that the sink can't read are left out and counted, and do not hold up the rest.
func TestSkippedEvents(t *testing.T) {
	c := testenv.Conn(t)
	ensure(t, c)
	a := appender(t, c, stream.LogPosition{})
	for i := range 30 {
		mustAppend(t, a, fmt.Sprint(i))
	}
	flush(t, a)
	reg := prometheus.NewRegistry()
	var log lines
	applied := 0
	_, err := stream.ReplayOnce(t.Context(), stream.ReplayConfig{
		Conn: c, Cluster: cluster, Name: "reader", Registry: reg, Log: log.logger(),
		Begin: func() stream.Sink {
			return stream.SinkFunc(func(e stream.Event) error {
				switch e.Sequence % 10 {
				case 0:
					return fmt.Errorf("it says: %w", schemas.ErrVersion)
				case 1:
					return schemas.ErrMalformed
				case 2:
					return errors.New("something else")
				}
				applied++
				return nil
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if applied != 21 {
		t.Errorf("%d events were applied, want 21", applied)
	}
	for _, reason := range []string{"version", "malformed", "other"} {
		if err := counted(reg, "headwater_stream_skipped_total", reason, 3); err != nil {
			t.Error(err)
		}
	}
	if n := log.count("left out an event"); n != 3 {
		t.Errorf("%d lines about skipped events, want one of each reason:\n%s", n, log.text())
	}
}
