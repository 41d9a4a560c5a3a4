package customresource

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/internal/customresource"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// foo is the object that the documentation of Custom Resource State uses, and some more.
const foo = `
apiVersion: myteam.io/v1
kind: Foo
metadata:
  name: foo
  namespace: ns
  creationTimestamp: "2022-06-28T00:00:00Z"
  labels: {foo: bar, app.kubernetes.io/name: web, 0digit: x, "": empty}
  annotations: {bar: baz, qux: quxx}
spec:
  version: v1.2.3
  order:
  - {id: 1, value: true}
  - {id: 3, value: false}
  replicas: 1
  refs: [my_other_foo, foo_2, foo_with_extensions]
  nothing: null
  empty: []
  mixed: [1, null, "2", [3], {v: 4}]
  deep: {list: [a, 1, 2.5, true, null, {k: [x]}], number: 123456789012, float: 1234567.5, whole: 1000000.0}
  quoted: "a \"b\"\\c\nd"
status:
  phase: Pending
  active: {type-a: 1, type-b: 3}
  conditions:
  - {name: a, value: 45, type: Ready, status: "True"}
  - {name: b, value: 66, type: Provisioned, status: "False"}
  sub:
    type-a: {active: 1, ready: 2}
    type-b: {active: 3, ready: 4}
  uptime: 43.21
  quantities: {milli: 250m, binary: 5Gi, percent: 28%, time: "2022-06-28T00:00:00Z", "yes": "YES", unknown: Unknown, text: abc, hex: "0x10", inf: Inf, tiny: 1e-2147483647}
  phases: [{p: "On"}, {p: "Off"}, {}, {p: 5}]
`

var fooKind = schema.GroupVersionKind{Group: "myteam.io", Version: "v1", Kind: "Foo"}

// encode makes the msgpack map of an object in YAML or JSON, as it is on the log.
func encode(t testing.TB, object string) []byte {
	t.Helper()
	text := []byte(object)
	if !strings.HasPrefix(object, `{"`) { // keys of YAML are short
		var err error
		if text, err = sigsyaml.YAMLToJSON(text); err != nil {
			t.Fatal(err)
		}
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	gvk := u.GroupVersionKind()
	encoder, err := objects.NewEncoder(objects.Custom(gvk.GroupVersion().WithResource("foos"), gvk.Kind, true))
	if err != nil {
		t.Fatal(err)
	}
	change, err := encoder.Change(u, schemas.Applied, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return change.Object
}

// compile makes a set of a whole configuration.
func compile(t testing.TB, config string, keep func(*collector.Family) (bool, error)) *Set {
	t.Helper()
	c, err := customresource.Parse("crs.yaml", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Compile(c, keep)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// metricConfig makes a configuration of one metric, m, from what stands behind each.
func metricConfig(each string) string {
	return "spec: {resources: [{groupVersionKind: {group: myteam.io, version: v1, kind: Foo}, metricNamePrefix: '', metrics: [{name: m, help: Help., each: " + each + "}]}]}"
}

// render returns the lines of an object, without the labels that tell the kind where they are those of Foo.
func render(t testing.TB, s *Set, gvk schema.GroupVersionKind, object []byte) (lines string, skipped int) {
	t.Helper()
	resource := s.For(gvk, "foos")
	if resource == nil {
		t.Fatalf("%v is not configured", gvk)
	}
	r, err := resource.NewRenderer()
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Render(object)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Ends) != len(resource.Families) || got.Ends[len(got.Ends)-1] != len(got.Text) {
		t.Fatalf("families end at %v of %d bytes, but there are %d families", got.Ends, len(got.Text), len(resource.Families))
	}
	for i, f := range resource.Families {
		for line := range strings.Lines(string(got.Of(i))) {
			if !strings.HasPrefix(line, f.Name+"{") || !strings.HasSuffix(line, "\n") {
				t.Errorf("among the lines of %s: %q", f.Name, line)
			}
		}
	}
	kind := `customresource_group="myteam.io",customresource_kind="Foo",customresource_version="v1"`
	return strings.NewReplacer(","+kind+",", ",", kind+",", "", ","+kind, "", "{"+kind+"}", "{}").Replace(string(got.Text)), got.Skipped
}
