package customresource

import (
	"strings"
	"testing"
)

// TestValues has every form of metric, path and value, on the object foo. What is expected is what kube-state-metrics
// 2.18 writes.
func TestValues(t *testing.T) {
	object := encode(t, foo)
	for name, c := range map[string]struct {
		each    string
		want    string // lines
		skipped int
	}{
		"gauge: a number":                  {`{type: Gauge, gauge: {path: [spec, replicas]}}`, `m{} 1`, 0},
		"gauge: a float":                   {`{type: gauge, gauge: {path: [status, uptime]}}`, `m{} 43.21`, 0},
		"gauge: of a mapping":              {`{type: GAUGE, gauge: {path: [status, active], labelFromKey: type}}`, "m{type=\"type-a\"} 1\nm{type=\"type-b\"} 3", 0},
		"gauge: of a mapping of mappings":  {`{type: Gauge, gauge: {path: [status, sub], labelFromKey: type, labelsFromPath: {active: [active]}, valueFrom: [ready]}}`, "m{active=\"1\",type=\"type-a\"} 2\nm{active=\"3\",type=\"type-b\"} 4", 0},
		"gauge: a value of the mapping":    {`{type: Gauge, gauge: {path: [metadata], valueFrom: [creationTimestamp], labelsFromPath: {name: [name]}}}`, `m{name="foo"} 1.6563744e+09`, 0},
		"gauge: that and the others":       {`{type: Gauge, gauge: {path: [status, active], valueFrom: [type-a], labelFromKey: k, nilIsZero: true}}`, "m{k=\"type-a\"} 1\nm{k=\"type-b\"} 0", 0},
		"gauge: a value that is no number": {`{type: Gauge, gauge: {path: [metadata], valueFrom: [name], labelFromKey: k}}`, ``, 1},
		"gauge: a longer way":              {`{type: Gauge, gauge: {path: [status], valueFrom: [type-a, ready], labelFromKey: k}}`, `m{k="sub"} 2`, 0},
		"gauge: of a list":                 {`{type: Gauge, gauge: {path: [status, conditions], labelsFromPath: {name: [name]}, valueFrom: [value]}}`, "m{name=\"a\"} 45\nm{name=\"b\"} 66", 0},
		"gauge: conditions":                {`{type: Gauge, gauge: {path: [status, conditions], labelsFromPath: {type: [type]}, valueFrom: [status]}}`, "m{type=\"Provisioned\"} 0\nm{type=\"Ready\"} 1", 0},
		"gauge: a mixed list":              {`{type: Gauge, gauge: {path: [spec, mixed], labelsFromPath: {v: []}}}`, "m{v=\"1\"} 1\nm{v=\"2\"} 2", 3},
		"gauge: an empty list":             {`{type: Gauge, gauge: {path: [spec, empty]}}`, ``, 0},
		"gauge: no value in the list":      {`{type: Gauge, gauge: {path: [status, conditions], valueFrom: [none]}}`, ``, 0},
		"gauge: nothing there":             {`{type: Gauge, gauge: {path: [foo], valueFrom: [x]}}`, ``, 1},
		"gauge: null there":                {`{type: Gauge, gauge: {path: [spec, nothing]}}`, ``, 1},
		"gauge: nil is zero":               {`{type: Gauge, gauge: {path: [spec, paused], nilIsZero: true}}`, `m{} 0`, 0},
		"gauge: value is zero":             {`{type: Gauge, gauge: {path: [spec, replicas], valueFrom: [none], nilIsZero: true}}`, `m{} 0`, 0},
		"gauge: no value":                  {`{type: Gauge, gauge: {path: [spec, replicas], valueFrom: [none]}}`, ``, 0},
		"gauge: texts": {`{type: Gauge, gauge: {path: [status, quantities], labelFromKey: q}}`, `m{q="binary"} 5.36870912e+09
m{q="inf"} +Inf
m{q="milli"} 0.25
m{q="percent"} 0.28
m{q="time"} 1.6563744e+09
m{q="tiny"} 0
m{q="unknown"} 0
m{q="yes"} 1`, 0},
		"gauge: a text that is no number": {`{type: Gauge, gauge: {path: [status, quantities, text]}}`, ``, 1},
		"gauge: an index out of range":    {`{type: Gauge, gauge: {path: [spec, order, 7]}}`, ``, 1},

		"path: an index":            {`{type: Gauge, gauge: {path: [spec, order, 0, id]}}`, `m{} 1`, 0},
		"path: from the end":        {`{type: Gauge, gauge: {path: [spec, order, -1, id]}}`, `m{} 3`, 0},
		"path: too far":             {`{type: Gauge, gauge: {path: [spec, order, -3, id], nilIsZero: true}}`, `m{} 0`, 0},
		"path: no index":            {`{type: Gauge, gauge: {path: [spec, order, id], nilIsZero: true}}`, `m{} 0`, 0},
		"path: by text":             {`{type: Gauge, gauge: {path: [status, conditions, "[name=b]", value]}}`, `m{} 66`, 0},
		"path: by number":           {`{type: Gauge, gauge: {path: [spec, order, "[id=3]", value]}}`, `m{} 0`, 0},
		"path: by boolean":          {`{type: Gauge, gauge: {path: [spec, order, "[value=false]", id]}}`, `m{} 3`, 0},
		"path: by what is alike":    {`{type: Gauge, gauge: {path: [spec, order, "[value=yes]", id]}}`, `m{} 1`, 0}, // yes is 1 is true
		"path: by nothing there":    {`{type: Gauge, gauge: {path: [spec, order, "[id=9]", value], nilIsZero: true}}`, `m{} 0`, 0},
		"path: brackets on mapping": {`{type: Gauge, gauge: {path: [status, "[phase=Pending]"], nilIsZero: true}}`, `m{} 0`, 0},
		"path: key=value":           {`{type: Info, info: {labelsFromPath: {bar: [metadata, annotations, bar=baz]}}}`, `m{bar="baz"} 1`, 0},
		"path: another value":       {`{type: Info, info: {labelsFromPath: {bar: [metadata, annotations, bar=qux], foo: [metadata, name]}}}`, `m{foo="foo"} 1`, 0},
		"path: into a text":         {`{type: Gauge, gauge: {path: [metadata, name, x], nilIsZero: true}}`, `m{} 0`, 0},

		"info: of the object":     {`{type: Info, info: {labelsFromPath: {version: [spec, version]}}}`, `m{version="v1.2.3"} 1`, 0},
		"info: of a text":         {`{type: Info, info: {path: [spec, version], labelsFromPath: {version: []}}}`, `m{version="v1.2.3"} 1`, 0},
		"info: without labels":    {`{type: Info, info: {path: [spec, version]}}`, ``, 0},
		"info: nothing there":     {`{type: Info, info: {path: [does, not, exist], labelsFromPath: {x: []}}}`, ``, 0},
		"info: keys":              {`{type: Info, info: {path: [status, active], labelFromKey: type}}`, "m{type=\"type-a\"} 1\nm{type=\"type-b\"} 1", 0},
		"info: of a mapping":      {`{type: Info, info: {path: [status, sub], labelsFromPath: {active: [active]}}}`, "m{active=\"1\"} 1\nm{active=\"3\"} 1", 0},
		"info: and its own":       {`{type: Info, info: {path: [status, sub], labelFromKey: type, labelsFromPath: {a: [active], b: [type-a, ready]}}}`, "m{a=\"1\",type=\"type-a\"} 1\nm{a=\"3\",type=\"type-b\"} 1\nm{b=\"2\"} 1", 0},
		"info: of a list":         {`{type: Info, info: {path: [spec, refs], labelsFromPath: {ref: []}}}`, "m{ref=\"foo_2\"} 1\nm{ref=\"foo_with_extensions\"} 1\nm{ref=\"my_other_foo\"} 1", 0},
		"info: of a mixed list":   {`{type: Info, info: {path: [spec, mixed], labelsFromPath: {x: []}}}`, "m{x=\"1\"} 1\nm{x=\"2\"} 1\nm{x=\"[3]\"} 1\nm{x=\"map[v:4]\"} 1", 0},
		"info: out of range":      {`{type: Info, info: {labelsFromPath: {x: [spec, refs, 9]}}}`, `m{x="list index out of range: 9"} 1`, 0},
		"labels: how they show":   {`{type: Info, info: {path: [spec, deep], labelsFromPath: {list: [list], number: [number], float: [float], whole: [whole]}}}`, `m{float="1.2345675e+06",list="[a 1 2.5 true <nil> map[k:[x]]]",number="123456789012",whole="1000000"} 1`, 0},
		"labels: escapes":         {`{type: Info, info: {labelsFromPath: {q: [spec, quoted]}}}`, `m{q="a \"b\"\\c\nd"} 1`, 0},
		"labels: sanitized":       {`{type: Info, info: {labelsFromPath: {a.b/c-d: [metadata, name], 9: [metadata, name], __name__: [metadata, name]}}}`, `m{_9="foo",___name__="foo",a_b_c_d="foo"} 1`, 0},
		"labels: a star":          {`{type: Info, info: {labelsFromPath: {"*": [metadata, labels]}}}`, `m{_="empty",_0digit="x",app_kubernetes_io_name="web",foo="bar"} 1`, 0},
		"labels: a star in front": {`{type: Info, info: {labelsFromPath: {"*1": [metadata, annotations], bar: [metadata, labels, foo]}}}`, `m{bar="bar",qux="quxx"} 1`, 0},
		"labels: a prefix":        {`{type: Info, info: {labelsFromPath: {"label-object_*": [metadata, annotations]}}}`, `m{label_object_bar="baz",label_object_qux="quxx"} 1`, 0},
		"labels: stars in order":  {`{type: Info, info: {labelsFromPath: {"*a": [status, active], "*b": [status, sub]}}}`, `m{type_a="map[active:1 ready:2]",type_b="map[active:3 ready:4]"} 1`, 0},
		"labels: star of a text":  {`{type: Info, info: {labelsFromPath: {"*": [metadata, name]}}}`, ``, 0},
		"labels: star of null":    {`{type: Info, info: {labelsFromPath: {"s_*": [spec, mixed, 4], "t_*": [spec, nothing]}}}`, `m{s_v="4"} 1`, 0},

		"stateset":                {`{type: StateSet, stateSet: {path: [status, phase], labelName: phase, list: [Pending, Bar, Baz]}}`, "m{phase=\"Bar\"} 0\nm{phase=\"Baz\"} 0\nm{phase=\"Pending\"} 1", 0},
		"stateset: value from":    {`{type: stateset, stateSet: {path: [status], valueFrom: [phase], labelName: p, list: [Pending], labelsFromPath: {up: [uptime]}}}`, `m{p="Pending",up="43.21"} 1`, 0},
		"stateset: of a list":     {`{type: StateSet, stateSet: {path: [status, phases], valueFrom: [p], labelName: state, labelsFromPath: {is: [p]}, list: [Off, On]}}`, "m{is=\"Off\",state=\"Off\"} 1\nm{is=\"Off\",state=\"On\"} 0\nm{is=\"On\",state=\"Off\"} 0\nm{is=\"On\",state=\"On\"} 1", 2},
		"stateset: no text":       {`{type: StateSet, stateSet: {path: [spec, replicas], labelName: p, list: ["1"]}}`, ``, 1},
		"stateset: nothing there": {`{type: StateSet, stateSet: {path: [no], labelName: p, list: [a]}}`, ``, 1},
		"stateset: given twice":   {`{type: StateSet, stateSet: {path: [status, phase], labelName: p, list: [a, a, Pending]}}`, "m{p=\"Pending\"} 1\nm{p=\"a\"} 0", 1},
	} {
		t.Run(name, func(t *testing.T) {
			got, skipped := render(t, compile(t, metricConfig(c.each), nil), fooKind, object)
			want := c.want
			if want != "" {
				want += "\n"
			}
			if got != want || skipped != c.skipped {
				t.Errorf("%s\n got %d skipped and\n%swant %d skipped and\n%s", c.each, skipped, got, c.skipped, want)
			}
		})
	}
}

// TestLabelPrecedence has one label from everywhere.
func TestLabelPrecedence(t *testing.T) {
	object := encode(t, foo)
	const from = "labelsFromPath: {l: [metadata, name]}, "
	for name, c := range map[string]struct{ resource, metric, each, want string }{
		"the resource's common":    {"commonLabels: {l: rc}, ", "", "", `m{k="type-a",l="rc"} 1`},
		"the metric's common":      {"commonLabels: {l: rc}, ", "commonLabels: {l: mc}, ", "", `m{k="type-a",l="mc"} 1`},
		"the resource's path":      {"commonLabels: {l: rc}, " + from, "commonLabels: {l: mc}, ", "", `m{k="type-a",l="foo"} 1`},
		"the metric's path":        {from, "labelsFromPath: {l: [kind]}, ", "", `m{k="type-a",l="Foo"} 1`},
		"a path that finds none":   {from, "commonLabels: {l: mc}, labelsFromPath: {l: [none]}, ", "", `m{k="type-a",l="mc"} 1`},
		"a star under a name":      {"labelsFromPath: {bar: [kind], '*': [metadata, annotations]}, ", "", "", `m{bar="Foo",k="type-a",qux="quxx"} 1`},
		"the element's":            {from, "", "labelsFromPath: {l: []}, ", `m{k="type-a",l="map[type-a:1 type-b:3]"} 1`},
		"the key's":                {"commonLabels: {k: rc}, ", "commonLabels: {k: mc}, ", "", `m{k="type-a"} 1`},
		"a reserved one, resource": {"commonLabels: {customresource_kind: x}, ", "", "", `m{k="type-a"} 1`},
		"a reserved one, metric":   {"", "commonLabels: {customresource_kind: x}, ", "", `m{customresource_group="myteam.io",customresource_kind="x",customresource_version="v1",k="type-a"} 1`},
	} {
		config := "spec: {resources: [{groupVersionKind: {group: myteam.io, version: v1, kind: Foo}, " + c.resource + "metricNamePrefix: '', metrics: [{" + c.metric + "name: m, each: {type: Gauge, gauge: {" + c.each + "path: [status, active], labelFromKey: k}}}]}]}"
		got, _ := render(t, compile(t, config, nil), fooKind, object)
		if first, _, _ := strings.Cut(got, "\n"); first != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, first, c.want)
		}
	}
}

// TestRepeated has series that are there twice, for all reasons.
func TestRepeated(t *testing.T) {
	object := encode(t, "{apiVersion: myteam.io/v1, kind: Foo, metadata: {name: n}, spec: {list: [{a: x, v: 1}, {a: 'y', v: 2}, {a: x, v: 3}, {a: 'y', v: 4}, {v: 5}]}}")
	config := `
spec:
  resources:
  - groupVersionKind: {group: myteam.io, version: v1, kind: Foo}
    metricNamePrefix: p
    commonLabels: {a: y}
    metrics:
    - {name: m, help: First., each: {type: Gauge, gauge: {path: [spec, list], valueFrom: [v], labelsFromPath: {a: [a]}}}}
    - {name: other, each: {type: Gauge, gauge: {path: [spec, list, 0, v]}}}
  - groupVersionKind: {group: myteam.io}
    metricNamePrefix: p
    commonLabels: {a: z}
    metrics:
    - {name: m, help: Second., each: {type: Info, info: {path: [spec, list], labelsFromPath: {a: [a]}}}}
`
	s := compile(t, config, nil)
	families := s.For(fooKind, "foos").Families
	if len(families) != 2 || families[0].Name != "p_m" || families[0].HelpText() != "First." || families[0].Type != "gauge" {
		t.Errorf("families %+v", families)
	}
	got, skipped := render(t, s, fooKind, object)
	// The first of a series stays, in the order of the series' own labels: that without one comes first.
	want := "p_m{a=\"y\"} 5\np_m{a=\"x\"} 1\np_other{a=\"y\"} 1\n"
	if got != want || skipped != 3+4 {
		t.Errorf("%d skipped, got\n%swant\n%s", skipped, got, want)
	}
}

// TestTypes has two metrics of one name.
func TestTypes(t *testing.T) {
	metrics := map[string]string{"gauge": "{type: Gauge, gauge: {}}", "info": "{type: Info, info: {}}", "stateset": "{type: StateSet, stateSet: {labelName: s}}"}
	for _, c := range []struct{ first, second, want string }{
		{"gauge", "info", "gauge"}, {"info", "gauge", "gauge"}, {"info", "info", "info"}, {"stateset", "info", "gauge"}, {"stateset", "stateset", "stateset"},
	} {
		config := "spec: {resources: [{groupVersionKind: {group: myteam.io}, metrics: [{name: m, each: " + metrics[c.first] + "}, {name: m, each: " + metrics[c.second] + "}]}]}"
		if families := compile(t, config, nil).For(fooKind, "foos").Families; len(families) != 1 || string(families[0].Type) != c.want {
			t.Errorf("%s and %s make %+v", c.first, c.second, families)
		}
	}
}
