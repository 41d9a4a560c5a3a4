package exposition

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

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
