package customresource

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/internal/customresource"
)

func TestCompileErrors(t *testing.T) {
	const head = "spec:\n  resources:\n  - groupVersionKind: {group: g.io}\n"
	metric := func(lines string) string {
		return head + "    metrics:\n    - " + strings.ReplaceAll(lines, "\n", "\n      ")
	}
	const at = "crs.yaml:"
	for text, want := range map[string]string{
		metric("help: none"): at + "5: spec.resources[0].metrics[0].name: a metric needs a name\n" +
			at + "5: spec.resources[0].metrics[0].each.type: it is missing; it is one of Gauge, Info and StateSet",
		metric("name: a b\neach: {type: Info, info: {}}"):                                         at + `5: spec.resources[0].metrics[0].name: "kube_customresource_a b" can't be the name of a metric, which is made of letters, digits, _ and :, no digit first`,
		head + "    metricNamePrefix: 5x\n    metrics: [{name: a, each: {type: Info, info: {}}}]": at + `4: spec.resources[0].metricNamePrefix: "5x" can't begin the name of a metric, which is made of letters, digits, _ and :, no digit first`,
		metric("name: a\neach:\n  type: Counter"):                                                 at + `7: spec.resources[0].metrics[0].each.type: there is no type "Counter"; there are Gauge, Info and StateSet`,
		metric("name: a\neach:\n  type: Gauge\n  info: {}"):                                       at + "6: spec.resources[0].metrics[0].each.gauge: it is missing; the type Gauge needs it",
		metric("name: a\neach: {type: iNFO}"):                                                     at + "6: spec.resources[0].metrics[0].each.info: it is missing; the type iNFO needs it",
		metric("name: a\neach: {type: StateSet}"):                                                 at + "6: spec.resources[0].metrics[0].each.stateSet: it is missing; the type StateSet needs it",
		metric("name: a\neach:\n  type: StateSet\n  stateSet:\n    list: [a]"):                    at + "8: spec.resources[0].metrics[0].each.stateSet.labelName: it is missing; it names the label that tells the state",
		metric("name: a\neach:\n  type: Gauge\n  gauge:\n    path: [a, '[b]']"):                   at + `9: spec.resources[0].metrics[0].each.gauge.path: "[b]" looks up an element of a list by nothing; it must have the form [key=value]`,
		metric("name: a\neach:\n  type: Gauge\n  gauge:\n    valueFrom: ['[]']"):                  at + `9: spec.resources[0].metrics[0].each.gauge.valueFrom: "[]" looks up an element of a list by nothing; it must have the form [key=value]`,
		metric("name: a\neach:\n  type: Info\n  info:\n    labelsFromPath:\n      x: ['[b]']"):    at + `10: spec.resources[0].metrics[0].each.info.labelsFromPath.x: "[b]" looks up an element of a list by nothing; it must have the form [key=value]`,
		metric("name: a\nlabelsFromPath: {y: ['[b]']}\neach: {type: Info, info: {}}"):             at + `6: spec.resources[0].metrics[0].labelsFromPath.y: "[b]" looks up an element of a list by nothing; it must have the form [key=value]`,
		head + "    labelsFromPath:\n      z: ['[b]']":                                            at + `5: spec.resources[0].labelsFromPath.z: "[b]" looks up an element of a list by nothing; it must have the form [key=value]`,
		head + "    commonLabels:\n      a.b: c\n      '': d\n      __name__: e": at + "4: spec.resources[0].commonLabels: a label needs a name\n" +
			at + "7: spec.resources[0].commonLabels.__name__: \"__name__\" can't be the name of a label, which is made of letters, digits and _, no digit first\n" +
			at + "5: spec.resources[0].commonLabels.a.b: \"a.b\" can't be the name of a label, which is made of letters, digits and _, no digit first",
		head + "    metricNamePrefix: kube_pod\n    metrics:\n    - name: created\n      each: {type: Info, info: {}}\n    - name: container_status_restarts_total\n      each: {type: Gauge, gauge: {}}": at +
			"8: spec.resources[0].metrics[1].name: a built-in family has this name, kube_pod_container_status_restarts_total, and the type counter; choose another name or metricNamePrefix",
		metric("name: a\neach:\n  type: Info\n  info:\n    labelFromKey: a-b"): at + `9: spec.resources[0].metrics[0].each.info.labelFromKey: "a-b" can't be the name of a label, which is made of letters, digits and _, no digit first`,
	} {
		c, err := customresource.Parse("crs.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		s, err := Compile(c, nil)
		if err == nil || err.Error() != want || s != nil {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
	c, err := customresource.Parse("crs.yaml", []byte(metric("name: a\neach: {type: Info, info: {}}")))
	if err != nil {
		t.Fatal(err)
	}
	slow := errors.New("too slow")
	_, err = Compile(c, func(*collector.Family) (bool, error) { return true, slow })
	if !errors.Is(err, slow) || !strings.HasPrefix(err.Error(), "crs.yaml:5: spec.resources[0].metrics[0].name: ") {
		t.Error(err)
	}
}

const wild = `
spec:
  resources:
  - groupVersionKind: {group: b.io, version: v1, kind: Foo}
    resourcePlural: fooes
    metrics: [{name: one_info, help: 'One.', each: {type: Info, info: {path: [metadata], labelsFromPath: {name: [name]}}}}]
  - groupVersionKind: {group: b.io, version: "*", kind: Foo}
    metricNamePrefix: any
    metrics: [{name: state, each: {type: StateSet, stateSet: {path: [spec, s], labelName: s, list: [x]}}}]
  - groupVersionKind: {group: b.io, version: v2}
    metricNamePrefix: any
    metrics: [{name: up, each: {type: Gauge, gauge: {path: [spec, up]}}}]
  - groupVersionKind: {group: a.io, kind: "*"}
    metrics: [{name: up, each: {type: Gauge, gauge: {path: [spec, up]}}}]
  - groupVersionKind: {group: c.io}
`

func TestSet(t *testing.T) {
	s := compile(t, wild, nil)
	if diff := cmp.Diff([]string{"a.io", "b.io"}, s.Groups()); diff != "" {
		t.Error(diff)
	}
	families := func(s *Set, group, version, kind, resource, name string) string {
		r := s.For(schema.GroupVersionKind{Group: group, Version: version, Kind: kind}, resource)
		if r == nil {
			return ""
		}
		if r.Name != name || r.Group != group {
			t.Errorf("%s %s %s is named %s of %s, want %s", group, version, kind, r.Name, r.Group, name)
		}
		if again := s.For(schema.GroupVersionKind{Group: group, Version: version, Kind: kind}, resource); again != r {
			t.Errorf("%s is another resource the second time", r.Name)
		}
		var all []string
		for _, f := range r.Families {
			all = append(all, f.Name+" "+string(f.Type))
		}
		return strings.Join(all, ", ")
	}
	for _, c := range [][]string{
		{"b.io", "v1", "Foo", "foos", "foos.b.io", "kube_customresource_one_info info, any_state stateset"},
		{"b.io", "v2", "Foo", "foos.v2", "foos.v2.b.io", "any_state stateset, any_up gauge"},
		{"b.io", "v2", "Bar", "bars", "bars.b.io", "any_up gauge"},
		{"b.io", "v1", "Bar", "bars", "", ""},
		{"b.io", "v1", "foo", "foos", "", ""},
		{"a.io", "v1alpha1", "Whatever", "whatevers", "whatevers.a.io", "kube_customresource_up gauge"},
		{"c.io", "v1", "C", "cs", "", ""},
		{"", "v1", "Pod", "pods", "", ""},
	} {
		if got := families(s, c[0], c[1], c[2], c[3], c[4]); got != c[5] {
			t.Errorf("%v: families %s", c, got)
		}
	}
	for kind, want := range map[string]string{"Foo": "fooes", "Policy": "policies", "Bus": "buses"} {
		if got := s.Plural(schema.GroupVersionKind{Group: "b.io", Version: "v1", Kind: kind}); got != want {
			t.Errorf("the plural of %s is %s", kind, got)
		}
	}
	got, _ := render(t, s, schema.GroupVersionKind{Group: "b.io", Version: "v2", Kind: "Foo"}, encode(t, "{apiVersion: b.io/v2, kind: Foo, metadata: {name: n}, spec: {s: x, up: true}}"))
	want := `any_state{customresource_group="b.io",customresource_kind="Foo",customresource_version="v2",s="x"} 1
any_up{customresource_group="b.io",customresource_kind="Foo",customresource_version="v2"} 1
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}

	keep, err := collector.FamilyFilter(collector.Options{Deny: []string{"^any_", "customresource_up"}})
	if err != nil {
		t.Fatal(err)
	}
	s = compile(t, wild, keep)
	if diff := cmp.Diff([]string{"b.io"}, s.Groups()); diff != "" {
		t.Error(diff)
	}
	if got := families(s, "b.io", "v1", "Foo", "foos", "foos.b.io"); got != "kube_customresource_one_info info" {
		t.Error(got)
	}
	if got := families(s, "b.io", "v2", "Foo", "foos", ""); got != "" {
		t.Error(got)
	}

	empty, err := Compile(nil, nil)
	if err != nil || len(empty.Groups()) != 0 || empty.For(fooKind, "foos") != nil {
		t.Errorf("the empty set isn't empty: %v", err)
	}
}

// TestConcurrent has many goroutines ask for resources and render with them. Run with -race.
func TestConcurrent(t *testing.T) {
	s := compile(t, metricConfig(`{type: Gauge, gauge: {path: [status, active], labelFromKey: type}}`), nil)
	object := encode(t, foo)
	want, _ := render(t, s, fooKind, object)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				gvk := fooKind
				resource := s.For(gvk, []string{"foos", "fooes"}[i%2])
				r, err := resource.NewRenderer()
				if err != nil {
					t.Error(err)
					return
				}
				got, err := r.Render(object)
				if err != nil || len(got.Text) == 0 || got.Ends[0] != len(got.Text) || strings.Count(string(got.Text), "\n") != strings.Count(want, "\n") {
					t.Errorf("%v, %+v", err, got)
				}
			}
		})
	}
	wg.Wait()
}
