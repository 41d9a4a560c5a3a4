package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// Service is the state service.
type Service struct {
	cfg      Config
	log      *slog.Logger
	rest     *rest.Config
	kinds    []objects.Kind
	encoders map[string]*objects.Encoder // by resource
	sources  map[string]source           // by resource
	health   *health
	metrics  *metrics

	custom      *customClients
	definitions source        // of CustomResourceDefinitions
	unpublished chan struct{} // gets a token when a kind's availability has changed

	wishing sync.Mutex           // held while wish is replaced
	wish    atomic.Pointer[wish] // which custom resources are wanted
	file    *configFile          // nil for none to follow

	book  atomic.Pointer[book]         // of the term, or of the one who stands by
	ready atomic.Pointer[func() error] // says why the service isn't ready
}

// New makes the service. It reads the kubeconfig and the configuration of custom resources; nothing is connected to before
// Run. Errors say which setting is wrong.
func New(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.complete()
	s := &Service{cfg: cfg, log: cfg.Log, encoders: map[string]*objects.Encoder{}, sources: map[string]source{}, unpublished: make(chan struct{}, 1)}
	s.wish.Store(newWish(nil))
	var err error
	if s.kinds, err = cfg.kinds(); err != nil {
		return nil, err
	}
	if err := s.configure(); err != nil {
		return nil, err
	}
	if s.rest, err = cfg.rest(); err != nil {
		return nil, err
	}
	clients, err := newClients(s.rest)
	if err != nil {
		return nil, err
	}
	for _, kind := range s.kinds {
		if s.encoders[kind.Resource], err = objects.NewEncoder(kind); err != nil {
			return nil, err
		}
		if s.sources[kind.Resource], err = clients.source(kind); err != nil {
			return nil, err
		}
	}
	if s.custom, err = newCustomClients(clients); err != nil {
		return nil, err
	}
	s.definitions = &definitionSource{s.custom.metadata}
	watched := s.kinds
	if len(s.wish.Load().patterns) > 0 {
		watched = append(slices.Clone(watched), definitionsKind())
	}
	s.metrics = newMetrics(cfg.Registry, s)
	s.health = newHealth(watched, s.metrics, s.log, func() {
		signal(s.unpublished)
		if b := s.book.Load(); b != nil {
			signal(b.moved)
		}
	})
	s.waitFor("NATS, to create the log")
	return s, nil
}

// Ready says why the log isn't as the API server says yet: NATS or the API server is away, the log is being replayed, or
// the kinds are being listed. It is nil once everything that may be listed was listed, written and acknowledged, and
// stays so until the term ends. For one who stands by it is nil once the log was replayed.
func (s *Service) Ready() error { return (*s.ready.Load())() }

func (s *Service) setReady(why func() error) { s.ready.Store(&why) }

func (s *Service) waitFor(what string) {
	err := errors.New("waiting for " + what)
	s.setReady(func() error { return err })
}

// Leading tells whether the service may write to the log at the moment.
func (s *Service) Leading() bool {
	b := s.book.Load()
	return b != nil && b.leading()
}

// Run writes until ctx ends, and returns its error. Any other error is one that trying again can't cure.
func (s *Service) Run(ctx context.Context) error {
	following, stop := context.WithCancel(ctx)
	var followed sync.WaitGroup
	followed.Go(func() { s.followFile(following) })
	defer followed.Wait()
	defer stop()
	if s.cfg.LeaderElection.Enabled {
		return s.elect(ctx)
	}
	return s.again(ctx, func() error { return s.term(ctx, ctx, nil) })
}

// again has one term after the other, with pauses between them in which the service isn't ready, until ctx ends or trying
// again makes no sense.
func (s *Service) again(ctx context.Context, term func() error) error {
	for p := newPauses(); ; {
		err := term()
		if final := s.ended(ctx, err); final != nil {
			return final
		}
		s.waitFor(fmt.Sprintf("the next try, after: %v", err))
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

// ended tells of the end of a term. It returns the error that ends the service, if that is one.
func (s *Service) ended(ctx context.Context, err error) error {
	reason := "error"
	switch {
	case ctx.Err() != nil:
		s.metrics.terms.WithLabelValues("stopped").Inc()
		return ctx.Err()
	case errors.Is(err, stream.ErrFenced):
		reason = "fenced"
		s.log.Error("another process writes to this log; replaying it and starting over. Run one state service for each log, or all of them with --leader-elect", "error", err)
	case errors.Is(err, stream.ErrLogChanged):
		reason = "log_changed"
		s.log.Error("the log isn't what it was; replaying it and writing what it lacks", "error", err)
	case errors.Is(err, errLeadershipLost):
		reason = "leadership_lost"
		s.log.Warn("the Lease is lost, standing by")
	default:
		s.log.Error("can't write to the log, starting over", "error", err)
	}
	s.metrics.terms.WithLabelValues(reason).Inc()
	if errors.Is(err, stream.ErrConfig) {
		return err
	}
	return nil
}

// replay says how the log is read into books; whole gets each that is.
func (s *Service) replay(name string, whole func(*book)) stream.ReplayConfig {
	return stream.ReplayConfig{
		Conn: s.cfg.Conn, Cluster: s.cfg.Streams.Cluster, Name: name, Workers: runtime.GOMAXPROCS(0),
		Log: s.log, Registry: s.cfg.Registry,
		Begin: func() stream.Sink {
			b := newBook(s.cfg.Streams.Cluster, s.kinds, s.cfg.Pace, s.metrics, s.log)
			b.custom = func(group string) bool { return s.wish.Load().group(group) }
			return b
		},
		Whole: func(sink stream.Sink, _ stream.Position) {
			if b, ok := sink.(*book); ok {
				whole(b)
			}
		},
	}
}

// rebuild reads the log into a new book, up to its end.
func (s *Service) rebuild(ctx context.Context) (*book, stream.LogPosition, error) {
	s.waitFor("the log to be replayed")
	for {
		var whole *book
		position, err := stream.ReplayOnce(ctx, s.replay("state", func(b *book) { whole = b }))
		switch {
		case err == nil && whole != nil:
			return whole, position.LogPosition, nil
		case errors.Is(err, stream.ErrTrimmed):
			s.log.Error("the log can't be replayed, so what vanished from it would never be deleted: starting a new one, and every consumer will rebuild its view. Raise --objects-max-age or lower --snapshot-interval", "error", err)
			if err := stream.Recreate(ctx, s.cfg.Conn, s.cfg.Streams); err != nil {
				return nil, stream.LogPosition{}, fmt.Errorf("couldn't start a new log: %w", err)
			}
		case err == nil:
			err = errors.New("the replay ended early")
			fallthrough
		default:
			return nil, stream.LogPosition{}, fmt.Errorf("couldn't replay the log: %w", err)
		}
	}
}

// stats are what the gauges show.
type stats struct {
	objects              map[string]int
	bytes, queued, paced int
}

func (s *Service) stats() (st stats) {
	if b := s.book.Load(); b != nil {
		st.objects, st.bytes, st.queued, st.paced = b.counts()
	}
	return st
}

// pauses are those between two terms: longer each time, short again after a term that lasted.
type pauses struct {
	last time.Time
	next time.Duration
}

func newPauses() *pauses { return &pauses{last: time.Now(), next: firstPause} }

const (
	firstPause = 250 * time.Millisecond
	lastPause  = 30 * time.Second
)

// wait waits for the pause's length, or until ctx ends.
func (p *pauses) wait(ctx context.Context) error {
	if time.Since(p.last) > 2*lastPause {
		p.next = firstPause
	}
	timer := time.NewTimer(p.next)
	defer timer.Stop()
	p.next = min(2*p.next, lastPause)
	select {
	case <-timer.C:
		p.last = time.Now()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
