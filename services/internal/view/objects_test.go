package view

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// thing is a value with a label set, as a pod is.
type thing struct {
	labels *Labels
	n      int
}

func newThings() *Objects[thing] {
	return NewObjects(func(t *thing) *Labels { return t.labels })
}

func keys[T any](entries []*Entry[T]) []string {
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Namespace+"/"+e.Name)
	}
	return names
}

func app(name string) func(*Labels) bool {
	return func(l *Labels) bool { return l.Get("app") == name }
}

func TestObjectsFollowEveryChange(t *testing.T) {
	var intern Interner
	web, db := label(t, &intern, "app=web"), label(t, &intern, "app=db")
	o := newThings()
	o.Apply("shop", "b", thing{web, 1})
	o.Apply("shop", "a", thing{db, 1})
	o.Apply("bank", "z", thing{web, 1})
	o.Apply("shop", "b", thing{web, 2})
	o.Apply("shop", "gone", thing{web, 1})
	o.Delete("shop", "gone")
	o.Delete("shop", "never")
	o.Delete("nowhere", "never")
	o.Apply("shop", "bare", thing{nil, 1})

	check := func(what string, got []*Entry[thing], want ...string) {
		t.Helper()
		if diff := cmp.Diff(append([]string{}, want...), keys(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("list", o.List("shop"), "shop/a", "shop/b", "shop/bare")
	check("list of nothing", o.List("nowhere"))
	check("all", o.All(), "bank/z", "shop/a", "shop/b", "shop/bare")
	check("select", o.Select("shop", app("web")), "shop/b")
	check("select of nothing", o.Select("nowhere", app("web")))
	check("select all", o.SelectAll(app("web")), "bank/z", "shop/b")
	check("select what has none", o.Select("shop", func(l *Labels) bool { return !l.Has("app") }), "shop/bare")
	if e, ok := o.Get("shop", "b"); !ok || e.Value.n != 2 {
		t.Errorf("b is %+v, %v", e, ok)
	}

	// From here on the order and the groups are kept up to date.
	held := o.List("shop")
	o.Apply("shop", "b", thing{db, 3})
	o.Apply("shop", "aa", thing{web, 1})
	o.Apply("alone", "x", thing{web, 1})
	o.Delete("shop", "bare")
	o.Delete("bank", "z")
	check("list", o.List("shop"), "shop/a", "shop/aa", "shop/b")
	check("all", o.All(), "alone/x", "shop/a", "shop/aa", "shop/b")
	check("select", o.Select("shop", app("db")), "shop/a", "shop/b")
	check("select all", o.SelectAll(app("web")), "alone/x", "shop/aa")
	check("a slice that a reader holds", held, "shop/a", "shop/b", "shop/bare")
	if o.Len() != 4 {
		t.Errorf("Len is %d, want 4", o.Len())
	}
}

func TestObjectsWithoutLabels(t *testing.T) {
	o := NewObjects[int](nil)
	o.Apply("", "n2", 2)
	o.Apply("", "n1", 1)
	if got := o.Select("", func(*Labels) bool { return true }); got != nil {
		t.Errorf("select gives %v", keys(got))
	}
	if diff := cmp.Diff([]string{"/n1", "/n2"}, keys(o.List(""))); diff != "" {
		t.Error(diff)
	}
}

// TestObjectsAgainstModel does random changes and compares every answer with one computed from a plain map.
func TestObjectsAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		var (
			random = rand.New(rand.NewPCG(seed, 1))
			intern Interner
			o      = newThings()
			model  = map[[2]string]thing{}
		)
		for step := range 600 {
			ns, name := fmt.Sprint("ns", random.IntN(3)), fmt.Sprint("pod", random.IntN(60))
			if random.IntN(3) == 0 {
				o.Delete(ns, name)
				delete(model, [2]string{ns, name})
			} else {
				value := thing{label(t, &intern, fmt.Sprint("app=", random.IntN(12))), step}
				o.Apply(ns, name, value)
				model[[2]string{ns, name}] = value
			}
			if step%97 != 0 && step < 580 {
				continue // a replay is not read for long stretches
			}
			limit := fmt.Sprint(random.IntN(12))
			matches := func(l *Labels) bool { return l.Get("app") <= limit }
			var all, some, selected []string
			for key, value := range model {
				all = append(all, key[0]+"/"+key[1])
				if key[0] == "ns1" {
					some = append(some, key[0]+"/"+key[1])
					if matches(value.labels) {
						selected = append(selected, key[0]+"/"+key[1])
					}
				}
			}
			for _, c := range []struct {
				what string
				want []string
				got  []*Entry[thing]
			}{{"all", all, o.All()}, {"list", some, o.List("ns1")}, {"select", selected, o.Select("ns1", matches)}} {
				slices.Sort(c.want)
				if diff := cmp.Diff(append([]string{}, c.want...), keys(c.got)); diff != "" {
					t.Fatalf("seed %d, step %d, %s (-want +got):\n%s", seed, step, c.what, diff)
				}
				for _, e := range c.got {
					if want := model[[2]string{e.Namespace, e.Name}]; e.Value != want {
						t.Fatalf("seed %d, step %d: %s is %v, want %v", seed, step, e.Name, e.Value, want)
					}
				}
			}
			if o.Len() != len(model) {
				t.Fatalf("seed %d, step %d: Len is %d, want %d", seed, step, o.Len(), len(model))
			}
		}
	}
}

// TestObjectsByLabel compares what is found by the labels that it has with what is found by asking every label set, while
// sets come and go: few of them, so that no index is kept, and many.
func TestObjectsByLabel(t *testing.T) {
	for _, sets := range []int{4, 300} {
		var (
			random = rand.New(rand.NewPCG(uint64(sets), 1))
			intern Interner
			o      = newThings()
		)
		for step := range 3000 {
			if name := fmt.Sprint("pod", random.IntN(400)); random.IntN(4) == 0 {
				o.Delete("shop", name)
			} else {
				n := random.IntN(sets)
				o.Apply("shop", name, thing{label(t, &intern, fmt.Sprintf("app=%d,tier=%d,unique=%d", n%20, n%3, n)), step})
			}
			if step%50 != 0 {
				continue
			}
			having := [][]Label{{{"app", fmt.Sprint(random.IntN(22))}}, {{"tier", "1"}, {"unique", fmt.Sprint(random.IntN(sets))}}, {{"app", "1"}, {"none", ""}}}[step/50%3]
			match := func(l *Labels) bool {
				return !slices.ContainsFunc(having, func(h Label) bool {
					value, ok := l.Lookup(h.Key)
					return !ok || value != h.Value
				})
			}
			if diff := cmp.Diff(keys(o.Select("shop", match)), keys(o.Select("shop", match, having...))); diff != "" {
				t.Fatalf("%d sets, step %d, %v (-all +by label):\n%s", sets, step, having, diff)
			}
		}
		n := o.namespaces["shop"]
		if indexed := n.having != nil; indexed != (sets > many) {
			t.Errorf("%d sets: indexed %v", sets, indexed)
		}
		for _, name := range keys(o.List("shop")) {
			o.Delete("shop", strings.TrimPrefix(name, "shop/"))
		}
		if len(n.having) != 0 || len(n.groups) != 0 {
			t.Errorf("%d labels and %d groups are left of nothing", len(n.having), len(n.groups))
		}
	}
}

// TestObjectsConcurrently has writers, each with names of its own, beside readers that check what must hold at any time.
func TestObjectsConcurrently(t *testing.T) {
	var (
		intern  Interner
		o       = newThings()
		writers sync.WaitGroup
		readers sync.WaitGroup
		done    = make(chan struct{})
	)
	for w := range 4 {
		writers.Go(func() {
			for i := range 300 {
				ns, name := fmt.Sprint("ns", i%3), fmt.Sprintf("pod-%d-%d", w, i%40)
				o.Apply(ns, name, thing{label(t, &intern, fmt.Sprint("app=", i%5)), i})
				if i%7 == 0 {
					o.Delete(ns, name)
				}
				o.Advance(uint64(i))
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			for {
				for _, e := range o.Select("ns1", app("3")) {
					if e.Value.labels.Get("app") != "3" {
						t.Errorf("%s has %v", e.Name, e.Value.labels.Map())
					}
				}
				if names := keys(o.All()); !slices.IsSortedFunc(names, strings.Compare) {
					t.Errorf("not sorted: %v", names)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	o.Settle()
	if o.Position() != 299 || o.Len() != len(o.All()) {
		t.Errorf("position %d, Len %d, %d listed", o.Position(), o.Len(), len(o.All()))
	}
}

func TestPositionNeverGoesBack(t *testing.T) {
	o := NewObjects[int](nil)
	for _, sequence := range []uint64{5, 9, 7} {
		o.Advance(sequence)
	}
	if o.Position() != 9 {
		t.Errorf("position %d, want 9", o.Position())
	}
}

func TestLiveServesTheLastWholeView(t *testing.T) {
	var live Live[Usage]
	if live.Load() != nil {
		t.Error("serves before anything is whole")
	}
	first, second := NewUsage(), NewUsage()
	live.Serve(first)
	live.Serve(second)
	if live.Load() != second {
		t.Error("serves the old one")
	}
}
