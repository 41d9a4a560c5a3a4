package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

// The messages of the snapshot stream, msgpack arrays:
//
//	manifest: [version, log, position, time, [[chunk, sequence]...]]
//	chunk:    [version, log, position, objects, size, binary]
//
// log is the identity of the log (its creation, Unix nanoseconds); position a sequence of it; time when the event at
// position was stored, Unix nanoseconds; sequence that of the chunk's message; size that of binary once it is
// decompressed (s2, one block): objects times [sequence, subject, binary], one after the other.
//
// A manifest's position W means: every event up to W is reflected in the chunks. A chunk may be newer: everything up to
// its own position is reflected in it, and nothing beyond. So a reader takes the chunks, each as listed or newer, then
// the log from W+1 to the greatest position among them, and has the exact state there.
const snapshotVersion = 1

// Bounds of what is taken from the network.
const (
	maxChunkSize = 16 << 20 // bytes of a chunk, decompressed
	maxChunks    = 1 << 20  // of a manifest: far beyond what fits a message
)

var (
	errSnapshotVersion = errors.New("unknown version of the snapshot")
	errSnapshotDamaged = errors.New("damaged snapshot")
	errSnapshotMissing = errors.New("a chunk of the snapshot is missing")
	errSnapshotFuture  = errors.New("the snapshot is ahead of the log")
	errSnapshotForeign = errors.New("the snapshot is of another log")
	errSnapshotTrimmed = errors.New("the log is trimmed beyond the snapshot")
)

// manifest commits a snapshot.
type manifest struct {
	log      int64
	position uint64
	time     int64
	chunks   []chunkRef

	// Of the manifest's own message, not part of it: where it is, and of which stream.
	sequence uint64
	stored   time.Time
	stream   time.Time
}

type chunkRef struct {
	id       uint32
	sequence uint64
}

func (m *manifest) append(b []byte) []byte {
	b = wire.AppendArrayLen(b, 5)
	b = wire.AppendUint(b, snapshotVersion)
	b = wire.AppendInt(b, m.log)
	b = wire.AppendUint(b, m.position)
	b = wire.AppendInt(b, m.time)
	b = wire.AppendArrayLen(b, len(m.chunks))
	for _, c := range m.chunks {
		b = wire.AppendArrayLen(b, 2)
		b = wire.AppendUint(b, uint64(c.id))
		b = wire.AppendUint(b, c.sequence)
	}
	return b
}

func parseManifest(b []byte) (m manifest, err error) {
	r := wire.NewReader(b)
	if err := header(&r, 5); err != nil {
		return m, err
	}
	var e [4]error
	m.log, e[0] = r.Int()
	m.position, e[1] = r.Uint()
	m.time, e[2] = r.Int()
	n, err := r.ArrayLen()
	e[3] = err
	if err := errors.Join(e[:]...); err != nil {
		return m, fmt.Errorf("%w: %w", errSnapshotDamaged, err)
	}
	if n > maxChunks {
		return m, fmt.Errorf("%w: it claims %d chunks", errSnapshotDamaged, n)
	}
	m.chunks = make([]chunkRef, n)
	for i := range m.chunks {
		fields, err := r.ArrayLen()
		if err == nil && fields < 2 {
			err = fmt.Errorf("%w: a chunk of %d fields", errSnapshotDamaged, fields)
		}
		id, idErr := r.Uint()
		sequence, sequenceErr := r.Uint()
		if id > 1<<32-1 {
			idErr = fmt.Errorf("%w: chunk number %d", errSnapshotDamaged, id)
		}
		if err := errors.Join(err, idErr, sequenceErr, skip(&r, fields-2)); err != nil {
			return m, fmt.Errorf("%w: %w", errSnapshotDamaged, err)
		}
		m.chunks[i] = chunkRef{uint32(id), sequence}
	}
	return m, nil
}

// header reads the head of an array of at least n fields, and the version that comes first.
func header(r *wire.Reader, n int) error {
	fields, err := r.ArrayLen()
	if err != nil {
		return fmt.Errorf("%w: %w", errSnapshotDamaged, err)
	}
	version, err := r.Uint()
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errSnapshotDamaged, err)
	case version != snapshotVersion:
		return fmt.Errorf("%w: %d", errSnapshotVersion, version)
	case fields < n:
		return fmt.Errorf("%w: %d fields of %d", errSnapshotDamaged, fields, n)
	}
	return nil
}

// skip steps over fields that a newer writer has added.
func skip(r *wire.Reader, n int) error {
	for range n {
		if err := r.Skip(); err != nil {
			return err
		}
	}
	return nil
}

// chunk is a part of a snapshot.
type chunk struct {
	log      int64
	position uint64
	objects  int
	size     int
	packed   []byte
}

func (c *chunk) append(b []byte) []byte {
	b = wire.AppendArrayLen(b, 6)
	b = wire.AppendUint(b, snapshotVersion)
	b = wire.AppendInt(b, c.log)
	b = wire.AppendUint(b, c.position)
	b = wire.AppendUint(b, uint64(c.objects))
	b = wire.AppendUint(b, uint64(c.size))
	return wire.AppendBytes(b, c.packed)
}

func parseChunk(b []byte) (c chunk, err error) {
	r := wire.NewReader(b)
	if err := header(&r, 6); err != nil {
		return c, err
	}
	var e [5]error
	var objects, size uint64
	c.log, e[0] = r.Int()
	c.position, e[1] = r.Uint()
	objects, e[2] = r.Uint()
	size, e[3] = r.Uint()
	c.packed, e[4] = r.Bytes()
	if err := errors.Join(e[:]...); err != nil {
		return c, fmt.Errorf("%w: %w", errSnapshotDamaged, err)
	}
	if size > maxChunkSize || objects > size {
		return c, fmt.Errorf("%w: it claims %d objects in %d bytes", errSnapshotDamaged, objects, size)
	}
	c.objects, c.size = int(objects), int(size)
	return c, nil
}

// entries decompresses the chunk, using buffer where it is large enough, and calls f with every object; the data is part
// of the buffer. It returns the buffer for the next chunk.
func (c *chunk) entries(buffer []byte, f func(sequence uint64, subject, data []byte)) ([]byte, error) {
	n, err := s2.DecodedLen(c.packed)
	if err == nil && n != c.size {
		err = fmt.Errorf("%d bytes instead of %d", n, c.size)
	}
	if err != nil {
		return buffer, fmt.Errorf("%w: %w", errSnapshotDamaged, err)
	}
	if cap(buffer) < n {
		buffer = make([]byte, n)
	}
	raw, err := s2.Decode(buffer[:n], c.packed)
	if err != nil {
		return buffer, fmt.Errorf("%w: %w", errSnapshotDamaged, err)
	}
	r := wire.NewReader(raw)
	for range c.objects {
		fields, err := r.ArrayLen()
		if err == nil && fields < 3 {
			err = fmt.Errorf("an object of %d fields", fields)
		}
		if err != nil {
			return buffer, fmt.Errorf("%w: %w", errSnapshotDamaged, err)
		}
		sequence, err := r.Uint()
		subject, subjectErr := r.StringBytes()
		data, dataErr := r.Bytes()
		if err := errors.Join(err, subjectErr, dataErr, skip(&r, fields-3)); err != nil {
			return buffer, fmt.Errorf("%w: %w", errSnapshotDamaged, err)
		}
		f(sequence, subject, data)
	}
	if r.Len() > 0 {
		return buffer, fmt.Errorf("%w: %d bytes behind the last object", errSnapshotDamaged, r.Len())
	}
	return buffer, nil
}

func appendEntry(b []byte, e Entry) []byte {
	b = wire.AppendArrayLen(b, 3)
	b = wire.AppendUint(b, e.Sequence)
	b = wire.AppendString(b, e.Subject)
	return wire.AppendBytes(b, e.Data)
}

// usable says in because why the snapshot does not lead to the log as it is; nil where it does. err is of the connection.
func (m *manifest) usable(ctx context.Context, c *Conn, log StreamInfo) (because, err error) {
	switch {
	case m.log != log.Created.UnixNano():
		return fmt.Errorf("%w, created %s", errSnapshotForeign, time.Unix(0, m.log).UTC().Format(time.RFC3339)), nil
	case m.position > log.Last:
		return fmt.Errorf("%w: it is as of %d, but the log ends at %d", errSnapshotFuture, m.position, log.Last), nil
	case m.position+1 < log.First:
		return fmt.Errorf("%w: it is as of %d, but the log begins at %d", errSnapshotTrimmed, m.position, log.First), nil
	case m.time == 0 || m.position < log.First:
		return nil, nil
	}
	// A log that was restored to an older state and has grown since has another event at this position.
	stored, err := c.storedMessage(ctx, log.Name, m.position)
	switch {
	case errors.Is(err, ErrNoMessage): // trimmed just now
		return nil, nil
	case err != nil:
		return nil, err
	case stored.Time.UnixNano() != m.time:
		return fmt.Errorf("%w, restored to an older state since: its event at %d is another one", errSnapshotForeign, m.position), nil
	}
	return nil, nil
}
