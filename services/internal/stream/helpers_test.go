package stream_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func flush(t testing.TB, a *stream.Appender) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := a.Flush(ctx); err != nil {
		t.Fatal("flush:", err)
	}
}

func mustAppend(t testing.TB, a *stream.Appender, payload string) uint64 {
	t.Helper()
	sequence, err := a.Append(subjectOf(1), []byte(payload))
	if err != nil {
		t.Fatal("append:", err)
	}
	return sequence
}

// everything reads the whole log, in order.
func everything(t testing.TB, c *stream.Conn) (events []change) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := stream.ReplayOnce(ctx, stream.ReplayConfig{Conn: c, Cluster: cluster, Name: "everything", Begin: func() stream.Sink {
		events = nil
		return stream.SinkFunc(func(e stream.Event) error {
			events = append(events, change{e.Subject, string(e.Data)})
			if e.Sequence != uint64(len(events)) {
				return fmt.Errorf("event %d has the sequence %d", len(events), e.Sequence)
			}
			return nil
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func payloads(t testing.TB, c *stream.Conn) string {
	t.Helper()
	var texts []string
	for _, e := range everything(t, c) {
		texts = append(texts, e.data)
	}
	return strings.Join(texts, ",")
}

// compareLog checks that the log holds exactly what was appended.
func compareLog(t testing.TB, c *stream.Conn, w *world) {
	t.Helper()
	got := everything(t, c)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(got) != len(w.history) {
		t.Errorf("the log has %d events, want %d", len(got), len(w.history))
	}
	for i := range min(len(got), len(w.history)) {
		if got[i] != w.history[i] {
			t.Fatalf("event %d is %v, want %v", i+1, got[i], w.history[i])
		}
	}
}

// lastIs checks where the log ends.
func lastIs(t testing.TB, c *stream.Conn, want uint64) error {
	infos, err := stream.Info(t.Context(), c, cluster)
	if err != nil {
		return err
	}
	if infos[0].Last != want {
		return fmt.Errorf("%s ends at %d, want %d", infos[0].Name, infos[0].Last, want)
	}
	return nil
}

// views are those that a live reader builds.
type views struct {
	mu    sync.Mutex
	all   []*view
	whole *view
}

func (v *views) begin() stream.Sink {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all = append(v.all, newView())
	return v.all[len(v.all)-1]
}

func (v *views) serve(s stream.Sink, _ stream.Position) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.whole = s.(*view)
}

// served is the view in service; nil before the first.
func (v *views) served() *view {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.whole
}

func (v *views) begun() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.all)
}

// replay runs a reader of the log until the test ends.
func replay(t testing.TB, c *stream.Conn, name string) (*stream.Replay, *views) {
	return replayWith(t, c, name, nil)
}

func replayWith(t testing.TB, c *stream.Conn, name string, reg prometheus.Registerer) (*stream.Replay, *views) {
	t.Helper()
	v := &views{}
	r, err := stream.NewReplay(stream.ReplayConfig{
		Conn: c, Cluster: cluster, Name: name, Begin: v.begin, Whole: v.serve, Workers: 2, Log: testenv.Logger(t), Registry: reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, r.Run)
	return r, v
}

// run runs a part until the test ends.
func run(t testing.TB, part func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// reached checks that a reader is whole and has applied everything up to a sequence.
func reached(r *stream.Replay, sequence uint64) error {
	if p := r.Position(); p.Sequence < sequence || !p.Whole || p.Rebuilding {
		return fmt.Errorf("the position is %+v, want whole at %d", p, sequence)
	}
	return nil
}

// copyDir copies a server's files.
func copyDir(t testing.TB, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// noise can't be compressed.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// oneChunk is a snapshot of one chunk.
func oneChunk(position uint64, entries ...stream.Entry) iter.Seq[stream.Chunk] {
	return chunksOf(stream.Chunk{ID: 1, Dirty: true, Read: func() (uint64, []stream.Entry) { return position, entries }})
}

func chunksOf(chunks ...stream.Chunk) iter.Seq[stream.Chunk] {
	return slices.Values(chunks)
}

// lines collects a log.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(line)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) count(text string) int { return strings.Count(l.text(), text) }

// counted checks that a counter has reached a value for a reason.
func counted(reg *prometheus.Registry, name, reason string, want float64) error {
	families, err := reg.Gather()
	if err != nil {
		return err
	}
	var got []string
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "reason" {
					got = append(got, fmt.Sprintf("%s %v", l.GetValue(), m.Counter.GetValue()))
					if l.GetValue() == reason && m.Counter.GetValue() >= want {
						return nil
					}
				}
			}
		}
	}
	return fmt.Errorf("%s is %v, want %s at least %v", name, got, reason, want)
}

// raw is a client that does not know Headwater.
func raw(t testing.TB, cfg stream.ConnConfig) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// fill makes n changes and waits until they are stored.
func fill(t testing.TB, w *world, n int) {
	t.Helper()
	for i := range n {
		var err error
		if i%7 == 6 {
			err = w.remove(t.Context(), i-1)
		} else {
			err = w.set(t.Context(), i)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	flush(t, w.a)
}

func writeSnapshot(t testing.TB, sw *stream.SnapshotWriter, w *world) stream.SnapshotStats {
	t.Helper()
	stats, err := sw.Write(t.Context(), w.a.Acked().Sequence, w.chunks())
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// snapshotMessages are the messages of the snapshot stream, by subject.
func snapshotMessages(t testing.TB, cfg stream.ConnConfig) map[string][]byte {
	t.Helper()
	nc, js := raw(t, cfg)
	defer nc.Close()
	s, err := js.Stream(t.Context(), "K8S_test_SNAPSHOTS")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	messages := map[string][]byte{}
	for subject := range info.State.Subjects {
		m, err := s.GetLastMsgForSubject(t.Context(), subject)
		if err != nil {
			t.Fatal(err)
		}
		messages[subject] = m.Data
	}
	return messages
}

// restore makes the snapshot stream hold exactly these messages, the manifest last, with their sequences as listed.
func restore(t testing.TB, cfg stream.ConnConfig, messages map[string][]byte) {
	t.Helper()
	nc, js := raw(t, cfg)
	defer nc.Close()
	manifest := ""
	for subject, data := range messages {
		if strings.HasSuffix(subject, "manifest") {
			manifest = subject
			continue
		}
		if _, err := js.Publish(t.Context(), subject, data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.Publish(t.Context(), manifest, messages[manifest]); err != nil {
		t.Fatal(err)
	}
}
