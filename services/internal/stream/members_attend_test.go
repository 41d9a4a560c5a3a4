package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

const memberLease = time.Second

// attendant is a member of a group in a test, and what it was told of the others.
type attendant struct {
	*stream.Members
	t        testing.TB
	registry *prometheus.Registry
	cancel   context.CancelFunc
	done     chan error

	mu    sync.Mutex
	told  []stream.Member
	calls int
	last  time.Time // when it was last told
	since time.Time // what it was told then

	others     []stream.Other
	othersTold int // how often
}

// attend makes a process a member.
func attend(t testing.TB, conn *stream.Conn, name string) *attendant {
	t.Helper()
	return attendFor(t, conn, name, memberLease)
}

func attendFor(t testing.TB, conn *stream.Conn, name string, lease time.Duration) *attendant {
	t.Helper()
	return attendWith(t, stream.MembersConfig{Conn: conn, Name: name, Lease: lease})
}

func attendWith(t testing.TB, cfg stream.MembersConfig) *attendant {
	t.Helper()
	a := &attendant{t: t, registry: prometheus.NewRegistry(), done: make(chan error, 1)}
	cfg.Cluster, cfg.Group, cfg.Log, cfg.Registry = cluster, "WORK", testenv.Logger(t), a.registry
	cfg.Others = func(others []stream.Other) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.others = others
		a.othersTold++
	}
	var err error
	a.Members, err = stream.NewMembers(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Ready(); err == nil {
		t.Error("a member before Run")
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() {
		a.done <- a.Run(ctx, func(members []stream.Member, since time.Time) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.told = members
			a.calls++
			a.last, a.since = time.Now(), since
		})
	}()
	t.Cleanup(a.leave)
	return a
}

// leave ends it in an orderly way.
func (a *attendant) leave() {
	if a.cancel == nil {
		return
	}
	a.cancel()
	a.cancel = nil
	if err := <-a.done; !errors.Is(err, context.Canceled) {
		a.t.Errorf("Run returned %v", err)
	}
}

func (a *attendant) members() (names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.told {
		names = append(names, m.Name)
	}
	return names
}

func (a *attendant) changes() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls
}

// lastTold is when it was last told.
func (a *attendant) lastTold() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// silent is for how long those who are gone had been silent when it was told last; an hour or more where it never heard them.
func (a *attendant) silent() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last.Sub(a.since)
}

// heardUpTo is up to when those who are gone were heard, as it was told last.
func (a *attendant) heardUpTo() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.since
}

// calm tells whether the machine hasn't stood still since a moment for as long as it takes to lose a lease. Where somebody has
// lost one, everybody waits for everybody, and nothing can be told of how long that takes.
func calm(since time.Time) bool {
	_, longest := stalled(since)
	return longest < memberLease/4
}

// sees waits until it was told of exactly these, and returns how long that took, without what the machine stood still.
func (a *attendant) sees(within time.Duration, names ...string) time.Duration {
	a.t.Helper()
	began := time.Now()
	testenv.Eventually(a.t, within, func() error {
		if got := a.members(); !slices.Equal(got, names) {
			return fmt.Errorf("%s sees %v, want %v", a.Self().Name, got, names)
		}
		return nil
	})
	return worked(began)
}

func (a *attendant) counter(name string, labels ...string) float64 {
	a.t.Helper()
	families, err := a.registry.Gather()
	if err != nil {
		a.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			fits := f.GetName() == "headwater_stream_"+name
			for _, l := range m.GetLabel() {
				fits = fits && (l.GetName() == "bucket" || slices.Contains(labels, l.GetValue()))
			}
			if fits {
				return m.GetCounter().GetValue()
			}
		}
	}
	a.t.Fatalf("there is no %s%v", name, labels)
	return 0
}

func bucketKeys(t testing.TB, cfg stream.ConnConfig) (keys []string) {
	t.Helper()
	nc, err := nats.Connect(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "K8S_"+cluster+"_WORK")
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	keys, err = kv.Keys(t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		t.Fatal(err)
	}
	return keys
}
