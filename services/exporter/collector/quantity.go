package collector

import (
	"math"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// The unit label's values.
const (
	unitCore    = "core"
	unitByte    = "byte"
	unitInteger = "integer"
)

// wholeUnits reads a quantity as a whole number of units, rounded up: bytes, and everything that is counted.
func wholeUnits(quantity string) (float64, bool) {
	if n, scale, ok := smallQuantity(quantity); ok {
		if scale == 1 {
			return float64(n), true
		}
		return float64(ceilDiv(n, 1000)), true
	}
	q, err := resource.ParseQuantity(quantity)
	return float64(q.Value()), err == nil
}

// milliUnits reads a quantity to the thousandth of a unit, rounded up, as CPU is told; one whose thousandths don't fit
// 64 bits is told in whole units.
func milliUnits(quantity string) (float64, bool) {
	if n, scale, ok := smallQuantity(quantity); ok {
		return float64(n*(1000/scale)) / 1000, true // with the rounding that a number of thousandths brings along
	}
	q, err := resource.ParseQuantity(quantity)
	if err != nil {
		return 0, false
	}
	if q.Value() > resource.MaxMilliValue {
		return float64(q.Value()), true
	}
	return float64(q.MilliValue()) / 1000, true
}

// approximate reads a quantity as the nearest float.
func approximate(quantity string) (float64, bool) {
	q, err := resource.ParseQuantity(quantity)
	return q.AsApproximateFloat64(), err == nil
}

// smallQuantity reads what nearly all quantities are: up to 12 digits, alone or with a usual suffix. scale is 1 or,
// for thousandths, 1000. Anything else is left to the Kubernetes parser.
func smallQuantity(s string) (n int64, scale int64, ok bool) {
	i := 0
	for i < len(s) && i < 12 && '0' <= s[i] && s[i] <= '9' {
		n = n*10 + int64(s[i]-'0')
		i++
	}
	if i == 0 {
		return 0, 0, false
	}
	switch s[i:] {
	case "":
		return n, 1, true
	case "m":
		return n, 1000, true
	case "Ki":
		return n << 10, 1, true
	case "Mi":
		return n << 20, 1, n < 1<<32
	case "Gi":
		return n << 30, 1, n < 1<<22
	case "k":
		return n * 1e3, 1, true
	case "M":
		return n * 1e6, 1, n < 1e9
	case "G":
		return n * 1e9, 1, n < 1e6
	}
	return 0, 0, false
}

func ceilDiv(n, d int64) int64 { return (n + d - 1) / d }

// addQuantity adds a series with a quantity read by read; one that cannot be read is skipped.
func (s *Series) addQuantity(read func(string) (float64, bool), quantity string, labels ...string) {
	v, ok := read(quantity)
	if !ok || math.IsNaN(v) {
		s.Skip()
		return
	}
	s.Add(v, labels...)
}

// addResources adds a series for each resource of a Kubernetes resource list, with the labels given, the resource's
// name and its unit: the resources of pods and their containers. Resources of unknown nature are left out.
func (s *Series) addResources(list objects.Raw, labels ...string) {
	for _, e := range s.entriesOf(list) {
		name := string(e.key)
		switch name {
		case "cpu":
			s.addResource(milliUnits, name, unitCore, e, labels)
		case "memory", "storage", "ephemeral-storage":
			s.addResource(wholeUnits, name, unitByte, e, labels)
		default:
			s.addOtherResource(wholeUnits, name, e, labels)
		}
	}
}

// addNodeResources is addResources for a node, which tells everything to the thousandth and knows pods.
func (s *Series) addNodeResources(list objects.Raw) {
	for _, e := range s.entriesOf(list) {
		name := string(e.key)
		switch name {
		case "cpu":
			s.addResource(milliUnits, name, unitCore, e, nil)
		case "memory", "storage", "ephemeral-storage":
			s.addResource(milliUnits, name, unitByte, e, nil)
		case "pods":
			s.addResource(milliUnits, name, unitInteger, e, nil)
		default:
			s.addOtherResource(milliUnits, name, e, nil)
		}
	}
}

func (s *Series) addOtherResource(read func(string) (float64, bool), name string, e entry, labels []string) {
	if strings.HasPrefix(name, "hugepages-") || strings.HasPrefix(name, "attachable-volumes-") {
		s.addResource(read, name, unitByte, e, labels)
	}
	if isExtended(name) {
		s.addResource(read, name, unitInteger, e, labels)
	}
}

func (s *Series) addResource(read func(string) (float64, bool), name, unit string, e entry, labels []string) {
	v, ok := read(string(e.value))
	if !ok {
		s.Skip()
		return
	}
	b := s.open()
	for i := 0; i+1 < len(labels); i += 2 {
		b = appendLabel(b, labels[i], labels[i+1])
	}
	b = appendLabel(b, "resource", sanitize(name))
	b = appendLabel(b, "unit", unit)
	s.close(b, v)
}

// isExtended tells whether a resource belongs to a device plugin or the like: its name has a domain that is not
// Kubernetes' own, and would be valid in a quota.
func isExtended(name string) bool {
	return strings.Contains(name, "/") && !strings.Contains(name, "kubernetes.io/") && !strings.HasPrefix(name, "requests.") &&
		len(validation.IsQualifiedName("requests."+name)) == 0
}
