package collector

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas/wire"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// stringMap encodes pairs in the order given.
func stringMap(pairs ...string) objects.Raw {
	raw := wire.AppendMapLen(nil, len(pairs)/2)
	for _, s := range pairs {
		raw = wire.AppendString(raw, s)
	}
	return raw
}

func newSeries() *Series {
	s := &Series{family: "f"}
	s.begin()
	s.Identify("id", "x")
	return s
}

func TestLabelNames(t *testing.T) {
	for key, want := range map[string]string{
		"app.kubernetes.io/name": "label_app_kubernetes_io_name",
		"camelCase":              "label_camel_case",
		"$app4":                  "label__app4",
		"":                       "label_",
		"9lives":                 "label_9lives",
		"HTTPServer2Go":          "label_httpserver2_go",
		"a-B":                    "label_a_b",
		"aBC":                    "label_a_bc",
		"ünïcode":                "label__n_code",
		"a__b":                   "label_a__b",
		"bad\xffbyte":            "label_bad_byte",
	} {
		if got := labelName("label", key); got != want {
			t.Errorf("%q: %s, want %s", key, got, want)
		}
	}
}

func TestLabelConflicts(t *testing.T) {
	for _, test := range []struct{ keys, want string }{
		{"a b", "l_a l_b"},
		{"a-b a.b", "l_a_b_conflict1 l_a_b_conflict2"},
		{"a-b a.b a_b", "l_a_b_conflict1 l_a_b_conflict2 l_a_b_conflict3"},
		{"A.b.conflict1 a-b a.b", "l_a_b_conflict1 l_a_b_conflict2 l_a_b_conflict3"},
		{"a-b a.b a_b_conflict1", "l_a_b_conflict1_conflict1 l_a_b_conflict2 l_a_b_conflict1_conflict2"},
		{"a-b a.b b-c b.c", "l_a_b_conflict1 l_a_b_conflict2 l_b_c_conflict1 l_b_c_conflict2"},
	} {
		var names []string
		for key := range strings.FieldsSeq(test.keys) {
			names = append(names, labelName("l", key))
		}
		resolveConflicts(names)
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.keys, got, test.want)
		}
		slices.Sort(names)
		if len(slices.Compact(names)) != len(strings.Fields(test.keys)) {
			t.Errorf("%s: a name appears twice", test.keys)
		}
	}
}

func TestMapsBecomeLabels(t *testing.T) {
	list := func(entries ...string) *allowlist {
		l, err := newAllowlist(entries)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	labels := stringMap("zone", "eu", "app", "web", "team-a", "1", "team-b", `quote " back\slash`+"\nline")
	for _, test := range []struct {
		list *allowlist
		raw  objects.Raw
		want string
	}{
		{nil, labels, ""},
		{list("none"), labels, `f{id="x"} 1`},
		{list("zone", "app"), labels, `f{id="x",l_app="web",l_zone="eu"} 1`},
		{list("team-*"), labels, `f{id="x",l_team_a="1",l_team_b="quote \" back\\slash\nline"} 1`},
		{list("*"), labels, `f{id="x",l_app="web",l_team_a="1",l_team_b="quote \" back\\slash\nline",l_zone="eu"} 1`},
		{list("app", "*"), labels, `f{id="x",l_app="web"} 1`},
		{list("t*m-a", "*ne"), labels, `f{id="x",l_team_a="1",l_zone="eu"} 1`},
		{list("z.ne"), labels, `f{id="x"} 1`},
		{list("*"), nil, `f{id="x"} 1`},
		{list("*"), wire.AppendNil(nil), `f{id="x"} 1`},
		{list("*"), stringMap("a", "bad\xff\xfebytes"), `f{id="x",l_a="bad` + "\ufffd\ufffd" + `bytes"} 1`},
	} {
		s := newSeries()
		s.AddAllowed("l", test.raw, test.list)
		if got := strings.TrimSuffix(string(s.text), "\n"); got != test.want || s.err != nil {
			t.Errorf("%s, error %v; want %s", got, s.err, test.want)
		}
	}
	if _, err := newAllowlist([]string{"a*b*"}); err == nil {
		t.Error("an entry with two * is taken")
	}
	s := newSeries()
	s.AddMap("l", wire.AppendArrayLen(nil, 0))
	if s.err == nil {
		t.Error("an array is taken for a map")
	}
}

func TestManyLabels(t *testing.T) {
	var pairs []string
	for i := range 10_000 {
		pairs = append(pairs, fmt.Sprintf("key-%05d", i/2)+[]string{".x", "-x"}[i%2], "v")
	}
	s := newSeries()
	s.AddMap("l", stringMap(pairs...))
	if n := strings.Count(string(s.text), `="v"`); n != 10_000 {
		t.Errorf("%d labels", n)
	}
	if len(s.labels["l"]) > maxLabelNames {
		t.Errorf("%d names are remembered", len(s.labels["l"]))
	}
}

func TestParseAllowlists(t *testing.T) {
	got, err := ParseAllowlists(" pods=[a, b/c,] , nodes=[*],*=[x],empty=[] ")
	want := map[string][]string{"pods": {"a", "b/c"}, "nodes": {"*"}, "*": {"x"}, "empty": nil}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, wrong := range []string{"pods", "pods=", "pods=[a", "pods=a]", "=[a]", "pods=[a]nodes=[b]", "pods=[a],,nodes=[b]", "pods=[a],nodes"} {
		if got, err := ParseAllowlists(wrong); err == nil {
			t.Errorf("%q is taken: %v", wrong, got)
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", -1: "-1", 100000: "100000", 999999: "999999", 1e6: "1e+06", 1500000000: "1.5e+09", -99999: "-99999", -1e6: "-1e+06",
		0.25: "0.25", 0.0001: "0.0001", 0.00001: "1e-05", 1.7e9 + 0.5: "1.7000000005e+09", -62135596800: "-6.21355968e+10",
	} {
		if got := string(AppendFloat(nil, v)); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
