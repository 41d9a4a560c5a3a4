package view

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// label interns a set written as "a=b,c=d".
func label(t testing.TB, in *Interner, text string) *Labels {
	t.Helper()
	labels, err := in.Intern([]byte(text), parse)
	if err != nil {
		t.Error(err)
	}
	return labels
}

func parse(text []byte) (map[string]string, error) {
	set := map[string]string{}
	for _, pair := range strings.Split(string(text), ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, errors.New("no =")
		}
		set[key] = value
	}
	return set, nil
}

func TestInternerSharesWhatIsHeld(t *testing.T) {
	var in Interner
	a, b := label(t, &in, "app=web,tier=1"), label(t, &in, "app=web,tier=1")
	if a != b {
		t.Error("one set, two Labels")
	}
	if other := label(t, &in, "app=db"); other == a || in.Len() != 2 {
		t.Errorf("%d sets, want 2", in.Len())
	}
	if value, ok := a.Lookup("tier"); !ok || value != "1" || !a.Has("app") || a.Has("x") || a.Get("app") != "web" || a.Len() != 2 {
		t.Errorf("labels are %v", a.Map())
	}
	if diff := cmp.Diff([]Label{{"app", "web"}, {"tier", "1"}}, a.Sorted()); diff != "" {
		t.Error(diff)
	}
	empty, err := in.Intern(nil, parse)
	if err != nil || empty.Len() != 0 || empty.Map() != nil {
		t.Errorf("of nothing: %v, %v", empty, err)
	}
	if _, err := in.Intern([]byte("broken"), parse); err == nil {
		t.Error("no error from a set that can't be decoded")
	}
	runtime.KeepAlive(b)
}

// TestLabelsOfAnySize asks sets with as many labels as there may be for each of them, and for some that they don't have.
func TestLabelsOfAnySize(t *testing.T) {
	for n := range 40 {
		set := map[string]string{}
		for i := range n {
			set[fmt.Sprintf("key-%d", i*7919%100)] = fmt.Sprint(i)
		}
		l := newLabels(set)
		if diff := cmp.Diff(set, l.Map(), cmpopts.EquateEmpty()); diff != "" || l.Len() != len(set) {
			t.Fatal(diff, l.Len())
		}
		for i := range 100 {
			key := fmt.Sprintf("key-%d", i)
			want, has := set[key]
			if got, ok := l.Lookup(key); got != want || ok != has || l.Get(key) != want || l.Has(key) != has {
				t.Errorf("%d labels: %s is %q, %v, want %q, %v", n, key, got, ok, want, has)
			}
		}
	}
}

func TestInternerForgetsWhatNobodyHolds(t *testing.T) {
	var in Interner
	kept := label(t, &in, "app=kept")
	for _, text := range []string{"app=a", "app=b", "app=c"} {
		label(t, &in, text)
	}
	for end := time.Now().Add(10 * time.Second); in.Len() > 1; runtime.Gosched() {
		if runtime.GC(); time.Now().After(end) {
			t.Fatalf("%d sets are there, though only one is held", in.Len())
		}
	}
	if label(t, &in, "app=kept") != kept {
		t.Error("lost a set that is held")
	}
}

func TestInternerConcurrently(t *testing.T) {
	var (
		in   Interner
		wait sync.WaitGroup
	)
	for range 4 {
		wait.Go(func() {
			for i := range 200 {
				text := "app=" + string(rune('a'+i%20))
				if got := label(t, &in, text); got.Get("app") != text[4:] {
					t.Errorf("got %v for %s", got.Map(), text)
				}
				if i%50 == 0 {
					runtime.GC()
				}
			}
		})
	}
	wait.Wait()
}

// TestInternerHoldsNothingAround: what an Interner is a part of is gone when nobody holds it, though it holds label sets.
func TestInternerHoldsNothingAround(t *testing.T) {
	type whole struct {
		interner Interner
		labels   *Labels
	}
	w := new(whole)
	var err error
	if w.labels, err = w.interner.Intern([]byte("a"), func([]byte) (map[string]string, error) { return map[string]string{"a": "b"}, nil }); err != nil {
		t.Fatal(err)
	}
	held := weak.Make(w)
	runtime.KeepAlive(w)
	w = nil
	for range 10 {
		runtime.GC()
	}
	if held.Value() != nil {
		t.Error("its label sets hold it")
	}
}
