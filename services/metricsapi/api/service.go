package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// Service is the Metrics API server: two replays, the views that they fill, and the HTTPS server that reads these.
type Service struct {
	cfg     Config
	metrics *serviceMetrics
	now     func() time.Time // the clock that samples' ages are told by

	catalogs view.Live[catalog]    // the nodes and pods that serve
	usage    view.Live[view.Usage] // the usage that serves

	objectsReplay, usageReplay replay
	cataloger                  *cataloger
	selector                   labels.Selector // of nodes; nil for all
	reports                    *reports
	arrivals                   *arrivals
	watches                    *watches // nil where watching is off
	whole                      func()   // Config.Whole, the first time

	address   atomic.Pointer[net.TCPAddr] // where it listens
	starting  atomic.Pointer[error]       // why the HTTPS server doesn't answer yet; nil once it does
	lastSweep atomic.Pointer[time.Time]   // when the last sweep of the views ended; nil before Run
}

// replay is what the server asks a stream.Replay.
type replay interface {
	Run(context.Context) error
	Ready() error
	Position() stream.Position
}

var errNotRunning = errors.New("the metrics API isn't running yet")

// New makes the server. It opens nothing: wrong options, and kubeconfigs that can't be loaded, are errors here; a port
// that is taken is one of Run.
func New(cfg Config) (*Service, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := newService(cfg)
	objects, err := stream.NewReplay(s.replayConfig("metricsapi-objects", s.beginCatalog, s.serveCatalog))
	if err != nil {
		return nil, fmt.Errorf("couldn't set up the replay of the objects: %w", err)
	}
	usage, err := stream.NewUsageReplay(s.replayConfig("metricsapi-usage", s.beginUsage, s.serveUsage))
	if err != nil {
		return nil, fmt.Errorf("couldn't set up the replay of the usage: %w", err)
	}
	s.objectsReplay, s.usageReplay = objects, usage
	if ignored := cfg.Options.ignored; len(ignored) > 0 {
		cfg.Log.Warn("some flags are taken for the sake of metrics-server's arguments and have no effect here: kubelets are asked by ingest, so give them there", "flags", ignored)
	}
	return s, nil
}

// newService makes the server without its replays.
func newService(cfg Config) *Service {
	s := &Service{cfg: cfg, now: time.Now, cataloger: newCataloger(cfg.Cluster), reports: newReports(), arrivals: newArrivals()}
	s.selector, _ = cfg.Options.nodeSelector() // Validate has read it
	s.starting.Store(&errNotRunning)
	s.metrics = newMetrics(cfg.Registry, s)
	s.watches = newWatches(cfg.Options, func() time.Time { return s.now() }, cfg.Registry)
	s.cataloger.watches = s.watches
	s.whole = sync.OnceFunc(func() {
		if cfg.Whole != nil {
			cfg.Whole()
		}
	})
	return s
}

func (s *Service) replayConfig(name string, begin func() stream.Sink, whole func(stream.Sink, stream.Position)) stream.ReplayConfig {
	return stream.ReplayConfig{
		Conn: s.cfg.Conn, Cluster: s.cfg.Cluster, Name: name, Workers: runtime.GOMAXPROCS(0),
		AwaitSnapshot: true, Begin: begin, Whole: whole, Log: s.cfg.Log, Registry: s.cfg.Registry,
	}
}

func (s *Service) beginCatalog() stream.Sink {
	return &catalogSink{cataloger: s.cataloger, catalog: newCatalog(s.selector)}
}

func (s *Service) serveCatalog(sink stream.Sink, p stream.Position) {
	catalog := sink.(*catalogSink).catalog
	catalog.settle()
	s.watches.followCatalog(catalog, p, func() { s.catalogs.Serve(catalog) })
	s.cfg.Log.Info("the objects are whole", "nodes", catalog.nodes.Len(), "running_pods", catalog.pods.Len(), "position", p.Sequence)
	s.tellWhole()
}

func (s *Service) beginUsage() stream.Sink {
	return &usageSink{service: s, usage: view.NewUsage()}
}

func (s *Service) serveUsage(sink stream.Sink, p stream.Position) {
	usage := sink.(*usageSink).usage
	s.watches.followUsage(usage, p, func() { s.usage.Serve(usage) })
	sink.(*usageSink).live.Store(true)
	nodes, pods := usage.Len()
	s.cfg.Log.Info("the usage is whole", "nodes", nodes, "pods", pods, "position", p.Sequence)
	s.tellWhole()
}

// tellWhole tells whoever made the service when both views serve for the first time.
func (s *Service) tellWhole() {
	if s.catalogs.Load() != nil && s.usage.Load() != nil {
		s.whole()
	}
}

// Run replays the streams and serves, until ctx ends; then it lets running requests end and returns nil. A port that
// can't be opened is an error at once. An API server or a NATS server that is away is none: Run waits, and Ready tells.
func (s *Service) Run(ctx context.Context) error {
	// The replays go on while the server lets requests end, which --shutdown-delay-duration may draw out.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.objectsReplay.Run(background) })
	group.Go(func() error { return s.usageReplay.Run(background) })
	group.Go(func() error { return s.sweep(background) })
	group.Go(func() error { return s.watches.run(ctx, s.viewsReady) })
	var failed error
	group.Go(func() error {
		defer stop() // whose errors must not hide this one
		failed = s.listenAndServe(ctx)
		return failed
	})
	err := group.Wait()
	s.starting.Store(&errNotRunning)
	if failed != nil {
		err = failed
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Ready says why requests for metrics can't be answered now; nil when they can.
func (s *Service) Ready() error {
	if reason := s.starting.Load(); reason != nil {
		return *reason
	}
	return s.viewsReady()
}

// viewsReady says why the views can't be read, in one line; nil when they can.
func (s *Service) viewsReady() error {
	objects, usage := s.objectsReady(), s.usageReady()
	switch {
	case objects == nil:
		return usage
	case usage == nil:
		return objects
	}
	return fmt.Errorf("%w; %w", objects, usage)
}

// Addr is the address on which HTTPS is served; nil before Run has opened it.
func (s *Service) Addr() net.Addr {
	if address := s.address.Load(); address != nil {
		return address
	}
	return nil
}

// objectsReady says why the view of the objects can't be read.
func (s *Service) objectsReady() error {
	if s.catalogs.Load() == nil {
		if err := s.objectsReplay.Ready(); err != nil {
			return fmt.Errorf("the nodes and pods are not known yet: %w", err)
		}
		return errors.New("the nodes and pods are not known yet")
	}
	return nil
}

// usageReady says why the view of the usage can't be read: it isn't whole, or it is but the stream is silent (no message, no
// heartbeat), or has been, for longer than samples stay true.
func (s *Service) usageReady() error {
	if s.usage.Load() == nil {
		if err := s.usageReplay.Ready(); err != nil {
			return fmt.Errorf("the usage is not known yet: %w", err)
		}
		return errors.New("the usage is not known yet")
	}
	return s.deaf()
}

// storageReady says why there is no usage to give: as usageReady does, or because nobody scrapes. A cluster without nodes has
// none, and that is right. Lists are answered all the same.
func (s *Service) storageReady() error {
	if err := s.usageReady(); err != nil {
		return err
	}
	catalog := s.catalogs.Load()
	if catalog == nil || !catalog.anySelected() {
		return nil
	}
	now, maxAge := s.now(), s.cfg.Options.maxSampleAge()
	if s.usage.Load().Any(func(sample *schemas.UsageSample) bool {
		return !expired(sample, now, maxAge) && catalog.selected(sample.Node)
	}) {
		return nil
	}
	return fmt.Errorf("no node has a sample younger than %v: is ingest running, and can it write to NATS? See %s, here and at ingest", maxAge, debugPath)
}

// views implements source.
func (s *Service) views() (*catalog, view.UsageReader, error) {
	if err := s.viewsReady(); err != nil {
		s.metrics.unavailable.Inc()
		return nil, nil, unavailable(err)
	}
	catalog := s.catalogs.Load()
	return catalog, catalog.selectUsage(s.usage.Load()), nil
}

// observe implements source.
func (s *Service) observe(a *ages) { s.metrics.freshness.observe(a) }

// unavailable is the answer while there is nothing true to answer: 503, and to come again in a second.
func unavailable(reason error) error {
	err := apierrors.NewServiceUnavailable("the metrics API can't answer yet: " + reason.Error())
	err.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return err
}

// forget is how long the usage of a node that is gone is kept at least. Nothing of it is served.
const forget = 10 * time.Minute

// sweep drops what is known of nodes that are gone, from time to time, and ends the rounds of scrapes.
func (s *Service) sweep(ctx context.Context) error {
	ticker := time.NewTicker(s.cfg.Options.Resolution)
	defer ticker.Stop()
	for {
		swept := time.Now()
		s.lastSweep.Store(&swept)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.metrics.kubelets.endRound()
			if s.usageReady() != nil {
				continue // what is too old says what answers wait for
			}
			s.forget(s.now().Add(-max(forget, 2*s.cfg.Options.maxSampleAge())).UnixNano())
		}
	}
}

// forget drops what is older than the time given, Unix nanoseconds, and what is told of nodes that don't exist. While nobody
// scrapes, no usage is dropped: the last samples say which nodes answers wait for when somebody does again.
func (s *Service) forget(before int64) {
	// In this order: it is noted that nobody has written for long before the first sample afterwards is seen.
	if s.storageReady() == nil && s.usageReady() == nil {
		s.forgetUsage(before)
	}
	if catalog := s.catalogs.Load(); catalog != nil {
		exists := func(node string) bool {
			_, ok := catalog.nodes.Get("", node)
			return ok
		}
		s.metrics.kubelets.forget(exists)
		s.reports.expire(before, exists)
	}
}

func (s *Service) forgetUsage(before int64) {
	s.arrivals.forget(time.Unix(0, before))
	if usage := s.usage.Load(); usage != nil {
		if n := s.watches.forget(usage, before); n > 0 {
			s.metrics.forgotten.Add(float64(n))
			s.cfg.Log.Info("forgot the usage of nodes that are gone", "nodes", n)
		}
	}
}

// usageSink is a build of the usage view. What the stream tells of scrapes goes to the service, which all builds share.
type usageSink struct {
	service *Service
	usage   *view.Usage
	live    atomic.Bool // it serves, so that what comes has just happened
}

// Apply implements stream.Sink. What else the stream may have is stepped over. An attempt to scrape a node is counted if it has just
// been made: what is replayed was counted before, or elsewhere.
func (s *usageSink) Apply(e stream.Event) error {
	at, happens := s.came(e)
	s.service.arrivals.message(e, at, s.service.cfg.Options.lull())
	kubelets := s.service.metrics.kubelets
	switch cluster := s.service.cfg.Cluster; {
	case stream.IsUsage(cluster, e.Subject):
		sample := new(schemas.UsageSample)
		read := sample.UnmarshalContainers // a view is half as large without what isn't served
		if s.service.cfg.Options.ExtendedUsage {
			read = sample.UnmarshalPoints
		}
		if err := read(e.Data); err != nil {
			return err
		}
		s.service.watches.applySample(s.usage, sample, e.Sequence)
		s.service.arrivals.sample(sample.Node, at)
		if happens {
			kubelets.attempt(sample.Node, sample.Time, time.Duration(sample.Duration), true)
		}
	case stream.IsScrape(cluster, e.Subject):
		report := new(schemas.ScrapeReport)
		if err := report.Unmarshal(e.Data); err != nil {
			return err
		}
		s.service.reports.put(report, e.Data)
		if happens && !report.Published() { // else its sample tells
			kubelets.attempt(report.Node, report.Time, time.Duration(report.Duration), false)
		}
	}
	s.usage.Advance(e.Sequence)
	s.service.watches.readUsage(s.usage, e.Sequence)
	return nil
}

// came is when an event came, by this server's clock, and whether it happens now. Else it is replayed, and came when it was stored,
// if the clock of NATS is right.
func (s *usageSink) came(e stream.Event) (at time.Time, happens bool) {
	now := s.service.now()
	if s.live.Load() && !s.service.usageReplay.Position().Rebuilding {
		return now, true
	}
	if e.Time.Before(now) {
		return e.Time, false
	}
	return now, false
}
