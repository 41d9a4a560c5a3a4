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
}

// NewHeader makes the header of a family.
func NewHeader(f collector.Family) *Header {
	h := &Header{Family: f}
	for format := range h.pages {
		h.pages[format] = Pack(appendHeader(nil, Format(format), &f))
	}
	return h
}

var (
	escapeHelp            = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeOpenMetricsHelp = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// appendHeader appends a family's HELP and TYPE lines. The formats differ in three things. Text knows neither info nor
// stateset, they are gauges there. In OpenMetrics the family of a counter is named without the _total of its samples
// (kube-state-metrics keeps it, which strict parsers refuse), and the family of an info without _info. An info without
// that suffix, and a stateset, whose states are told by a label of any name, would be refused too: they stay gauges.
func appendHeader(b []byte, format Format, f *collector.Family) []byte {
	name, kind, help := f.Name, f.Type, escapeHelp.Replace(f.HelpText())
	base, suffixed := strings.CutSuffix(name, "_info")
	switch {
	case kind == collector.StateSet, kind == collector.Info && (format == Text || !suffixed):
		kind = collector.Gauge
	case kind == collector.Info:
		name = base
	}
	if format == OpenMetrics {
		help = escapeOpenMetricsHelp.Replace(f.HelpText())
		if kind == collector.Counter {
			name = strings.TrimSuffix(name, "_total")
		}
	}
	b = append(append(append(append(b, "# HELP "...), name...), ' '), help...)
	b = append(append(append(append(b, "\n# TYPE "...), name...), ' '), kind...)
	return append(b, '\n')
}
