package promtext

import (
	"strings"
	"testing"
)

const good = `# HELP a A family: of \\ lines.
# TYPE a gauge
a{z="1",b="x\"y\\\n"} 1
a 2.5e+06
# HELP b_total Another.
# TYPE b_total counter
b_total{} NaN
`

func TestParse(t *testing.T) {
	s := Parse([]byte(good))
	if len(s.Problems) > 0 || len(s.Twice) > 0 {
		t.Fatalf("problems with what is right: %q", s.Problems)
	}
	for key, value := range map[string]string{`a{b="x\"y\\\n",z="1"}`: "1", "a": "2.5e+06", "b_total": "NaN"} {
		if s.Series[key] != value {
			t.Errorf("%s is %q, want %q", key, s.Series[key], value)
		}
	}
	if len(s.Series) != 3 || s.Types["a"] != "gauge" || s.Types["b_total"] != "counter" {
		t.Errorf("got %v, %v", s.Series, s.Types)
	}
	if v, ok := Label(`a{b="x\"y\\\n",z="1"}`, "z"); !ok || v != "1" {
		t.Errorf("label z is %q, %v", v, ok)
	}
	if _, ok := Label(`a{b="z=\"1"}`, "z"); ok {
		t.Error("a label was found within a value")
	}
}

func TestProblems(t *testing.T) {
	const head = "# HELP a .\n# TYPE a gauge\n"
	for text, want := range map[string]string{
		head + "a 1":        "does not end",
		head + "\na 1\n":    "empty line",
		head + "a 1\na 1\n": "twice",
		head + "a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 1\n": "twice",
		head + "a{x=\"1\",x=\"2\"} 1\n":                       "a label twice",
		head + "a{x=\"1\" y=\"2\"} 1\n":                       "no comma",
		head + "a{x=\"\\t\"} 1\n":                             "not escaped",
		head + "a{x=\"1} 1\n":                                 "does not end",
		head + "a{1x=\"1\"} 1\n":                              "a wrong label",
		head + "a  1\n":                                       "a wrong value",
		head + "a 1 1234\n":                                   "a wrong value",
		head + "a{}\n":                                        "no blank",
		head + "a\n":                                          "no name and value",
		head + "a-b 1\n":                                      "a wrong name",
		head + "a{x=\"\xff\"} 1\n":                            "not UTF-8",
		"a 1\n":                                               "before its TYPE",
		head + "# TYPE b gauge\nb 1\na 1\n":                   "more than one block",
		head + "# HELP a .\n":                                 "a second HELP",
		head + "# EOF\n":                                      "neither HELP nor TYPE",
		"# TYPE a info\n":                                     "unknown type",
	} {
		if got := strings.Join(Parse([]byte(text)).Problems, "\n"); !strings.Contains(got, want) {
			t.Errorf("%q: the problems %q lack %q", text, got, want)
		}
	}
}

func TestCompare(t *testing.T) {
	a := Parse([]byte("# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 1\n# TYPE b gauge\nb 1\n"))
	b := Parse([]byte("# TYPE a counter\na{x=\"1\"} 2\na{x=\"3\"} 1\n# TYPE b gauge\nb 1\n"))
	if d := Compare(a, a); !d.Empty() {
		t.Error(d.Error())
	}
	d := Compare(a, b)
	if d.Empty() || len(d.Missing) != 1 || len(d.Surplus) != 1 || len(d.Values) != 1 || len(d.Types) != 1 {
		t.Errorf("got %s", d.Error())
	}
	only := func(key string) bool { return Name(key) == "b" }
	if d := Compare(a.Only(only), b.Only(only)); len(d.Missing)+len(d.Surplus)+len(d.Values) != 0 {
		t.Error(d.Error())
	}
	for _, want := range []string{`missing: a{x="2"}`, `surplus: a{x="3"}`, `value: a{x="1"} is 2, want 1`, "type: a is a counter, want a gauge"} {
		if !strings.Contains(d.Error(), want) {
			t.Errorf("the error lacks %q: %s", want, d.Error())
		}
	}
}
