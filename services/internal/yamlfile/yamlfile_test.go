package yamlfile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

type inlined struct {
	Labels map[string]string   `yaml:"labels"`
	Paths  map[string][]string `yaml:"paths"`
}

type item struct {
	inlined `yaml:",inline"`
	Name    string   `yaml:"name"`
	Prefix  *string  `yaml:"prefix"`
	Sub     *sub     `yaml:"sub"`
	Numbers []int    `yaml:"numbers"`
	Any     any      `yaml:"any"`
	Set     commaSet `yaml:"set"`
	Hidden  string   `yaml:"-"`
	private string
}

type sub struct {
	On    bool          `yaml:"on"`
	Ratio float64       `yaml:"ratio"`
	Small int8          `yaml:"small"`
	Big   uint64        `yaml:"big"`
	Wait  time.Duration `yaml:"wait"`
	Untagged
}

type Untagged struct{ Name string }

// commaSet reads itself.
type commaSet map[string]bool

func (c *commaSet) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return errors.New("it isn't a text")
	}
	*c = commaSet{}
	for part := range strings.SplitSeq(n.Value, ",") {
		(*c)[part] = true
	}
	return nil
}

type file struct {
	Items []item `yaml:"items"`
	Kind  string `yaml:"kind,omitempty"`
}

func TestValues(t *testing.T) {
	prefix := ""
	for name, c := range map[string]struct {
		text string
		want file
	}{
		"nothing":               {"", file{Kind: "before"}},
		"comments":              {"# a\n---\n# b\n", file{Kind: "before"}},
		"null":                  {"kind: null\nitems: ~", file{Kind: "before"}},
		"separators":            {"---\nkind: a\n---\n", file{Kind: "a"}},
		"byte order mark":       {"\xef\xbb\xbfkind: a", file{Kind: "a"}},
		"scalars as text":       {"items:\n- {name: 5, labels: {a: true, b: 1.50, c: ~, 7: x}, paths: {p: [status, 0, -1]}}", file{Kind: "before", Items: []item{{Name: "5", inlined: inlined{map[string]string{"a": "true", "b": "1.50", "c": "", "7": "x"}, map[string][]string{"p": {"status", "0", "-1"}}}}}}},
		"pointers":              {"items: [{prefix: ''}, {prefix: ~}, {sub: {}}]", file{Kind: "before", Items: []item{{Prefix: &prefix}, {}, {Sub: &sub{}}}}},
		"numbers and durations": {"items: [{sub: {on: yes, ratio: 5, small: -0x10, big: 18446744073709551615, wait: 1m30s}, numbers: [1, 0b11]}]", file{Kind: "before", Items: []item{{Sub: &sub{On: true, Ratio: 5, Small: -16, Big: 1<<64 - 1, Wait: 90 * time.Second}, Numbers: []int{1, 3}}}}},
		"any":                   {"items: [{any: {a: [1, 2.5, true, ~, x, 18446744073709551615, 2020-01-02]}}]", file{Kind: "before", Items: []item{{Any: map[string]any{"a": []any{int64(1), 2.5, true, nil, "x", uint64(1<<64 - 1), "2020-01-02"}}}}}},
		"reads itself":          {"items: [{set: 'a,b'}]", file{Kind: "before", Items: []item{{Set: commaSet{"a": true, "b": true}}}}},
		"aliases and merges":    {"items:\n- &x {name: a, labels: &l {k: v}}\n- {<<: *x, name: b}\n- <<: [{name: c}, *x]\n- {labels: *l, name: d}\n", file{Kind: "before", Items: []item{{Name: "a", inlined: inlined{Labels: map[string]string{"k": "v"}}}, {Name: "b", inlined: inlined{Labels: map[string]string{"k": "v"}}}, {Name: "c", inlined: inlined{Labels: map[string]string{"k": "v"}}}, {Name: "d", inlined: inlined{Labels: map[string]string{"k": "v"}}}}}},
		"embedded, not inlined": {"items: [{sub: {untagged: {name: n}}}]", file{Kind: "before", Items: []item{{Sub: &sub{Untagged: Untagged{"n"}}}}}},
	} {
		got := file{Kind: "before"}
		if _, err := Parse("f.yaml", []byte(c.text), &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, i := range got.Items {
			if i.private != "" || i.Hidden != "" {
				t.Errorf("%s: a field that is none was filled: %+v", name, i)
			}
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(item{})); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func TestErrors(t *testing.T) {
	const fields = "any, labels, name, numbers, paths, prefix, set, sub"
	for text, want := range map[string]string{
		"a: [":                                   `f.yaml:1: couldn't parse it: did not find expected node content`,
		"kind: a\n\titems: 5":                    `f.yaml:2: couldn't parse it: found a tab character that violates indentation`,
		"kind: a\n---\nkind: b":                  `f.yaml:3: a second document begins here; a file holds one`,
		"kind: *x":                               `f.yaml: couldn't parse it: unknown anchor 'x' referenced`,
		"[a]":                                    `f.yaml:1: couldn't read a list as a mapping`,
		"hello":                                  `f.yaml:1: couldn't read "hello" as a mapping`,
		"kind: a\nlabel: 5":                      `f.yaml:2: label: there is no such field; there are items, kind`,
		"kind: a\nkind: b":                       `f.yaml:2: kind: it is given twice, on line 1 already`,
		"items:\n- name: a\n  nam: b":            `f.yaml:3: items[0].nam: there is no such field; there are ` + fields,
		"items:\n- Hidden: a":                    `f.yaml:2: items[0].Hidden: there is no such field; there are ` + fields,
		"items:\n- private: a":                   `f.yaml:2: items[0].private: there is no such field; there are ` + fields,
		"items: {a: b}":                          `f.yaml:1: items: couldn't read a mapping as a list`,
		"items:\n- {}\n- 5":                      `f.yaml:3: items[1]: couldn't read "5" as a mapping`,
		"items:\n- name: [a]":                    `f.yaml:2: items[0].name: couldn't read a list as a text`,
		"items:\n- labels:\n    a.b/c:\n    - x": `f.yaml:4: items[0].labels.a.b/c: couldn't read a list as a text`,
		"items:\n- paths:\n    p: metadata":      `f.yaml:3: items[0].paths.p: couldn't read "metadata" as a list`,
		"items:\n- numbers: [1, x, 1.5]":         "f.yaml:2: items[0].numbers[1]: couldn't read \"x\" as a whole number\nf.yaml:2: items[0].numbers[2]: couldn't read \"1.5\" as a whole number",
		"items:\n- sub:\n    on: maybe\n    small: 300\n    ratio: x\n    wait: 5 minutes": "f.yaml:3: items[0].sub.on: couldn't read \"maybe\" as true or false\nf.yaml:4: items[0].sub.small: couldn't read \"300\" as a whole number\n" +
			"f.yaml:5: items[0].sub.ratio: couldn't read \"x\" as a number\nf.yaml:6: items[0].sub.wait: couldn't read \"5 minutes\" as a duration such as \"30s\"",
		"items:\n- set: [a]":                             `f.yaml:2: items[0].set: it isn't a text`,
		"items:\n- ? [a]\n  : b":                         `f.yaml:2: items[0]: couldn't read a list as the name of a field`,
		"items:\n- &x\n  name: a\n  labels: *x":          `f.yaml:4: items[0].labels.labels: couldn't read a mapping as a text`,
		"items:\n- <<: 5":                                `f.yaml:2: items[0]: couldn't merge "5"; << takes a mapping, or a list of them`,
		"items:\n- any: &x [*x]":                         `f.yaml:2: items[0].any` + strings.Repeat("[0]", 98) + `: values are nested deeper than 100`,
		"items:\n- any: !!int abc":                       `f.yaml:2: items[0].any: couldn't read "abc" as the int that it says it is`,
		"items:\n- name: " + strings.Repeat("[", 200000): `f.yaml:2: couldn't parse it: exceeded max depth of 10000`,
	} {
		_, err := Parse("f.yaml", []byte(text), &file{})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.60q:\n got %v\nwant %s", text, err, want)
		}
	}
	for _, into := range []any{file{}, nil, (*file)(nil)} {
		if _, err := Parse("f.yaml", []byte("kind: a"), into); err == nil {
			t.Errorf("it was read into a %T", into)
		}
	}
}

// TestMany has a file with a great many values, errors or both.
func TestMany(t *testing.T) {
	_, err := Parse("f.yaml", []byte("items:\n"+strings.Repeat("- {nam: x}\n", 5000)), &file{})
	if err == nil || strings.Count(err.Error(), "\n") != maxErrors || !strings.HasSuffix(err.Error(), "f.yaml: 4980 more errors") {
		t.Errorf("%v", err)
	}
	var laughs strings.Builder
	laughs.WriteString("items:\n- any:\n    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		fmt.Fprintf(&laughs, "    a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i, i, i, i, i, i, i)
	}
	key := strings.Repeat("k", 1000)
	for name, text := range map[string]string{
		"laughs":    laughs.String(),
		"long keys": "items:\n- any:\n    ? " + key + "\n    : [" + strings.Repeat("a,", 100000) + "]",
	} {
		start := time.Now()
		d, err := Parse("f.yaml", []byte(text), &file{})
		if err == nil || !strings.Contains(err.Error(), "the file holds too many values") {
			t.Errorf("%s: %v", name, err)
		}
		size := 0
		for path := range d.lines {
			size += len(path) + 64
		}
		if size > 2*maxSize {
			t.Errorf("%s: paths of %d bytes were kept, after %v", name, size, time.Since(start))
		}
	}
}

func TestDocument(t *testing.T) {
	d, err := Parse("f.yaml", []byte("# one\nkind: a\nitems:\n- name: a\n  labels:\n    a.b: c\n- &x\n  name: b\n- *x\n- <<: *x\n  prefix: y\n"), &file{})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	for field, want := range map[string]string{
		"":                      "f.yaml:2: broken",
		"kind":                  "f.yaml:2: kind: broken",
		"other":                 "f.yaml:2: other: broken",
		"items":                 "f.yaml:3: items: broken",
		"items[0]":              "f.yaml:4: items[0]: broken",
		"items[0].name":         "f.yaml:4: items[0].name: broken",
		"items[0].labels.a.b":   "f.yaml:6: items[0].labels.a.b: broken",
		"items[0].labels.a.c":   "f.yaml:5: items[0].labels.a.c: broken",
		"items[0].numbers[3].x": "f.yaml:4: items[0].numbers[3].x: broken",
		"items[1].name":         "f.yaml:8: items[1].name: broken",
		"items[2]":              "f.yaml:9: items[2]: broken",
		"items[2].name":         "f.yaml:8: items[2].name: broken",
		"items[3].prefix":       "f.yaml:11: items[3].prefix: broken",
		"items[3].name":         "f.yaml:8: items[3].name: broken",
		"items[9].name":         "f.yaml:3: items[9].name: broken",
	} {
		got := d.Error(field, broken)
		if got.Error() != want || !errors.Is(got, broken) {
			t.Errorf("%s: got %q, want %q", field, got, want)
		}
	}
	for field, want := range map[string]bool{"kind": true, "items[0].labels.a.b": true, "items[0].prefix": false, "items[3].prefix": true, "items[4]": false} {
		if got := d.Has(field); got != want {
			t.Errorf("has %s: %v", field, got)
		}
	}
	empty, err := Parse("f.yaml", nil, &file{})
	if got := empty.Error("a.b", broken).Error(); err != nil || got != "f.yaml:1: a.b: broken" || empty.Name() != "f.yaml" {
		t.Errorf("%v, %q", err, got)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "kind: a", "items:\n- <<: [*x, {a: b}]", "items:\n- &x {any: *x}", "a: !!binary x", "items: [{sub: {wait: 5}}]", "? [a]\n: {b: c}", "items: [{set: a, labels: {<<: {a: b}}}]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var into file
		d, err := Parse("f.yaml", []byte(text), &into)
		if d == nil {
			t.Fatal("no document")
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f.yaml:") {
			t.Errorf("the error doesn't name the file: %v", err)
		}
		if got := d.Error("items[0].name", errors.New("x")); !strings.HasPrefix(got.Error(), "f.yaml:") {
			t.Error(got)
		}
	})
}
