package watcher

import (
	"cmp"
	"slices"
	"strings"

	"github.com/headwater-metrics/headwater/services/internal/customresource"
)

// wish is which custom resources are wanted, until it is replaced.
type wish struct {
	patterns []customresource.Pattern // sorted
	replaced chan struct{}            // closed when there is a newer one
}

// newWish makes one of some patterns, in whatever order.
func newWish(patterns []customresource.Pattern) *wish {
	w := &wish{replaced: make(chan struct{})}
	for _, p := range patterns {
		for _, part := range []*string{&p.Version, &p.Kind, &p.Plural} {
			*part = cmp.Or(*part, customresource.Any)
		}
		w.patterns = append(w.patterns, p)
	}
	slices.SortFunc(w.patterns, func(a, b customresource.Pattern) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Plural, b.Plural), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Version, b.Version))
	})
	w.patterns = slices.Compact(w.patterns)
	return w
}

// group tells whether custom resources of a group may be wanted.
func (w *wish) group(group string) bool {
	return slices.ContainsFunc(w.patterns, func(p customresource.Pattern) bool { return p.Group == group })
}

// definition tells whether a CustomResourceDefinition of this name may be wanted.
func (w *wish) definition(name string) bool { return mayMatch(w.patterns, name) }

// differs tells whether something else than of another wish may hold for a definition.
func (w *wish) differs(other *wish, name string) bool {
	without := func(all, others []customresource.Pattern) []customresource.Pattern {
		return slices.DeleteFunc(slices.Clone(all), func(p customresource.Pattern) bool { return slices.Contains(others, p) })
	}
	return mayMatch(without(w.patterns, other.patterns), name) || mayMatch(without(other.patterns, w.patterns), name)
}

// mayMatch tells whether one of the patterns may be about a definition, of which the name alone is known.
func mayMatch(patterns []customresource.Pattern, name string) bool {
	plural, group, ok := strings.Cut(name, ".")
	return ok && slices.ContainsFunc(patterns, func(p customresource.Pattern) bool {
		return p.Group == group && (p.Plural == customresource.Any || p.Plural == plural)
	})
}

// WantCustomResources replaces the custom resources that are watched beside Config.CustomResources, at any time. Feeds of
// kinds that are newly wanted begin; those of kinds that aren't wanted any more end, and what the log has of them is deleted;
// all others go on undisturbed. Where Config.CustomResourceState names a file, what that says takes their place at its next
// change: it is one or the other.
func (s *Service) WantCustomResources(patterns []customresource.Pattern) {
	s.wishing.Lock()
	defer s.wishing.Unlock()
	old, now := s.wish.Load(), newWish(slices.Concat(s.cfg.CustomResources, patterns))
	if slices.Equal(old.patterns, now.patterns) {
		return
	}
	s.wish.Store(now)
	close(old.replaced)
	s.log.Info("custom resources that are wanted", "patterns", now.patterns)
}
