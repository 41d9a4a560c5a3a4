package stream_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

const cluster = "test"

// world is the truth: objects that change, each change appended to the log, and remembered by its sequence.
type world struct {
	a *stream.Appender

	mu      sync.Mutex // orders appends and what is remembered of them, as a real writer's lock does
	random  *rand.Rand
	size    int // of a payload
	objects map[int]stream.Entry
	members map[uint32]map[int]bool // objects of a chunk
	history []change                // by sequence - first
	first   uint64
	dirty   map[uint32]bool
	chunkOf func(object int) uint32
}

// change is an event of the log; data is nil for a deletion.
type change struct {
	subject string
	data    string
}

func newWorld(a *stream.Appender, chunkObjects int) *world {
	return &world{
		a: a, random: rand.New(rand.NewPCG(1, 2)), size: 200, objects: map[int]stream.Entry{}, members: map[uint32]map[int]bool{}, first: a.Next(),
		dirty: map[uint32]bool{}, chunkOf: func(object int) uint32 { return uint32(object / chunkObjects) },
	}
}

func subjectOf(object int) string {
	return schemas.ObjectSubject{Cluster: cluster, Resource: "pods", Namespace: fmt.Sprintf("ns-%d", object%50), Name: fmt.Sprintf("pod-%d.x", object)}.String()
}

const deleted = "deleted"

// set changes an object, waiting for room.
func (w *world) set(ctx context.Context, object int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	data := make([]byte, 0, w.size)
	data = fmt.Appendf(data, "%d of %d ", w.a.Next(), object)
	for len(data) < w.size {
		data = append(data, "abcdefghijklmnopqrstuvwxyz012345"[w.random.IntN(32)])
	}
	return w.append(ctx, object, string(data))
}

// remove deletes an object.
func (w *world) remove(ctx context.Context, object int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.append(ctx, object, deleted)
}

func (w *world) append(ctx context.Context, object int, data string) error {
	subject := subjectOf(object)
	payload := []byte(data)
	sequence, err := w.a.AppendWait(ctx, subject, payload)
	if err != nil {
		return err
	}
	if want := w.first + uint64(len(w.history)); sequence != want {
		return fmt.Errorf("the event got the sequence %d, want %d", sequence, want)
	}
	w.history = append(w.history, change{subject, data})
	if data == deleted {
		w.keep(object, stream.Entry{})
	} else {
		w.keep(object, stream.Entry{Sequence: sequence, Subject: subject, Data: payload})
	}
	return nil
}

// keep makes an object what it is now; gone for the zero entry.
func (w *world) keep(object int, e stream.Entry) {
	id := w.chunkOf(object)
	w.dirty[id] = true
	if e.Sequence == 0 {
		delete(w.objects, object)
		delete(w.members[id], object)
		return
	}
	if w.members[id] == nil {
		w.members[id] = map[int]bool{}
	}
	w.objects[object], w.members[id][object] = e, true
}

// churn changes random ones of n objects, rate times a second, one of ten a deletion, until the context ends.
func (w *world) churn(ctx context.Context, n, rate int) error {
	const burst = 10
	tick := time.NewTicker(time.Second * burst / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for range burst {
			w.mu.Lock()
			object, remove := w.random.IntN(n), w.random.IntN(10) == 0
			w.mu.Unlock()
			var err error
			if remove {
				err = w.remove(ctx, object)
			} else {
				err = w.set(ctx, object)
			}
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		}
	}
}

// chunks are the objects for a SnapshotWriter.
func (w *world) chunks() iter.Seq[stream.Chunk] {
	return func(yield func(stream.Chunk) bool) {
		w.mu.Lock()
		var inUse []uint32
		for id, members := range w.members {
			if len(members) > 0 {
				inUse = append(inUse, id)
			}
		}
		dirty := maps.Clone(w.dirty)
		w.mu.Unlock()
		for _, id := range inUse {
			if !yield(stream.Chunk{ID: id, Dirty: dirty[id], Read: func() (uint64, []stream.Entry) { return w.read(id) }}) {
				return
			}
		}
	}
}

// read is what is in a chunk now.
func (w *world) read(chunk uint32) (position uint64, entries []stream.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.dirty, chunk)
	for object := range w.members[chunk] {
		entries = append(entries, w.objects[object])
	}
	return w.a.Next() - 1, entries
}

// at is what every object was at a sequence: subject to data and the sequence of its last change.
func (w *world) at(sequence uint64) map[string]held {
	w.mu.Lock()
	defer w.mu.Unlock()
	state := map[string]held{}
	for i, c := range w.history {
		s := w.first + uint64(i)
		if s > sequence {
			break
		}
		if c.data == deleted {
			delete(state, c.subject)
		} else {
			state[c.subject] = held{s, c.data}
		}
	}
	return state
}

// held is what a view holds of an object.
type held struct {
	sequence uint64
	data     string
}

func (h held) String() string { return fmt.Sprintf("%d: %.30s", h.sequence, h.data) }

// view is a sink that keeps everything.
type view struct {
	mu      sync.Mutex
	objects map[string]held
	last    uint64 // sequence of the last event of the log
	broken  error  // events that were not in order
}

func newView() *view { return &view{objects: map[string]held{}} }

func (v *view) Apply(e stream.Event) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !e.Snapshot {
		if v.last != 0 && e.Sequence != v.last+1 && v.broken == nil {
			v.broken = fmt.Errorf("event %d came after %d", e.Sequence, v.last)
		}
		v.last = e.Sequence
	}
	if string(e.Data) == deleted {
		delete(v.objects, e.Subject)
	} else {
		v.objects[e.Subject] = held{e.Sequence, string(e.Data)}
	}
	return nil
}

// check compares the view with what must be in it.
func (v *view) check(want map[string]held) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.broken != nil {
		return v.broken
	}
	wrong := 0
	example := ""
	for subject, w := range want {
		if got, ok := v.objects[subject]; got != w {
			wrong++
			example = fmt.Sprintf("%s: got %v %v, want %v", subject, ok, got, w)
		}
	}
	for subject, got := range v.objects {
		if _, ok := want[subject]; !ok {
			wrong++
			example = fmt.Sprintf("%s: got %v, want none", subject, got)
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d objects are wrong: %s", wrong, len(want), example)
	}
	return nil
}

// appender makes a writer that begins after p.
func appender(t testing.TB, c *stream.Conn, p stream.LogPosition) *stream.Appender {
	t.Helper()
	a, err := stream.NewAppender(stream.AppenderConfig{Conn: c, Cluster: cluster, After: p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// ensure creates small streams.
func ensure(t testing.TB, c *stream.Conn) {
	t.Helper()
	if err := stream.Ensure(t.Context(), c, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
}
