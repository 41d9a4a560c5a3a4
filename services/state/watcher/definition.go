package watcher

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"

	"github.com/headwater-metrics/headwater/services/internal/customresource"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// errUnusable: a definition doesn't say what a definition says.
var errUnusable = errors.New("unusable CustomResourceDefinition")

// definition is what is read of a CustomResourceDefinition.
type definition struct {
	Metadata struct {
		UID types.UID `json:"uid"`
	} `json:"metadata"`
	Spec struct {
		Group string `json:"group"`
		Scope string `json:"scope"`
		Names struct {
			Plural string `json:"plural"`
			Kind   string `json:"kind"`
		} `json:"names"`
		Versions []definedVersion `json:"versions"`
	} `json:"spec"`
	Status struct {
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"conditions"`
	} `json:"status"`
}

type definedVersion struct {
	Name   string `json:"name"`
	Served bool   `json:"served"`
}

// readDefinition reads the definition of a name. Errors are errUnusable.
func readDefinition(name string, raw []byte) (*definition, error) {
	var d definition
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnusable, err)
	}
	switch spec := &d.Spec; {
	case spec.Names.Plural+"."+spec.Group != name:
		return nil, fmt.Errorf("%w: it defines %q of the group %q, which isn't its name", errUnusable, spec.Names.Plural, spec.Group)
	case spec.Names.Kind == "" || len(spec.Versions) == 0:
		return nil, fmt.Errorf("%w: it has no kind or no version", errUnusable)
	case spec.Scope != "Namespaced" && spec.Scope != "Cluster":
		return nil, fmt.Errorf("%w: its scope is %q", errUnusable, spec.Scope)
	case slices.ContainsFunc(spec.Versions, func(v definedVersion) bool { return v.Name == "" }):
		return nil, fmt.Errorf("%w: a version has no name", errUnusable)
	}
	return &d, nil
}

// established tells whether the API server serves what the definition says.
func (d *definition) established() bool {
	for _, c := range d.Status.Conditions {
		if c.Type == "Established" {
			return c.Status == "True"
		}
	}
	return false
}

// kinds are the versions that are served and wanted, as they are called on the log: the first in Kubernetes' order of
// versions by the plural alone.
func (d *definition) kinds(patterns []customresource.Pattern) []objects.Kind {
	if !d.established() || !objects.IsCustom(d.Spec.Group, d.Spec.Names.Plural) {
		return nil
	}
	var versions []string
	for _, v := range d.Spec.Versions {
		wanted := slices.ContainsFunc(patterns, func(p customresource.Pattern) bool {
			return p.Matches(d.Spec.Group, v.Name, d.Spec.Names.Kind, d.Spec.Names.Plural)
		})
		if v.Served && wanted && !slices.Contains(versions, v.Name) {
			versions = append(versions, v.Name)
		}
	}
	slices.SortFunc(versions, func(a, b string) int {
		return cmp.Or(version.CompareKubeAwareVersionStrings(b, a), cmp.Compare(a, b))
	})
	var kinds []objects.Kind
	for i, v := range versions {
		gvr := schema.GroupVersionResource{Group: d.Spec.Group, Version: v, Resource: d.Spec.Names.Plural}
		kind := objects.Custom(gvr, d.Spec.Names.Kind, d.Spec.Scope == "Namespaced")
		if i > 0 {
			kind = kind.Secondary()
		}
		kinds = append(kinds, kind)
	}
	return kinds
}
