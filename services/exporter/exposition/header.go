package exposition

import (
	"strings"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

// Format is one of the two forms of an answer.
type Format int

// The formats. Sample lines are the same in both, but for timestamps.
const (
	Text        Format = iota // Prometheus text format 0.0.4
	OpenMetrics               // OpenMetrics text 1.0.0 (or 0.0.1, which differs in its name only)
	formats                   // how many there are
)

// Header is the HELP and TYPE lines of a family, ready for each format.
type Header struct {
	Family collector.Family
	pages  [formats]*Page

	// Of a family that OpenMetrics calls by a shorter name: the names that it takes by that, and what stands in place of
	// pages[OpenMetrics] where another family has one of them; see NewAnswer.
	short []string
	full  *Page
}

// NewHeader makes the header of a family.
func NewHeader(f collector.Family) *Header {
	h := &Header{Family: f}
	for format := range h.pages {
		h.pages[format] = Pack(appendHeader(nil, Format(format), &f))
	}
	if h.short = shortNames(&f); h.short != nil {
		kind := collector.Gauge
		if f.Type == collector.Counter {
			kind = unknown
		}
		h.full = Pack(appendHelpAndType(nil, f.Name, escapeOpenMetricsHelp.Replace(f.HelpText()), kind))
	}
	return h
}

// unknown is OpenMetrics' type of a family whose samples may be called as it is, and may be anything.
const unknown collector.Type = "unknown"

// shortNames are the names that a family takes in OpenMetrics beside its own: the one without the suffix, and of a counter the
// one of the samples that tell when it was created, even if it has none. They are nil where the family keeps its name.
func shortNames(f *collector.Family) []string {
	switch base := baseName(f); {
	case base == f.Name:
		return nil
	case f.Type == collector.Counter:
		return []string{base, base + "_created"}
	default:
		return []string{base}
	}
}

// baseName is how OpenMetrics calls a family: a counter without the _total of its samples, an info without _info.
func baseName(f *collector.Family) string {
	suffix := ""
	switch f.Type {
	case collector.Counter:
		suffix = "_total"
	case collector.Info:
		suffix = "_info"
	}
	if base := strings.TrimSuffix(f.Name, suffix); base != "" {
		return base
	}
	return f.Name
}

var (
	escapeHelp            = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeOpenMetricsHelp = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// appendHeader appends a family's HELP and TYPE lines. The formats differ in three things. Text knows neither info nor
// stateset, they are gauges there. In OpenMetrics the family of a counter is named without the _total of its samples
// (kube-state-metrics keeps it, which strict parsers refuse), and the family of an info without _info. An info or a counter
// without that suffix, and a stateset, whose states are told by a label of any name, would be refused too: the counter is of
// unknown type, the others stay gauges.
func appendHeader(b []byte, format Format, f *collector.Family) []byte {
	name, kind, help := f.Name, f.Type, escapeHelp.Replace(f.HelpText())
	if format == OpenMetrics {
		name, help = baseName(f), escapeOpenMetricsHelp.Replace(f.HelpText())
	}
	switch full := name == f.Name; {
	case kind == collector.StateSet, kind == collector.Info && full:
		kind = collector.Gauge
	case kind == collector.Counter && full && format == OpenMetrics:
		kind = unknown
	}
	return appendHelpAndType(b, name, help, kind)
}

func appendHelpAndType(b []byte, name, help string, kind collector.Type) []byte {
	b = append(append(append(append(b, "# HELP "...), name...), ' '), help...)
	b = append(append(append(append(b, "\n# TYPE "...), name...), ' '), kind...)
	return append(b, '\n')
}
