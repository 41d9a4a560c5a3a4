package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/schemas"
)

// Entry is one object in a snapshot.
type Entry struct {
	// Sequence of the event that made the object what it is: what Append told, or Event.Sequence of a replay.
	Sequence uint64
	Subject  string
	// Data is the message that the log has at Sequence.
	Data []byte
}

// Chunk is a part of the objects, up to some hundred. An object stays in its chunk until it is deleted; a new one may
// go to any chunk (that is what keeps a snapshot exact for those who read it while it is being rewritten).
type Chunk struct {
	ID uint32
	// Dirty tells that something in it has changed since Read was last called; others are not written again. A chunk of
	// which no object is left should be left out.
	Dirty bool
	// Read tells what is in the chunk now, and the newest sequence that may be reflected in it: Appender.Next()-1 at
	// that moment, under the lock that also orders Append. It is called only for a chunk that will be written.
	Read func() (position uint64, entries []Entry)
}

// SnapshotConfig is how a writer of snapshots is made.
type SnapshotConfig struct {
	Conn    *Conn
	Cluster string
	// Appender is the writer of the log. A chunk is only published when everything reflected in it is acknowledged.
	Appender *Appender
	Log      *slog.Logger
	Registry prometheus.Registerer // nil for none
}

const (
	partSize       = 512 << 10 // bytes of a message's objects, before they are packed
	chunksInFlight = 16
	chunkTimeout   = 5 * time.Second
)

// SnapshotWriter writes snapshots of the log, for one Appender. Not for concurrent use.
//
// A chunk is one message mostly, and is replaced in place. One that does not fit, or whose last write may or may not
// have succeeded, gets new messages, and the old ones are removed once no manifest lists them.
type SnapshotWriter struct {
	cfg     SnapshotConfig
	log     *slog.Logger
	metrics *snapshotMetrics
	stream  string

	began    bool
	created  time.Time // of the stream, when this writer began
	fenced   error
	manifest uint64 // sequence of the manifest's message; 0 for none
	sent     []byte // the manifest that may or may not have been stored; nil for none
	nextID   uint32 // of a new message
	chunks   map[uint32][]chunkRef
	unsure   map[uint32]bool // chunks that were read and not known to be written
	garbage  []uint32        // messages that the next manifest will not list
	cleaned  bool            // what an earlier writer left was removed
}

// NewSnapshotWriter makes a writer. Its first snapshot writes all chunks, later ones those that are dirty.
func NewSnapshotWriter(cfg SnapshotConfig) *SnapshotWriter {
	w := &SnapshotWriter{
		cfg: cfg, log: cfg.Log, stream: snapshotsStream(cfg.Cluster),
		chunks: map[uint32][]chunkRef{}, unsure: map[uint32]bool{},
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	w.metrics = newSnapshotMetrics(cfg.Registry, w.stream)
	return w
}

// SnapshotStats is what a snapshot took.
type SnapshotStats struct {
	Position uint64 // the log's sequence that the snapshot is as of
	Chunks   int    // of the snapshot
	Written  int    // chunks that were written again
	Objects  int    // in those
	Bytes    int    // as stored
}

// Write writes a snapshot: the chunks that are dirty, then the manifest that makes it count. Every event up to the
// position must be reflected in the chunks: it is Appender.Acked().Sequence, read before anything else. Not concurrent.
// On an error the older snapshot stays; the next Write writes again what this one did not finish. ErrFenced: another
// writer has written snapshots; this one can't any more.
func (w *SnapshotWriter) Write(ctx context.Context, position uint64, chunks iter.Seq[Chunk]) (SnapshotStats, error) {
	stats := SnapshotStats{Position: position}
	if w.fenced != nil {
		return stats, w.fenced
	}
	err := w.write(ctx, &stats, chunks)
	switch {
	case err == nil:
		w.metrics.written.WithLabelValues("ok").Inc()
		w.metrics.position.Set(float64(position))
		w.log.Debug("wrote a snapshot", "position", position, "chunks", stats.Chunks, "written", stats.Written, "bytes", stats.Bytes)
	case errors.Is(err, ErrFenced):
		w.metrics.written.WithLabelValues("fenced").Inc()
		w.fenced = err
	default:
		w.metrics.written.WithLabelValues("failed").Inc()
	}
	if err != nil {
		return stats, fmt.Errorf("couldn't write the snapshot as of %d: %w", position, err)
	}
	return stats, nil
}

func (w *SnapshotWriter) write(ctx context.Context, stats *SnapshotStats, chunks iter.Seq[Chunk]) error {
	acked := w.cfg.Appender.Acked()
	if stats.Position > acked.Sequence {
		return fmt.Errorf("%w: the log has acknowledged no more than %d", ErrConfig, acked.Sequence)
	}
	if err := w.begin(ctx); err != nil {
		return err
	}
	p := &chunkPublisher{w: w, log: acked.Log}
	var err error
	p.js, err = jetstream.New(w.cfg.Conn.nc, jetstream.WithPublishAsyncTimeout(chunkTimeout))
	if err != nil {
		return err
	}
	defer p.js.CleanupPublisher() // or its subscription would stay
	listed := map[uint32]bool{}
	for c := range chunks {
		if err = ctx.Err(); err != nil {
			break
		}
		listed[c.ID] = true
		if _, known := w.chunks[c.ID]; known && !c.Dirty && !w.unsure[c.ID] {
			continue
		}
		if err = p.publish(ctx, c, stats); err != nil {
			break
		}
	}
	if err := errors.Join(err, p.finish(ctx)); err != nil {
		return err
	}
	for id, refs := range w.chunks {
		if !listed[id] {
			w.drop(refs)
			delete(w.chunks, id)
		}
	}
	if err := w.commit(ctx, stats, acked.Log); err != nil {
		return err
	}
	w.clean(ctx)
	return nil
}

// begin looks at what is there: the manifest to be replaced, and the numbers that chunks have. A new writer takes others:
// whoever reads the old snapshot must not find objects in other chunks than they were in.
func (w *SnapshotWriter) begin(ctx context.Context) error {
	if w.began && w.sent == nil {
		return nil
	}
	subject := schemas.SnapshotSubject{Cluster: w.cfg.Cluster, Manifest: true}.String()
	var stored *jetstream.RawStreamMsg
	err := w.retry(ctx, "read the manifest", func(ctx context.Context) (err error) {
		stored, err = w.cfg.Conn.lastMessage(ctx, w.stream, subject)
		if errors.Is(err, ErrNoMessage) {
			stored, err = &jetstream.RawStreamMsg{}, nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if w.began { // the last manifest may or may not have been stored
		if stored.Sequence != w.manifest && string(stored.Data) != string(w.sent) {
			return fmt.Errorf("%w: the manifest at %d is of another writer", ErrFenced, stored.Sequence)
		}
		w.manifest, w.sent = stored.Sequence, nil
		return nil
	}
	prefix := w.chunkPrefix()
	err = w.retry(ctx, "list the chunks", func(ctx context.Context) error {
		s, err := w.cfg.Conn.js.Stream(ctx, w.stream)
		if err != nil {
			return err
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
		if err != nil {
			return err
		}
		w.created = info.Created
		for subject := range info.State.Subjects {
			if id, ok := number(strings.TrimPrefix(subject, prefix)); ok && id < 1<<32 {
				w.nextID = max(w.nextID, uint32(id)+1)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.manifest, w.began = stored.Sequence, true
	return nil
}

func (w *SnapshotWriter) retry(ctx context.Context, what string, f func(context.Context) error) error {
	return retry(ctx, w.cfg.Conn, what+" of the stream "+w.stream, f)
}

func (w *SnapshotWriter) chunkPrefix() string {
	return strings.TrimSuffix(schemas.SnapshotSubject{Cluster: w.cfg.Cluster}.String(), "0")
}

// drop makes messages garbage.
func (w *SnapshotWriter) drop(refs []chunkRef) {
	for _, ref := range refs {
		w.garbage = append(w.garbage, ref.id)
	}
}

// commit writes the manifest, if it replaces the one that this writer knows of.
func (w *SnapshotWriter) commit(ctx context.Context, stats *SnapshotStats, log time.Time) error {
	m := manifest{log: log.UnixNano(), position: stats.Position}
	for _, refs := range w.chunks {
		m.chunks = append(m.chunks, refs...)
	}
	slices.SortFunc(m.chunks, func(a, b chunkRef) int { return int(a.id) - int(b.id) })
	stats.Chunks = len(w.chunks)
	if err := w.sameLog(ctx, log); err != nil {
		return err
	}
	if m.position > 0 {
		err := w.retry(ctx, "read the event at the snapshot's position, for", func(ctx context.Context) error {
			stored, err := w.cfg.Conn.storedMessage(ctx, objectsStream(w.cfg.Cluster), m.position)
			if errors.Is(err, ErrNoMessage) { // trimmed already
				return nil
			}
			if err == nil {
				m.time = stored.Time.UnixNano()
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	data := m.append(nil)
	subject := schemas.SnapshotSubject{Cluster: w.cfg.Cluster, Manifest: true}.String()
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	ack, err := w.cfg.Conn.js.Publish(ctx, subject, data, jetstream.WithExpectLastSequencePerSubject(w.manifest))
	switch {
	case wrongSequence(err):
		return fmt.Errorf("%w: the manifest was replaced", ErrFenced)
	case err != nil:
		w.sent = data
		return err
	}
	w.manifest = ack.Sequence
	return w.sameStream(ctx)
}

// sameLog ends the Appender where the log is not the one any more that it writes to. It may not have noticed: one that has
// written nothing yet finds in an empty log what it expects. What it writes then would be in no snapshot that can be used.
func (w *SnapshotWriter) sameLog(ctx context.Context, created time.Time) error {
	now, err := w.createdOf(ctx, objectsStream(w.cfg.Cluster))
	if err != nil || now.Equal(created) || created.IsZero() {
		return err
	}
	err = fmt.Errorf("%w: it is not the one any more that the snapshot is of", ErrLogChanged)
	w.cfg.Appender.end(err)
	return err
}

// sameStream checks that the manifest and its chunks are in one stream. What was written to a stream that was deleted and
// created again before the manifest was is gone.
func (w *SnapshotWriter) sameStream(ctx context.Context) error {
	now, err := w.createdOf(ctx, w.stream)
	if err != nil || now.Equal(w.created) {
		return err
	}
	return fmt.Errorf("%w: the stream %s was deleted while the snapshot was written", ErrFenced, w.stream)
}

// createdOf is when a stream was created; zero where there is none.
func (w *SnapshotWriter) createdOf(ctx context.Context, stream string) (created time.Time, err error) {
	err = retry(ctx, w.cfg.Conn, "look which stream "+stream+" is", func(ctx context.Context) error {
		info, err := w.cfg.Conn.info(ctx, stream)
		created = info.Created
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return time.Time{}, nil
	}
	return created, err
}

func wrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// clean removes the messages that no manifest lists any more. What it can't remove stays until a next time.
func (w *SnapshotWriter) clean(ctx context.Context) {
	if w.cleaned && len(w.garbage) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	s, err := w.cfg.Conn.js.Stream(ctx, w.stream)
	if err != nil {
		return
	}
	if !w.cleaned { // of earlier writers: whatever is older than the oldest of this writer's
		first := w.manifest
		for _, refs := range w.chunks {
			for _, ref := range refs {
				first = min(first, ref.sequence)
			}
		}
		w.cleaned = s.Purge(ctx, jetstream.WithPurgeSubject(w.chunkPrefix()+">"), jetstream.WithPurgeSequence(first)) == nil
	}
	w.garbage = slices.DeleteFunc(w.garbage, func(id uint32) bool {
		subject := schemas.SnapshotSubject{Cluster: w.cfg.Cluster, Chunk: id}.String()
		return s.Purge(ctx, jetstream.WithPurgeSubject(subject)) == nil
	})
}
