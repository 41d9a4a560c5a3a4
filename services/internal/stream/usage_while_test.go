package stream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// lost is a context that ends just after it was first looked at, with whatever is done then.
type lost struct {
	context.Context
	then func()
	done chan struct{} // closed when then has returned; nil before the first look
}

// Err implements context.Context. It says that the context hasn't ended, as it was when it was called, and gives what follows
// time to happen before whoever asked goes on.
func (l *lost) Err() error {
	if l.done != nil {
		return context.Canceled
	}
	l.done = make(chan struct{})
	go func() {
		defer close(l.done)
		l.then()
	}()
	select {
	case <-l.done:
	case <-time.After(50 * time.Millisecond): // it waits for whoever asked
	}
	return nil
}

// A subject that is given away in the very moment of a publication: what Forget doesn't find wasn't taken.
func TestPublishWhile(t *testing.T) {
	p, line, cfg := publisherOverLine(t, 200*time.Millisecond)
	subject := schemas.UsageSubject{Cluster: cluster, Node: "n"}.String()

	// What is sent has to wait, so that it shows whether it was taken.
	line.refuse(true)
	if err := p.Publish(schemas.UsageSubject{Cluster: cluster, Node: "before"}.String(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		if !p.Stuck() {
			return errors.New("it doesn't say that it is stuck")
		}
		return nil
	})
	ctx := &lost{Context: t.Context(), then: func() { p.Forget(map[string]bool{subject: true}) }}
	if err := p.PublishWhile(ctx, subject, []byte("given away")); err != nil {
		t.Errorf("it was this writer's when it was looked at, and is refused: %v", err)
	}
	<-ctx.done
	if n := p.Waiting(); n != 1 {
		t.Errorf("%d subjects wait, want the one from before", n)
	}
	if err := p.PublishWhile(ctx, subject, []byte("later")); !errors.Is(err, context.Canceled) {
		t.Errorf("published when it was another one's: %v", err)
	}
	if n := p.Waiting(); n != 1 {
		t.Errorf("%d subjects wait, want the one from before", n)
	}

	line.refuse(false)
	flush, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.Flush(flush); err != nil {
		t.Fatal(err)
	}
	if p.Stuck() {
		t.Error("stuck with nothing to send")
	}
	if data, err := stream.LastUsage(t.Context(), connect(t, cfg), cluster, "n"); !errors.Is(err, stream.ErrNoMessage) {
		t.Errorf("%q was stored, %v", data, err)
	}
}

// What waits for its turn or for an answer isn't stuck.
func TestNotStuck(t *testing.T) {
	p, line, cfg := publisherOverLine(t, time.Minute)
	line.hold(toClient)
	if err := p.Publish(schemas.UsageSubject{Cluster: cluster, Node: "n"}.String(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.LastUsage(t.Context(), connect(t, cfg), cluster, "n"); err != nil && !errors.Is(err, stream.ErrNoMessage) {
		t.Fatal(err)
	}
	if p.Waiting() != 1 || p.Stuck() {
		t.Errorf("%d wait, stuck %v", p.Waiting(), p.Stuck())
	}
}
