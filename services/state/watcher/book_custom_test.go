package watcher

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// customMessage is an object of foos as a version writes it.
func customMessage(version, key string, s state, at time.Time) message {
	c := schemas.ObjectChange{Operation: schemas.Applied, Group: "example.com", APIVersion: version, Kind: "Foo",
		Resource: "foos", Name: key, UID: s.uid, ResourceVersion: s.rv, Time: at.UnixNano(), Object: []byte{0x80}}
	return c.Marshal()
}

// TestBookCustomModel lets a custom resource come and go, change its version and its objects, with restarts and a log
// without room now and then, and compares the log with the truth.
func TestBookCustomModel(t *testing.T) {
	key := shelfKey{"example.com", "foos"}
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 2))
		log := &fakeLog{room: 1 << 30}
		now := time.Unix(1e9, 0)
		count := 0
		next := func() string { count++; return fmt.Sprint(count) }

		var b *book
		var s *shelf                // while its feed runs
		version := "v1"             // the API server serves; "" for none
		truth := map[string]state{} // of the API server
		start := func() {
			b = bookOf(t, []string{"nodes"}, nil)
			b.now = func() time.Time { return now }
			b.custom = func(group string) bool { return group == "example.com" }
			for _, e := range log.events {
				if err := b.Apply(e); err != nil {
					t.Fatal(err)
				}
			}
			held := len(foldVersions(t, log, ""))
			written := len(log.events)
			b.lead(log, 1<<20)
			s = nil
			if held > 0 && (len(b.held()) != 1 || len(log.events) != written) {
				t.Fatalf("seed %d: %d objects of an unknown kind are not held: %v", seed, held, b.held())
			}
		}
		begin := func() {
			gvr := schema.GroupVersionResource{Group: "example.com", Version: version, Resource: "foos"}
			s = b.want(objects.Custom(gvr, "Foo", false))
		}
		list := func() {
			var all []*entry
			for name, st := range truth {
				e := &entry{key: name}
				if !b.holds(s, name, st.uid, st.rv) {
					e.kept = keep(customMessage(version, name, st, now))
				}
				all = append(all, e)
			}
			b.replace(s, all)
		}
		start()
		for range 300 {
			name := fmt.Sprint("o", random.IntN(5))
			st, exists := truth[name]
			told := s != nil && s.synced && random.IntN(5) > 0 // else it is a change that a later list tells
			if s != nil && !told {
				s.synced = false
			}
			switch action := random.IntN(14); {
			case action == 0:
				start()
			case action == 1 && s != nil:
				list()
			case action == 2:
				log.room = random.IntN(4)
			case action == 3:
				log.room = 1 << 30
				b.mu.Lock()
				b.drain()
				b.mu.Unlock()
			case action == 4 && version != "": // the definition is deleted; its objects are gone
				version, s = "", nil
				clear(truth)
				b.drop(key)
			case action == 5 && version != "": // another version is the first
				version = []string{"v1", "v2"}[random.IntN(2)]
				begin()
			case version == "":
				version = []string{"v1", "v2"}[random.IntN(2)]
				begin()
			case s == nil:
				begin()
			case action < 8 && exists:
				delete(truth, name)
				if told {
					b.vanish(s, name)
				}
			default:
				if st.rv = next(); !exists {
					st.uid = "u" + next()
				}
				truth[name] = st
				if told {
					b.observe(s, name, keep(customMessage(version, name, st, now)))
				}
			}
		}
		log.room = 1 << 30
		if version == "" {
			version = "v1"
		}
		begin()
		list()
		want := map[string]state{}
		for name, st := range truth {
			want[(schemas.ObjectSubject{Cluster: "c", Group: "example.com", Resource: "foos", Name: name}).String()] = st
		}
		if diff := cmp.Diff(want, foldVersions(t, log, version), cmp.AllowUnexported(state{})); diff != "" {
			t.Fatalf("seed %d: the log differs from the truth:\n%s", seed, diff)
		}
		if !b.idle() {
			t.Fatalf("seed %d: something is left over", seed)
		}
		checkCustomChunks(t, b, log)
		b.drop(key)
		if left := foldVersions(t, log, version); len(left) != 0 || len(b.shelves[key].records) != 0 {
			t.Fatalf("seed %d: a kind that is gone has left %v", seed, left)
		}
	}
}

// foldVersions is fold for a log in which an object may be written again as another version. What is left must be of the
// given one, unless that is "".
func foldVersions(t *testing.T, log *fakeLog, version string) map[string]state {
	t.Helper()
	all, versions := map[string]state{}, map[string]string{}
	for _, e := range log.events {
		var c schemas.ObjectChange
		if err := c.Unmarshal(e.Data); err != nil {
			t.Fatal(err)
		}
		before, existed := all[e.Subject]
		now := state{c.UID, c.ResourceVersion}
		switch {
		case c.Operation == schemas.Deleted && !existed:
			t.Fatalf("%d: %s is deleted, but wasn't there", e.Sequence, e.Subject)
		case c.Operation == schemas.Deleted:
			delete(all, e.Subject)
			continue
		case existed && before == now && versions[e.Subject] == c.APIVersion:
			t.Fatalf("%d: %s says %v again", e.Sequence, e.Subject, now)
		case existed && before.uid != now.uid:
			t.Fatalf("%d: %s becomes %v without a deletion of %v", e.Sequence, e.Subject, now, before)
		}
		all[e.Subject], versions[e.Subject] = now, c.APIVersion
	}
	for subject := range all {
		if version != "" && versions[subject] != version {
			t.Fatalf("%s is of version %s, want %s", subject, versions[subject], version)
		}
	}
	return all
}

// checkCustomChunks compares the snapshot with the log.
func checkCustomChunks(t *testing.T, b *book, log *fakeLog) {
	t.Helper()
	got, bytes := map[string]bool{}, 0
	for c := range b.snapshot() {
		_, entries := c.Read()
		for _, e := range entries {
			got[e.Subject] = true
			bytes += len(e.Data)
			if logged := log.events[e.Sequence-1]; logged.Subject != e.Subject || string(logged.Data) != string(e.Data) {
				t.Fatalf("%s isn't the event at %d", e.Subject, e.Sequence)
			}
		}
	}
	last := map[string]bool{}
	for _, e := range log.events {
		h, _ := message(e.Data).head()
		if h.operation == schemas.Applied {
			last[e.Subject] = true
		} else {
			delete(last, e.Subject)
		}
	}
	if diff := cmp.Diff(last, got); diff != "" || bytes != b.bytes {
		t.Fatalf("the snapshot (%d bytes, counted %d) differs from the log:\n%s", bytes, b.bytes, diff)
	}
}

// TestFeedEnds: a feed that has ended tells nothing, whatever its reflector still says.
func TestFeedEnds(t *testing.T) {
	b := bookOf(t, nil, nil)
	log := &fakeLog{room: 1 << 30}
	b.lead(log, 1<<20)
	kind := objects.Custom(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "foos"}, "Foo", false)
	f := &feed{book: b, shelf: b.want(kind), kind: kind, name: kind.Name()}
	object := func(name string) *entry {
		return &entry{key: name, kept: keep(customMessage("v1", name, state{"u", "1"}, time.Unix(1, 0)))}
	}
	if err := f.Replace([]any{object("a")}, ""); err != nil || len(log.events) != 1 {
		t.Fatalf("%d events, %v", len(log.events), err)
	}
	f.end()
	b.drop(shelfKey{"example.com", "foos"})
	written := len(log.events)
	for _, err := range []error{f.Add(object("b")), f.Update(object("a")), f.Delete(object("a")), f.Replace([]any{object("c")}, "")} {
		if err != nil {
			t.Error(err)
		}
	}
	if written != 2 || len(log.events) != written || len(b.shelves[shelfKey{"example.com", "foos"}].records) != 0 {
		t.Errorf("a feed that has ended took the log from %d to %d events", written, len(log.events))
	}
}
