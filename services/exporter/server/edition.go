package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headwater-metrics/headwater/services/exporter/events"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// edition is the exporter with one state of its settings: what is exported, the replay that reads it, and the view that the
// replay fills. A change of the settings makes another edition, which is built beside the one in service.
type edition struct {
	*settings
	number   int
	begun    time.Time
	editions *editions
	registry *relay
	replay   replay
	feed     *events.Feed            // nil without --event-counters
	view     atomic.Pointer[objects] // the newest whole one; nil until there is one
	cancel   context.CancelFunc

	// held is the view in service that this edition keeps where it is while it reads on to the same event; nil mostly. It
	// is for the replay's goroutine, and when that has ended, for the one that ran it.
	held *objects
}

// editions are the one in service and the one that is to follow it.
type editions struct {
	log     *slog.Logger
	metrics *metrics
	config  stream.ReplayConfig // without what is an edition's own
	extras

	serving atomic.Pointer[edition] // written under mu; nil until the first is whole

	mu       sync.Mutex
	building *edition // nil for none
	number   int      // of the last one that was begun

	running sync.WaitGroup
	failed  chan error // why an edition ended by itself
}

// begin begins to build an edition with these settings. One that is being built is given up for it.
func (s *editions) begin(ctx context.Context, with *settings) error {
	ctx, cancel := context.WithCancel(ctx)
	e := &edition{settings: with, begun: time.Now(), editions: s, registry: &relay{shared: s.config.Registry}, feed: s.feed(with), cancel: cancel}
	config := s.config
	config.Registry = e.registry
	config.Begin, config.Whole = e.beginView, e.wholeView
	var err error
	if e.replay, err = stream.NewReplay(config); err != nil {
		cancel()
		return fmt.Errorf("couldn't set up the replay of the objects: %w", err)
	}
	s.mu.Lock()
	s.number++
	e.number = s.number
	superseded := s.building
	s.building = e
	s.mu.Unlock()
	if superseded != nil {
		superseded.cancel()
		s.metrics.superseded.Inc()
	}
	s.running.Go(func() {
		defer cancel()
		err := e.replay.Run(ctx)
		e.letGo()
		if ctx.Err() == nil {
			select {
			case s.failed <- err:
			default:
			}
		}
	})
	return nil
}

// abandon gives up the edition that is being built: the one in service is what is wanted after all.
func (s *editions) abandon() {
	s.mu.Lock()
	superseded := s.building
	s.building = nil
	s.mu.Unlock()
	if superseded != nil {
		superseded.cancel()
		s.metrics.superseded.Inc()
	}
}

// newest is the edition that has the newest settings; nil before the first.
func (s *editions) newest() *edition {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.building != nil {
		return s.building
	}
	return s.serving.Load()
}

// progress says how far the edition is that is being built; nil where there is none.
func (s *editions) progress() *stream.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.building == nil {
		return nil
	}
	p := s.building.replay.Position()
	return &p
}

func (e *edition) beginView() stream.Sink {
	e.letGo()
	var fold *events.Fold
	if e.feed != nil {
		fold = e.feed.Begin(e.replay.Position())
	}
	return newObjects(e.catalog, e.editions.metrics, e.editions.tracker, fold)
}

// wholeView is told when the replay has made a view whole: the edition's first one, or another because the log was lost.
func (e *edition) wholeView(sink stream.Sink, p stream.Position) {
	view := sink.(*objects)
	if view.fold != nil {
		view.fold.Whole(p)
	}
	view.log = p.Log
	view.applied.Store(p.Sequence)
	view.whole.Store(true)
	e.view.Store(view)
	e.editions.log.Info("the objects are whole", "edition", e.number, "position", p.Sequence)

	s := e.editions
	s.mu.Lock()
	next := s.building == e
	s.mu.Unlock()
	if !next {
		return
	}
	// The one in service has followed the log meanwhile. Nobody must see an object go back to what it was, so that one waits
	// until this one is as far.
	if old := s.serving.Load(); old != nil {
		e.held = old.view.Load()
		e.held.gate.Lock()
		if target := e.held.applied.Load(); e.held.log.Equal(p.Log) && target > p.Sequence {
			view.onward = func(sequence uint64) {
				if sequence >= target {
					view.onward = nil
					e.serve()
				}
			}
			return
		}
	}
	e.serve()
}

// serve puts the edition in service, unless it was superseded, and ends the one before.
func (e *edition) serve() {
	s := e.editions
	s.mu.Lock()
	var old *edition
	if s.building == e {
		old = s.serving.Swap(e)
		if e.feed != nil {
			e.feed.Serve()
		}
		s.building = nil
		s.metrics.served.Inc()
		if old != nil {
			s.log.Info("what is exported has changed", "edition", e.number, "took", time.Since(e.begun).Round(time.Millisecond))
		}
	}
	s.mu.Unlock()
	if old != nil {
		old.cancel()
	}
	e.letGo()
}

// letGo lets the view go on that was kept where it is.
func (e *edition) letGo() {
	if e.held != nil {
		e.held.gate.Unlock()
		e.held = nil
	}
}

// resources are the names that ?resources= knows.
func (e *edition) resources() []string {
	var names []string
	for _, r := range e.catalog.resources {
		names = append(names, r.Name)
	}
	seen := map[string]bool{}
	if view := e.view.Load(); view != nil && view.custom != nil {
		view.custom.objects(func(name string, _ int) { seen[name] = true })
	}
	names = append(names, sortedKeys(seen)...)
	if e.usage != nil {
		names = append(names, "usage")
	}
	return names
}

// newEditions makes them without the first.
func newEditions(cfg Config, log *slog.Logger) *editions {
	return &editions{
		log: log, failed: make(chan error, 1),
		config: stream.ReplayConfig{
			Conn: cfg.Conn, Cluster: cfg.Cluster, Name: "exporter-objects", Workers: runtime.GOMAXPROCS(0),
			AwaitSnapshot: true, Log: cfg.Log, Registry: cfg.Registry,
		},
	}
}
