package bench

import (
	"fmt"
	"io"
	"testing"
	"text/tabwriter"
	"time"
)

// row is one figure of both servers. A figure that wasn't measured is 0.
type row struct {
	name, unit  string
	peer, ours  float64
	figureReach string // that the issue asks for
}

func seconds(d time.Duration) float64 { return d.Seconds() }

func mega(bytes int64) float64 { return float64(bytes) / 1e6 }

func (c *comparison) rows() []row {
	of := func(name, unit, reach string, figure func(*figures) float64) row {
		return row{name, unit, figure(&c.peer), figure(&c.ours), reach}
	}
	return []row{
		of("start: first complete /metrics, without gzip", "s", "10 s", func(f *figures) float64 { return seconds(f.start.complete) }),
		of("start: ready", "s", "", func(f *figures) float64 { return seconds(f.start.ready) }),
		of("start: CPU until ready", "s", "", func(f *figures) float64 { return seconds(f.start.cpu) }),
		of("start: CPU of the API server", "s", "0", func(f *figures) float64 { return seconds(f.start.apiCPU) }),
		of("start: requests to the API server", "", "0", func(f *figures) float64 { return float64(f.start.requests) }),
		of("memory: peak during the start", "MB", "", func(f *figures) float64 { return mega(f.start.peak) }),
		of("memory: at rest after the start", "MB", "1/6", func(f *figures) float64 { return mega(f.resident) }),
		of("memory: peak of everything here", "MB", "1/6", func(f *figures) float64 { return mega(f.peak) }),
		of("memory: at rest after everything here", "MB", "1/6", func(f *figures) float64 { return mega(f.end) }),
		of("plain scrape: time", "s", "1", func(f *figures) float64 { return seconds(f.plain.took) }),
		of("plain scrape: CPU", "s", "", func(f *figures) float64 { return seconds(f.plain.cpu) }),
		of("plain scrape: size", "MB", "", func(f *figures) float64 { return mega(int64(f.plain.bytes)) }),
		of("gzip scrape, nothing changed: time", "s", "1.5 s", func(f *figures) float64 { return seconds(f.gzip.took) }),
		of("gzip scrape, nothing changed: CPU", "s", "1/20", func(f *figures) float64 { return seconds(f.gzip.cpu) }),
		of("gzip scrape: size", "MB", "", func(f *figures) float64 { return mega(int64(f.gzip.bytes)) }),
		of("gzip scrape, 1 % of the pods changed: time", "s", "", func(f *figures) float64 { return seconds(f.changed.took) }),
		of("gzip scrape, 1 % of the pods changed: CPU", "s", "1/5", func(f *figures) float64 { return seconds(f.changed.cpu) }),
		of("pods changing status: CPU a minute", "s", "1", func(f *figures) float64 { return seconds(f.perMinute) }),
		of("2 shards: peak memory together", "MB", "", func(f *figures) float64 { return mega(f.shards.resident) }),
		of("2 shards: CPU of the API server", "s", "0", func(f *figures) float64 { return seconds(f.shards.apiCPU) }),
		of("2 shards: requests to the API server", "", "0", func(f *figures) float64 { return float64(f.shards.requests) }),
	}
}

// report gives the figures that the issue names in the form of Go's benchmarks.
func (c *comparison) report(b *testing.B) {
	for _, m := range []struct {
		name       string
		peer, ours float64
	}{
		{"start-s", seconds(c.peer.start.complete), seconds(c.ours.start.complete)},
		{"rss-MB", mega(c.peer.peak), mega(c.ours.peak)},
		{"plain-s", seconds(c.peer.plain.took), seconds(c.ours.plain.took)},
		{"gzip-s", seconds(c.peer.gzip.took), seconds(c.ours.gzip.took)},
		{"gzip-cpu-s", seconds(c.peer.gzip.cpu), seconds(c.ours.gzip.cpu)},
		{"changed-cpu-s", seconds(c.peer.changed.cpu), seconds(c.ours.changed.cpu)},
		{"churn-cpu-s/min", seconds(c.peer.perMinute), seconds(c.ours.perMinute)},
	} {
		b.ReportMetric(m.peer, "ksm-"+m.name)
		b.ReportMetric(m.ours, "exporter-"+m.name)
	}
}

func (c *comparison) print(to io.Writer) {
	fmt.Fprintf(to, "%d series, %.0f MB of text, the same of both but for the kinds that only the newer release watches; %.0f pods a second change status.\n",
		c.series, float64(c.text)/1e6, c.rate)
	t := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tkube-state-metrics\texporter\tratio\tto reach")
	for _, r := range c.rows() {
		ratio := "-"
		if r.peer > 0 && r.ours > 0 {
			ratio = fmt.Sprintf("%.3g", r.peer/r.ours)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.name, figure(r.peer, r.unit), figure(r.ours, r.unit), ratio, r.figureReach)
	}
	t.Flush()
	fmt.Fprintln(to, "The rest of Headwater, which other consumers share, at the same rate of changes:")
	for _, p := range c.pipeline {
		fmt.Fprintf(to, "  %s: CPU %.2f s a minute; peak memory so far %.0f MB\n", p.name, p.cpu.Seconds(), mega(p.peak))
	}
	u := c.usage
	fmt.Fprintf(to, "The exporter with usage too: ready %.2f s, first complete /metrics %.2f s; plain %.2f s, %.0f MB; gzip %.2f s, %.3f s of CPU, %.1f MB; memory at rest %.0f MB, peak %.0f MB\n",
		seconds(u.start.ready), seconds(u.start.complete), seconds(u.plain.took), mega(int64(u.plain.bytes)), seconds(u.gzip.took), seconds(u.gzip.cpu), mega(int64(u.gzip.bytes)), mega(u.end), mega(u.peak))
}

func figure(value float64, unit string) string {
	switch {
	case unit == "":
		return fmt.Sprintf("%.0f", value)
	case value >= 100:
		return fmt.Sprintf("%.0f %s", value, unit)
	case value >= 1:
		return fmt.Sprintf("%.2f %s", value, unit)
	}
	return fmt.Sprintf("%.3f %s", value, unit)
}

// printGrowth prints in Markdown how cost grows.
func printGrowth(to io.Writer, all []*comparison) {
	fmt.Fprint(to, "\n| kube-state-metrics / exporter |")
	for _, c := range all {
		fmt.Fprintf(to, " %d nodes |", c.nodes)
	}
	fmt.Fprint(to, "\n|---|")
	for range all {
		fmt.Fprint(to, "---|")
	}
	fmt.Fprint(to, "\n| series, text |")
	for _, c := range all {
		fmt.Fprintf(to, " %.2f million, %.0f MB |", float64(c.series)/1e6, float64(c.text)/1e6)
	}
	for i, first := range all[0].rows() {
		fmt.Fprintf(to, "\n| %s |", first.name)
		for _, c := range all {
			r := c.rows()[i]
			fmt.Fprintf(to, " %s / %s |", figure(r.peer, r.unit), figure(r.ours, r.unit))
		}
	}
	fmt.Fprintln(to)
}
