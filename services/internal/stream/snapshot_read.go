package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/headwater-metrics/headwater/schemas"
)

// chunkBatch is how many chunks are requested at a time: some 10 MB.
const chunkBatch = 64

var errNoSnapshot = errors.New("there is none")

// snapshotReason is the label for a snapshot that can't be used.
func snapshotReason(err error) string {
	switch {
	case errors.Is(err, errSnapshotVersion):
		return "version"
	case errors.Is(err, errSnapshotDamaged):
		return "damaged"
	case errors.Is(err, errSnapshotMissing):
		return "incomplete"
	case errors.Is(err, errSnapshotFuture):
		return "ahead"
	case errors.Is(err, errSnapshotForeign):
		return "other_log"
	case errors.Is(err, errSnapshotTrimmed):
		return "trimmed"
	}
	return "other"
}

// newestManifest reads the manifest. because says why it can't be used; err is of the connection.
func (r *Replay) newestManifest(ctx context.Context, conn *Conn) (m manifest, because, err error) {
	// Which stream it is is looked at first, and once more when the chunks are read: then it was this one in between, too.
	info, err := conn.info(ctx, snapshotsStream(r.cfg.Cluster))
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return m, errNoSnapshot, nil
	case err != nil:
		return m, nil, err
	}
	subject := schemas.SnapshotSubject{Cluster: r.cfg.Cluster, Manifest: true}.String()
	stored, err := conn.lastMessage(ctx, snapshotsStream(r.cfg.Cluster), subject)
	switch {
	case errors.Is(err, ErrNoMessage):
		return m, errNoSnapshot, nil
	case err != nil:
		return m, nil, err
	}
	m, because = parseManifest(stored.Data)
	m.sequence, m.stored, m.stream = stored.Sequence, stored.Time, info.Created
	if because != nil {
		r.snapshotUnusable(m, because)
	}
	if because == nil {
		because = r.unusable[m.stored]
	}
	return m, because, nil
}

// load applies the snapshot's objects to the sink, by several workers, and tells how far the log must be read to be
// exact: chunks may have been written again since the manifest was. Errors: *rebuild, or that of the context.
func (r *Replay) load(ctx context.Context, m manifest, fence uint64, sink Sink) (uint64, error) {
	conn, release, err := r.cfg.Conn.open(ctx, r.cfg.Name+"-snapshot")
	if err != nil {
		return 0, err
	}
	defer release()
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	chunks := make(chan *nats.Msg, 2*chunkBatch)
	var workers sync.WaitGroup
	var mu sync.Mutex
	newest := m.position
	for range max(1, r.cfg.Workers) {
		workers.Go(func() {
			var buffer []byte
			for message := range chunks {
				if ctx.Err() != nil {
					continue // drain
				}
				position, used, err := r.applyChunk(m, message, buffer, sink)
				if err != nil {
					cancel(err)
				}
				buffer = used
				mu.Lock()
				newest = max(newest, position)
				mu.Unlock()
			}
		})
	}
	err = r.fetchChunks(ctx, conn, m, chunks)
	close(chunks)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err == nil && newest > fence {
		fence, err = r.raiseFence(ctx, conn, m, newest)
	}
	changed := (*rebuild)(nil)
	switch {
	case outer.Err() != nil:
		return 0, outer.Err()
	case err == nil || errors.As(err, &changed):
		return fence, err
	}
	r.snapshotUnusable(m, err)
	return 0, &rebuild{reason: reasonSnapshot, text: err.Error()}
}

// raiseFence checks that the log reaches as far as the newest chunk.
func (r *Replay) raiseFence(ctx context.Context, conn *Conn, m manifest, newest uint64) (uint64, error) {
	var info StreamInfo
	var aheadSince time.Time
	err := retry(ctx, conn, "read the state of the log", func(ctx context.Context) (err error) {
		info, err = conn.info(ctx, r.stream)
		if err == nil && newest > info.Last && !info.wentBack(&aheadSince) {
			err = errBehind
		}
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) || err == nil && info.Created.UnixNano() != m.log:
		return 0, &rebuild{reason: reasonRecreated, text: "the log was deleted while its snapshot was read"}
	case err != nil:
		return 0, err
	case newest > info.Last:
		return 0, fmt.Errorf("%w: a chunk is as of %d, but the log ends at %d", errSnapshotFuture, newest, info.Last)
	}
	return newest, nil
}

// applyChunk decodes a chunk and gives its objects to the sink.
func (r *Replay) applyChunk(m manifest, message *nats.Msg, buffer []byte, sink Sink) (position uint64, used []byte, err error) {
	c, err := parseChunk(message.Data)
	if err != nil {
		return 0, buffer, fmt.Errorf("%s: %w", message.Subject, err)
	}
	if c.log != m.log {
		return 0, buffer, fmt.Errorf("%s: %w", message.Subject, errSnapshotForeign)
	}
	used, err = c.entries(buffer, func(sequence uint64, subject, data []byte) {
		event := Event{Sequence: sequence, Subject: string(subject), Data: data, Snapshot: true}
		if err := sink.Apply(event); err != nil {
			r.skip(err, event.Subject, sequence)
		}
	})
	if err != nil {
		return 0, used, fmt.Errorf("%s: %w", message.Subject, err)
	}
	r.metrics.events.Add(float64(c.objects))
	return c.position, used, nil
}

// fetchChunks reads all chunks of the manifest, each as listed or a newer version of it, in any order.
func (r *Replay) fetchChunks(ctx context.Context, conn *Conn, m manifest, chunks chan<- *nats.Msg) error {
	wanted := make(map[uint32]uint64, len(m.chunks))
	first := m.chunks[0].sequence
	for _, c := range m.chunks {
		wanted[c.id] = c.sequence
		first = min(first, c.sequence)
	}
	t := &tail{
		conn: conn, stream: snapshotsStream(r.cfg.Cluster), batch: chunkBatch, identity: m.stream, cursor: max(first, 1) - 1, ticks: true,
		resets: func(reason string) { r.metrics.resets.WithLabelValues("snapshot_" + reason).Inc() },
	}
	defer t.close()
	prefix := strings.TrimSuffix(schemas.SnapshotSubject{Cluster: r.cfg.Cluster}.String(), "0")
	for len(wanted) > 0 {
		message, err := t.next(ctx)
		if errors.Is(err, errTick) {
			if err := r.stillThere(ctx, conn, m, wanted); err != nil {
				return err
			}
			continue
		}
		if changed := (*rebuild)(nil); errors.As(err, &changed) {
			return &rebuild{reason: reasonSnapshot, text: "while the snapshot was read: " + changed.text}
		}
		if err != nil {
			return err
		}
		id, ok := number(strings.TrimPrefix(message.Subject, prefix))
		if !ok || id > 1<<32-1 {
			continue // the manifest
		}
		if listed, ok := wanted[uint32(id)]; ok && message.delivery.stream >= listed {
			delete(wanted, uint32(id))
			chunks <- message.Msg
		}
	}
	return nil
}

// stillThere looks what became of the chunks that do not come. One that is gone means that a newer snapshot has replaced
// this one, which is then the one to read; if none has, it is incomplete.
func (r *Replay) stillThere(ctx context.Context, conn *Conn, m manifest, wanted map[uint32]uint64) error {
	for id := range wanted {
		subject := schemas.SnapshotSubject{Cluster: r.cfg.Cluster, Chunk: id}.String()
		_, err := conn.lastMessage(ctx, snapshotsStream(r.cfg.Cluster), subject)
		if err == nil {
			return nil // on its way
		}
		if !errors.Is(err, ErrNoMessage) {
			return nil // the connection; the reader is at it
		}
		newest, _, err := r.newestManifest(ctx, conn)
		if err != nil {
			return nil
		}
		if newest.sequence != m.sequence {
			return &rebuild{reason: reasonSnapshot, text: "a newer snapshot has replaced the one that was being read"}
		}
		return fmt.Errorf("%w: number %d", errSnapshotMissing, id)
	}
	return nil
}
