package customresource

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas/wire"
	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
	"github.com/headwater-metrics/headwater/services/internal/customresource"
)

// everything is a configuration that looks everywhere, with each kind of metric.
const everything = `
spec:
  resources:
  - groupVersionKind: {group: myteam.io}
    commonLabels: {c: x}
    labelsFromPath: {"l_*": [metadata, labels], "*": [metadata, annotations], name: [metadata, name], ns: [metadata, namespace], o: [spec, list, 7]}
    metrics:
    - {name: g1, each: {type: Gauge, gauge: {path: [spec], labelFromKey: key, labelsFromPath: {"*": [], v: []}}}}
    - {name: g2, each: {type: Gauge, gauge: {path: [spec, list], valueFrom: [v], nilIsZero: true, labelsFromPath: {"*": []}}}}
    - {name: g3, each: {type: Gauge, gauge: {valueFrom: [spec], nilIsZero: true}}}
    - {name: g4, each: {type: Gauge, gauge: {path: [spec, data], nilIsZero: true, valueFrom: [v], labelsFromPath: {"x_*": [], all: []}}}}
    - {name: i1_info, each: {type: Info, info: {path: [spec], labelFromKey: key, labelsFromPath: {"*": [], v: []}}}}
    - {name: i2_info, each: {type: Info, info: {path: [spec, list], labelsFromPath: {"*": [], v: []}}}}
    - {name: i3_info, each: {type: Info, info: {path: [status, conditions, "[type=Ready]"], labelsFromPath: {"*": []}}}}
    - {name: i4_info, each: {type: Info, info: {path: [status, conditions, -1, "a=b"], labelsFromPath: {v: []}}}}
    - {name: s1, each: {type: StateSet, stateSet: {path: [spec, list], valueFrom: [v], labelName: s, list: [a, b]}}}
    - {name: s2, each: {type: StateSet, stateSet: {path: [spec, list, 0], labelName: s, list: [a, b]}}}
`

// exposed renders an object with everything, and has the result read by a strict parser.
func exposed(t testing.TB, s *Set, object []byte) (size int, err error) {
	t.Helper()
	resource := s.For(fooKind, "foos")
	r, err := resource.NewRenderer()
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Render(object)
	if made := r.(*renderer); cap(made.scratch) > 2*maxGathered || cap(made.labels)*labelSize > 2*maxGathered || cap(made.series)*seriesSize > 2*maxGathered || cap(made.text) > 4*maxText {
		t.Errorf("an object of %d bytes made %d bytes of texts of labels, %d labels, %d series and %d bytes of text", len(object), cap(made.scratch), cap(made.labels), cap(made.series), cap(made.text))
	}
	if err != nil {
		return 0, err
	}
	var page bytes.Buffer
	for i, f := range resource.Families {
		fmt.Fprintf(&page, "# HELP %s x\n# TYPE %s gauge\n%s", f.Name, f.Name, got.Of(i))
	}
	if _, err := strict.Text(page.Bytes()); err != nil {
		t.Errorf("what is written can't be read: %v\n%.2000s", err, page.String())
	}
	return len(got.Text), nil
}

func TestOddObjects(t *testing.T) {
	s := compile(t, everything, nil)
	long := strings.Repeat("x", 1<<16)
	var many, big strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&many, "k%d.example.com/x: \"%d\", ", i, i)
	}
	for i := range 1000 {
		fmt.Fprintf(&big, "k%d: {v: %d}, ", i, i)
	}
	for name, object := range map[string]string{
		"only its kind":     "{}",
		"nulls":             "{metadata: null, spec: null, status: null}",
		"texts":             "{metadata: x, spec: x, status: x}",
		"lists":             "{metadata: [x], spec: [x, 5, [], {}, null], status: [x]}",
		"nested lists":      "{spec: {list: [[1], [[2]], {v: [3]}, {v: {v: 4}}, null]}, status: {conditions: [[], {type: [Ready]}, {type: Ready, type2: x}]}}",
		"empty ones":        "{metadata: {labels: {}, annotations: {}}, spec: {list: []}, status: {conditions: []}}",
		"odd label names":   `{metadata: {annotations: {"": a, "0": b, "__name__": c, "-_name__": d, "ü": e, "a b": f, "a.b": g, "a-b": h, "le": i, "quantile": j, "\u0000": k}}}`,
		"odd label values":  `{metadata: {annotations: {a: "\"", b: "\\", c: "\n", d: "\r\n", e: "\u0000", f: "\u2028", g: "}", h: ", x=\"y\""}}}`,
		"absurd numbers":    "{spec: {a: 1e308, b: -1e308, c: 5e-324, d: 9223372036854775807, e: -9223372036854775808, f: 18446744073709551615, g: 1e999999999, h: '1e-999999999', i: '" + strings.Repeat("9", 5000) + "', j: '0." + strings.Repeat("0", 5000) + "1', k: NaN, l: -inf, m: '9999-99-99T99:99:99Z'}}",
		"long texts":        `{"metadata": {"annotations": {"` + long + `": "` + long + `"}}, "spec": {"` + long + `": 5}}`,
		"ten thousand keys": "{metadata: {annotations: {" + many.String() + "}}, spec: {a: 1}}",
	} {
		start := time.Now()
		text := `{"apiVersion": "myteam.io/v1", "kind": "Foo", ` + strings.TrimPrefix(object, "{")
		if !strings.HasPrefix(object, `{"`) {
			text = " " + text // YAML
		}
		if _, err := exposed(t, s, encode(t, text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	// A thousand series, each with the labels of ten thousand annotations and of a thousand elements.
	_, err := exposed(t, s, encode(t, "{apiVersion: myteam.io/v1, kind: Foo, metadata: {annotations: {"+many.String()+"}}, spec: {"+big.String()+"}}"))
	if !errors.Is(err, errTooLarge) {
		t.Errorf("an object that makes gigabytes: %v", err)
	}
}

// TestOddMessages has what only a stranger writes to the log.
func TestOddMessages(t *testing.T) {
	s := compile(t, everything, nil)
	field := func(name string, value []byte) []byte {
		return append(wire.AppendString(wire.AppendMapLen(nil, 1), name), value...)
	}
	deep := bytes.Repeat([]byte{0x91}, 1000)
	for name, c := range map[string]struct {
		object []byte
		ok     bool
	}{
		"nothing":          {nil, false},
		"no map":           {[]byte{0x90}, false},
		"a null":           {[]byte{0xc0}, false},
		"an empty map":     {[]byte{0x80}, true},
		"more follows":     {[]byte{0x80, 0x80}, false},
		"cut off":          {field("spec", []byte{0x92, 0x01}), false},
		"a number as key":  {[]byte{0x81, 0x01, 0x01}, false},
		"an absurd length": {field("spec", []byte{0xdf, 0xff, 0xff, 0xff, 0xff}), false},
		"binary":           {field("spec", []byte{0xc4, 0x01, 0x00}), false},
		"an extension":     {field("spec", []byte{0xd4, 0x01, 0x00}), false},
		"too deep":         {field("spec", append(deep, 0x01)), false},
		"not UTF-8":        {field("spec", field("\xff\xfe", wire.AppendString(nil, "\xff"))), true},
		"NaN":              {field("spec", field("a", []byte{0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1})), true},
		"float32":          {field("spec", field("a", []byte{0xca, 0x3f, 0x80, 0, 0})), true},
		"a key twice":      {field("spec", []byte{0x82, 0xa1, 'a', 0x01, 0xa1, 'a', 0x02}), true},
		"keys not sorted":  {field("spec", []byte{0x82, 0xa1, 'b', 0x01, 0xa1, 'a', 0x02}), true},
	} {
		if _, err := exposed(t, s, c.object); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Lookups in a large map rely on its order.
	large := wire.AppendMapLen(nil, 20)
	for i := range 20 {
		large = wire.AppendInt(wire.AppendString(large, string(rune('z'-i))), int64(i))
	}
	got, _ := render(t, compile(t, metricConfig("{type: Gauge, gauge: {path: [spec, g]}}"), nil), fooKind, field("spec", large))
	if got != "m{} 19\n" {
		t.Errorf("got %q", got)
	}
}

func FuzzRender(f *testing.F) {
	s := compile(f, everything, nil)
	f.Add(encode(f, foo))
	f.Add([]byte{0x80})
	for _, of := range []string{`{"x":"y"}`, `"z"`, "[[],[{}]]", "5"} {
		f.Add(fooWith(f, `{"data": `+mappingOf(100, of)+`, "list": `+listOf(100, of)+"}"))
	}
	f.Add(claims())
	f.Add([]byte{0x81, 0xa4, 's', 'p', 'e', 'c', 0x82, 0xa1, 'b', 0x01, 0xa1, 'a', 0xa3, '5', 'G', 'i'})
	f.Fuzz(func(t *testing.T, object []byte) {
		exposed(t, s, object) // an error is as good
	})
}

func FuzzConfig(f *testing.F) {
	object := encode(f, foo)
	for _, seed := range []string{everything, wild, metricConfig(`{type: StateSet, stateSet: {path: [status, phases], valueFrom: [p], labelName: state, list: [Off]}}`), "spec: [", "a: &a [*a]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, config string) {
		c, err := customresource.Parse("crs.yaml", []byte(config))
		if err == nil {
			var s *Set
			if s, err = Compile(c, nil); err == nil {
				if s.For(fooKind, "foos") != nil {
					exposed(t, s, object)
				}
				return
			}
		}
		if !strings.HasPrefix(err.Error(), "crs.yaml") {
			t.Errorf("the error doesn't name the file: %v", err)
		}
	})
}
