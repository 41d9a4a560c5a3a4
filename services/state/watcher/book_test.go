package watcher

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// fakeLog is a log whose writer has room for some events only.
type fakeLog struct {
	events []stream.Event
	room   int
	err    error
}

func (l *fakeLog) Append(subject string, payload []byte) (uint64, error) {
	if l.err != nil {
		return 0, l.err
	}
	if l.room == 0 {
		return 0, stream.ErrOverflow
	}
	l.room--
	e := stream.Event{Sequence: l.Next(), Subject: subject, Data: payload}
	l.events = append(l.events, e)
	return e.Sequence, nil
}

func (l *fakeLog) Next() uint64 { return uint64(len(l.events)) + 1 }

// state is what a consumer knows of an object.
type state struct{ uid, rv string }

// fold reads events as a consumer does, and complains of what is never to be in a log.
func fold(t *testing.T, events []stream.Event) map[string]state {
	t.Helper()
	all := map[string]state{}
	for _, e := range events {
		var c schemas.ObjectChange
		if err := c.Unmarshal(e.Data); err != nil {
			t.Fatal(err)
		}
		if want := (schemas.ObjectSubject{Cluster: "c", Group: c.Group, Resource: c.Resource, Namespace: c.Namespace, Name: c.Name}).String(); e.Subject != want {
			t.Fatalf("subject %s, want %s", e.Subject, want)
		}
		before, existed := all[e.Subject]
		now := state{c.UID, c.ResourceVersion}
		switch {
		case c.Operation == schemas.Deleted && !existed:
			t.Fatalf("%d: %s is deleted, but wasn't there", e.Sequence, e.Subject)
		case c.Operation == schemas.Deleted:
			if before != now {
				t.Fatalf("%d: the deletion is of %v, but there was %v", e.Sequence, now, before)
			}
			delete(all, e.Subject)
		case existed && before == now:
			t.Fatalf("%d: %s says %v again", e.Sequence, e.Subject, now)
		case existed && before.uid != now.uid:
			t.Fatalf("%d: %s becomes %v without a deletion of %v", e.Sequence, e.Subject, now, before)
		default:
			all[e.Subject] = now
		}
	}
	return all
}

func bookOf(t *testing.T, kinds []string, pace map[string]time.Duration) *book {
	t.Helper()
	var all []objects.Kind
	for _, resource := range kinds {
		kind, _ := objects.ByResource(resource)
		all = append(all, kind)
	}
	return newBook("c", all, pace, newMetrics(nil, nil), slog.New(slog.DiscardHandler))
}

func messageOf(resource, key string, s state, at time.Time) message {
	kind, _ := objects.ByResource(resource)
	c := schemas.ObjectChange{Operation: schemas.Applied, Group: kind.Group, APIVersion: kind.Version, Kind: kind.Kind,
		Resource: resource, Name: key, UID: s.uid, ResourceVersion: s.rv, Time: at.UnixNano(), Object: append([]byte{0x81, 0xa4, 's', 'p', 'e', 'c', 0xd9, 240}, strings.Repeat(s.uid+"."+s.rv+" is the state ", 240)[:240]...)}
	return c.Marshal()
}

func subjectOf(resource, key string) string {
	kind, _ := objects.ByResource(resource)
	return schemas.ObjectSubject{Cluster: "c", Group: kind.Group, Resource: resource, Name: key}.String()
}

// TestBookModel lets random things happen, restarts now and then, and compares the log with the truth.
func TestBookModel(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		log := &fakeLog{room: 1 << 30}
		resources := []string{"nodes", "leases"}
		now := time.Unix(1e9, 0)
		truth := map[string]map[string]state{"nodes": {}, "leases": {}}
		version := 0
		next := func() string { version++; return fmt.Sprint(version) }

		var b *book
		start := func() {
			b = bookOf(t, resources, map[string]time.Duration{"leases": 30 * time.Second})
			b.now = func() time.Time { return now }
			for _, e := range log.events {
				if err := b.Apply(e); err != nil {
					t.Fatal(err)
				}
			}
			b.lead(log, 1<<20)
		}
		shelfOf := func(resource string) *shelf {
			kind, _ := objects.ByResource(resource)
			return b.shelves[shelfKey{kind.Group, resource}]
		}
		list := func(resource string) {
			s := shelfOf(resource)
			var all []*entry
			for key, st := range truth[resource] {
				e := &entry{key: key}
				if !b.holds(s, key, st.uid, st.rv) {
					e.kept = keep(messageOf(resource, key, st, now))
				}
				all = append(all, e)
			}
			b.replace(s, all)
		}
		start()
		for range 400 {
			resource := resources[random.IntN(2)]
			key := fmt.Sprint("o", random.IntN(5))
			s, st := shelfOf(resource), truth[resource][key]
			watched := s.synced && random.IntN(5) > 0 // else it is a change that a later list tells
			if !watched {
				s.synced = false
			}
			switch action := random.IntN(12); {
			case action == 0:
				start()
				continue
			case action == 1:
				list(resource)
				continue
			case action == 2:
				log.room = random.IntN(4)
				continue
			case action == 3:
				log.room = 1 << 30
				b.mu.Lock()
				b.drain()
				b.mu.Unlock()
				continue
			case action == 4:
				now = now.Add(time.Duration(random.IntN(40)) * time.Second)
				b.release()
				continue
			case action < 7 && st.uid != "":
				delete(truth[resource], key)
				if watched {
					b.vanish(s, key)
				}
				continue
			case st.uid == "":
				st = state{"u" + next(), next()}
			default:
				st.rv = next()
			}
			truth[resource][key] = st
			if watched {
				b.observe(s, key, keep(messageOf(resource, key, st, now)))
			}
		}
		log.room = 1 << 30
		for _, resource := range resources {
			list(resource)
		}
		now = now.Add(time.Hour)
		b.release()
		want := map[string]state{}
		for resource, all := range truth {
			for key, st := range all {
				want[subjectOf(resource, key)] = st
			}
		}
		if diff := cmp.Diff(want, fold(t, log.events), cmp.AllowUnexported(state{})); diff != "" {
			t.Fatalf("seed %d: the log differs from the truth:\n%s", seed, diff)
		}
		if !b.idle() || b.paced.len() > 0 {
			t.Fatalf("seed %d: something is left over", seed)
		}
		checkChunks(t, b, log)
	}
}

// checkChunks compares the snapshot with the log.
func checkChunks(t *testing.T, b *book, log *fakeLog) {
	t.Helper()
	got, want := map[string]state{}, fold(t, log.events)
	bytes := 0
	for c := range b.snapshot() {
		position, entries := c.Read()
		if position != uint64(len(log.events)) {
			t.Fatalf("a chunk is as of %d, the log is at %d", position, len(log.events))
		}
		for _, e := range entries {
			h, _ := message(e.Data).head()
			if _, twice := got[e.Subject]; twice {
				t.Fatalf("%s is in the snapshot twice", e.Subject)
			}
			got[e.Subject] = state{strings.Clone(h.uid), strings.Clone(h.rv)}
			bytes += len(e.Data)
			if logged := log.events[e.Sequence-1]; logged.Subject != e.Subject || string(logged.Data) != string(e.Data) {
				t.Fatalf("%s isn't the event at %d", e.Subject, e.Sequence)
			}
		}
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(state{})); diff != "" {
		t.Fatalf("the snapshot differs from the log:\n%s", diff)
	}
	if bytes != b.bytes {
		t.Fatalf("%d bytes are counted as %d", bytes, b.bytes)
	}
	for c := range b.snapshot() {
		if c.Dirty {
			t.Fatalf("chunk %d is dirty after it was read", c.ID)
		}
	}
}

func TestBookChunks(t *testing.T) {
	b := bookOf(t, []string{"nodes", "leases"}, nil)
	log := &fakeLog{room: 1 << 30}
	b.lead(log, 1<<20)
	nodes := b.shelves[shelfKey{"", "nodes"}]
	leases := b.shelves[shelfKey{"coordination.k8s.io", "leases"}]
	for _, s := range []*shelf{nodes, leases} {
		var all []*entry
		for i := range 600 {
			key := fmt.Sprint("o", i)
			all = append(all, &entry{key: key, kept: keep(messageOf(s.kind.Resource, key, state{"u", "1"}, time.Unix(1, 0)))})
		}
		b.replace(s, all)
	}
	checkChunks(t, b, log)
	if len(b.chunks) != 6 {
		t.Errorf("%d chunks for twice 600 objects", len(b.chunks))
	}
	// A change makes one chunk dirty, and objects stay where they are.
	where := nodes.records["o300"].chunk
	b.observe(nodes, "o300", keep(messageOf("nodes", "o300", state{"u", "2"}, time.Unix(1, 0))))
	dirty := 0
	for c := range b.snapshot() {
		if c.Dirty {
			dirty++
		}
	}
	if dirty != 1 || nodes.records["o300"].chunk != where {
		t.Errorf("%d chunks are dirty after one change", dirty)
	}
	// What is deleted makes room.
	for i := range 100 {
		b.vanish(nodes, fmt.Sprint("o", i))
	}
	for i := range 100 {
		key := fmt.Sprint("new", i)
		b.observe(nodes, key, keep(messageOf("nodes", key, state{"u", "1"}, time.Unix(1, 0))))
	}
	if len(b.chunks) != 6 {
		t.Errorf("%d chunks after 100 objects went and 100 came", len(b.chunks))
	}
	checkChunks(t, b, log)
}

func TestBookPaces(t *testing.T) {
	b := bookOf(t, []string{"leases"}, map[string]time.Duration{"leases": 30 * time.Second})
	log := &fakeLog{room: 1 << 30}
	now := time.Unix(1e9, 0)
	b.now = func() time.Time { return now }
	b.lead(log, 1<<20)
	leases := b.shelves[shelfKey{"coordination.k8s.io", "leases"}]
	b.replace(leases, nil)
	observe := func(st state) { b.observe(leases, "l", keep(messageOf("leases", "l", st, now))) }
	expect := func(what string, events int) {
		t.Helper()
		if len(log.events) != events {
			t.Fatalf("%s: %d events, want %d", what, len(log.events), events)
		}
	}
	observe(state{"u", "1"})
	expect("a creation doesn't wait", 1)
	for rv := range 3 {
		now = now.Add(9 * time.Second)
		observe(state{"u", fmt.Sprint(rv + 2)})
	}
	expect("27 s later", 1)
	if next, any := b.release(); !any || !next.Equal(time.Unix(1e9+30, 0)) {
		t.Errorf("the next is due at %v", next)
	}
	now = now.Add(3 * time.Second)
	b.release()
	expect("30 s later", 2)
	if got := fold(t, log.events)[subjectOf("leases", "l")]; got.rv != "4" {
		t.Errorf("the newest state is 4, the log has %v", got)
	}
	observe(state{"u", "5"})
	expect("and again", 2)
	b.vanish(leases, "l")
	expect("a deletion doesn't wait", 3)
	observe(state{"v", "6"})
	expect("nor does what comes after it", 4)
	now = now.Add(time.Second)
	observe(state{"w", "7"})
	expect("another object of the same name is a deletion and a creation", 6)
	observe(state{"w", "8"})
	now = now.Add(-time.Hour)
	observe(state{"w", "9"})
	expect("a clock that went back holds nothing up", 7)
	now = now.Add(2 * time.Hour)
	b.release()
	fold(t, log.events)
}

func TestBookDeletesKindsThatAreNotWatched(t *testing.T) {
	log := &fakeLog{room: 1 << 30}
	b := bookOf(t, []string{"nodes", "leases"}, nil)
	b.lead(log, 1<<20)
	for _, s := range b.shelves {
		b.replace(s, []*entry{{key: "o", kept: keep(messageOf(s.kind.Resource, "o", state{"u", "1"}, time.Unix(1, 0)))}})
	}
	narrow := bookOf(t, []string{"nodes"}, nil)
	for _, e := range log.events {
		if err := narrow.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	narrow.lead(log, 1<<20)
	if diff := cmp.Diff(map[string]state{subjectOf("nodes", "o"): {"u", "1"}}, fold(t, log.events), cmp.AllowUnexported(state{})); diff != "" {
		t.Error(diff)
	}
}

func TestBookRefusals(t *testing.T) {
	b := bookOf(t, []string{"nodes"}, nil)
	log := &fakeLog{room: 1 << 30}
	b.lead(log, 300)
	nodes := b.shelves[shelfKey{"", "nodes"}]
	b.replace(nodes, nil)
	kind, _ := objects.ByResource("nodes")
	big := schemas.ObjectChange{Operation: schemas.Applied, APIVersion: "v1", Kind: kind.Kind, Resource: "nodes", Name: "big", UID: "u", ResourceVersion: "1",
		Object: append([]byte{0x81, 0xa4, 's', 'p', 'e', 'c', 0xda, 4, 0}, make([]byte, 1024)...)}
	b.observe(nodes, "big", keep(big.Marshal()))
	var c schemas.ObjectChange
	if len(log.events) != 1 || c.Unmarshal(log.events[0].Data) != nil || !cmp.Equal(c.Dropped, []string{"spec"}) {
		t.Errorf("%d events, dropped %q", len(log.events), c.Dropped)
	}
	b.limit = 10
	b.observe(nodes, "o", keep(messageOf("nodes", "o", state{"u", "1"}, time.Unix(1, 0))))
	if len(log.events) != 1 || !b.idle() {
		t.Error("what can't be written holds up the rest")
	}
	b.limit = 1 << 20
	log.err = stream.ErrFenced
	b.observe(nodes, "p", keep(messageOf("nodes", "p", state{"u", "1"}, time.Unix(1, 0))))
	if b.idle() {
		t.Error("what the log refused counts as written")
	}
	b.end()
	log.err = nil
	b.observe(nodes, "q", keep(messageOf("nodes", "q", state{"u", "1"}, time.Unix(1, 0))))
	if len(log.events) != 1 {
		t.Error("a closed book writes")
	}
	if err := b.Apply(stream.Event{Data: []byte{0x93, 1, 1, 1}}); !errors.Is(err, schemas.ErrMalformed) {
		t.Error(err)
	}
	if err := b.Apply(stream.Event{Data: []byte{0x91, 99}}); !errors.Is(err, schemas.ErrVersion) {
		t.Error(err)
	}
}
