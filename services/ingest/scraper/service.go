package scraper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// Service is the ingest service.
type Service struct {
	cfg Config
	log *slog.Logger

	targets  *nodeTargets
	share    *share // which of them are ours
	kubelets *kubelets
	rules    rules
	decoders sync.Pool // of *decoder
	metrics  *metrics
	ingester string // what it is called in reports

	publisher *stream.UsagePublisher   // while Run runs
	schedule  atomic.Pointer[schedule] // nil before Run has its stream
}

// New makes the service. It reads certificate files and the kubeconfig; nothing is connected to before Run. Errors say
// which setting is wrong.
func New(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := stream.CheckCluster(cfg.Streams.Cluster); err != nil {
		return nil, err
	}
	cfg = cfg.complete()
	s := &Service{
		cfg:      cfg,
		log:      cfg.Log,
		rules:    rulesFor(cfg.MetricResolution),
		ingester: cfg.Instance,
		decoders: sync.Pool{New: func() any { return new(decoder) }},
	}
	addressing, err := newAddressing(&cfg)
	if err != nil {
		return nil, err
	}
	if s.kubelets, err = newKubelets(&cfg); err != nil {
		return nil, err
	}
	if s.targets, err = newNodeTargets(cfg.Conn, cfg.Streams.Cluster, addressing, cfg.Log, cfg.Registry); err != nil {
		return nil, err
	}
	if s.share, err = newShare(&cfg); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(cfg.Registry, s)
	return s, nil
}

// Ready says why nothing is scraped yet: NATS is away, or the nodes aren't known yet; nil when they are.
func (s *Service) Ready() error {
	if s.schedule.Load() == nil {
		return errors.New("waiting for NATS, to create the usage stream")
	}
	if err := s.targets.Ready(); err != nil {
		return fmt.Errorf("the nodes to scrape aren't known yet: %w", err)
	}
	return s.share.Ready()
}

// Run scrapes until ctx ends, and returns its error. Any other error is one that trying again can't cure.
func (s *Service) Run(ctx context.Context) error {
	if err := stream.EnsureUsage(ctx, s.cfg.Conn, s.cfg.Streams); err != nil {
		return fmt.Errorf("couldn't create the usage stream: %w", err)
	}
	var err error
	s.publisher, err = stream.NewUsagePublisher(stream.UsagePublisherConfig{
		Conn: s.cfg.Conn, Cluster: s.cfg.Streams.Cluster, Log: s.log, Registry: s.cfg.Registry,
	})
	if err != nil {
		return fmt.Errorf("couldn't publish usage: %w", err)
	}
	defer s.publisher.Close()
	defer s.kubelets.close()

	g, ctx := errgroup.WithContext(ctx)
	schedule := newSchedule(ctx, s.cfg.MetricResolution, s.scrape, func(n int) { s.metrics.skipped.Add(float64(n)) })
	s.schedule.Store(schedule)
	s.log.Info("scraping kubelets", "resolution", s.cfg.MetricResolution, "timeout", s.cfg.KubeletRequestTimeout)
	s.share.begin(schedule, s.forget)
	g.Go(func() error { return s.targets.Run(ctx, s.share) })
	g.Go(func() error { return s.share.Run(ctx) })
	g.Go(func() error { return s.keepStream(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		schedule.stop()
		return nil
	})
	err = g.Wait()

	// What has just been read is worth a moment.
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.publisher.Flush(flush); err != nil {
		s.log.Info("the last samples may not have been published", "error", err)
	}
	return err
}

// keepStreamEvery is how often it is looked whether samples can't be stored, and twice that how long that lasts before the
// stream is looked after: an ordinary server acknowledges in a millisecond.
const keepStreamEvery = time.Second

// keepStream creates the usage stream again when it is gone, as when NATS lost its disk: nobody else does, and without it
// no sample would ever be taken again.
func (s *Service) keepStream(ctx context.Context) error {
	tick := time.NewTicker(keepStreamEvery)
	defer tick.Stop()
	told := ""
	for was := false; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		stuck := s.publisher.Stuck()
		if !stuck {
			told = ""
		}
		if stuck && was {
			err := stream.EnsureUsage(ctx, s.cfg.Conn, s.cfg.Streams)
			switch {
			case err == nil:
				told = ""
			case ctx.Err() == nil && err.Error() != told:
				told = err.Error()
				s.log.Error("samples wait, but the usage stream can't be created; it is tried on", "error", err)
			}
			stuck = false // a look every other time
		}
		was = stuck
	}
}

// scrape reads one node once and publishes what it says. Whatever goes wrong costs the node this one scrape.
func (s *Service) scrape(ctx context.Context, t *timeline) {
	started := time.Now()
	target := t.target.Load()
	err := s.attempt(ctx, t, target, started)
	if ctx.Err() != nil {
		return // the node is no longer ours, or the service ends: what came of it is of no interest
	}
	now := time.Now()
	was, is := t.came(target, started, now.Sub(started), err)
	if is.failures == 0 {
		t.recalled = true
	}
	s.metrics.duration.Observe(is.took.Seconds())
	if is.failures > 0 {
		s.metrics.scrapes[is.result].Inc()
	} else {
		s.metrics.scrapes[resultSuccess].Inc()
	}

	// A node's failure is logged when it begins, when its reason changes and when it ends.
	switch {
	case is.result == was.result && (is.failures > 0) == (was.failures > 0):
	case err != nil && is.failures == 0:
		s.log.Warn("couldn't read a node's summary; its sample has only what the resource endpoint tells", "node", t.node, "url", is.url, "result", is.result, "error", err)
	case err != nil:
		s.log.Warn("couldn't scrape a node; its previous sample stands", "node", t.node, "url", is.url, "result", is.result, "error", err)
	case was.result != "":
		s.log.Info("the node can be scraped again", "node", t.node, "before", was.result)
	}
	s.report(t, was, is, now)
}

// attempt is a scrape's way from the request to the publication. An error that lacksSummary knows is one of a sample that was
// published.
func (s *Service) attempt(ctx context.Context, t *timeline, target *Target, started time.Time) (err error) {
	defer func() {
		if r := recover(); r != nil {
			t.past.Lock()
			t.history = history{}
			t.past.Unlock()
			err = failed(resultInternal, fmt.Errorf("a bug of ours, please report it: %v\n%s", r, debug.Stack()))
		}
	}()
	if target.Err != nil {
		return target.Err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.KubeletRequestTimeout)
	defer cancel()
	s.recall(ctx, t, min(recallTimeout, s.cfg.KubeletRequestTimeout/4))
	more, without := s.more(ctx, target)
	defer more.release()
	err = s.kubelets.get(ctx, target.URL, func(body []byte) error {
		s.metrics.bodies.Add(float64(len(body)))
		s.recall(ctx, t, recallTimeout) // once more where that failed: NATS may be back, and nothing else needs the time
		m, err := s.sample(t, body, more, started)
		if err != nil {
			return err
		}
		t.size = len(m.payload)
		s.metrics.bytes.Add(float64(len(m.payload)))
		subject := schemas.UsageSubject{Cluster: s.cfg.Streams.Cluster, Node: t.node}.String()
		switch err := s.publisher.PublishWhile(t.ctx, subject, m.payload); {
		case t.ctx.Err() != nil:
			return t.ctx.Err() // the node is another ingester's now
		case err != nil:
			return failed(resultPublish, fmt.Errorf("couldn't publish the sample: %w; raise the NATS server's max_payload if it is too small", err))
		}
		t.dropped, t.pods = m.dropped, m.pods
		return nil
	})
	if err == nil {
		err = without
	}
	return err
}

// message is what is published of one scrape, and what isn't.
type message struct {
	payload []byte
	pods    int
	dropped drops
}

// sample makes the message of a kubelet's answer, and of what there is more of; nil for nothing.
func (s *Service) sample(t *timeline, body []byte, more *summary, started time.Time) (message, error) {
	t.past.Lock()
	defer t.past.Unlock()
	d := s.decoders.Get().(*decoder)
	defer s.decoders.Put(d)
	defer d.release()
	defer s.count(d)
	d.begin(&t.history, started)
	if err := d.decode(body); err != nil {
		return message{}, err
	}
	sample, err := d.settle(&t.history, s.rules)
	if err != nil {
		return message{}, err
	}
	more.add(sample, started.UnixNano(), &d.refused)
	sample.Node, sample.Time, sample.Duration = t.node, started.UnixNano(), int64(time.Since(started))
	payload := sample.AppendMsgpack(make([]byte, 0, t.size+t.size/16+256))
	if limit := s.cfg.Conn.MaxPayload(); len(payload) > limit {
		payload = d.fit(sample, limit, payload)
		if t.dropped.reason(dropTooLarge) == 0 {
			s.log.Warn("a node's sample is larger than the NATS server takes, so that pods are left out; raise the server's max_payload",
				"node", t.node, "max_payload", limit, "pods", len(sample.Pods), "left_out", d.refused[dropTooLarge])
		}
	}
	return message{payload, len(sample.Pods), d.drops}, nil
}

// count counts what d has dropped.
func (s *Service) count(d *decoder) {
	for reason, n := range d.refused {
		if n > 0 {
			s.metrics.dropped[reason].Add(float64(n))
		}
	}
}

// recallTimeout bounds the look at the last message, which an ordinary server answers in a millisecond.
const recallTimeout = time.Second

// recall fills the history of a node that is scraped for the first time from its last message: that of an ingester that was
// here before. It takes as long as given at most.
func (s *Service) recall(ctx context.Context, t *timeline, within time.Duration) {
	if t.recalled {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	outcome := recallFound
	var sample schemas.UsageSample
	data, err := stream.LastUsage(ctx, s.cfg.Conn, s.cfg.Streams.Cluster, t.node)
	if err == nil {
		err = sample.UnmarshalPoints(data)
	}
	switch {
	case err == nil:
		t.past.Lock()
		t.history.recall(&sample)
		t.past.Unlock()
		t.success.CompareAndSwap(0, sample.Time)
	case errors.Is(err, stream.ErrNoMessage):
		outcome = recallNone
	default:
		outcome = recallFailed
		s.log.Debug("couldn't read a node's last sample back; its first rate takes two scrapes", "node", t.node, "error", err)
	}
	t.recalled = outcome != recallFailed // else once more, unless this scrape makes a history of its own
	s.metrics.recalls.WithLabelValues(outcome).Inc()
}
