package customresource

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/headwater-metrics/headwater/schemas/wire"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

// mappingOf is a mapping in JSON of n keys, all with one value.
func mappingOf(n int, value string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":%s`, i, value)
	}
	return "{" + b.String()[1:] + "}"
}

// listOf is a list in JSON of n times the same value.
func listOf(n int, value string) string { return "[" + strings.Repeat(value+",", n-1) + value + "]" }

// fooWith is an object with that spec in JSON.
func fooWith(t testing.TB, spec string) []byte {
	return encode(t, `{"apiVersion": "myteam.io/v1", "kind": "Foo", "spec": `+spec+"}")
}

// claims is a message of lists in lists, each of which says that all that follows is its own. Only a stranger writes that.
func claims() []byte {
	object := wire.AppendString(wire.AppendMapLen(nil, 1), "spec")
	const levels, rest = 200, 1 << 20
	for i := range levels {
		object = wire.AppendArrayLen(object, rest+(levels-1-i)*5)
	}
	return append(object, make([]byte, rest)...)
}

// TestMemory has objects that would make hundreds of megabytes to gigabytes of what a large one may have, and such as are
// just small enough.
func TestMemory(t *testing.T) {
	const (
		all    = "{type: Gauge, gauge: {path: [spec, data], labelFromKey: key, nilIsZero: true, valueFrom: [v], labelsFromPath: {all: []}}}"
		copies = `{type: Gauge, gauge: {path: [spec, data], labelFromKey: key, nilIsZero: true, valueFrom: [v], labelsFromPath: {"x_*": []}}}`
		inList = `{type: Gauge, gauge: {path: [spec, list], nilIsZero: true, valueFrom: [v], labelsFromPath: {"x_*": []}}}`
	)
	var names strings.Builder // labels that all take the same large text
	for i := range 200 {
		fmt.Fprintf(&names, "l%d: [spec, data, k0], ", i)
	}
	thousand := `{"x":"` + strings.Repeat("y", 1000) + `"}`
	fifty, large := `"`+strings.Repeat("y", 50)+`"`, `"`+strings.Repeat("y", 900000)+`"`
	data := func(json string) []byte { return fooWith(t, `{"data": `+json+"}") }
	list := func(json string) []byte { return fooWith(t, `{"list": `+json+"}") }
	for name, c := range map[string]struct {
		each   string
		object []byte
		series int // -1 for an object that is too large
	}{
		"a few mappings, copied":      {copies, data(mappingOf(60, thousand)), 60},
		"a mapping of mappings":       {copies, data(mappingOf(900, thousand)), -1},
		"a few mappings, as text":     {all, data(mappingOf(60, thousand)), 60},
		"a mapping as text":           {all, data(mappingOf(10000, fifty)), -1},
		"elements that copy a key":    {inList, list(listOf(900, `{"`+strings.Repeat("n", 1000)+`":1}`)), 1},
		"a text for many labels":      {"{type: Info, info: {labelsFromPath: {" + names.String() + "}}}", data(mappingOf(1, large)), -1},
		"lists as labels":             {`{type: Info, info: {labelsFromPath: {"a*": [spec], "b*": [spec], "c*": [spec], "d*": [spec], "e*": [spec]}}}`, data(listOf(200000, "1.5e300")), -1},
		"series without labels":       {`{type: Gauge, gauge: {path: [spec, list]}}`, list(listOf(300000, "1")), -1},
		"many states":                 {`{type: StateSet, stateSet: {path: [spec, list], labelName: s, list: [a, b, c]}}`, list(listOf(200000, `"a"`)), -1},
		"many infos":                  {`{type: Info, info: {path: [spec, list], labelsFromPath: {x: []}}}`, list(listOf(300000, "1")), -1},
		"lists that claim everything": {`{type: Info, info: {path: [spec], labelsFromPath: {x: []}}}`, claims(), -2},
	} {
		t.Run(name, func(t *testing.T) {
			resource := compile(t, metricConfig(c.each), nil).For(fooKind, "foos")
			r, err := resource.NewRenderer()
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := r.Render(c.object)
			runtime.ReadMemStats(&after)
			took := after.TotalAlloc - before.TotalAlloc
			t.Logf("an object of %d bytes took %d KiB: %v", len(c.object), took>>10, err)
			if took > 128<<20 {
				t.Errorf("an object of %d bytes took %d MiB", len(c.object), took>>20)
			}
			switch {
			case c.series == -1 && !errors.Is(err, errTooLarge), c.series == -2 && !errors.Is(err, wire.ErrMalformed):
				t.Errorf("got %v", err)
			case c.series >= 0 && err != nil:
				t.Error(err)
			case c.series >= 0:
				if n := strings.Count(string(got.Text), "\n"); n != c.series {
					t.Errorf("%d series, want %d", n, c.series)
				}
			}
			// What was too large leaves nothing behind.
			if got, err = r.Render([]byte{0x80}); err != nil || len(got.Of(0)) > 1000 {
				t.Errorf("the next object: %v", err)
			}
		})
	}
}

// TestAnObjectThatIsTooLargeLeavesNothingBehind: it is found to be so in the middle of a family, because of its escapes, and the
// next one is written as by a renderer that never saw it.
func TestAnObjectThatIsTooLargeLeavesNothingBehind(t *testing.T) {
	resource := compile(t, metricConfig(`{type: Info, info: {path: [spec, list], labelsFromPath: {x: []}}}`), nil).For(fooKind, "foos")
	renderer := func() collector.Renderer {
		r, err := resource.NewRenderer()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	next := fooWith(t, `{"list": ["a", "b", "a", "c"]}`)
	want, err := renderer().Render(next)
	if err != nil || strings.Count(string(want.Text), "\n") != 3 || want.Skipped != 1 {
		t.Fatalf("%v: %+v", err, want)
	}
	used := renderer()
	if _, err := used.Render(fooWith(t, `{"list": `+listOf(6, `"`+strings.Repeat(`\\`, 1<<20)+`"`)+"}")); !errors.Is(err, errTooLarge) {
		t.Fatal(err)
	}
	if got, err := used.Render(next); err != nil || string(got.Text) != string(want.Text) || got.Skipped != want.Skipped {
		t.Errorf("%v: %.300s, want %s", err, got.Text, want.Text)
	}
}
