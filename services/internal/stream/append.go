package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/schemas"
)

// AppenderConfig is how a writer of the log is made.
type AppenderConfig struct {
	Conn    *Conn
	Cluster string
	// After is where the log ends as far as the writer knows, from ReplayOnce or Replay.Position. If the log has moved on
	// since, the writer ends with ErrFenced.
	After LogPosition
	// MaxBuffered bounds what is not yet acknowledged, bytes; default 64 MB: half a minute of 1,000 events/s of 2 KB.
	MaxBuffered int
	// MaxInFlight is how many events are sent before the first is acknowledged; default 1,024.
	MaxInFlight int
	// AckTimeout is how long an acknowledgement may take before the writer looks what became of the event; default 2 s.
	AckTimeout time.Duration
	Log        *slog.Logger
	Registry   prometheus.Registerer // nil for none
}

const (
	defaultMaxBuffered = 64 << 20
	defaultMaxInFlight = 1024
	sendBatch          = 128 // events that are taken from the buffer at a time
	stuckLogged        = 2   // resyncs without an acknowledgement after which it is logged
	eventOverhead      = 96  // bytes that an event takes in the buffer beside its own
)

// Appender is the log's one writer. Its methods may be used concurrently; the order of the log is that of the calls.
//
// Every event is sent with the sequence that must be the log's last (Nats-Expected-Last-Sequence), many before the first
// is acknowledged. So an event has one place in the log from the moment that it is taken, and can be sent any number of
// times: at most one copy is accepted, and only there. Whenever something goes wrong (a refusal, no answer, a lost
// connection), the writer looks where the log ends, checks that what is there is its own, and goes on behind it.
type Appender struct {
	cfg     AppenderConfig
	conn    *Conn
	release func()
	log     *slog.Logger
	metrics *appendMetrics
	stream  string
	prefix  string // of every subject
	inbox   string // acknowledgements come to <inbox>.<epoch>.<sequence>
	stop    context.CancelFunc
	wake    chan struct{} // there is something to do for the pump

	behindSince time.Time // of the pump: when the log was first seen not to have what it must have; zero where it has

	mu       sync.Mutex
	identity time.Time     // of the log; zero until it was read, if the configuration does not tell
	acked    uint64        // everything up to here is stored
	last     event         // the event at acked, if this writer wrote it
	queue    []event       // what is not: the first has the sequence acked+1
	sent     int           // how many of them are in flight
	reach    uint64        // the highest sequence that was ever sent
	bytes    int           // of the queue
	line     uint64        // Conn.line when something was last sent
	epoch    uint64        // of resyncs: answers to what was sent before one don't cause another
	trouble  string        // why a resync is needed; "" when it is not
	stuck    int           // resyncs since the last acknowledgement
	changed  chan struct{} // closed when acked or err change; nil while nobody waits
	err      error         // why the writer has ended
	done     chan struct{}
}

// event waits to be acknowledged.
type event struct {
	subject  string
	payload  []byte
	sentAt   time.Time
	stored   bool // acknowledged, though one before it is not
	answered bool // acknowledged or refused in this epoch
}

func (e *event) size() int { return len(e.subject) + len(e.payload) + eventOverhead }

// NewAppender starts a writer. It returns at once, also where NATS is away. Close it.
func NewAppender(cfg AppenderConfig) (*Appender, error) {
	if err := CheckCluster(cfg.Cluster); err != nil {
		return nil, err
	}
	if cfg.Conn == nil {
		return nil, fmt.Errorf("%w: an appender needs a connection", ErrConfig)
	}
	cfg.MaxBuffered = or(cfg.MaxBuffered, defaultMaxBuffered)
	cfg.MaxInFlight = or(cfg.MaxInFlight, defaultMaxInFlight)
	cfg.AckTimeout = or(cfg.AckTimeout, apiTimeout)
	ctx, stop := context.WithCancel(context.Background())
	conn, release, err := cfg.Conn.open(ctx, "appender")
	if err != nil {
		stop()
		return nil, err
	}
	a := &Appender{
		cfg: cfg, conn: conn, release: release, log: cfg.Log, stop: stop,
		stream: objectsStream(cfg.Cluster), prefix: strings.TrimSuffix(schemas.AllObjects(cfg.Cluster), ">"),
		inbox: conn.nc.NewInbox(), wake: make(chan struct{}, 1), done: make(chan struct{}),
		identity: cfg.After.Log, acked: cfg.After.Sequence, reach: cfg.After.Sequence, trouble: "start",
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.log = a.log.With("stream", a.stream)
	a.metrics = newAppendMetrics(cfg.Registry, a.stream)
	if _, err := conn.nc.Subscribe(a.inbox+".*.*", a.answer); err != nil {
		stop()
		release()
		return nil, fmt.Errorf("couldn't subscribe for acknowledgements: %w", err)
	}
	go a.pump(ctx)
	return a, nil
}

// Append takes an event for the log and tells the sequence that it will have. It does not wait for the acknowledgement
// (see Acked, Wait and Flush), nor for room: where the buffer is full the event is not taken (ErrOverflow), nor is one
// that is too large (ErrTooLarge) or foreign to the log (ErrSubject). Once the writer has ended it returns the reason:
// ErrFenced, ErrLogChanged or ErrClosed. The payload must not be changed any more: it is not copied.
func (a *Appender) Append(subject string, payload []byte) (sequence uint64, err error) {
	sequence, err = a.append(subject, payload)
	if errors.Is(err, ErrOverflow) {
		a.metrics.refused.WithLabelValues("overflow").Inc()
	}
	return sequence, err
}

// AppendWait is Append, but waits for room in the buffer until the context ends. For bulk: the first list of a kind.
func (a *Appender) AppendWait(ctx context.Context, subject string, payload []byte) (sequence uint64, err error) {
	for {
		a.mu.Lock()
		changed := a.change()
		a.mu.Unlock()
		sequence, err = a.append(subject, payload)
		if !errors.Is(err, ErrOverflow) {
			return sequence, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (a *Appender) append(subject string, payload []byte) (uint64, error) {
	if err := checkMessage(a.conn, a.prefix, subject, payload); err != nil {
		a.metrics.refused.WithLabelValues(refusal(err)).Inc()
		return 0, err
	}
	e := event{subject: subject, payload: payload}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return 0, a.err
	}
	if len(a.queue) > 0 && a.bytes+e.size() > a.cfg.MaxBuffered {
		return 0, fmt.Errorf("%w: %d events, %d bytes", ErrOverflow, len(a.queue), a.bytes)
	}
	a.queue = append(a.queue, e)
	a.bytes += e.size()
	if len(a.queue) == a.sent+1 {
		a.notify()
	}
	return a.acked + uint64(len(a.queue)), nil
}

// checkMessage says why a message can't be stored in the stream of the prefix: what the server would refuse, or worse,
// close the connection for.
func checkMessage(c *Conn, prefix, subject string, payload []byte) error {
	switch limit := c.MaxPayload(); {
	case len(payload) > limit:
		return fmt.Errorf("%w: %s has %d bytes, the server takes %d", ErrTooLarge, subject, len(payload), limit)
	case len(subject) > maxSubject:
		return fmt.Errorf("%w: its subject has %d bytes", ErrTooLarge, len(subject))
	case !strings.HasPrefix(subject, prefix) || strings.ContainsAny(subject, " \t\r\n*>\x00") ||
		strings.HasSuffix(subject, ".") || strings.Contains(subject, ".."):
		return fmt.Errorf("%w: %q", ErrSubject, subject)
	}
	return nil
}

func refusal(err error) string {
	if errors.Is(err, ErrTooLarge) {
		return "too_large"
	}
	return "subject"
}

// Acked is the position up to which everything is stored.
func (a *Appender) Acked() LogPosition {
	a.mu.Lock()
	defer a.mu.Unlock()
	return LogPosition{a.identity, a.acked}
}

// Next is the sequence that the next event will have.
func (a *Appender) Next() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.acked + uint64(len(a.queue)) + 1
}

// Wait returns when the event with this sequence is stored, the writer has ended, or the context ends.
func (a *Appender) Wait(ctx context.Context, sequence uint64) error {
	for {
		a.mu.Lock()
		acked, err, changed := a.acked, a.err, a.change()
		a.mu.Unlock()
		switch {
		case acked >= sequence:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Flush waits until everything that was appended before the call is stored.
func (a *Appender) Flush(ctx context.Context) error {
	a.mu.Lock()
	last, err := a.acked+uint64(len(a.queue)), a.err
	a.mu.Unlock()
	if err != nil { // whatever was in the buffer is not any more
		return err
	}
	return a.Wait(ctx, last)
}

// Done is closed when the writer has ended; Err says why.
func (a *Appender) Done() <-chan struct{} { return a.done }

// Err is why the writer has ended: ErrFenced, ErrLogChanged, ErrClosed, or ErrTooLarge where the server's limit was
// lowered; nil while it has not.
func (a *Appender) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Buffered is what is not yet acknowledged: events, and their bytes.
func (a *Appender) Buffered() (events, bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.queue), a.bytes
}

// Close ends the writer at once. What is not acknowledged may or may not be in the log: Flush first.
func (a *Appender) Close() {
	a.end(ErrClosed)
	a.release()
}

// end makes the writer useless, for the first reason given.
func (a *Appender) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return
	}
	a.err = err
	a.queue, a.bytes, a.sent = nil, 0, 0
	a.wakeWaiters()
	close(a.done)
	a.stop()
	if !errors.Is(err, ErrClosed) {
		a.metrics.ended.WithLabelValues(endReason(err)).Inc()
		a.log.Warn("can't write to the log any more", "position", a.acked, "error", err)
	}
}

func endReason(err error) string {
	switch {
	case errors.Is(err, ErrFenced):
		return "fenced"
	case errors.Is(err, ErrTooLarge):
		return "too_large"
	}
	return "log_changed"
}

// change gives a channel that is closed when acked or err change. The caller holds mu.
func (a *Appender) change() <-chan struct{} {
	if a.changed == nil {
		a.changed = make(chan struct{})
		if a.err != nil {
			close(a.changed)
		}
	}
	return a.changed
}

func (a *Appender) wakeWaiters() {
	if a.changed != nil {
		select {
		case <-a.changed:
		default:
			close(a.changed)
		}
	}
	a.changed = nil
}

// notify gives the pump a sign.
func (a *Appender) notify() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
