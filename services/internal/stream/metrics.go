package stream

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/schemas"
)

// register adds a collector, or gives the one of the same name and labels that is there already: a reader that was
// replaced by another one of the same name goes on counting. With a nil Registerer it only returns the collector.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	return c
}

// replayMetrics are those of one reader.
type replayMetrics struct {
	rebuilds  *prometheus.CounterVec // reason
	skipped   *prometheus.CounterVec // reason
	resets    *prometheus.CounterVec // reason
	snapshots *prometheus.CounterVec // reason
	events    prometheus.Counter
	duration  prometheus.Gauge
}

func newReplayMetrics(reg prometheus.Registerer, consumer, stream string, r *Replay) *replayMetrics {
	labels := prometheus.Labels{"consumer": consumer, "stream": stream}
	counter := func(name, help string) *prometheus.CounterVec {
		return register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headwater_stream_" + name, Help: help, ConstLabels: labels}, []string{"reason"}))
	}
	gauge := func(name, help string, f func(Position) float64) {
		g := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "headwater_stream_" + name, Help: help, ConstLabels: labels},
			func() float64 { return f(r.Position()) })
		if registered := register[prometheus.Collector](reg, g); registered != g { // of a reader before this one
			reg.Unregister(registered)
			register(reg, g)
		}
	}
	gauge("position", "Sequence of the last event that the consumer has applied.", func(p Position) float64 { return float64(p.Sequence) })
	gauge("lag", "Events that the consumer has yet to apply, as of the last one that it got.", func(p Position) float64 { return float64(p.Lag) })
	gauge("fence", "Sequence at which the consumer's current build is whole.", func(p Position) float64 { return float64(p.Fence) })
	gauge("ready", "1 when a whole view is in service.", func(p Position) float64 { return oneIf(p.Whole) })
	gauge("rebuilding", "1 while a view is being built.", func(p Position) float64 { return oneIf(p.Rebuilding) })
	gauge("heard_timestamp_seconds", "When the server was last heard of, by an event or a heartbeat.", func(p Position) float64 { return seconds(p.Heard) })
	return &replayMetrics{
		rebuilds:  counter("rebuilds_total", "Views that were begun, by the reason."),
		skipped:   counter("skipped_total", "Events that could not be read and were left out, by the reason."),
		resets:    counter("consumer_resets_total", "Consumers on the server that were given up for a new one, by the reason."),
		snapshots: counter("snapshot_unusable_total", "Snapshots that could not be used, by the reason."),
		events: register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: "headwater_stream_events_total",
			Help: "Events that were applied.", ConstLabels: labels})),
		duration: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: "headwater_stream_build_seconds",
			Help: "How long the last build took until it was whole.", ConstLabels: labels})),
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// skipReason is the label for an event that a sink could not read.
func skipReason(err error) string {
	switch {
	case errors.Is(err, schemas.ErrVersion):
		return "version"
	case errors.Is(err, schemas.ErrMalformed):
		return "malformed"
	case errors.Is(err, schemas.ErrSubject):
		return "subject"
	}
	return "other"
}

// appendMetrics are those of the log's writer.
type appendMetrics struct {
	events   prometheus.Counter
	bytes    prometheus.Counter
	resyncs  *prometheus.CounterVec // reason
	refused  *prometheus.CounterVec // reason
	ended    *prometheus.CounterVec // reason
	position prometheus.Gauge
}

func newAppendMetrics(reg prometheus.Registerer, stream string) *appendMetrics {
	labels := prometheus.Labels{"stream": stream}
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "headwater_stream_append_" + name, Help: help, ConstLabels: labels}
	}
	return &appendMetrics{
		events:  register(reg, prometheus.NewCounter(opts("events_total", "Events that the log has acknowledged."))),
		bytes:   register(reg, prometheus.NewCounter(opts("bytes_total", "Size of the events that the log has acknowledged."))),
		resyncs: register(reg, prometheus.NewCounterVec(opts("resyncs_total", "Times that the writer had to look where the log ends, by the reason."), []string{"reason"})),
		refused: register(reg, prometheus.NewCounterVec(opts("refused_total", "Events that were not taken into the buffer, by the reason."), []string{"reason"})),
		ended:   register(reg, prometheus.NewCounterVec(opts("ended_total", "Writers that can't write any more, by the reason."), []string{"reason"})),
		position: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: "headwater_stream_append_position",
			Help: "Sequence up to which the log has acknowledged.", ConstLabels: labels})),
	}
}

// snapshotMetrics are those of the writer of snapshots.
type snapshotMetrics struct {
	written  *prometheus.CounterVec // result
	position prometheus.Gauge
	chunks   prometheus.Counter
	bytes    prometheus.Counter
}

func newSnapshotMetrics(reg prometheus.Registerer, stream string) *snapshotMetrics {
	labels := prometheus.Labels{"stream": stream}
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "headwater_stream_snapshot_" + name, Help: help, ConstLabels: labels}
	}
	return &snapshotMetrics{
		written: register(reg, prometheus.NewCounterVec(opts("writes_total", "Snapshots that were begun, by how they ended."), []string{"result"})),
		chunks:  register(reg, prometheus.NewCounter(opts("chunks_total", "Chunks that were written."))),
		bytes:   register(reg, prometheus.NewCounter(opts("bytes_total", "Size of the chunks that were written, as stored."))),
		position: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: "headwater_stream_snapshot_position",
			Help: "Sequence of the log that the newest snapshot is as of.", ConstLabels: labels})),
	}
}

// usageMetrics are those of the writer of usage.
type usageMetrics struct {
	published prometheus.Counter
	errors    *prometheus.CounterVec // reason
	dropped   *prometheus.CounterVec // reason
}

func newUsageMetrics(reg prometheus.Registerer, stream string) *usageMetrics {
	labels := prometheus.Labels{"stream": stream}
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "headwater_stream_publish_" + name, Help: help, ConstLabels: labels}
	}
	return &usageMetrics{
		published: register(reg, prometheus.NewCounter(opts("samples_total", "Samples and scrape reports that the stream has acknowledged."))),
		errors:    register(reg, prometheus.NewCounterVec(opts("errors_total", "Attempts to store a sample or report that failed and are repeated, by the reason."), []string{"reason"})),
		dropped:   register(reg, prometheus.NewCounterVec(opts("dropped_total", "Samples and reports that were never stored, by the reason."), []string{"reason"})),
	}
}
