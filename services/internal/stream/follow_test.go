package stream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// follower keeps what it was told last.
type follower struct {
	*stream.Follow
	mu    sync.Mutex
	last  string
	calls int
}

func follow(t testing.TB, conn *stream.Conn, subject string, every time.Duration) *follower {
	t.Helper()
	f := &follower{}
	var err error
	f.Follow, err = stream.NewFollow(stream.FollowConfig{Conn: conn, Cluster: cluster, Subject: subject, Name: "follower", Every: every, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- f.Run(ctx, func(e stream.Event) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.last, f.calls = string(e.Data), f.calls+1
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return f
}

func (f *follower) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *follower) sees(t testing.TB, want string) {
	t.Helper()
	testenv.Eventually(t, 10*time.Second, func() error {
		if err := f.Ready(); err != nil {
			return err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.last != want || f.calls == 0 {
			return fmt.Errorf("it saw %q in %d calls, want %q", f.last, f.calls, want)
		}
		return nil
	})
}

// A follower knows one object, from the log or from the snapshot, through changes, breaks of the line and a log that is lost.
func TestFollow(t *testing.T) {
	cfg := testenv.NATS(t)
	conn := connect(t, cfg)
	line, through := newProxy(t, cfg)
	early := follow(t, connect(t, through), subjectOf(1), time.Minute)
	if err := early.Ready(); err == nil {
		t.Fatal("ready without a log")
	}
	streams := stream.Streams{Cluster: cluster, ObjectsMaxBytes: 1 << 24}
	if err := stream.EnsureLog(t.Context(), conn, streams); err != nil {
		t.Fatal(err)
	}
	appender := func() *stream.Appender {
		a, err := stream.NewAppender(stream.AppenderConfig{Conn: conn, Cluster: cluster})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Close)
		return a
	}
	log := appender()
	write := func(i int, payload string) {
		t.Helper()
		if _, err := log.Append(subjectOf(i), []byte(payload)); err != nil {
			t.Fatal(err)
		}
		flush(t, log)
	}
	write(2, "another")
	testenv.FirstSnapshot(t, conn, cluster, log)
	early.sees(t, "") // by the snapshot: there is none
	write(1, "a")
	early.sees(t, "a")
	write(1, "b")
	early.sees(t, "b")
	follow(t, conn, subjectOf(1), time.Minute).sees(t, "b")

	line.refuse(true)
	write(1, "c")
	line.refuse(false)
	early.sees(t, "c")

	// What nothing is heard of is found all the same.
	line.hold(toClient)
	write(1, "d")
	line.cut()
	early.sees(t, "d")

	calls := early.count()
	for range 50 {
		write(2, "another")
	}
	follow(t, conn, subjectOf(2), time.Minute).sees(t, "another")
	if n := early.count() - calls; n != 0 {
		t.Errorf("%d calls for another object", n)
	}

	// The log is lost, and its writer has not written everything again.
	log.Close()
	if err := stream.Recreate(t.Context(), conn, streams); err != nil {
		t.Fatal(err)
	}
	log = appender()
	write(2, "another")
	short := follow(t, conn, subjectOf(2), 50*time.Millisecond)
	short.sees(t, "another")
	gone := follow(t, conn, subjectOf(1), 50*time.Millisecond)
	early.sees(t, "d")
	if err := gone.Ready(); err == nil {
		t.Error("it claims to know what is not written yet")
	}
	testenv.FirstSnapshot(t, conn, cluster, log)
	gone.sees(t, "")
	write(1, "e")
	gone.sees(t, "e")
	early.sees(t, "e")
}

// An object that didn't change for as long as the log reaches back is in the snapshot.
func TestFollowOldObject(t *testing.T) {
	cfg := testenv.NATS(t)
	conn := connect(t, cfg)
	ensure(t, conn)
	log := appender(t, conn, stream.LogPosition{})
	position := mustAppend(t, log, "old")
	flush(t, log)
	sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: conn, Cluster: cluster, Appender: log})
	entry := stream.Entry{Sequence: position, Subject: subjectOf(1), Data: []byte("old")}
	if _, err := sw.Write(t.Context(), position, oneChunk(position, entry)); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("$JS.API.STREAM.PURGE.K8S_"+cluster+"_OBJECTS", nil, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	f := follow(t, conn, subjectOf(1), 20*time.Millisecond)
	f.sees(t, "old")
	began := time.Now()
	testenv.Eventually(t, 10*time.Second, func() error { // it is asked for many times
		if time.Since(began) < 300*time.Millisecond {
			return errors.New("too early")
		}
		return nil
	})
	if n := f.count(); n != 1 {
		t.Errorf("it was told %d times of one event", n)
	}
	mustAppend(t, log, "new")
	flush(t, log)
	f.sees(t, "new")
}
