package promtext

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Diff is how two expositions differ.
type Diff struct {
	// Missing are series that only the wanted exposition has, Surplus those that only the other has: keys, sorted.
	Missing, Surplus []string
	// Values are series with different values, Types families with different types; a line each.
	Values, Types []string
}

// Compare holds got against want. Types are compared where both have one.
func Compare(want, got *Scrape) *Diff {
	d := &Diff{}
	for key, value := range want.Series {
		switch other, ok := got.Series[key]; {
		case !ok:
			d.Missing = append(d.Missing, key)
		case other != value:
			d.Values = append(d.Values, fmt.Sprintf("%s is %s, want %s", key, other, value))
		}
	}
	for key := range got.Series {
		if _, ok := want.Series[key]; !ok {
			d.Surplus = append(d.Surplus, key)
		}
	}
	for name, kind := range want.Types {
		if other, ok := got.Types[name]; ok && other != kind {
			d.Types = append(d.Types, fmt.Sprintf("%s is a %s, want a %s", name, other, kind))
		}
	}
	for _, list := range [][]string{d.Missing, d.Surplus, d.Values, d.Types} {
		slices.Sort(list)
	}
	return d
}

// Empty tells whether there is no difference.
func (d *Diff) Empty() bool {
	return len(d.Missing)+len(d.Surplus)+len(d.Values)+len(d.Types) == 0
}

// Error says what differs, with a few examples of each family.
func (d *Diff) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d series missing, %d surplus, %d other values, %d other types", len(d.Missing), len(d.Surplus), len(d.Values), len(d.Types))
	for _, part := range []struct {
		mark  string
		lines []string
	}{{"missing", d.Missing}, {"surplus", d.Surplus}, {"value", d.Values}, {"type", d.Types}} {
		byName := map[string][]string{}
		for _, line := range part.lines {
			byName[Name(line)] = append(byName[Name(line)], line)
		}
		for i, name := range slices.Sorted(maps.Keys(byName)) {
			const families, examples = 12, 3
			lines := byName[name]
			if i == families {
				fmt.Fprintf(&b, "\n\t%s: and of %d more families", part.mark, len(byName)-families)
				break
			}
			for _, line := range lines[:min(examples, len(lines))] {
				fmt.Fprintf(&b, "\n\t%s: %s", part.mark, line)
			}
			if len(lines) > examples {
				fmt.Fprintf(&b, "\n\t%s: and %d more of %s", part.mark, len(lines)-examples, name)
			}
		}
	}
	return b.String()
}

// Only returns the part of the exposition that keep holds for.
func (s *Scrape) Only(keep func(key string) bool) *Scrape {
	part := &Scrape{Types: s.Types, Series: map[string]string{}, Twice: map[string]int{}}
	for key, value := range s.Series {
		if keep(key) {
			part.Series[key] = value
		}
	}
	for key, n := range s.Twice {
		if keep(key) {
			part.Twice[key] = n
		}
	}
	return part
}
