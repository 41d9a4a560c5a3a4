package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/usage"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// Config is what the exporter is made from.
type Config struct {
	// Options is what the flags set; nil for NewOptions.
	Options *Options
	// Conn is the connection to NATS; each replay opens its own from it.
	Conn *stream.Conn
	// Cluster is the name of the cluster whose streams are read.
	Cluster string

	// Log receives what an operator needs to know; nil for none.
	Log *slog.Logger
	// Registry takes the self-metrics; nil for none. They are not on /metrics.
	Registry prometheus.Registerer
}

// Service is the exporter: two replays, the views that they fill, and the HTTP server that reads these.
type Service struct {
	options *Options
	log     *slog.Logger
	metrics *metrics
	catalog *catalog

	objects atomic.Pointer[objects] // the view in service; nil until there is one
	usage   atomic.Pointer[samples]

	objectsReplay, usageReplay replay // usageReplay is nil without --usage

	listener atomic.Pointer[net.TCPAddr]
}

// replay is what the exporter asks a stream.Replay.
type replay interface {
	Run(context.Context) error
	Ready() error
	Position() stream.Position
}

// New makes the exporter. It opens nothing: wrong options are errors here, a port that is taken is one of Run.
func New(cfg Config) (*Service, error) {
	s, err := newService(cfg)
	if err != nil {
		return nil, err
	}
	config := func(name string, begin func() stream.Sink, whole func(stream.Sink, stream.Position)) stream.ReplayConfig {
		return stream.ReplayConfig{
			Conn: cfg.Conn, Cluster: cfg.Cluster, Name: name, Workers: runtime.GOMAXPROCS(0),
			AwaitSnapshot: true, Begin: begin, Whole: whole, Log: cfg.Log, Registry: cfg.Registry,
		}
	}
	if s.objectsReplay, err = stream.NewReplay(config("exporter-objects", s.beginObjects, s.serveObjects)); err != nil {
		return nil, fmt.Errorf("couldn't set up the replay of the objects: %w", err)
	}
	if s.options.Usage {
		if s.usageReplay, err = stream.NewUsageReplay(config("exporter-usage", s.beginUsage, s.serveUsage)); err != nil {
			return nil, fmt.Errorf("couldn't set up the replay of the usage: %w", err)
		}
	}
	return s, nil
}

// newService makes the exporter without its replays.
func newService(cfg Config) (*Service, error) {
	if cfg.Options == nil {
		cfg.Options = NewOptions()
	}
	if err := errors.Join(cfg.Options.Validate(), stream.CheckCluster(cfg.Cluster)); err != nil {
		return nil, err
	}
	s := &Service{options: cfg.Options, log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.catalog, err = newCatalog(cfg.Cluster, &cfg.Options.Collector); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(cfg.Registry, s.log, s)
	return s, nil
}

func (s *Service) beginObjects() stream.Sink {
	return &objects{catalog: s.catalog, store: exposition.NewStore(s.catalog.resources), metrics: s.metrics}
}

func (s *Service) serveObjects(sink stream.Sink, p stream.Position) {
	o := sink.(*objects)
	o.whole.Store(true)
	s.objects.Store(o)
	s.log.Info("the objects are whole", "position", p.Sequence)
}

func (s *Service) beginUsage() stream.Sink { return &samples{usage.NewStore()} }

func (s *Service) serveUsage(sink stream.Sink, p stream.Position) {
	u := sink.(*samples)
	s.usage.Store(u)
	nodes, pods, _ := u.store.Stats()
	s.log.Info("the usage is whole", "nodes", nodes, "pods", pods, "position", p.Sequence)
}

// Run replays the streams and serves, until ctx ends; then it lets running scrapes end, for a few seconds, and returns
// nil. A port that can't be opened is an error at once. A NATS server that is away is none: Run waits, and Ready tells.
func (s *Service) Run(ctx context.Context) error {
	listener, err := s.listen(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.objectsReplay.Run(ctx) })
	if s.usageReplay != nil {
		group.Go(func() error { return s.usageReplay.Run(ctx) })
		group.Go(func() error { return s.expire(ctx) })
	}
	group.Go(func() error { return s.serve(ctx, listener) })
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// expire forgets the usage of nodes that are gone, now and then. Nothing of it was served any more.
func (s *Service) expire(ctx context.Context) error {
	ticker := time.NewTicker(s.options.MaxSampleAge)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if u := s.usage.Load(); u != nil {
				if n := u.store.Expire(now.Add(-5 * s.options.MaxSampleAge)); n > 0 {
					s.metrics.expired.Add(float64(n))
					s.log.Info("forgot the usage of nodes that are gone", "nodes", n)
				}
			}
		}
	}
}

// Ready says why /metrics can't be answered yet; nil when it can.
func (s *Service) Ready() error {
	if s.objects.Load() == nil {
		return notReady("the objects are not known yet", s.objectsReplay.Ready())
	}
	if s.usageReplay != nil && s.usage.Load() == nil {
		return notReady("the usage is not known yet", s.usageReplay.Ready())
	}
	return nil
}

func notReady(what string, because error) error {
	if because == nil { // it became whole a moment ago
		return errors.New(what)
	}
	return fmt.Errorf("%s: %w", what, because)
}
