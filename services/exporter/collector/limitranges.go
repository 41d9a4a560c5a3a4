package collector

import "github.com/headwater-metrics/headwater/services/internal/objects"

type limitRange struct {
	object
	Spec struct {
		Limits []limit `json:"limits"`
	} `json:"spec"`
}

type limit struct {
	Type                 string      `json:"type"`
	Min                  objects.Raw `json:"min"`
	Max                  objects.Raw `json:"max"`
	Default              objects.Raw `json:"default"`
	DefaultRequest       objects.Raw `json:"defaultRequest"`
	MaxLimitRequestRatio objects.Raw `json:"maxLimitRequestRatio"`
}

func limitRanges() families {
	return tableOf(namespaced[*limitRange]("limitrange"), []family[*limitRange]{
		{"kube_limitrange", stable, "A bound or default that the LimitRange sets for a resource.", limits},
		{"kube_limitrange_created", stable, "When the LimitRange was created, in Unix seconds.", created[*limitRange]},
	})
}

func limits(l *limitRange, s *Series) {
	for i := range l.Spec.Limits {
		limit := &l.Spec.Limits[i]
		s.addLimits(limit.Min, limit.Type, "min")
		s.addLimits(limit.Max, limit.Type, "max")
		s.addLimits(limit.Default, limit.Type, "default")
		s.addLimits(limit.DefaultRequest, limit.Type, "defaultRequest")
		s.addLimits(limit.MaxLimitRequestRatio, limit.Type, "maxLimitRequestRatio")
	}
}

func (s *Series) addLimits(list objects.Raw, kind, constraint string) {
	for _, e := range s.entriesOf(list) {
		s.addQuantity(milliUnits, string(e.value), "resource", string(e.key), "type", kind, "constraint", constraint)
	}
}
