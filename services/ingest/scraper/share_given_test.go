package scraper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// given is the context of a node that is given away after it was looked at as often as said.
type given struct {
	context.Context
	looks int
	away  func()
	done  chan struct{} // closed when away has returned
}

// Err implements context.Context. What it does before it answers is what would happen just after.
func (g *given) Err() error {
	err := g.Context.Err()
	if g.looks--; g.looks == 0 {
		go func() {
			defer close(g.done)
			g.away()
		}()
		select {
		case <-g.done:
		case <-time.After(50 * time.Millisecond): // it waits for who asked
		}
	}
	return err
}

// runIdle runs an ingester that scrapes nothing any more, over a way to NATS that can be cut, and returns it with a kubelet of
// which it has published a sample.
func (w *world) runIdle(cfg stream.ConnConfig) (s *Service, way *link, k *kubelet, target *Target) {
	t := w.t
	way, cfg = newLink(t, cfg)
	w.config.Conn = testenv.Connect(t, cfg)
	k = runKubelet(t, "node-1")
	w.put(schemas.Applied, k.node())
	s, _ = w.run()
	w.next(k.name, nil)
	s.schedule.Load().each(func(l *timeline) { target = l.target.Load() })
	w.put(schemas.Deleted, k.node())
	testenv.Eventually(t, 10*time.Second, func() error {
		n := 0
		s.schedule.Load().each(func(*timeline) { n++ })
		if n > 0 || s.publisher.Waiting() > 0 {
			return errors.New("it is scraped on")
		}
		return nil
	})
	return s, way, k, target
}

// A node that is given away in any moment of its scrape has nothing published by the one that gave it away, once that is over.
func TestANodeIsGivenAwayWhileItIsScraped(t *testing.T) {
	cfg := testenv.NATS(t)
	w := newWorld(t, testenv.Connect(t, cfg))
	s, way, k, target := w.runIdle(cfg)
	way.cut(true) // what is published stays where it can be counted
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late := &timeline{node: k.name, recalled: true, ctx: gone} // it was given away while its kubelet answered
	late.target.Store(target)
	s.scrape(t.Context(), late)
	if n := s.publisher.Waiting(); n != 0 {
		t.Errorf("given away while its kubelet answered, and %d messages wait", n)
	}
	looked := 0
	for looks := 1; looks < 40; looks++ {
		ctx, cancel := context.WithCancel(t.Context())
		line := &timeline{node: k.name, recalled: true}
		line.target.Store(target)
		g := &given{Context: ctx, looks: looks, done: make(chan struct{}), away: func() {
			cancel()
			s.forget([]string{k.name})
		}}
		line.ctx = g
		s.scrape(ctx, line)
		if g.looks > 0 { // it was not looked at so often
			looked = looks - 1
			s.forget([]string{k.name})
			cancel()
			break
		}
		<-g.done
		testenv.Eventually(t, 5*time.Second, func() error { // an attempt to send it may be under way, which fails
			if n := s.publisher.Waiting(); n != 0 {
				return fmt.Errorf("given away at look %d, and %d messages wait", looks, n)
			}
			return nil
		})
	}
	if looked == 0 {
		t.Error("nobody looks whether the node is still this ingester's")
	}
	t.Logf("it is looked %d times whether the node is still this ingester's", looked)
}

// NATS that is away when a node is taken over, and back when its kubelet has answered, costs no rate.
func TestThePastIsAskedForTwice(t *testing.T) {
	cfg := testenv.NATS(t)
	w := newWorld(t, testenv.Connect(t, cfg))
	w.config.MetricResolution = 9 * time.Second // 6 s for a scrape
	s, way, k, target := w.runIdle(cfg)
	way.cut(true)
	testenv.Eventually(t, 10*time.Second, func() error {
		if s.cfg.Conn.Connected() == nil {
			return errors.New("still connected")
		}
		return nil
	})
	asked, back, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	k.bend(func(answer http.ResponseWriter, r *http.Request) {
		close(asked)
		<-back
		io.WriteString(answer, k.body())
	})
	before := w.last(k.name)
	line := &timeline{node: k.name, ctx: t.Context()}
	line.target.Store(target)
	go func() {
		defer close(over)
		s.scrape(t.Context(), line)
	}()
	<-asked
	way.cut(false)
	testenv.Eventually(t, 5*time.Second, s.cfg.Conn.Connected)
	close(back)
	<-over
	halfACore(t, w.next(k.name, before), 0)
	if failed, found := w.counted("headwater_ingest_recalls_total", recallFailed), w.counted("headwater_ingest_recalls_total", recallFound); failed != 1 || found != 1 {
		t.Errorf("%d attempts failed and %d found it, want 1 and 1", failed, found)
	}
}
