package stream

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/schemas"
)

// UsagePublisherConfig is how a writer of the usage stream is made.
type UsagePublisherConfig struct {
	Conn    *Conn
	Cluster string
	// AckTimeout is how long an acknowledgement may take before a sample is sent again; default 2 s.
	AckTimeout time.Duration
	Log        *slog.Logger
	Registry   prometheus.Registerer // nil for none
}

// usageInFlight is how many samples are sent before the first is acknowledged.
const usageInFlight = 256

// usageLinger is the least time between two rounds of sending. A sample that comes alone is sent at once; where hundreds come
// in a second, those of a moment go together, which saves NATS and each consumer more than half of their work for them.
const usageLinger = 50 * time.Millisecond

// UsagePublisher writes usage samples and scrape reports. While NATS is away it keeps the newest of each subject. Its
// methods may be used concurrently. Samples of one subject are stored in the order of the calls, as only one of them is
// sent at a time.
type UsagePublisher struct {
	cfg     UsagePublisherConfig
	conn    *Conn
	release func()
	log     *slog.Logger
	metrics *usageMetrics
	prefix  string // of the samples' subjects
	reports string // of the reports'
	inbox   string // acknowledgements come to <inbox>.<number of the attempt>
	stop    context.CancelFunc
	wake    chan struct{}

	mu       sync.Mutex
	waiting  map[string][]byte  // the newest of each subject that is not sent yet
	queue    []string           // subjects of waiting that may be sent: none of theirs is in flight
	inFlight map[uint64]*sample // by the number of the attempt
	busy     map[string]bool    // subjects of inFlight
	attempt  uint64
	failures int           // rounds of attempts that failed since the last success
	after    time.Time     // not before, while attempts fail
	changed  chan struct{} // closed when something was settled; nil while nobody waits
	closed   bool
}

// sample is in flight.
type sample struct {
	subject string
	payload []byte
	sentAt  time.Time
	line    uint64 // Conn.line when it was sent
	once    bool   // not to be sent again; under mu
}

// NewUsagePublisher starts a writer. Close it.
func NewUsagePublisher(cfg UsagePublisherConfig) (*UsagePublisher, error) {
	if err := CheckCluster(cfg.Cluster); err != nil {
		return nil, err
	}
	if cfg.Conn == nil {
		return nil, fmt.Errorf("%w: a publisher needs a connection", ErrConfig)
	}
	cfg.AckTimeout = or(cfg.AckTimeout, apiTimeout)
	ctx, stop := context.WithCancel(context.Background())
	conn, release, err := cfg.Conn.open(ctx, "usage")
	if err != nil {
		stop()
		return nil, err
	}
	p := &UsagePublisher{
		cfg: cfg, conn: conn, release: release, log: cfg.Log, stop: stop,
		prefix:  strings.TrimSuffix(schemas.AllUsage(cfg.Cluster), ">"),
		reports: strings.TrimSuffix(schemas.AllScrapes(cfg.Cluster), ">"),
		inbox:   conn.nc.NewInbox(), wake: make(chan struct{}, 1),
		waiting: map[string][]byte{}, inFlight: map[uint64]*sample{}, busy: map[string]bool{},
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.log = p.log.With("stream", usageStream(cfg.Cluster))
	p.metrics = newUsageMetrics(cfg.Registry, usageStream(cfg.Cluster))
	if _, err := conn.nc.Subscribe(p.inbox+".*", p.answer); err != nil {
		stop()
		release()
		return nil, fmt.Errorf("couldn't subscribe for acknowledgements: %w", err)
	}
	go p.pump(ctx)
	return p, nil
}

// Publish takes a sample or a report, to be sent at once or as soon as NATS takes it. An older one of the same subject that still
// waits is dropped, and counted. It never blocks. The payload must not be changed any more. Errors: ErrTooLarge,
// ErrSubject, ErrClosed.
func (p *UsagePublisher) Publish(subject string, payload []byte) error {
	return p.PublishWhile(context.Background(), subject, payload)
}

// PublishWhile is Publish for a subject that is this writer's until the context ends. From then on the error is the context's,
// and once Forget was called after that, nothing of the subject waits any more.
func (p *UsagePublisher) PublishWhile(ctx context.Context, subject string, payload []byte) error {
	prefix := p.prefix
	if strings.HasPrefix(subject, p.reports) {
		prefix = p.reports
	}
	if err := checkMessage(p.conn, prefix, subject, payload); err != nil {
		p.metrics.dropped.WithLabelValues(refusal(err)).Inc()
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil { // under the lock, so that Forget comes before this or after what follows
		return err
	}
	_, replaces := p.waiting[subject]
	p.waiting[subject] = payload
	if replaces {
		p.metrics.dropped.WithLabelValues("superseded").Inc()
	} else if !p.busy[subject] {
		p.queue = append(p.queue, subject)
		p.notify()
	}
	return nil
}

// Flush waits until nothing waits to be sent or acknowledged.
func (p *UsagePublisher) Flush(ctx context.Context) error {
	for {
		p.mu.Lock()
		left := len(p.waiting) + len(p.inFlight)
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed, closed := p.changed, p.closed
		p.mu.Unlock()
		switch {
		case closed:
			return ErrClosed
		case left == 0:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Waiting is the number of subjects, samples and reports of nodes, of which the newest message is not stored yet.
func (p *UsagePublisher) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.waiting)
	for subject := range p.busy {
		if _, ok := p.waiting[subject]; !ok {
			n++
		}
	}
	return n
}

// Stuck tells whether something waits and the last attempt to store anything failed.
func (p *UsagePublisher) Stuck() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failures > 0 && len(p.waiting)+len(p.inFlight) > 0
}

// Close ends the writer; what still waits is dropped.
func (p *UsagePublisher) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		p.metrics.dropped.WithLabelValues("closed").Add(float64(len(p.waiting) + len(p.inFlight)))
		p.settled()
	}
	p.mu.Unlock()
	p.stop()
	p.release()
}

func (p *UsagePublisher) notify() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// settled wakes those who wait. The caller holds mu.
func (p *UsagePublisher) settled() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// pump sends what waits until the writer is closed.
func (p *UsagePublisher) pump(ctx context.Context) {
	tick := time.NewTicker(p.cfg.AckTimeout / 8)
	defer tick.Stop()
	reconnected := p.conn.reconnected()
	for ctx.Err() == nil {
		wake, linger := p.wake, (<-chan time.Time)(nil)
		if p.send() > 0 {
			wake, linger = nil, time.After(usageLinger)
		}
		select {
		case <-wake:
		case <-linger:
		case <-tick.C:
			p.giveUp("timeout", func(s *sample) bool { return time.Since(s.sentAt) > p.cfg.AckTimeout })
		case <-reconnected:
			reconnected = p.conn.reconnected()
			line := p.conn.line()
			p.giveUp("reconnect", func(s *sample) bool { return s.line != line })
		case <-ctx.Done():
		}
	}
}

// send sends what waits and may be sent, and returns how much that was.
func (p *UsagePublisher) send() (n int) {
	for ; ; n++ {
		s, attempt := p.take()
		if s == nil {
			return n
		}
		m := nats.Msg{Subject: s.subject, Data: s.payload, Reply: fmt.Sprintf("%s.%d", p.inbox, attempt)}
		if err := p.conn.nc.PublishMsg(&m); err != nil {
			p.failed(attempt, "disconnected")
		}
	}
}

// take chooses the next sample to send; nil where there is none, or it is not yet time to try again.
func (p *UsagePublisher) take() (*sample, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := usageInFlight
	if p.failures > 0 {
		limit = 1 // try whether it works again
	}
	if p.closed || len(p.queue) == 0 || len(p.inFlight) >= limit || time.Now().Before(p.after) {
		return nil, 0
	}
	s := &sample{subject: p.queue[0], payload: p.waiting[p.queue[0]], sentAt: time.Now(), line: p.conn.line()}
	p.queue = p.queue[1:]
	delete(p.waiting, s.subject)
	p.attempt++
	p.inFlight[p.attempt], p.busy[s.subject] = s, true
	return s, p.attempt
}

// answer handles the server's answer to one sample.
func (p *UsagePublisher) answer(m *nats.Msg) {
	attempt, ok := number(m.Subject[len(p.inbox)+1:])
	if !ok {
		return
	}
	err := error(nats.ErrNoResponders)
	if m.Header.Get("Status") != "503" {
		_, err = parsePubAck(m.Data)
	}
	if err != nil {
		p.failed(attempt, troubleOf(err))
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.inFlight[attempt]
	if s == nil {
		return // given up before; its repetition is on its way
	}
	p.metrics.published.Inc()
	if p.failures > stuckLogged {
		p.log.Info("the stream takes samples again", "waiting", len(p.waiting))
	}
	p.failures, p.after = 0, time.Time{}
	p.finish(attempt, s)
}

// finish ends an attempt: the subject's next sample may be sent. The caller holds mu.
func (p *UsagePublisher) finish(attempt uint64, s *sample) {
	delete(p.inFlight, attempt)
	delete(p.busy, s.subject)
	if _, ok := p.waiting[s.subject]; ok {
		p.queue = append(p.queue, s.subject)
	}
	p.settled()
	p.notify()
}

// failed ends an attempt without success: the sample waits again, if there is no newer one of its subject.
func (p *UsagePublisher) failed(attempt uint64, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.inFlight[attempt]
	if s == nil || p.closed {
		return
	}
	p.metrics.errors.WithLabelValues(reason).Inc()
	if now := time.Now(); reason != "reconnect" && !now.Before(p.after) { // the first of those that fail together
		p.failures++
		p.after = now.Add(min(time.Duration(p.failures)*50*time.Millisecond, time.Second))
		if p.failures == stuckLogged+1 {
			p.log.Warn("the stream takes no samples, keeping the newest of each node and trying again: "+advice(reason, usageStream(p.cfg.Cluster)), "reason", reason)
		}
	}
	if _, newer := p.waiting[s.subject]; newer {
		p.metrics.dropped.WithLabelValues("superseded").Inc()
	} else if s.once {
		p.metrics.dropped.WithLabelValues("forgotten").Inc()
	} else {
		p.waiting[s.subject] = s.payload
	}
	p.finish(attempt, s)
}

// giveUp ends the attempts that are lost.
func (p *UsagePublisher) giveUp(reason string, lost func(*sample) bool) {
	p.mu.Lock()
	var attempts []uint64
	for attempt, s := range p.inFlight {
		if lost(s) {
			attempts = append(attempts, attempt)
		}
	}
	p.mu.Unlock()
	for _, attempt := range attempts {
		p.failed(attempt, reason)
	}
}

// IsUsage tells whether a message of the usage stream is a usage sample. What it isn't, such as a scrape report, is none of
// the business of who wants samples alone: it is stepped over, not counted as a message that can't be read.
func IsUsage(cluster, subject string) bool {
	return isOf(schemas.AllUsage(cluster), subject)
}

// IsScrape is IsUsage for scrape reports.
func IsScrape(cluster, subject string) bool {
	return isOf(schemas.AllScrapes(cluster), subject)
}

// isOf tells whether a subject is one of those that a wildcard ending in ">" selects. It allocates nothing.
func isOf(wildcard, subject string) bool {
	return strings.HasPrefix(subject, wildcard[:len(wildcard)-1])
}
