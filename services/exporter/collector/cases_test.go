package collector_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// aCase is what kube-state-metrics answers for an object.
type aCase struct {
	Resource string          `json:"resource"`
	Object   json.RawMessage `json:"object"`
	Default  []string        `json:"default"`
	All      []string        `json:"all"`
}

func readCases(t testing.TB, resource string) []aCase {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "cases", resource+".jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 64<<20)
	var cases []aCase
	for lines.Scan() {
		var c aCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return cases
}

// onTheWire makes an object's JSON what the exporter gets to read: through the kind's type, pruned and encoded.
func onTheWire(t testing.TB, resource string, object []byte) []byte {
	t.Helper()
	kind, ok := objects.ByResource(resource)
	if !ok {
		t.Fatalf("objects knows no %s", resource)
	}
	encoder, err := objects.NewEncoder(kind)
	if err != nil {
		t.Fatal(err)
	}
	typed := kind.New()
	if err := json.Unmarshal(object, typed); err != nil {
		t.Fatal(err)
	}
	raw, err := encoder.Append(nil, typed)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func rendererOf(t testing.TB, resource string, options collector.Options) (collector.Renderer, *collector.Resource) {
	t.Helper()
	options.Resources = []string{resource}
	resources, err := collector.New(options)
	if err != nil {
		t.Fatal(err)
	}
	renderer, err := resources[0].NewRenderer()
	if err != nil {
		t.Fatal(err)
	}
	return renderer, resources[0]
}

// everything allows all labels and annotations and turns on the families that are off by default.
var everything = collector.Options{
	Labels:      map[string][]string{"*": {"*"}},
	Annotations: map[string][]string{"*": {"*"}},
	OptIn:       []string{".*"},
}

func TestCases(t *testing.T) {
	for _, resource := range collector.Names(false) {
		t.Run(resource, func(t *testing.T) {
			plain, _ := rendererOf(t, resource, collector.Options{})
			all, _ := rendererOf(t, resource, everything)
			for i, c := range readCases(t, resource) {
				raw := onTheWire(t, resource, c.Object)
				for _, mode := range []struct {
					name     string
					renderer collector.Renderer
					want     []string
				}{{"default", plain, c.Default}, {"all", all, c.All}} {
					out, err := mode.renderer.Render(raw)
					if err != nil {
						t.Fatalf("case %d, %s: %v", i, mode.name, err)
					}
					if diff := cmp.Diff(once(t, mode.want, lines(out.Text)), canonical(t, lines(out.Text))); diff != "" {
						t.Errorf("case %d, %s (-want +got):\n%s", i, mode.name, diff)
					}
				}
			}
		})
	}
}

func lines(text []byte) []string {
	return slices.DeleteFunc(strings.Split(string(text), "\n"), func(s string) bool { return s == "" })
}

// once leaves out the series that kube-state-metrics says again: of those with the same labels stays the one that ours has.
func once(t testing.TB, series, ours []string) []string {
	t.Helper()
	series = canonical(t, series)
	ours = canonical(t, ours)
	found := func(line string) bool { _, ok := slices.BinarySearch(ours, line); return ok }
	slices.SortStableFunc(series, func(a, b string) int {
		if c := strings.Compare(labelsOf(a), labelsOf(b)); c != 0 || found(a) == found(b) {
			return c
		} else if found(a) {
			return -1
		}
		return 1
	})
	series = slices.CompactFunc(series, func(a, b string) bool { return labelsOf(a) == labelsOf(b) })
	slices.Sort(series)
	return series
}

// labelsOf is a line without its value.
func labelsOf(line string) string { return line[:strings.LastIndexByte(line, ' ')] }

// canonical sorts the labels of each series, and the series.
func canonical(t testing.TB, series []string) []string {
	t.Helper()
	out := make([]string, 0, len(series))
	for _, line := range series {
		out = append(out, canonicalLine(t, line))
	}
	slices.Sort(out)
	return out
}

func canonicalLine(t testing.TB, line string) string {
	t.Helper()
	name, rest, ok := strings.Cut(line, "{")
	if !ok {
		t.Fatalf("no labels: %s", line)
	}
	var labels []string
	seen := map[string]bool{}
	for rest[0] != '}' {
		label, after, ok := strings.Cut(rest, `="`)
		end := 0
		for end < len(after) && after[end] != '"' {
			if after[end] == '\\' {
				end++
			}
			end++
		}
		if !ok || end >= len(after) || seen[label] {
			t.Fatalf("malformed or repeated label %q: %s", label, line)
		}
		seen[label] = true
		labels = append(labels, fmt.Sprintf("%s=%q", label, after[:end]))
		rest = strings.TrimPrefix(after[end+1:], ",")
	}
	slices.Sort(labels)
	return name + "{" + strings.Join(labels, ",") + "}" + rest[1:]
}

// TestFamilies compares the table of kinds with the list of kube-state-metrics' families.
func TestFamilies(t *testing.T) {
	type listed struct {
		Resource   string `json:"resource"`
		Order      int    `json:"order"`
		Name       string `json:"name"`
		Type       string `json:"type"`
		Stability  string `json:"stability"`
		OptIn      bool   `json:"opt_in"`
		Default    bool   `json:"resource_default_on"`
		Deprecated string `json:"deprecated_since"`
	}
	data, err := os.ReadFile(filepath.Join("testdata", "families.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want []listed
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	want = slices.DeleteFunc(want, func(f listed) bool { return !slices.Contains(collector.Names(false), f.Resource) })
	var got []listed
	for _, k := range collector.Kinds() {
		for i, f := range k.Families() {
			stability := "ALPHA"
			if f.Stable {
				stability = "STABLE"
			}
			got = append(got, listed{k.Resource, i, f.Name, string(f.Type), stability, f.OptIn, k.Default, f.Deprecated})
			if f.Help == "" || strings.ContainsAny(f.Help, "\\\n") || !strings.HasSuffix(f.Help, ".") {
				t.Errorf("%s: HELP is to be one line that ends in a full stop, without backslashes: %q", f.Name, f.Help)
			}
		}
		if kind, ok := objects.ByResource(k.Resource); !ok || kind.Group != k.Group {
			t.Errorf("%s is of group %q here, of %q on the wire", k.Resource, k.Group, kind.Group)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("families (-want +got):\n%s", diff)
	}
}
