package customresource

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

const full = `
kind: CustomResourceStateMetrics
spec:
  resources:
  - groupVersionKind: {group: example.com, version: v1, kind: Foo}
    metricNamePrefix: ""
    resourcePlural: fooes
    errorLogV: 5
    commonLabels: {team: a}
    labelsFromPath:
      name: [metadata, name]
      "*": [metadata, labels]
    metrics:
    - name: up
      help: Whether it is up.
      errorLogV: 10
      commonLabels: {b: 1}
      labelsFromPath: {c: [spec, c]}
      each:
        type: Gauge
        gauge: {path: [status, conditions, 0], valueFrom: [status], labelFromKey: key, labelsFromPath: {type: [type]}, nilIsZero: true}
    - name: it_info
      each: {type: Info, info: {path: [spec], labelFromKey: key, labelsFromPath: {d: [d]}}}
    - name: phase
      each: {type: StateSet, stateSet: {path: [status], valueFrom: [phase], labelName: phase, list: [On, Off], labelsFromPath: {e: [e]}}}
  - groupVersionKind: {group: other.io, version: "*"}
`

func TestParse(t *testing.T) {
	got, err := Parse("f.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	none := ""
	want := Spec{Resources: []Resource{{
		Labels:           Labels{map[string]string{"team": "a"}, map[string][]string{"name": {"metadata", "name"}, "*": {"metadata", "labels"}}},
		MetricNamePrefix: &none, GroupVersionKind: GroupVersionKind{"example.com", "v1", "Foo"}, ResourcePlural: "fooes", ErrorLogV: 5,
		Metrics: []Metric{
			{Labels: Labels{map[string]string{"b": "1"}, map[string][]string{"c": {"spec", "c"}}}, Name: "up", Help: "Whether it is up.", ErrorLogV: 10, Each: Each{Type: "Gauge", Gauge: &Gauge{Target{[]string{"status", "conditions", "0"}, map[string][]string{"type": {"type"}}}, []string{"status"}, "key", true}}},
			{Name: "it_info", Each: Each{Type: "Info", Info: &Info{Target{[]string{"spec"}, map[string][]string{"d": {"d"}}}, "key"}}},
			{Name: "phase", Each: Each{Type: "StateSet", StateSet: &StateSet{Target{[]string{"status"}, map[string][]string{"e": {"e"}}}, []string{"phase"}, "phase", []string{"On", "Off"}}}},
		},
	}, {GroupVersionKind: GroupVersionKind{Group: "other.io", Version: "*"}}}}
	if diff := cmp.Diff(want, got.Spec); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	kinds := []Pattern{{"example.com", "v1", "Foo", "*"}, {"other.io", "*", "*", "*"}}
	if diff := cmp.Diff(kinds, got.Kinds()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if err := got.Error("spec.resources[0].metrics[1].each.info.path", errors.New("bad")); err.Error() != "f.yaml:23: spec.resources[0].metrics[1].each.info.path: bad" {
		t.Error(err)
	}
	for _, text := range []string{"", " \n\t"} {
		if _, err := Parse("f.yaml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), "f.yaml:1: ") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if c, err := Parse("f.yaml", []byte("spec: {}")); err != nil || c.Kinds() != nil {
		t.Errorf("without resources: %v", err)
	}
	var empty *Config
	if empty.Kinds() != nil {
		t.Error("an empty configuration is about something")
	}
	if err := new(Config).Error("spec", errors.New("bad")); err.Error() != "spec: bad" {
		t.Error(err)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"kind: ConfigMap": `f.yaml:1: kind: it is "ConfigMap"; a configuration of custom resources is of kind CustomResourceStateMetrics`,
		"spec:\n  resources:\n  - metrics: []\n  - groupVersionKind:\n      group: '*'": "f.yaml:3: spec.resources[0].groupVersionKind.group: a group is needed, such as example.com; only version and kind may be *\n" +
			"f.yaml:5: spec.resources[1].groupVersionKind.group: a group is needed, such as example.com; only version and kind may be *",
		"spec:\n  resources:\n  - groupVersionKind: {group: a.b}\n    metrics:\n    - name: x\n      each:\n        gauge:\n          value: [count]": "f.yaml:8: spec.resources[0].metrics[0].each.gauge.value: there is no such field; there are labelFromKey, labelsFromPath, nilIsZero, path, valueFrom",
		"spec:\n  resources:\n  - groupVersionKind: {group: a.b}\n    labelsFromPath: {a: metadata}":                                                  "f.yaml:4: spec.resources[0].labelsFromPath.a: couldn't read \"metadata\" as a list",
	} {
		if c, err := Parse("f.yaml", []byte(text)); err == nil || err.Error() != want || c != nil {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestPatterns(t *testing.T) {
	for text, want := range map[string]Pattern{
		"foos.example.com":             {"example.com", "*", "*", "foos"},
		" foos.v1.example.com ":        {"example.com", "v1", "*", "foos"},
		"foos.v1beta1.io":              {"io", "v1beta1", "*", "foos"},
		"*.example.com":                {"example.com", "*", "*", "*"},
		"*.v2alpha1.example.com":       {"example.com", "v2alpha1", "*", "*"},
		"foos.*.example.com":           {"example.com", "*", "*", "foos"},
		"foos.v1":                      {"v1", "*", "*", "foos"}, // a group must be left
		"foos.video.example.com":       {"video.example.com", "*", "*", "foos"},
		"backups.velero.io":            {"velero.io", "*", "*", "backups"},
		"a-b0.monitoring-1.coreos.com": {"monitoring-1.coreos.com", "*", "*", "a-b0"},
	} {
		got, err := ParsePattern(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if again, err := ParsePattern(got.String()); got.Plural != Any && (err != nil || again != got) {
			t.Errorf("%q shows as %q, which is %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "pods", "*", ".example.com", "foos.", "foos.v1.", "Foos.example.com", "foos.example..com", "foos.example.com.", "fo*s.example.com", "foos.*", "foos/v1.example.com", "foos.exa_mple.com", strings.Repeat("a", 64) + ".b"} {
		if got, err := ParsePattern(text); err == nil || !strings.Contains(err.Error(), "such as foos.example.com") {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, c := range []struct {
		pattern                      Pattern
		shown                        string
		group, version, kind, plural string
		want                         bool
	}{
		{Pattern{Group: "g.io"}, "*.g.io", "g.io", "v1", "Foo", "foos", true},
		{Pattern{Group: "g.io"}, "*.g.io", "h.io", "v1", "Foo", "foos", false},
		{Pattern{"g.io", "v1", "*", "*"}, "g.io/v1 *", "g.io", "v1", "Foo", "foos", true},
		{Pattern{"g.io", "v1", "*", "*"}, "g.io/v1 *", "g.io", "v1beta1", "Foo", "foos", false},
		{Pattern{"g.io", "*", "Foo", "*"}, "g.io/* Foo", "g.io", "v1beta1", "Foo", "fooes", true},
		{Pattern{"g.io", "", "Foo", ""}, "g.io/* Foo", "g.io", "v1beta1", "foo", "foos", false},
		{Pattern{"g.io", "*", "", "foos"}, "foos.g.io", "g.io", "v1", "Whatever", "foos", true},
		{Pattern{"g.io", "v2", "", "foos"}, "foos.v2.g.io", "g.io", "v2", "Whatever", "bars", false},
	} {
		if got := c.pattern.Matches(c.group, c.version, c.kind, c.plural); got != c.want {
			t.Errorf("%+v matches %s %s %s %s: %v", c.pattern, c.group, c.version, c.kind, c.plural, got)
		}
		if got := c.pattern.String(); got != c.shown {
			t.Errorf("%+v shows as %q, want %q", c.pattern, got, c.shown)
		}
	}
}

func TestOptions(t *testing.T) {
	load := func(args ...string) (*Config, error) {
		var o Options
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		o.AddFlags(fs)
		if err := fs.Parse(args); err != nil {
			t.Fatal(err)
		}
		return o.Load()
	}
	file := filepath.Join(t.TempDir(), "crs.yaml")
	if err := os.WriteFile(file, []byte("spec: {resources: [{groupVersionKind: {group: file.io}}]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	const inline = "--custom-resource-state-config=spec: {resources: [{groupVersionKind: {group: inline.io}}]}"
	missing := "--custom-resource-state-config-file=" + filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		args  []string
		group string // "" for no configuration
		err   string
	}{
		{nil, "", ""},
		{[]string{inline}, "inline.io", ""},
		{[]string{"--custom-resource-state-config-file=" + file}, "file.io", ""},
		{[]string{inline, "--custom-resource-state-config-file=" + file}, "inline.io", ""},
		{[]string{inline, missing}, "inline.io", ""},
		{[]string{missing}, "", "couldn't read the configuration of custom resources: open "},
		{[]string{missing, "--continue-without-custom-resource-state-config-file"}, "", ""},
		{[]string{"--custom-resource-state-config=[]"}, "", "--custom-resource-state-config:1: couldn't read a list as a mapping"},
		{[]string{"--custom-resource-state-config-file=" + t.TempDir(), "--continue-without-custom-resource-state-config-file"}, "", "couldn't read the configuration of custom resources: /"},
	} {
		got, err := load(c.args...)
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.HasPrefix(err.Error(), c.err)) {
			t.Errorf("%q: %v", c.args, err)
		}
		group := ""
		if kinds := got.Kinds(); len(kinds) > 0 {
			group = kinds[0].Group
		}
		if group != c.group {
			t.Errorf("%q: group %q, want %q", c.args, group, c.group)
		}
	}
	var o Options
	few := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.AddConfigFlags(few)
	if few.Lookup(FlagConfig) == nil || few.Lookup(FlagConfigFile) == nil || few.Lookup(FlagContinueWithoutFile) == nil || few.Lookup(FlagOnly) != nil {
		t.Error("AddConfigFlags declares other flags")
	}
}
