package linger

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
)

var start = time.UnixMilli(1_767_225_600_500)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func pod(name, uid string) Object {
	return Object{Table: 1, Resource: "pods", Namespace: "shop", Name: name, UID: uid}
}

// recorder is a view that notes what is removed from it.
type recorder struct{ removed []string }

func (r *recorder) remove(o Object) { r.removed = append(r.removed, o.Key()+" "+o.UID) }

func (r *recorder) take() string {
	defer func() { r.removed = nil }()
	return strings.Join(r.removed, ", ")
}

func text(t testing.TB, q *Queue) string {
	t.Helper()
	g, ok := q.Group()
	if !ok {
		return ""
	}
	if g.Name != "deleted" {
		t.Errorf("the group is called %q", g.Name)
	}
	for format, check := range map[exposition.Format]func([]byte) (strict.Summary, error){exposition.Text: strict.Text, exposition.OpenMetrics: strict.OpenMetrics} {
		var out bytes.Buffer
		if err := exposition.NewAnswer(format, []exposition.Group{g}).Write(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := check(out.Bytes()); err != nil {
			t.Errorf("%v\n%s", err, out.String())
		}
	}
	var out bytes.Buffer
	if err := exposition.NewAnswer(exposition.Text, []exposition.Group{g}).Write(&out); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestAnObjectGoesWhenItIsDue(t *testing.T) {
	var r recorder
	q := New(time.Minute, r.remove)
	q.Delete(pod("b", "2"), at(10), at(11))
	q.Delete(pod("a", "1"), at(5), at(12)) // told late
	if got := r.take(); got != "" || q.Len() != 2 {
		t.Errorf("%q went at once, %d stay", got, q.Len())
	}
	const want = `headwater_deleted_object_timestamp_seconds{resource="pods",namespace="shop",name="a",uid="1"} 1.7672256055e+09
headwater_deleted_object_timestamp_seconds{resource="pods",namespace="shop",name="b",uid="2"} 1.7672256105e+09
`
	for range 2 {
		if diff := cmp.Diff(want, text(t, q)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if n := q.Expire(at(64)); n != 0 {
		t.Errorf("%d went too early", n)
	}
	if n := q.Expire(at(65)); n != 1 || r.take() != "shop/a 1" || strings.Contains(text(t, q), `"a"`) {
		t.Errorf("%d went when the first was due", n)
	}
	if n := q.Expire(at(1000)); n != 1 || r.take() != "shop/b 2" || text(t, q) != "" {
		t.Errorf("%d went when the last was overdue", n)
	}
}

func TestWhatIsOverdueOrDoesNotLingerGoesAtOnce(t *testing.T) {
	var r recorder
	q := New(time.Minute, r.remove)
	q.Delete(pod("a", "1"), at(0), at(61))
	if got := r.take(); got != "shop/a 1" || q.Len() != 0 {
		t.Errorf("removed: %q, %d stay", got, q.Len())
	}
	q = New(0, r.remove)
	q.Delete(pod("a", "1"), at(0), at(0))
	if got := r.take(); got != "shop/a 1" || q.Len() != 0 {
		t.Errorf("removed: %q, %d stay", got, q.Len())
	}
}

func TestAnObjectThatIsCreatedAgainDoesNotWait(t *testing.T) {
	var r recorder
	q := New(time.Minute, r.remove)
	q.Delete(pod("a", "1"), at(0), at(0))
	q.Put(2, "shop", "a")
	q.Put(1, "shop", "b")
	if q.Len() != 1 {
		t.Error("another object's creation counts for it")
	}
	q.Put(1, "shop", "a")
	if q.Expire(at(1000)) != 0 || r.take() != "" || text(t, q) != "" {
		t.Error("it is removed although it was created again")
	}
	// Deleted again, and once more: the newest counts.
	q.Delete(pod("a", "2"), at(10), at(10))
	q.Delete(pod("a", "3"), at(20), at(20))
	if n := q.Expire(at(75)); n != 0 {
		t.Errorf("%d went too early", n)
	}
	if n := q.Expire(at(80)); n != 1 || r.take() != "shop/a 3" {
		t.Error("the last one was not removed")
	}
}

func TestAClockThatIsAheadMakesNothingStay(t *testing.T) {
	var r recorder
	q := New(time.Minute, r.remove)
	q.Delete(pod("a", "1"), at(86400), at(0))
	if q.Expire(at(59)) != 0 || q.Expire(at(60)) != 1 {
		t.Error("it does not go a minute after it was told")
	}
}

func TestTheQueueDoesNotGrowWithoutScrapes(t *testing.T) {
	var r recorder
	q := New(time.Minute, r.remove)
	for i := range 1000 {
		q.Delete(pod(fmt.Sprint("pod-", i), "1"), at(i), at(i))
		if q.Len() > 60 {
			t.Fatalf("%d wait", q.Len())
		}
	}
	if len(r.removed) != 940 {
		t.Errorf("%d went", len(r.removed))
	}
}

// TestRandomHistories compares with a view that goes through all of its objects.
func TestRandomHistories(t *testing.T) {
	type entry struct {
		uid  string
		gone bool
		due  time.Time
	}
	for seed := range 200 {
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		model, view := map[string]*entry{}, map[string]string{}
		q := New(20*time.Second, func(o Object) {
			if view[o.Name] == o.UID {
				delete(view, o.Name)
			}
		})
		now, uids := 0, 0
		for range 500 {
			now += rng.IntN(3)
			name := fmt.Sprint("pod-", rng.IntN(12))
			switch e := model[name]; {
			case rng.IntN(2) == 0 && e != nil && !e.gone:
				seen := at(now - rng.IntN(25))
				e.gone, e.due = true, seen.Add(20*time.Second)
				if e.due.Before(at(now)) {
					delete(model, name)
				}
				q.Delete(pod(name, e.uid), seen, at(now))
			case e == nil || e.gone || rng.IntN(3) == 0:
				uids++
				uid := fmt.Sprint(uids)
				if e != nil && rng.IntN(3) == 0 {
					uid = e.uid // the log goes back and comes forward again
				}
				model[name] = &entry{uid: uid}
				q.Put(1, "shop", name)
				view[name] = uid
			}
			q.Expire(at(now))
			want, waiting := map[string]string{}, 0
			for name, e := range model {
				if e.gone && !e.due.After(at(now)) {
					delete(model, name)
					continue
				}
				want[name] = e.uid
				if e.gone {
					waiting++
				}
			}
			if !maps.Equal(want, view) || waiting != q.Len() {
				t.Fatalf("seed %d: the view holds %v, and %d wait; the model has %v, and %d", seed, view, q.Len(), want, waiting)
			}
		}
	}
}

// TestWhatIsPutIsNotRemoved puts objects while the deletions of the same names, with the same UIDs, become due.
func TestWhatIsPutIsNotRemoved(t *testing.T) {
	const names = 64
	var mu sync.Mutex
	view := map[string]bool{}
	q := New(time.Second, func(o Object) {
		mu.Lock()
		defer mu.Unlock()
		delete(view, o.Name)
	})
	for round := range 50 {
		for i := range names {
			q.Delete(pod(fmt.Sprint(i), "1"), at(round*10), at(round*10))
		}
		var running sync.WaitGroup
		running.Go(func() { q.Expire(at(round*10 + 1)) })
		running.Go(func() {
			q.Group()
			q.Len()
		})
		running.Go(func() {
			for i := range names {
				q.Put(1, "shop", fmt.Sprint(i))
				mu.Lock()
				view[fmt.Sprint(i)] = true
				mu.Unlock()
			}
		})
		running.Wait()
		q.Expire(at(round*10 + 2))
		if len(view) != names {
			t.Fatalf("round %d: %d of %d objects are left: %v", round, len(view), names, slices.Sorted(maps.Keys(view)))
		}
	}
}

func TestTwoTablesMayHoldTheSameObject(t *testing.T) {
	var r recorder
	q := New(time.Minute, r.remove)
	odd := Object{Table: 1, Resource: "foos.example.com", Name: "o\"dd\n\xff", UID: "1"}
	q.Delete(odd, at(0), at(0))
	odd.Table = 2
	q.Delete(odd, at(0), at(0))
	if got := text(t, q); strings.Count(got, "\n") != 1 {
		t.Errorf("%q", got)
	}
	if q.Expire(at(60)) != 2 {
		t.Error("not both went")
	}
}
