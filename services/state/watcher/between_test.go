package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// Here is what may happen between a look and what is done because of it.

// TestWantedAgain: a custom resource isn't wanted any more, and then is, while the log has no room for its deletions. There is
// room again when the new feed lists: what that took for known to the log is there afterwards, and what is gone is not.
func TestWantedAgain(t *testing.T) {
	log := &fakeLog{room: 1 << 30}
	b := bookOf(t, []string{"nodes"}, nil)
	b.lead(log, 1<<20)
	key := shelfKey{"example.com", "foos"}
	kind := objects.Custom(schema.GroupVersionResource{Group: key.group, Version: "v1", Resource: key.resource}, "Foo", false)
	at := time.Unix(1e9, 0)
	states := map[string]state{"known": {"u1", "1"}, "gone": {"u2", "2"}, "changed": {"u3", "3"}}
	listed := func(name string, s state) *entry {
		return &entry{key: name, kept: keep(customMessage("v1", name, s, at))}
	}
	s := b.want(kind)
	var all []*entry
	for name, st := range states {
		all = append(all, listed(name, st))
	}
	b.replace(s, all)
	log.room = 0
	if n := b.drop(key); n != len(states) {
		t.Fatalf("%d objects were dropped", n)
	}
	s = b.want(kind)
	if !b.holds(s, "known", "u1", "1") {
		t.Fatal("the log has it, and the book doesn't know")
	}
	log.room = 1 << 30
	b.mu.Lock()
	b.drain()
	b.mu.Unlock()
	b.replace(s, []*entry{{key: "known"}, listed("changed", state{"u3", "4"})})
	subject := func(name string) string {
		return schemas.ObjectSubject{Cluster: "c", Group: key.group, Resource: key.resource, Name: name}.String()
	}
	want := map[string]state{subject("known"): {"u1", "1"}, subject("changed"): {"u3", "4"}}
	if diff := cmp.Diff(want, fold(t, log.events), cmp.AllowUnexported(state{})); diff != "" {
		t.Error(diff)
	}
}

// hastyLog stores everything while it is looked at, once it was.
type hastyLog struct{ acked, last uint64 }

func (l *hastyLog) store() { l.acked = l.last }

func (l *hastyLog) Acked() stream.LogPosition {
	defer l.store()
	return stream.LogPosition{Sequence: l.acked}
}

func (l *hastyLog) Next() uint64 {
	defer l.store()
	return l.last + 1
}

func (l *hastyLog) Wait(_ context.Context, sequence uint64) error {
	if sequence > l.last {
		return fmt.Errorf("waits for %d, and the last is %d", sequence, l.last)
	}
	return nil
}

// steadyLog stores nothing, and notes what is waited for.
type steadyLog struct {
	hastyLog
	waited uint64
}

func (l *steadyLog) Acked() stream.LogPosition { return stream.LogPosition{Sequence: l.acked} }
func (l *steadyLog) Next() uint64              { return l.last + 1 }

func (l *steadyLog) Wait(ctx context.Context, sequence uint64) error {
	l.waited = sequence
	return l.hastyLog.Wait(ctx, sequence)
}

// TestHalfStored: who waits for room is not to wait for an event that may never come, however fast the log is.
func TestHalfStored(t *testing.T) {
	for buffered, half := range map[uint64]uint64{0: 0, 1: 1, 2: 1, 3: 2, 4: 2, 9: 5, 10: 5} {
		if err := halfStored(t.Context(), &hastyLog{acked: 100, last: 100 + buffered}); err != nil {
			t.Errorf("%d events are buffered: %v", buffered, err)
		}
		steady := &steadyLog{hastyLog: hastyLog{acked: 100, last: 100 + buffered}}
		if err := halfStored(t.Context(), steady); err != nil || steady.waited != 100+half {
			t.Errorf("%d events are buffered, and %d of them waited for: %v", buffered, int64(steady.waited)-100, err)
		}
	}
}

// TestNotReadyBetweenTerms: the term that has ended says nothing any more of whether the service is ready.
func TestNotReadyBetweenTerms(t *testing.T) {
	s := &Service{log: slog.New(slog.DiscardHandler), metrics: newMetrics(nil, nil)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	terms := 0
	err := s.again(ctx, func() error {
		if terms++; terms == 1 {
			s.setReady(func() error { return nil })
			return errLeadershipLost
		}
		if err := s.Ready(); err == nil {
			t.Error("the service is ready, and there is no term")
		}
		cancel()
		return ctx.Err()
	})
	if terms != 2 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d terms, %v", terms, err)
	}
}

// TestWhatASnapshotLacksIsDue: events that were on their way when a snapshot was written are in the next one, also when nothing
// happens any more.
func TestWhatASnapshotLacksIsDue(t *testing.T) {
	at := time.Unix(1e9, 0)
	p := &snapshotPace{events: 10, interval: time.Minute, position: 100, at: at}
	for _, test := range []struct {
		last  uint64 // event of the log
		after time.Duration
		due   bool
	}{
		{100, time.Hour, false}, // it has everything
		{101, time.Minute - 1, false},
		{101, time.Minute, true},
		{109, 0, false},
		{110, 0, true},
	} {
		if due := p.due(test.last+1, at.Add(test.after)); due != test.due {
			t.Errorf("the log ends at %d, %v after a snapshot as of %d: due %v", test.last, test.after, p.position, due)
		}
	}
}
