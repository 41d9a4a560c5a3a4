package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// ReplayConfig is how a reader of a stream is made.
type ReplayConfig struct {
	Conn    *Conn
	Cluster string
	// Name of the consumer, in metrics and logs: "metricsapi-objects".
	Name string
	// Begin makes an empty sink, at every (re)build; for the usage stream, once it was whole, no more: what is newer replaces
	// what is older, and a sink that begins empty would lack every node until its next scrape.
	Begin func() Sink
	// Whole is called when the sink has reached the fence: from now on it is the one to serve. Later events are applied
	// to the same sink, after Whole has returned. nil for none.
	Whole func(s Sink, p Position)
	// AwaitSnapshot: a log of which there is no snapshot isn't whole yet. Its writer writes one when it has finished its first
	// pass over what is true; before, at a first start or when the log was lost, the log holds a part of the world or none
	// of it. Servers set it, so that they never answer from that part.
	AwaitSnapshot bool
	// Workers is how many goroutines decode the snapshot: with more than 1, Apply is called concurrently in that phase;
	// default 1. GOMAXPROCS is a good choice for a sink that allows it.
	Workers  int
	Log      *slog.Logger
	Registry prometheus.Registerer // nil for none
}

// Replay reads a stream into a sink, for ever.
type Replay struct {
	cfg     ReplayConfig
	stream  string
	log     *slog.Logger
	metrics *replayMetrics
	usage   bool // the usage stream: no snapshots, and it has holes

	// What Position tells. The first three are written for every event, the rest, under mu, when something changes; so are
	// the first two where another build begins.
	sequence, pending atomic.Uint64
	time              atomic.Int64
	heard             hearing
	mu                sync.Mutex
	position          Position

	// Of the goroutine that builds: why manifests are unusable, by the time when they were stored, and what was last said.
	unusable map[time.Time]error
	said     string
	// missing is an event that the log should have and has not: what is built must start behind it. lacks is that log.
	missing uint64
	lacks   time.Time
	kept    Sink // of the usage stream: newer samples replace older ones, so a rebuild goes on with it

	skipLogged sync.Map // reasons of skipped events that were logged
}

// NewReplay makes a reader of the log: the newest snapshot, the log from there, then live. Nothing happens before Run.
func NewReplay(cfg ReplayConfig) (*Replay, error) { return newReplay(cfg, false) }

// NewUsageReplay makes a reader of the usage stream: the last samples and scrape reports of every node, oldest first, then
// live. It is whole when it has every node's newest ones. Its sink tells them apart by IsUsage.
func NewUsageReplay(cfg ReplayConfig) (*Replay, error) { return newReplay(cfg, true) }

func newReplay(cfg ReplayConfig, usage bool) (*Replay, error) {
	if err := CheckCluster(cfg.Cluster); err != nil {
		return nil, err
	}
	if cfg.Conn == nil || cfg.Begin == nil {
		return nil, fmt.Errorf("%w: a replay needs a connection and Begin", ErrConfig)
	}
	r := &Replay{cfg: cfg, stream: objectsStream(cfg.Cluster), usage: usage, log: cfg.Log, unusable: map[time.Time]error{}}
	if usage {
		r.stream = usageStream(cfg.Cluster)
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.log = r.log.With("consumer", cfg.Name, "stream", r.stream)
	r.position = Position{Rebuilding: true, Waiting: "its start"}
	r.metrics = newReplayMetrics(cfg.Registry, cfg.Name, r.stream, r)
	return r, nil
}

// Run reads until the context ends, and returns its error, or ErrClosed when the connection was closed. Whatever else goes
// wrong is logged, counted, and tried again.
func (r *Replay) Run(ctx context.Context) error { return r.run(ctx, false) }

// ReplayOnce reads the log into Begin's sink up to the fence, calls Whole, and returns the position that was reached:
// where an Appender goes on. It waits for NATS and for the streams to exist. ErrTrimmed: the log can't be rebuilt; see
// Recreate. Sinks that were begun and not told Whole are to be thrown away.
func ReplayOnce(ctx context.Context, cfg ReplayConfig) (Position, error) {
	r, err := newReplay(cfg, false)
	if err != nil {
		return Position{}, err
	}
	err = r.run(ctx, true)
	return r.Position(), err
}

// Position says how far the reader is. May be called at any time, cheaply.
func (r *Replay) Position() Position {
	r.mu.Lock()
	p := r.position
	p.Sequence, p.Lag = r.sequence.Load(), r.pending.Load() // under mu: they are of the build that the rest is of
	r.mu.Unlock()
	if r.usage { // it has holes
		p.Last = max(p.Last, p.Sequence)
	} else {
		p.Last = p.Sequence + p.Lag
	}
	if t := r.time.Load(); t != 0 {
		p.Time = time.Unix(0, t)
	}
	r.heard.tell(&p)
	return p
}

// Ready says why no sink is in service yet; nil when one is.
func (r *Replay) Ready() error {
	p := r.Position()
	switch {
	case p.Whole:
		return nil
	case p.Waiting != "":
		return fmt.Errorf("%s waits for %s", r.cfg.Name, p.Waiting)
	}
	return fmt.Errorf("%s replays the stream %s: at %d of %d", r.cfg.Name, r.stream, p.Sequence, p.Fence)
}

// update changes the position.
func (r *Replay) update(change func(*Position)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.position)
}

// begins makes the position that of a build of the stream, from a sequence on.
func (r *Replay) begins(of StreamInfo, from uint64) {
	r.update(func(p *Position) {
		p.Log, p.Fence, p.Last, p.Waiting, p.Rebuilding = of.Created, of.Last, of.Last, "", true
		r.sequence.Store(from)
		r.pending.Store(of.Last - from)
	})
}

// waitingFor notes and logs, once, what there is no going on without.
func (r *Replay) waitingFor(what string) {
	r.update(func(p *Position) { p.Waiting = what })
	if what != r.said {
		r.said = what
		r.log.Info("waiting for " + what)
	}
}

// run builds one sink after the other; with once, it ends when the first is whole.
func (r *Replay) run(ctx context.Context, once bool) error {
	conn, release, err := r.cfg.Conn.open(ctx, r.cfg.Name)
	if err != nil {
		return err
	}
	defer release()
	for reason := reasonStart; ; {
		r.metrics.rebuilds.WithLabelValues(reason).Inc()
		err := r.build(ctx, conn, once)
		changed := (*rebuild)(nil)
		if !errors.As(err, &changed) {
			return err
		}
		reason = changed.reason
		if changed.missing > 0 {
			r.missing, r.lacks = changed.missing, r.Position().Log
		}
		r.log.Warn("building a new view", "reason", reason, "because", changed.text)
		r.update(func(p *Position) { p.Rebuilding = true })
	}
}

// build makes a sink whole and keeps it so. It returns nil only with once.
func (r *Replay) build(ctx context.Context, conn *Conn, once bool) error {
	began := time.Now()
	from, info, err := r.start(ctx, conn, once)
	if err != nil {
		return err
	}
	fenced := time.Now()
	r.said = ""
	t := &tail{
		conn: conn, stream: r.stream, batch: batchFor(info), log: !r.usage,
		identity: info.Created, cursor: from.position, cursorTime: from.time, heard: &r.heard,
		resets: func(reason string) { r.metrics.resets.WithLabelValues(reason).Inc() },
	}
	defer t.close()
	fence := info.Last
	r.begins(info, from.position)
	sink := r.kept
	if sink == nil {
		sink = r.cfg.Begin()
	}
	if fence > from.position {
		if err := t.open(ctx); err != nil { // what follows the snapshot travels while the snapshot is decoded
			return err
		}
	}
	if len(from.chunks) > 0 {
		if fence, err = r.load(ctx, from, fence, sink); err != nil {
			return err
		}
		r.update(func(p *Position) { p.Fence = fence })
	}
	if r.usage {
		err = r.catchUpUsage(ctx, t, sink, fence, fenced)
	} else {
		err = r.catchUp(ctx, t, sink, fence)
	}
	if err != nil {
		return err
	}
	r.metrics.duration.Set(time.Since(began).Seconds())
	p := r.Position()
	p.Whole, p.Rebuilding = true, false
	r.log.Info("whole", "position", p.Sequence, "fence", p.Fence, "snapshot", from.position, "took", time.Since(began).Round(time.Millisecond))
	if r.cfg.Whole != nil {
		r.cfg.Whole(sink, p)
	}
	if r.usage {
		r.kept = sink
	}
	r.update(func(p *Position) { p.Whole, p.Rebuilding = true, false }) // now that the sink is in service
	for !once {
		m, err := t.next(ctx)
		if err != nil {
			return err
		}
		r.apply(sink, m)
	}
	return nil
}

// apply gives an event of the stream to the sink.
func (r *Replay) apply(sink Sink, m message) {
	err := sink.Apply(Event{Sequence: m.delivery.stream, Subject: m.Subject, Data: m.Data, Time: time.Unix(0, m.time)})
	if err != nil {
		r.skip(err, m.Subject, m.delivery.stream)
	}
	r.metrics.events.Inc()
	r.sequence.Store(m.delivery.stream)
	r.time.Store(m.time)
	r.pending.Store(m.pending)
}

// skip counts an event that the sink could not read; the first of each kind is logged.
func (r *Replay) skip(err error, subject string, sequence uint64) {
	reason := skipReason(err)
	r.metrics.skipped.WithLabelValues(reason).Inc()
	if _, logged := r.skipLogged.LoadOrStore(reason, true); !logged {
		r.log.Warn("left out an event that can't be read; more of this kind are only counted",
			"reason", reason, "subject", subject, "sequence", sequence, "error", err)
	}
}

// start waits until there is a stream, and for the log a place to start from: the newest snapshot, or the first event.
// Without a snapshot the manifest is the zero one.
func (r *Replay) start(ctx context.Context, conn *Conn, once bool) (manifest, StreamInfo, error) {
	var aheadSince time.Time
	for ; ; pause(ctx, 250*time.Millisecond, conn.reconnected()) {
		if err := ctx.Err(); err != nil {
			return manifest{}, StreamInfo{}, err
		}
		if conn.nc.IsClosed() {
			return manifest{}, StreamInfo{}, ErrClosed
		}
		var snapshot manifest
		var because error
		var err error
		if !r.usage {
			snapshot, because, err = r.newestManifest(ctx, conn)
		}
		var info StreamInfo
		if err == nil {
			info, err = conn.info(ctx, r.stream) // after the manifest: then it can't be ahead of this
		}
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			r.waitingFor("the stream " + r.stream + ", which its writer has not created yet")
			continue
		case err != nil && ctx.Err() == nil:
			r.waitingFor(fmt.Sprintf("NATS (%v)", explain(err)))
			continue
		case err != nil:
			continue
		case r.usage:
			return manifest{}, info, nil
		}
		if because == nil {
			if because, err = snapshot.usable(ctx, conn, info); err != nil {
				continue
			}
			if because == nil && r.lacking(info) && snapshot.position < r.missing {
				because = fmt.Errorf("%w: it is as of %d, but the log lacks the event at %d", errSnapshotTrimmed, snapshot.position, r.missing)
			}
			if because == nil {
				return snapshot, info, nil
			}
			if !errors.Is(because, errSnapshotFuture) {
				aheadSince = time.Time{}
			} else if !info.wentBack(&aheadSince) {
				continue
			}
			r.snapshotUnusable(snapshot, because)
		}
		if r.cfg.AwaitSnapshot && (errors.Is(because, errNoSnapshot) || errors.Is(because, errSnapshotForeign) || errors.Is(because, errSnapshotFuture)) {
			r.waitingFor("the first snapshot of the log, which its writer writes when it has written everything once")
			continue
		}
		if info.First <= 1 && !r.lacking(info) {
			return manifest{log: info.Created.UnixNano()}, info, nil
		}
		if once {
			return manifest{}, info, fmt.Errorf("%w: the log begins at %d; the newest snapshot: %w", ErrTrimmed, info.First, because)
		}
		r.waitingFor(fmt.Sprintf("a snapshot that reaches to event %d, where the log begins (the newest one: %v)", max(info.First, r.missing), because))
	}
}

// lacking tells whether the log is the one that lacks an event, and has not been trimmed beyond it.
func (r *Replay) lacking(info StreamInfo) bool {
	return r.missing >= info.First && r.missing > 0 && info.Created.Equal(r.lacks)
}

// snapshotUnusable counts and logs, once for each snapshot, why it can't be used.
func (r *Replay) snapshotUnusable(m manifest, because error) {
	if r.unusable[m.stored] != nil {
		return
	}
	r.unusable[m.stored] = because
	r.metrics.snapshots.WithLabelValues(snapshotReason(because)).Inc()
	r.log.Warn("can't use the snapshot", "because", because)
}
