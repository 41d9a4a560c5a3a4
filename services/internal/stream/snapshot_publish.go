package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/headwater-metrics/headwater/schemas"
)

// chunkPublisher sends the chunks of one snapshot, several at a time.
type chunkPublisher struct {
	w       *SnapshotWriter
	js      jetstream.JetStream
	log     time.Time
	pending []pendingChunk
	raw     []byte
}

// pendingChunk is one whose messages are sent.
type pendingChunk struct {
	id   uint32
	refs []chunkRef // without their sequences
	acks []jetstream.PubAckFuture
}

// publish reads a chunk and sends it.
func (p *chunkPublisher) publish(ctx context.Context, c Chunk, stats *SnapshotStats) error {
	w := p.w
	position, entries := c.Read()
	again := w.unsure[c.ID]
	w.unsure[c.ID] = true
	if position < stats.Position {
		return fmt.Errorf("%w: chunk %d is as of %d, before the snapshot's position", ErrConfig, c.ID, position)
	}
	if err := w.cfg.Appender.Wait(ctx, position); err != nil {
		return err
	}
	old := w.chunks[c.ID]
	parts := p.pack(entries, position)
	inPlace := len(parts) == 1 && len(old) == 1 && !again
	if !inPlace {
		w.drop(old)
		delete(w.chunks, c.ID)
	}
	if len(parts) == 0 {
		delete(w.unsure, c.ID)
		return nil
	}
	sent := pendingChunk{id: c.ID}
	for _, part := range parts {
		ref := chunkRef{}
		if inPlace {
			ref = old[0]
		} else {
			ref.id = w.nextID
			w.nextID++
		}
		m := &nats.Msg{Subject: schemas.SnapshotSubject{Cluster: w.cfg.Cluster, Chunk: ref.id}.String(), Data: part}
		ack, err := p.js.PublishMsgAsync(m, jetstream.WithExpectLastSequencePerSubject(ref.sequence))
		if err != nil {
			w.garbage = append(w.garbage, ref.id)
			w.drop(sent.refs)
			delete(w.chunks, c.ID)
			return err
		}
		sent.refs = append(sent.refs, ref)
		sent.acks = append(sent.acks, ack)
		stats.Bytes += len(part)
	}
	stats.Written++
	stats.Objects += len(entries)
	p.pending = append(p.pending, sent)
	if len(p.pending) < chunksInFlight {
		return nil
	}
	oldest := p.pending[0]
	p.pending = p.pending[1:]
	return p.settle(ctx, oldest)
}

// pack makes messages of the entries: one, or several where they are large.
func (p *chunkPublisher) pack(entries []Entry, position uint64) (parts [][]byte) {
	limit := min(partSize, p.w.cfg.Conn.MaxPayload())
	for len(entries) > 0 {
		p.raw = p.raw[:0]
		n := 0
		for n < len(entries) && (n == 0 || len(p.raw)+len(entries[n].Data)+len(entries[n].Subject)+32 <= limit) {
			p.raw = appendEntry(p.raw, entries[n])
			n++
		}
		c := chunk{log: p.log.UnixNano(), position: position, objects: n, size: len(p.raw), packed: s2.Encode(nil, p.raw)}
		parts = append(parts, c.append(make([]byte, 0, len(c.packed)+64)))
		entries = entries[n:]
	}
	return parts
}

// finish waits for all acknowledgements.
func (p *chunkPublisher) finish(ctx context.Context) error {
	var errs []error
	for _, sent := range p.pending {
		errs = append(errs, p.settle(ctx, sent))
	}
	p.pending = nil
	return errors.Join(errs...)
}

// settle waits for a chunk's acknowledgements. If there is one that does not come, the chunk gets new messages next time.
func (p *chunkPublisher) settle(ctx context.Context, sent pendingChunk) error {
	w := p.w
	var failed error
	for i, ack := range sent.acks {
		select {
		case ok := <-ack.Ok():
			sent.refs[i].sequence = ok.Sequence
			w.metrics.chunks.Inc()
			w.metrics.bytes.Add(float64(len(ack.Msg().Data)))
		case err := <-ack.Err():
			if wrongSequence(err) {
				err = fmt.Errorf("%w: the chunk %d was replaced", ErrFenced, sent.refs[i].id)
			}
			failed = errors.Join(failed, err)
		case <-ctx.Done():
			failed = errors.Join(failed, ctx.Err())
		}
	}
	if failed != nil {
		w.drop(sent.refs)
		delete(w.chunks, sent.id)
		return failed
	}
	w.chunks[sent.id] = sent.refs
	delete(w.unsure, sent.id)
	return nil
}
