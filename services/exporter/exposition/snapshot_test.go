package exposition

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

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
