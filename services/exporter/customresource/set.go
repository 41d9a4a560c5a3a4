package customresource

import (
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

// Set is a compiled configuration. It may be used concurrently.
type Set struct {
	entries []entry

	mu   sync.Mutex
	made map[made]*collector.Resource
}

// made names a resource that was made.
type made struct {
	gvk      schema.GroupVersionKind
	resource string
}

// Groups returns the groups of the kinds that are exported, sorted.
func (s *Set) Groups() []string {
	groups := map[string]bool{}
	for i := range s.entries {
		groups[s.entries[i].pattern.Group] = true
	}
	return slices.Sorted(maps.Keys(groups))
}

// For returns how a kind is exported, or nil if the configuration has nothing of it. resource is what the log calls it:
// "foos", or "foos.v1beta1" where a second version is there. The answer to the same question is the same resource.
//
// Its families are those of all resources of the configuration that match the kind; what several of them call by one name
// is one family, with the help of the first, and its type; a gauge where the types differ.
func (s *Set) For(gvk schema.GroupVersionKind, resource string) *collector.Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.made[made{gvk, resource}]; r != nil {
		return r
	}
	p := s.program(gvk, resource)
	if len(p.families) == 0 {
		return nil
	}
	families := make([]collector.Family, len(p.families))
	for i := range p.families {
		families[i] = p.families[i].describe
	}
	r := collector.NewResource(resource+"."+gvk.Group, gvk.Group, families, func() (collector.Renderer, error) {
		return &renderer{program: p}, nil
	})
	s.made[made{gvk, resource}] = r
	return r
}

// Plural is the name that the configuration gives the resource of a kind, or else what it usually is; for those who
// don't know the kind's definition.
func (s *Set) Plural(gvk schema.GroupVersionKind) string {
	usual, _ := meta.UnsafeGuessKindToResource(gvk)
	for i := range s.entries {
		if e := &s.entries[i]; e.plural != "" && e.pattern.Matches(gvk.Group, gvk.Version, gvk.Kind, usual.Resource) {
			return e.plural
		}
	}
	return usual.Resource
}

// program is what is written for the objects of one kind.
type program struct {
	families []merged
}

// merged is a family of a kind, with all metrics of the configuration that make it.
type merged struct {
	describe collector.Family
	head     []byte // its name, with the brace
	metrics  []metric
}

// metric is a family of the configuration, for one kind.
type metric struct {
	*family
	common []label // sorted by name, with the labels that tell the kind
}

func (s *Set) program(gvk schema.GroupVersionKind, resource string) *program {
	p := &program{}
	for i := range s.entries {
		e := &s.entries[i]
		if !e.pattern.Matches(gvk.Group, gvk.Version, gvk.Kind, resource) {
			continue
		}
		for j := range e.families {
			f := &e.families[j]
			at := slices.IndexFunc(p.families, func(m merged) bool { return m.describe.Name == f.describe.Name })
			if at < 0 {
				at = len(p.families)
				p.families = append(p.families, merged{describe: f.describe, head: []byte(f.describe.Name + "{")})
			}
			if p.families[at].describe.Type != f.describe.Type {
				p.families[at].describe.Type = collector.Gauge
			}
			p.families[at].metrics = append(p.families[at].metrics, metric{f, commonLabels(gvk, e, f)})
		}
	}
	return p
}

// commonLabels are the labels of a metric that don't depend on the object.
func commonLabels(gvk schema.GroupVersionKind, e *entry, f *family) []label {
	all := map[string]string{}
	maps.Copy(all, e.common)
	all[groupLabel], all[versionLabel], all[kindLabel] = gvk.Group, gvk.Version, gvk.Kind
	maps.Copy(all, f.common)
	labels := make([]label, 0, len(all))
	for _, name := range sortedKeys(all) {
		labels = append(labels, label{name, all[name]})
	}
	return labels
}
