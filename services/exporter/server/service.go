package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/headwater-metrics/headwater/services/exporter/usage"
	"github.com/headwater-metrics/headwater/services/internal/customresource"
	"github.com/headwater-metrics/headwater/services/internal/filewatch"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/web"
)

// Config is what the exporter is made from.
type Config struct {
	// Options is what the flags set; nil for NewOptions.
	Options *Options
	// Conn is the connection to NATS; each replay opens its own from it.
	Conn *stream.Conn
	// Cluster is the name of the cluster whose streams are read.
	Cluster string
	// Kinds, if not nil, is told which custom resources the configuration is about: in New, and whenever a changed
	// configuration is taken. A file that can't be used is not told.
	Kinds func([]customresource.Pattern)

	// Log receives what an operator needs to know; nil for none.
	Log *slog.Logger
	// Registry takes the self-metrics; nil for none. They are not on /metrics.
	Registry prometheus.Registerer
}

// Service is the exporter: the editions of what is exported, of which one is in service; the replays that fill their views;
// and the HTTP server that reads these.
type Service struct {
	options *Options // with which it began, the files applied
	cluster string
	log     *slog.Logger
	metrics *metrics

	editions    *editions
	usage       atomic.Pointer[samples] // of all nodes, for all editions; nil until it is whole
	usageReplay replay                  // nil without --usage
	usageKnown  chan struct{}           // closed when usage is whole for the first time
	shards      *shards                 // nil without --pod

	// Of the goroutine that runs direct.
	flags    *Options
	files    []file      // as they were read last
	in       *inputs     // the last good ones
	first    *settings   // what they mean, without shards
	own      *assignment // the newest; nil without --pod, and until it is known
	delayed  *settings   // those that wait for the usage; nil for none
	lookTime time.Duration
	kinds    func([]customresource.Pattern) // nil for none

	guard    *web.Guard
	listener atomic.Pointer[net.TCPAddr]
}

// replay is what the exporter asks a stream.Replay.
type replay interface {
	Run(context.Context) error
	Ready() error
	Position() stream.Position
}

// New makes the exporter. It reads the files that the options name, and opens nothing: wrong options and files are errors
// here, a port that is taken is one of Run.
func New(cfg Config) (*Service, error) {
	s, err := newService(cfg)
	if err != nil {
		return nil, err
	}
	if known := s.usageKnown; s.options.Usage {
		whole := func(sink stream.Sink, p stream.Position) { s.serveUsage(known, sink, p) }
		s.usageReplay, err = stream.NewUsageReplay(stream.ReplayConfig{
			Conn: cfg.Conn, Cluster: cfg.Cluster, Name: "exporter-usage", Begin: s.beginUsage, Whole: whole, Log: cfg.Log, Registry: cfg.Registry,
		})
		if err != nil {
			return nil, fmt.Errorf("couldn't set up the replay of the usage: %w", err)
		}
	}
	if s.options.Pod != "" {
		if s.shards, err = newShards(cfg, s.options, s.log); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// newService makes the exporter without its replays.
func newService(cfg Config) (*Service, error) {
	if cfg.Options == nil {
		cfg.Options = NewOptions()
	}
	if err := stream.CheckCluster(cfg.Cluster); err != nil {
		return nil, err
	}
	s := &Service{flags: cfg.Options, cluster: cfg.Cluster, log: cfg.Log, lookTime: filewatch.Look, kinds: cfg.Kinds, usageKnown: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.in, err = readInputs(cfg.Options); err != nil {
		return nil, err
	}
	if s.first, err = s.in.settings(cfg.Cluster, nil); err != nil {
		return nil, err
	}
	s.options, s.files = s.in.options, s.in.files
	if s.guard, err = web.New(web.Config{Options: s.options.Web, Log: s.log, Registry: cfg.Registry}); err != nil {
		return nil, err
	}
	s.editions = newEditions(cfg, s.log)
	s.metrics = newMetrics(cfg.Registry, s.log, s)
	s.editions.metrics, s.editions.extras = s.metrics, newExtras(&s.options.Extras)
	s.metrics.loaded(s.files, nil)
	if cfg.Registry != nil {
		cfg.Registry.MustRegister(currentReplay{s.editions})
	}
	s.warn(s.in)
	s.tellKinds()
	if len(cfg.Options.ignored) > 0 {
		s.log.Warn("some flags are taken for the sake of kube-state-metrics' arguments, and have no effect", "flags", cfg.Options.ignored)
	}
	return s, nil
}

// Options are those with which the exporter began: the flags, overridden by the file of --config.
func (s *Service) Options() *Options { return s.options }

func (s *Service) beginUsage() stream.Sink { return &samples{s.cluster, usage.NewStore()} }

func (s *Service) serveUsage(known chan<- struct{}, sink stream.Sink, p stream.Position) {
	u := sink.(*samples)
	if s.usage.Swap(u) == nil {
		close(known)
	}
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
	group.Go(func() error { return s.direct(ctx) })
	if s.shards != nil {
		group.Go(func() error { return s.shards.Run(ctx) })
	}
	if s.usageReplay != nil {
		group.Go(func() error { return s.usageReplay.Run(ctx) })
		group.Go(func() error { return s.expire(ctx) })
	}
	if s.editions.tracker != nil {
		group.Go(func() error { return s.watchAvailability(ctx, s.editions.config.Conn) })
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

// Ready says why /metrics can't be answered yet; nil when it can. Once it can, it always can.
func (s *Service) Ready() error {
	_, err := s.current()
	return err
}

// current is the edition in service, or why there is none.
func (s *Service) current() (*edition, error) {
	e := s.editions.serving.Load()
	if e == nil {
		next := s.editions.newest()
		switch {
		case next != nil:
			return nil, notReady("the objects are not known yet", next.replay.Ready())
		case s.shards != nil:
			return nil, notReady("the shard is not known yet", s.shards.Err())
		}
		return nil, errors.New("the objects are not known yet: the exporter starts")
	}
	if e.usage != nil && s.usageReplay != nil && s.usage.Load() == nil {
		return nil, notReady("the usage is not known yet", s.usageReplay.Ready())
	}
	return e, nil
}

// position is how far the edition in service has read the log.
func (s *Service) position() stream.Position {
	if e := s.editions.serving.Load(); e != nil {
		return e.replay.Position()
	}
	return stream.Position{}
}

func notReady(what string, because error) error {
	if because == nil { // it became whole a moment ago
		return errors.New(what)
	}
	return fmt.Errorf("%s: %w", what, because)
}
