package objects_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

func TestKindsAreThoseOfTheAPI(t *testing.T) {
	kinds := objects.Kinds()
	if len(kinds) != 39 {
		t.Errorf("%d kinds, want 39", len(kinds))
	}
	if !slices.IsSorted(objects.Resources()) {
		t.Errorf("not in alphabetical order: %v", objects.Resources())
	}
	clusterScoped := 0
	for _, kind := range kinds {
		gvks, _, err := scheme.Scheme.ObjectKinds(kind.New())
		if err != nil {
			t.Errorf("%s: %v", kind.Resource, err)
			continue
		}
		if !slices.Contains(gvks, kind.GVK()) {
			t.Errorf("%s: its object is a %v, the row says %v", kind.Resource, gvks, kind.GVK())
		}
		if !kind.Namespaced {
			clusterScoped++
		}
		if _, err := objects.NewEncoder(kind); err != nil {
			t.Error(err)
		}
		if got, ok := objects.ByResource(kind.Resource); !ok || got.Kind != kind.Kind {
			t.Errorf("ByResource(%q) = %v, %v", kind.Resource, got.Kind, ok)
		}
		if got, ok := objects.ByGVK(kind.GVK()); !ok || got.Resource != kind.Resource {
			t.Errorf("ByGVK(%v) = %v, %v", kind.GVK(), got.Resource, ok)
		}
	}
	if clusterScoped != 15 {
		t.Errorf("%d cluster-scoped kinds, want 15", clusterScoped)
	}
	if _, ok := objects.ByResource("events"); ok {
		t.Error("events found")
	}
}

// TestSpecListsThePruneTable compares the table in SPEC.md, which other teams read, with the one that is compiled.
func TestSpecListsThePruneTable(t *testing.T) {
	const begin, end = "<!-- prune:begin -->\n", "<!-- prune:end -->"
	want := objects.PruneTable(objects.Kinds())
	spec, err := os.ReadFile("../../../schemas/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(spec), begin)
	got, _, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("SPEC.md has no %s...%s; between them belongs:\n%s", begin, end, want)
	}
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)); diff != "" {
		t.Errorf("SPEC.md differs (-want +got):\n%s\nbetween the markers belongs:\n%s", diff, want)
	}
}
