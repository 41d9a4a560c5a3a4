package parity

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
)

// configurations are those of testdata/custom, with the kinds that they tell of.
var configurations = []struct {
	name  string
	kinds []customKind
}{
	{"gauges", []customKind{{"example.com/v1", "Foo"}}},
	{"texts", []customKind{{"example.com/v1", "Foo"}, {"example.com/v1beta1", "Foo"}, {"example.com/v1", "Bar"}}},
	{"groups", []customKind{{"example.com/v1", "Foo"}, {"example.com/v2alpha1", "Whatever"}, {"other.example.org/v1", "Foo"}, {"other.example.org/v1", "Baz"}}},
}

type customKind struct{ apiVersion, kind string }

// TestCustomFuzz compares what both make of random custom objects under each configuration.
func TestCustomFuzz(t *testing.T) {
	with := buildTools(t)
	differences := readDifferences(t)
	for _, c := range configurations {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file, err := filepath.Abs(filepath.Join("testdata", "custom", c.name+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			objects := make([][]byte, size()*len(c.kinds))
			for n := range objects {
				if objects[n], err = newRandom(*fuzzSeed, c.name, n).custom(c.kinds[n%len(c.kinds)], n); err != nil {
					t.Fatal(err)
				}
			}
			with.judge(t, "custom", objects, differences, []string{"-custom-resources=" + file},
				[]string{"--custom-resource-state-only", "--custom-resource-state-config-file=" + file})
		})
	}
}

// custom makes the n-th random custom object: what the configurations look at is mostly as they expect it, and sometimes
// anything.
func (r *random) custom(k customKind, n int) ([]byte, error) {
	some := func(usual func() any) any {
		switch {
		case r.IntN(10) == 0:
			return r.anything(0)
		case r.Float64() > r.full:
			return nil
		}
		return usual()
	}
	text := func() any { return r.word("", "Name") }
	number := func() any {
		return pick[any](r, 0, 1, 3, -7, 2.5, 1e21, 123456789, "12", "25m", "5Gi", "50%", "True", "false", "Unknown", "yes", "2026-07-01T00:00:00Z", "2026-07-01T00:00:00.5+02:00", "NaN", "x", "", "1e3", "0x10", true, false, nil)
	}
	texts := func() any {
		m := map[string]any{}
		for range r.IntN(4) {
			m[pick(r, "app", "team/x", "camelCase", "a.b", "é", "x9")] = some(text)
		}
		return m
	}
	list := func(of func() any) func() any {
		return func() any {
			var all []any
			for range r.IntN(4) {
				all = append(all, some(of))
			}
			return all
		}
	}
	object := func(fields map[string]func() any) func() any {
		return func() any {
			m := map[string]any{}
			for _, name := range slices.Sorted(maps.Keys(fields)) { // in order, as the dice would fall otherwise each time
				if v := some(fields[name]); v != nil || r.IntN(3) == 0 {
					m[name] = v
				}
			}
			return m
		}
	}
	part := object(map[string]func() any{"name": func() any { return pick[any](r, "main", "side", "x \"y\"", 3) }, "size": number, "weight": number,
		"on": func() any { return pick[any](r, true, false, "true") }, "labels": texts, "tags": texts})
	byKey := func(of func() any) func() any {
		return func() any {
			m := map[string]any{}
			for _, key := range []string{"type-a", "type-b", "ready", "size", "", "0"} {
				if r.IntN(3) == 0 {
					m[key] = some(of)
				}
			}
			return m
		}
	}
	spec := object(map[string]func() any{
		"replicas": number, "weight": number, "size": number, "version": text, "mode": text, "flag": number, "list": list(text), "members": list(text),
		"parts": list(part), "single": part, "nested": object(map[string]func() any{"deep": object(map[string]func() any{"value": number})}),
	})
	status := object(map[string]func() any{
		"uptime": number, "phase": func() any { return pick[any](r, "Pending", "Running", "Done \"well\"", "", "Odd", 7) }, "values": list(number), "counts": byKey(number), "single": part,
		"sub":        byKey(object(map[string]func() any{"ready": number, "active": number, "inner": object(map[string]func() any{"value": number})})),
		"conditions": list(object(map[string]func() any{"type": func() any { return pick[any](r, "Ready", "Done") }, "status": number, "reason": text, "lastTransitionTime": number})),
	})
	metadata := map[string]any{"name": fmt.Sprintf("%scustom-%d", prefix, n), "namespace": "shop", "uid": fmt.Sprint(n), "generation": r.IntN(1e7), "creationTimestamp": "2026-07-01T00:00:00Z"}
	if r.IntN(2) == 0 {
		metadata["labels"] = map[string]string{"app": r.word("", ""), "team.x": r.word("", "")}
		metadata["annotations"] = map[string]string{"note": r.word("", ""), "example.com/x": ""}
	}
	if r.IntN(3) == 0 {
		metadata["ownerReferences"] = []any{map[string]any{"apiVersion": "v1", "kind": "Node", "name": r.word("", "Name"), "uid": "1"}}
	}
	o := map[string]any{"apiVersion": k.apiVersion, "kind": k.kind, "metadata": metadata}
	if v := some(spec); v != nil {
		o["spec"] = v
	}
	if v := some(status); v != nil {
		o["status"] = v
	}
	return json.Marshal(o)
}

// anything is any JSON.
func (r *random) anything(depth int) any {
	switch r.IntN(8) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return r.Int64()
	case 3:
		return r.NormFloat64() * 1e9
	case 4, 5:
		return pick(r, oddWords...)
	}
	if depth > 3 {
		return "deep"
	}
	if r.IntN(2) == 0 {
		return []any{r.anything(depth + 1), r.anything(depth + 1)}
	}
	return map[string]any{"a": r.anything(depth + 1), "name": r.anything(depth + 1), "size": r.anything(depth + 1)}
}
