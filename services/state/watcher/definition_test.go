package watcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/headwater-metrics/headwater/services/internal/customresource"
)

func definitionJSON(established string, scope string, versions string) string {
	return fmt.Sprintf(`{"metadata": {"uid": "u"}, "spec": {"group": "example.com", "scope": %q, "names": {"plural": "foos", "kind": "Foo"}, "versions": %s},
		"status": {"conditions": [{"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": %q}]}}`, scope, versions, established)
}

func TestDefinitionKinds(t *testing.T) {
	const all = `[{"name": "v1beta1", "served": true}, {"name": "v2alpha1", "served": true}, {"name": "v10", "served": true}, {"name": "v2", "served": true},
		{"name": "v3", "served": false}, {"name": "odd", "served": true}, {"name": "v2", "served": true}]`
	for _, test := range []struct {
		raw      string
		patterns []string
		want     []string
	}{
		{definitionJSON("True", "Namespaced", all), []string{"foos.example.com"}, []string{"foos v10", "foos.v2 v2", "foos.v1beta1 v1beta1", "foos.v2alpha1 v2alpha1", "foos.odd odd"}},
		{definitionJSON("True", "Cluster", all), []string{"*.example.com"}, []string{"foos v10", "foos.v2 v2", "foos.v1beta1 v1beta1", "foos.v2alpha1 v2alpha1", "foos.odd odd"}},
		{definitionJSON("True", "Namespaced", all), []string{"foos.v2.example.com", "foos.v1beta1.example.com"}, []string{"foos v2", "foos.v1beta1 v1beta1"}},
		{definitionJSON("True", "Namespaced", all), []string{"foos.v3.example.com", "bars.example.com", "foos.example.org"}, nil},
		{definitionJSON("False", "Namespaced", all), []string{"foos.example.com"}, nil},
		{definitionJSON("Unknown", "Namespaced", all), []string{"foos.example.com"}, nil},
	} {
		d, err := readDefinition("foos.example.com", []byte(test.raw))
		if err != nil {
			t.Fatal(err)
		}
		var patterns CustomResources
		for _, text := range test.patterns {
			if err := patterns.Set(text); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, kind := range d.kinds(patterns) {
			got = append(got, kind.Resource+" "+kind.Version)
			if kind.Namespaced != (d.Spec.Scope == "Namespaced") || kind.GVR().Resource != "foos" || kind.Kind != "Foo" || !kind.Custom {
				t.Errorf("%s is %+v", kind.Name(), kind)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("of %q are %q, want %q", test.patterns, got, test.want)
		}
	}
	// By kind, as a configuration names it.
	d, err := readDefinition("foos.example.com", []byte(definitionJSON("True", "Namespaced", all)))
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]int{"Foo": 1, "Bar": 0} {
		if n := len(d.kinds([]customresource.Pattern{{Group: "example.com", Version: "v2", Kind: kind}})); n != want {
			t.Errorf("%d kinds are called %s, want %d", n, kind, want)
		}
	}
	// What the API server has of itself comes before what somebody defines.
	built := `{"spec": {"group": "apps", "scope": "Namespaced", "names": {"plural": "deployments", "kind": "D"}, "versions": [{"name": "v1", "served": true}]},
		"status": {"conditions": [{"type": "Established", "status": "True"}]}}`
	if d, err = readDefinition("deployments.apps", []byte(built)); err != nil || len(d.kinds([]customresource.Pattern{{Group: "apps"}})) != 0 {
		t.Errorf("a definition of deployments.apps counts, %v", err)
	}
}

// FuzzDefinition: whatever a definition says, its kinds are those of its name, each once, or it is unusable.
func FuzzDefinition(f *testing.F) {
	for _, raw := range []string{"", "null", "{}", `{"spec": "x"}`, `{"spec": {"versions": {}}}`, definitionJSON("True", "Namespaced", `[{"name": "v1", "served": true}]`),
		definitionJSON("True", "Galaxy", `[]`), definitionJSON("True", "Cluster", `[{"name": "", "served": true}, 5]`), `[[[[`} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		d, err := readDefinition("foos.example.com", []byte(raw))
		if err != nil {
			if !errors.Is(err, errUnusable) {
				t.Fatalf("%q gives %v", raw, err)
			}
			return
		}
		if !json.Valid([]byte(raw)) {
			t.Fatalf("%q is no JSON and was read", raw)
		}
		seen := map[string]bool{}
		for i, kind := range d.kinds([]customresource.Pattern{{Group: "example.com"}}) {
			if kind.Group != "example.com" || kind.GVR().Resource != "foos" || (i == 0) != (kind.Resource == "foos") || seen[kind.Resource] {
				t.Fatalf("%q gives %+v", raw, kind)
			}
			seen[kind.Resource] = true
		}
	})
}
