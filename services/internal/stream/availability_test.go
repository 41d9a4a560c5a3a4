package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// heard collects what WatchAvailability tells.
type heard struct {
	mu  sync.Mutex
	all []string
}

func (h *heard) tell(data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, string(data))
}

// isNow waits until the last word is this one.
func (h *heard) isNow(t testing.TB, want string) {
	t.Helper()
	testenv.Eventually(t, 30*time.Second, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.all) == 0 || h.all[len(h.all)-1] != want {
			return fmt.Errorf("heard %q, want %q at last", h.all, want)
		}
		return nil
	})
}

func listen(t testing.TB, c *stream.Conn) *heard {
	t.Helper()
	h := &heard{}
	run(t, func(ctx context.Context) error { return stream.WatchAvailability(ctx, c, cluster, h.tell) })
	return h
}

// say publishes, again and again while nobody takes it.
func say(t testing.TB, c *stream.Conn, text string) {
	t.Helper()
	testenv.Eventually(t, 30*time.Second, func() error {
		return stream.PublishAvailability(t.Context(), c, cluster, []byte(text))
	})
}

func TestAvailability(t *testing.T) {
	p := newProcess(t)
	p.start()
	proxy, behind := newProxy(t, p.config())
	c, watching := p.connect(), connect(t, behind)
	early := listen(t, watching)
	if err := stream.PublishAvailability(t.Context(), c, cluster, []byte("too early")); err == nil {
		t.Error("published without a stream")
	}
	ensure(t, c)
	say(t, c, "one")
	early.isNow(t, "one")
	say(t, c, "two")
	early.isNow(t, "two")
	late := listen(t, watching) // the last value comes first
	late.isNow(t, "two")
	if late.mu.Lock(); len(late.all) != 1 {
		t.Errorf("who came late heard %q, want the last alone", late.all)
	}
	late.mu.Unlock()
	// A line that is cut while something is published.
	proxy.refuse(true)
	proxy.cut()
	say(t, c, "three")
	proxy.refuse(false)
	early.isNow(t, "three")
	// A server that is killed and started again.
	p.kill()
	p.start()
	say(t, c, "four")
	early.isNow(t, "four")
	// The stream is lost and comes again, with a shorter one that says something else.
	if err := stream.Recreate(t.Context(), c, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	say(t, c, "five")
	early.isNow(t, "five")
	late.isNow(t, "five")
	early.mu.Lock()
	defer early.mu.Unlock()
	if want := []string{"one", "two", "three", "four", "five"}; !slices.Equal(early.all, want) {
		t.Errorf("heard %q, want %q", early.all, want)
	}
}

func TestAvailabilityEnds(t *testing.T) {
	c := testenv.Conn(t)
	if err := stream.WatchAvailability(t.Context(), c, "a.b", nil); !errors.Is(err, stream.ErrConfig) {
		t.Errorf("a cluster that can't be gives %v", err)
	}
	if err := stream.PublishAvailability(t.Context(), c, "a.b", nil); !errors.Is(err, stream.ErrConfig) {
		t.Errorf("a cluster that can't be gives %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stream.WatchAvailability(t.Context(), c, cluster, func([]byte) {}) }()
	c.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, stream.ErrClosed) {
			t.Errorf("a closed connection gives %v, want ErrClosed", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it goes on with a closed connection")
	}
}

// TestAvailabilityBesideSnapshots: neither is in the way of the other.
func TestAvailabilityBesideSnapshots(t *testing.T) {
	cfg := testenv.NATS(t)
	c := connect(t, cfg)
	ensure(t, c)
	say(t, c, "first")
	var last stream.LogPosition
	for round := range 3 { // each writer cleans up what the one before has left
		a := appender(t, c, last)
		w := newWorld(a, 10)
		for i := range 40 {
			if err := w.set(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, a)
		sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a, Log: testenv.Logger(t)})
		writeSnapshot(t, sw, w)
		h := listen(t, c)
		if round > 0 {
			h.isNow(t, fmt.Sprint("round ", round-1))
		} else {
			h.isNow(t, "first")
		}
		say(t, c, fmt.Sprint("round ", round))
		h.isNow(t, fmt.Sprint("round ", round))
		r, views := replay(t, c, fmt.Sprint("reader", round))
		testenv.Eventually(t, 30*time.Second, r.Ready)
		if err := views.served().check(w.at(a.Acked().Sequence)); err != nil {
			t.Error(err)
		}
		last = a.Acked()
		a.Close()
	}
	if _, ok := snapshotMessages(t, cfg)[schemas.AvailabilitySubject(cluster)]; !ok {
		t.Error("the availability isn't in the stream of the snapshots")
	}
}
