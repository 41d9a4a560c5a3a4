package usage

import (
	"slices"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
)

// Filter says which series of usage are exported. What is nil wants all; the functions may be called concurrently.
type Filter struct {
	Node      func(name string) bool // its own usage and that of its pods
	Namespace func(name string) bool // the usage of its pods
	Family    func(*collector.Family) (bool, error)
}

// Selection is what a Filter leaves. It may be used concurrently.
type Selection struct {
	filter   Filter
	families []family
	headers  []*exposition.Header
	plain    int // how many of them, the first, are of the resource endpoint
}

// Select applies a filter to the tables of families. Errors are those of Filter.Family.
func Select(filter Filter) (*Selection, error) {
	s := &Selection{filter: filter}
	plain := families()
	for i, f := range append(plain, richFamilies()...) {
		if filter.Family != nil {
			if wanted, err := filter.Family(&f.Family); err != nil {
				return nil, err
			} else if !wanted {
				continue
			}
		}
		if i < len(plain) {
			s.plain++
		}
		s.families = append(s.families, f)
		s.headers = append(s.headers, exposition.NewHeader(f.Family))
	}
	return s, nil
}

// Empty tells that no family is left.
func (s *Selection) Empty() bool { return len(s.families) == 0 }

func (s *Selection) wantsNode(name string) bool {
	return s.filter.Node == nil || s.filter.Node(name)
}

// cut drops the pods that are not wanted.
func (s *Selection) cut(sample *schemas.UsageSample) {
	if s.filter.Namespace != nil {
		sample.Pods = slices.DeleteFunc(sample.Pods, func(p schemas.PodUsage) bool { return !s.filter.Namespace(p.Namespace) })
	}
}
