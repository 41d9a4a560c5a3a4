package topparity

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// comparisonCanFail takes what both sides agreed on, changes one value after the other, and wants each change to be seen.
func (w *world) comparisonCanFail(t *testing.T) {
	changes := 0
	for _, key := range slices.Sorted(maps.Keys(w.before.theirs)) {
		right := w.before.theirs[key]
		if right == "" || w.before.ours[key] != right {
			continue
		}
		if err := w.differences.judge(expectation{}, right, right, "", ""); err != nil {
			t.Fatalf("%s isn't equal to itself: %v", key, err)
		}
		if err := w.differences.judge(expectation{}, "", right, "", ""); err == nil {
			t.Errorf("that ours lacks %s isn't seen", key)
		}
		if err := w.differences.judge(expectation{}, right, "", "", ""); err == nil {
			t.Errorf("that theirs lacks %s isn't seen", key)
		}
		for _, wrong := range variations(t, right) {
			if err := w.differences.judge(expectation{}, wrong, right, "", ""); err == nil {
				t.Errorf("%s: a change isn't seen:\n%s\n%s", key, right, wrong)
			}
			changes++
		}
	}
	t.Logf("%d changes", changes)
	if changes < 1000 {
		t.Errorf("only %d changes were tried", changes)
	}
	// A difference that is said to be one has to be.
	for _, name := range []string{"kept", "resumed", "foreign", "unlabelled", "own-time", "tie", "new-node"} {
		for _, sides := range [][2]string{{"", ""}, {`{"a":1}`, `{"b":1}`}} {
			if err := w.differences.judge(expectation{name: name}, sides[0], sides[1], "x", "y"); err == nil {
				t.Errorf("%s: %q beside %q is taken for it", name, sides[0], sides[1])
			}
		}
	}
}

// variations are an item with one of its values changed, for each of them.
func variations(t *testing.T, item string) (all []string) {
	t.Helper()
	var root any
	if err := json.Unmarshal([]byte(item), &root); err != nil {
		t.Fatal(err)
	}
	var walk func(any)
	try := func(change, restore func()) {
		change()
		all = append(all, text(root))
		restore()
	}
	walk = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				old := v[key]
				if s, ok := old.(string); ok {
					try(func() { v[key] = s + "0" }, func() { v[key] = old })
				}
				try(func() { delete(v, key) }, func() { v[key] = old })
				walk(old)
			}
		case []any:
			for i := range v {
				walk(v[i])
			}
		}
	}
	walk(root)
	return all
}

func TestMasked(t *testing.T) {
	for _, c := range []struct{ a, b string }{
		{`{"metadata":{"creationTimestamp":"2026-01-01T00:00:00Z","name":"x"}}`, `{"metadata":{"creationTimestamp":"2027-01-01T00:00:00Z","name":"x"}}`},
		{`{"containers":[{"name":"a"},{"name":"b"}]}`, `{"containers":[{"name":"b"},{"name":"a"}]}`},
		{`{"rows":[{"object":{"metadata":{"creationTimestamp":"x"}}}]}`, `{"rows":[{"object":{"metadata":{"creationTimestamp":"y"}}}]}`},
	} {
		if a, b := normal(t, c.a), normal(t, c.b); a != b {
			t.Errorf("%s and %s aren't the same", a, b)
		}
	}
	for _, c := range []struct{ a, b string }{
		{`{"metadata":{"creationTimestamp":"2026-01-01T00:00:00Z"}}`, `{"metadata":{"creationTimestamp":null}}`},
		{`{"metadata":{"creationTimestamp":"2026-01-01T00:00:00Z"}}`, `{"metadata":{}}`},
		{`{"timestamp":"2026-01-01T00:00:00Z"}`, `{"timestamp":"2027-01-01T00:00:00Z"}`},
		{`{"containers":[{"name":"a"}]}`, `{"containers":[{"name":"a"},{"name":"a"}]}`},
		{`{"items":[1,2]}`, `{"items":[2,1]}`},
	} {
		if a, b := normal(t, c.a), normal(t, c.b); a == b {
			t.Errorf("%s and %s are taken for the same", c.a, c.b)
		}
	}
}

func normal(t *testing.T, s string) string {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(s), &value); err != nil {
		t.Fatal(err)
	}
	return text(masked(value))
}

func TestListsAreHeldToTheirForm(t *testing.T) {
	for list, problem := range map[string]string{
		`{"items":[{"metadata":{"name":"b"}},{"metadata":{"name":"a"}}]}`: "not in order",
		`{"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"a"}}]}`: "twice",
		`{"kind":"NodeMetricsList"}`:                                      "has no items",
		`nonsense`:                                                        "couldn't read",
	} {
		if err := (state{}).add("nodes", []byte(list)); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %q", list, err, problem)
		}
	}
}

func TestDifferencesFile(t *testing.T) {
	d, err := parseDifferences("# a comment\n\nkept why it is\nresumed another reason\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.use("kept"); err != nil {
		t.Error(err)
	}
	if err := d.use("unknown"); err == nil {
		t.Error("a difference without a line is taken")
	}
	if got := fmt.Sprint(d.unused()); got != "[resumed]" {
		t.Errorf("unused are %s", got)
	}
	for _, bad := range []string{"kept", "kept a\nkept b"} {
		if _, err := parseDifferences(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestModel(t *testing.T) {
	told := func(ats ...int64) map[string][]line {
		all := map[string][]line{}
		for i, at := range ats {
			if at > 0 {
				all[fmt.Sprint(i)] = []line{{containerCPU, "1", at}, {containerMemory, "1", at}, {containerStart, "0.001", 0}}
			}
		}
		return all
	}
	var m model
	m.store(told(10, 0))
	m.store(told(20, 20)) // the second container is new
	if m.flawed() {
		t.Error("flawed before anything is repeated")
	}
	m.store(told(20, 20))
	if !m.flawed() {
		t.Error("not flawed when a reading is repeated in which a container is new")
	}
	m.store(told(30, 30))
	if m.flawed() {
		t.Error("flawed after the next reading")
	}
}

func TestVersion1IsTakenOut(t *testing.T) {
	in := `{"groups":[{"versions":[{"groupVersion":"metrics.k8s.io/v1"},{"groupVersion":"metrics.k8s.io/v1beta1"}]}],"paths":["/apis/metrics.k8s.io/v1","/apis/metrics.k8s.io/v1beta1"],` +
		`"definitions":{"io.k8s.metrics.pkg.apis.metrics.v1.PodMetrics":1,"io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics":1},"kinds":[{"group":"metrics.k8s.io","version":"v1"},{"group":"","version":"v1"}]}`
	var value any
	if err := json.Unmarshal([]byte(in), &value); err != nil {
		t.Fatal(err)
	}
	want := `{"definitions":{"io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics":1},"groups":[{"versions":[{"groupVersion":"metrics.k8s.io/v1beta1"}]}],"kinds":[{"group":"","version":"v1"}],"paths":["/apis/metrics.k8s.io/v1beta1"]}`
	if got := text(withoutV1(value)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
