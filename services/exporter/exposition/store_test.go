package exposition

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

func testResource(name string, families int) *collector.Resource {
	r := &collector.Resource{Name: name}
	for i := range families {
		r.Families = append(r.Families, collector.Family{Name: fmt.Sprintf("%s_%d", name, i), Type: collector.Gauge, Help: "Help."})
	}
	return r
}

// lines renders an object as a collector would: n-th family has (seed+n)%3 lines.
func lines(resource *collector.Resource, key string, seed int) (text []byte, ends []int) {
	for i, f := range resource.Families {
		for j := range (seed + i) % 3 {
			text = fmt.Appendf(text, "%s{key=%q,n=\"%d\"} %d\n", f.Name, key, j, seed/3)
		}
		ends = append(ends, len(text))
	}
	return text, ends
}

func plain(t testing.TB, a *Answer) string {
	t.Helper()
	var out bytes.Buffer
	if err := a.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// gunzipped reads the answer's gzip form with the standard library, which checks CRC and size, and that it is one member.
func gunzipped(t testing.TB, a *Answer) string {
	t.Helper()
	var out bytes.Buffer
	if err := a.WriteGzip(&out); err != nil {
		t.Fatal(err)
	}
	if _, size := a.Sizes(); int64(out.Len()) != size {
		t.Errorf("the answer has %d bytes, Sizes said %d", out.Len(), size)
	}
	z, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	z.Multistream(false)
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if out.Len() > 0 {
		t.Errorf("%d bytes follow the gzip member", out.Len())
	}
	return string(text)
}

// model is a store in the simplest form.
type model map[string]map[string]int // resource -> key -> seed

// want is the answer that a model gives, with the lines of each family sorted.
func (m model) want(resources []*collector.Resource) string {
	var out strings.Builder
	for _, r := range resources {
		if len(m[r.Name]) == 0 {
			continue
		}
		all := make([][]string, len(r.Families))
		for key, seed := range m[r.Name] {
			text, ends := lines(r, key, seed)
			for i, end := range ends {
				all[i] = append(all[i], strings.SplitAfter(string(text[startOf(ends, i):end]), "\n")...)
			}
		}
		for i, f := range r.Families {
			slices.Sort(all[i])
			fmt.Fprintf(&out, "# HELP %s Help.\n# TYPE %s gauge\n%s", f.Name, f.Name, strings.Join(all[i], ""))
		}
	}
	return out.String()
}

// sortedFamilies sorts the lines between comments.
func sortedFamilies(text string) string {
	all := strings.SplitAfter(text, "\n")
	for start := 0; start < len(all); {
		end := start
		for end < len(all) && !strings.HasPrefix(all[end], "#") {
			end++
		}
		slices.Sort(all[start:end])
		start = end + 1
	}
	return strings.Join(all, "")
}

func TestStoreAnswersAsItsModel(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		resources := []*collector.Resource{testResource("apples", 1+rnd.IntN(5)), testResource("pears", 70)}
		store := NewStore(resources)
		m := model{"apples": {}, "pears": {}}
		for range 1000 {
			i := rnd.IntN(len(resources))
			r, key := resources[i], fmt.Sprintf("ns/%d", rnd.IntN(300))
			switch rnd.IntN(10) {
			default:
				value := rnd.IntN(50)
				text, ends := lines(r, key, value)
				before, known := m[r.Name][key]
				oldText, _ := lines(r, key, before)
				if changed := store.Table(i).Put(key, "", text, ends); changed != (!known || !bytes.Equal(text, oldText)) {
					t.Fatalf("Put says changed=%v", changed)
				}
				m[r.Name][key] = value
			case 0, 1, 2:
				want := Removed
				if _, ok := m[r.Name][key]; !ok {
					want = Unknown
				}
				if got := store.Table(i).Delete(key, ""); got != want {
					t.Fatalf("Delete: %v, want %v", got, want)
				}
				delete(m[r.Name], key)
			case 3:
				if rnd.IntN(20) == 0 {
					check(t, store, m, resources)
				}
			}
		}
		check(t, store, m, resources)
		for i, r := range resources {
			if got := store.Table(i).Objects(); got != len(m[r.Name]) {
				t.Errorf("%s: %d objects, want %d", r.Name, got, len(m[r.Name]))
			}
			for key := range m[r.Name] {
				store.Table(i).Delete(key, "")
			}
			m[r.Name] = nil
		}
		check(t, store, m, resources)
	}
}

func check(t *testing.T, store *Store, m model, resources []*collector.Resource) {
	t.Helper()
	answer := NewAnswer(Text, store.Snapshot().Groups())
	text := plain(t, answer)
	if diff := cmp.Diff(m.want(resources), sortedFamilies(text)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if text != gunzipped(t, answer) {
		t.Fatal("the gzip answer differs from the plain one")
	}
}

func TestUIDs(t *testing.T) {
	r := testResource("pods", 3)
	store := NewStore([]*collector.Resource{r})
	table := store.Table(0)
	text, ends := lines(r, "a", 5)
	table.Put("ns/a", "new", text, ends)
	if got := table.Delete("ns/a", "old"); got != Newer {
		t.Errorf("the deletion of an older object: %v", got)
	}
	if table.Objects() != 1 {
		t.Error("it deleted the newer one")
	}
	if got := table.Delete("ns/a", "new"); got != Removed {
		t.Errorf("%v", got)
	}
	table.Put("ns/a", "", text, ends)
	if got := table.Delete("ns/a", "any"); got != Removed {
		t.Errorf("%v", got)
	}
}

func TestHeadersComeWithTheFirstObjectEvenWithoutLines(t *testing.T) {
	r := testResource("pods", 2)
	store := NewStore([]*collector.Resource{r, testResource("none", 1)})
	if text := plain(t, NewAnswer(Text, store.Snapshot().Groups())); text != "" {
		t.Errorf("an empty store says %q", text)
	}
	store.Table(0).Put("a", "", nil, []int{0, 0})
	want := "# HELP pods_0 Help.\n# TYPE pods_0 gauge\n# HELP pods_1 Help.\n# TYPE pods_1 gauge\n"
	if text := plain(t, NewAnswer(Text, store.Snapshot().Groups())); text != want {
		t.Errorf("%q", text)
	}
}

func TestUnchangedStoreGivesTheSameSnapshot(t *testing.T) {
	r := testResource("pods", 2)
	store := NewStore([]*collector.Resource{r})
	text, ends := lines(r, "a", 4)
	store.Table(0).Put("a", "", text, ends)
	first := store.Snapshot()
	store.Table(0).Put("a", "", text, ends)
	if store.Snapshot() != first {
		t.Error("the same lines made a new snapshot")
	}
	if store.pending != 0 {
		t.Errorf("%d bytes are pending after a snapshot", store.pending)
	}
}

func TestThoseWhoWaitForASnapshotShareIt(t *testing.T) {
	r := testResource("pods", 2)
	store := NewStore([]*collector.Resource{r})
	put := func(seed int) {
		text, ends := lines(r, "a", seed)
		store.Table(0).Put("a", "", text, ends)
	}
	put(4)
	early := store.begun.Load()
	first := store.Snapshot()
	late := store.begun.Load()
	put(5)
	if store.snapshotAfter(early) != first {
		t.Error("who came before the snapshot was begun did not share it")
	}
	second := store.snapshotAfter(late)
	if second == first {
		t.Error("who came later got the older snapshot")
	}
	if plain(t, NewAnswer(Text, second.Groups())) == plain(t, NewAnswer(Text, first.Groups())) {
		t.Error("the later snapshot lacks the change")
	}
}

// TestSnapshotsShareWhatDidNotChange: what an old snapshot holds on to, for a slow reader, is the pages that were
// replaced; and those are of families that changed.
func TestSnapshotsShareWhatDidNotChange(t *testing.T) {
	const families = 6
	store := NewStore([]*collector.Resource{testResource("pods", families)})
	put := func(object, changed int) {
		var text []byte
		var ends []int
		for i := range families {
			value := 0
			if i == changed {
				value = 1
			}
			text = fmt.Appendf(text, "pods_%d{key=\"%d\"} %d\n", i, object, value)
			ends = append(ends, len(text))
		}
		store.Table(0).Put(fmt.Sprint(object), "", text, ends)
	}
	for i := range 1000 {
		put(i, -1)
	}
	pages := func() map[*Page]bool {
		all := map[*Page]bool{}
		for p := range NewAnswer(Text, store.Snapshot().Groups()).pages {
			all[p] = true
		}
		return all
	}
	first := pages()
	if want := families * (1 + 1000/slots + 1); len(first) != want { // the headers too
		t.Errorf("%d pages, want %d", len(first), want)
	}
	put(500, 3)
	fresh := 0
	for p := range pages() {
		if !first[p] {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("the change of a family of an object made %d pages anew", fresh)
	}
	before := pages()
	put(500, 2)
	put(500, 3)
	for p := range pages() {
		if !before[p] {
			t.Error("a change that was taken back made a page anew")
		}
	}
}

func TestTheRowsOfDeletedObjectsAreUsedAgain(t *testing.T) {
	r := testResource("pods", 3)
	store := NewStore([]*collector.Resource{r})
	for round := range 20 {
		for i := range 1000 {
			key := fmt.Sprint(round, i)
			text, ends := lines(r, key, 5)
			store.Table(0).Put(key, "", text, ends)
		}
		for i := range 1000 {
			store.Table(0).Delete(fmt.Sprint(round, i), "")
		}
	}
	if text := plain(t, NewAnswer(Text, store.Snapshot().Groups())); text != "" {
		t.Errorf("an empty store says %q", text)
	}
	blocks := store.Table(0).blocks
	if len(blocks) != 1000/slots+1 {
		t.Errorf("%d blocks for 1,000 objects at a time", len(blocks))
	}
	for _, b := range blocks {
		for _, c := range b.hashes {
			if c != nil {
				t.Fatal("a block without objects holds on to hashes")
			}
		}
		for _, p := range b.base.pages {
			if p != nil {
				t.Fatal("a block without objects holds on to pages")
			}
		}
	}
}

// TestSnapshotsAreMoments has writers that change an object of each resource in turn, always to the same number. A
// scrape in between must never see the second resource ahead of the first, nor more than one step behind.
func TestSnapshotsAreMoments(t *testing.T) {
	const writers = 4
	resources := []*collector.Resource{testResource("first", 1), testResource("second", 1)}
	store := NewStore(resources)
	put := func(i, writer, value int) {
		text := fmt.Appendf(nil, "%s_0{writer=\"%d\"} %d\n", resources[i].Name, writer, value)
		store.Table(i).Put(fmt.Sprint(writer), "", text, []int{len(text)})
	}
	for w := range writers {
		put(0, w, 0)
		put(1, w, 0)
	}
	var seen atomic.Int64 // scrapes
	var wg sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		wg.Go(func() {
			for step := 1; seen.Load() < 100; step++ {
				put(0, w, step)
				put(1, w, step)
			}
		})
	}
	var scrapes sync.WaitGroup
	for range 3 {
		scrapes.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				seen.Add(1)
				values := map[string]int{}
				for line := range strings.Lines(gunzipped(t, NewAnswer(Text, store.Snapshot().Groups()))) {
					var writer, value int
					name, rest, _ := strings.Cut(line, "_0{")
					if n, _ := fmt.Sscanf(rest, "writer=\"%d\"} %d", &writer, &value); n == 2 {
						values[fmt.Sprint(name, writer)] = value
					}
				}
				for w := range writers {
					first, second := values[fmt.Sprint("first", w)], values[fmt.Sprint("second", w)]
					if second != first && second != first-1 {
						t.Errorf("writer %d: the first resource shows %d, the second %d", w, first, second)
						seen.Store(1000)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	close(done)
	scrapes.Wait()
}

func TestMuchPendingIsPackedWithoutAScrape(t *testing.T) {
	r := testResource("pods", 1)
	store := NewStore([]*collector.Resource{r})
	store.packAt, store.pendingAt = 256<<10, 1<<20
	long := strings.Repeat("x", 8<<10)
	for i := range 1000 {
		text := fmt.Appendf(nil, "pods_0{key=\"%d\",long=\"%s\"} %d\n", i%100, long, i)
		store.Table(0).Put(fmt.Sprint(i%100), "", text, []int{len(text)})
		if store.pending > store.pendingAt+len(text) {
			t.Fatalf("%d bytes are pending", store.pending)
		}
	}
	if n := strings.Count(plain(t, NewAnswer(Text, store.Snapshot().Groups())), "\npods_0{"); n != 100 {
		t.Errorf("%d lines", n)
	}
}

func TestAFamilyOfSeveralResourcesIsOneBlock(t *testing.T) {
	family := func(name, help string) collector.Family {
		return collector.Family{Name: name, Type: collector.Gauge, Help: help}
	}
	resources := []*collector.Resource{
		{Name: "foos", Families: []collector.Family{family("shared", "Of foos."), family("foo", "H.")}},
		{Name: "bars", Families: []collector.Family{family("bar", "H."), family("shared", "Of bars.")}},
		{Name: "bazes", Families: []collector.Family{family("shared", "Of bazes.")}},
	}
	store := NewStore(resources[:1])
	for i, r := range resources[1:] {
		if at := store.Add(r); at != i+1 || store.Table(at).Name() != r.Name {
			t.Fatalf("%s became table %d", r.Name, at)
		}
	}
	put := func(i int, texts ...string) {
		var text []byte
		var ends []int
		for _, part := range texts {
			text = append(text, part...)
			ends = append(ends, len(text))
		}
		store.Table(i).Put("a", "", text, ends)
	}
	put(1, "bar 1\n", "shared{kind=\"bar\"} 2\n")
	put(2, "shared{kind=\"baz\"} 3\n")
	want := `# HELP bar H.
# TYPE bar gauge
bar 1
# HELP shared Of bars.
# TYPE shared gauge
shared{kind="bar"} 2
shared{kind="baz"} 3
`
	expect := func(want string) {
		t.Helper()
		answer := NewAnswer(Text, store.Snapshot().Groups())
		if diff := cmp.Diff(want, plain(t, answer)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, gunzipped(t, answer)); diff != "" {
			t.Errorf("gzip (-want +got):\n%s", diff)
		}
	}
	expect(want)
	put(0, "shared{kind=\"foo\"} 1\n", "")
	expect(`# HELP shared Of foos.
# TYPE shared gauge
shared{kind="foo"} 1
shared{kind="bar"} 2
shared{kind="baz"} 3
# HELP foo H.
# TYPE foo gauge
# HELP bar H.
# TYPE bar gauge
bar 1
`)
	store.Table(0).Delete("a", "")
	expect(want)
}

// TestTablesAreAddedInUse has tables added while others are filled and scraped.
func TestTablesAreAddedInUse(t *testing.T) {
	const tables, objects = 20, 50
	store := NewStore(nil)
	var wg sync.WaitGroup
	for i := range tables {
		wg.Go(func() {
			r := testResource(fmt.Sprint("r", i), 2)
			at := store.Add(r)
			for j := range objects {
				text, ends := lines(r, fmt.Sprint(j), 2)
				store.Table(at).Put(fmt.Sprint(j), "", text, ends)
				if j == objects/2 {
					gunzipped(t, NewAnswer(Text, store.Snapshot().Groups()))
				}
			}
		})
	}
	wg.Wait()
	text := gunzipped(t, NewAnswer(Text, store.Snapshot().Groups()))
	for i := range tables {
		if got := strings.Count(text, fmt.Sprintf("\nr%d_0{", i)); got != 2*objects {
			t.Errorf("resource %d has %d lines, want %d", i, got, 2*objects)
		}
	}
}

func FuzzCRC(f *testing.F) {
	f.Add([]byte("one"), []byte("two"))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		want := crc32.ChecksumIEEE(append(slices.Clone(a), b...))
		if got := mulCRC(crc32.ChecksumIEEE(a), crcShift(len(b))) ^ crc32.ChecksumIEEE(b); got != want {
			t.Errorf("%08x, want %08x", got, want)
		}
	})
}
