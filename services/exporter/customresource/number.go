package customresource

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// errNoNumber is what toFloat returns for what stands for no number.
var errNoNumber = errors.New("not a number")

// toFloat reads a value as a number. A boolean is 1 or 0; see floatOfText for texts.
func toFloat(n *node) (float64, error) {
	switch {
	case n == nil:
	case n.kind == boolean, n.kind == unsigned:
		return float64(n.bits), nil
	case n.kind == integer:
		return float64(int64(n.bits)), nil
	case n.kind == float:
		return math.Float64frombits(n.bits), nil
	case n.kind == text:
		return floatOfText(n.text)
	}
	return 0, errNoNumber
}

// floatOfText reads a text as a number: true and yes are 1, false, no and unknown 0 in any case; a time of RFC 3339 is its
// whole Unix seconds; then come the quantities of Kubernetes, percentages, which are divided by 100, and what Go reads as a
// float.
func floatOfText(s string) (float64, error) {
	switch {
	case strings.EqualFold(s, "true"), strings.EqualFold(s, "yes"):
		return 1, nil
	case strings.EqualFold(s, "false"), strings.EqualFold(s, "no"), strings.EqualFold(s, "unknown"):
		return 0, nil
	case !startsNumber(s):
		return 0, errNoNumber
	}
	if len(s) > 10 && s[4] == '-' && s[10] == 'T' {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return float64(t.Unix()), nil
		}
	}
	if affordable(s) {
		if q, err := resource.ParseQuantity(s); err == nil {
			return q.AsApproximateFloat64(), nil
		}
	}
	if number, ok := strings.CutSuffix(s, "%"); ok && digits(number) {
		v, err := strconv.ParseFloat(number, 64)
		return v / 100, err
	}
	return strconv.ParseFloat(s, 64)
}

// startsNumber spares most texts that are no numbers the making of errors. Kubernetes reads a quantity's bare suffix as 0.
func startsNumber(s string) bool {
	if s == "" {
		return false
	}
	switch c := s[0]; {
	case c >= '0' && c <= '9', c == '+', c == '-', c == '.':
		return true
	default:
		return len(s) <= len("infinity") && strings.IndexByte("inIN"+"numkKMGTPEe", c) >= 0
	}
}

// affordable tells whether a quantity can be read in reasonable time: 1e-2000000000 takes minutes and gigabytes.
func affordable(s string) bool {
	if len(s) > 100 {
		return false
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		return len(strings.TrimLeft(s[i+1:], "+-0")) <= 3
	}
	return true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
