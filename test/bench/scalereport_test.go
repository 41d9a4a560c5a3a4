package bench

import (
	"fmt"
	"io"
	"testing"
	"text/tabwriter"
)

// sideRow is one figure of both. A figure that wasn't measured is 0. last, where there is one, is the 99th percentile.
type sideRow struct {
	name, unit    string
	of            func(*side) (value, last float64)
	reach         string // that the issue asks for
	withoutGrowth bool   // it isn't expected to grow as the cluster does
}

func single(figure func(*side) float64) func(*side) (float64, float64) {
	return func(s *side) (float64, float64) { return figure(s), 0 }
}

func both(figure func(*side) quantiles) func(*side) (float64, float64) {
	return func(s *side) (float64, float64) { q := figure(s); return q.p50, q.p99 }
}

var sideRows = []sideRow{
	{name: "restart to the first complete answer, median", unit: "s", of: single(func(s *side) float64 { return s.starts.of(complete).median }), reach: "2 s (1 s)"},
	{name: "the longest of them", unit: "s", of: single(func(s *side) float64 { return s.starts.of(complete).most })},
	{name: "CPU until then", unit: "s", of: single(func(s *side) float64 { return s.starts.of(cpu).median })},
	{name: "and time that its threads waited for a core", unit: "s", of: single(func(s *side) float64 { return s.starts.of(waited).median })},
	{name: "memory, steady", unit: "MB", of: single(func(s *side) float64 { return mega(s.memory) }), reach: "1000 MB"},
	{name: "memory, the most until the end", unit: "MB", of: single(func(s *side) float64 { return mega(s.peak) })},
	{name: "memory of one more that answers, steady", unit: "MB", of: single(func(s *side) float64 { return mega(s.another) }), reach: "400 MB"},
	{name: "CPU a minute, steady; Headwater's with two metricsapi", unit: "s", of: single(func(s *side) float64 { return seconds(s.cpu) }), reach: "1"},
	{name: "CPU a minute of one more that answers", unit: "s", of: single(func(s *side) float64 { return seconds(s.anotherCPU) })},
	{name: "all pods, protobuf", unit: "s", of: single(func(s *side) float64 { return s.protobuf.p50 }), reach: "1/2"},
	{name: "its size", unit: "MB", of: single(func(s *side) float64 { return mega(int64(s.protobufBytes)) })},
	{name: "all pods, JSON with gzip", unit: "s", of: single(func(s *side) float64 { return s.json.p50 }), reach: "1/2"},
	{name: "its size", unit: "MB", of: single(func(s *side) float64 { return mega(int64(s.jsonBytes)) })},
	{name: "pods of an application, by label, p50 and p99", unit: "ms", of: both(func(s *side) quantiles { return s.app }), reach: "1 and 5 ms", withoutGrowth: true},
	{name: "the same in the largest namespace", unit: "ms", of: both(func(s *side) quantiles { return s.crowded }), reach: "1 and 5 ms", withoutGrowth: true},
	{name: "age of a node's sample when read, p50 and p99", unit: "s", of: both(func(s *side) quantiles { return s.age }), reach: "8 s", withoutGrowth: true},
	{name: "of the other 99 % while 1 % of the nodes hang for 10 s", unit: "s", of: both(func(s *side) quantiles { return s.hung }), reach: "the same", withoutGrowth: true},
}

func (r sideRow) text(s *side) string {
	value, last := r.of(s)
	switch {
	case value == 0:
		return "-"
	case last != 0:
		return figure(value, r.unit) + ", " + figure(last, r.unit)
	}
	return figure(value, r.unit)
}

// report gives the figures that the issue names in the form of Go's benchmarks.
func (s *sides) report(b *testing.B) {
	for _, of := range []struct {
		name string
		side *side
	}{{"peer-", &s.peer}, {"our-", &s.ours}} {
		b.ReportMetric(of.side.starts.of(complete).median, of.name+"restart-s")
		b.ReportMetric(mega(of.side.memory), of.name+"rss-MB")
		b.ReportMetric(seconds(of.side.cpu), of.name+"cpu-s/min")
		b.ReportMetric(of.side.protobuf.p50, of.name+"protobuf-s")
		b.ReportMetric(of.side.json.p50, of.name+"json-s")
		b.ReportMetric(of.side.app.p99, of.name+"app-p99-ms")
		b.ReportMetric(of.side.age.p50, of.name+"age-s")
		b.ReportMetric(of.side.hung.p50, of.name+"hung-age-s")
	}
}

func (s *sides) print(to io.Writer) {
	fmt.Fprintf(to, "The largest namespace has %d pods. metrics-server was restarted %d times, metricsapi %d times.\n", s.largest, len(s.peer.starts), len(s.ours.starts))
	t := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tmetrics-server\tHeadwater\tratio\tto reach at 5,000 nodes")
	for _, r := range sideRows {
		ratio := "-"
		peer, _ := r.of(&s.peer)
		if ours, _ := r.of(&s.ours); ours > 0 && peer > 0 {
			ratio = fmt.Sprintf("%.3g", peer/ours)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.name, r.text(&s.peer), r.text(&s.ours), ratio, r.reach)
	}
	t.Flush()
	fmt.Fprintln(to, "Each process in the steady minute; nats-server, state and the simulation are in none of the figures above:")
	t = tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tCPU s\tmemory MB\tpeak MB")
	for _, with := range []*side{&s.ours, &s.peer} {
		for _, p := range with.parts {
			fmt.Fprintf(t, "%s\t%.2f\t%.0f\t%.0f\n", p.name, p.cpu.Seconds(), mega(p.resident), mega(p.peak))
		}
	}
	t.Flush()
	fmt.Fprintf(to, "Of %d answers with all pods each (least to most): protobuf %.2f to %.2f s, %.2f to %.2f s; JSON with gzip %.2f to %.2f s, %.2f to %.2f s.\n", allAnswers,
		s.peer.protobuf.least, s.peer.protobuf.most, s.ours.protobuf.least, s.ours.protobuf.most, s.peer.json.least, s.peer.json.most, s.ours.json.least, s.ours.json.most)
}

// beyond is the size of a cluster that one machine here can't hold.
const beyond = 15_000

// printSides prints in Markdown how cost grows, and what a cluster beyond those would take if it goes on growing as between
// the two largest.
func printSides(to io.Writer, all []*sides) {
	fmt.Fprint(to, "\n| metrics-server / Headwater |")
	for _, s := range all {
		fmt.Fprintf(to, " %d nodes |", s.nodes)
	}
	fmt.Fprintf(to, " %d nodes, worked out |\n|---|", beyond)
	for range len(all) + 1 {
		fmt.Fprint(to, "---|")
	}
	before, last := all[len(all)-2], all[len(all)-1]
	worked := func(r sideRow, of func(*sides) *side) string {
		from, _ := r.of(of(before))
		till, _ := r.of(of(last))
		if r.withoutGrowth || from == 0 || till == 0 || last.nodes <= before.nodes {
			return "-"
		}
		return figure(till+(till-from)/float64(last.nodes-before.nodes)*float64(beyond-last.nodes), r.unit)
	}
	for _, r := range sideRows {
		fmt.Fprintf(to, "\n| %s |", r.name)
		for _, s := range all {
			fmt.Fprintf(to, " %s / %s |", r.text(&s.peer), r.text(&s.ours))
		}
		fmt.Fprintf(to, " %s / %s |", worked(r, func(s *sides) *side { return &s.peer }), worked(r, func(s *sides) *side { return &s.ours }))
	}
	for i, p := range last.ours.parts {
		fmt.Fprintf(to, "\n| %s: CPU a minute, memory |", p.name)
		for _, s := range all {
			fmt.Fprintf(to, " %.2f s, %.0f MB |", s.ours.parts[i].cpu.Seconds(), mega(s.ours.parts[i].resident))
		}
		slope := func(of func(part) float64) float64 {
			from, till := of(before.ours.parts[i]), of(last.ours.parts[i])
			return till + (till-from)/float64(last.nodes-before.nodes)*float64(beyond-last.nodes)
		}
		fmt.Fprintf(to, " %.1f s, %.0f MB |", slope(func(p part) float64 { return p.cpu.Seconds() }), slope(func(p part) float64 { return mega(p.resident) }))
	}
	fmt.Fprintln(to)
}

// plotSides draws how the cost of metrics-server and Headwater grows with the nodes.
func plotSides(all []*sides) []byte {
	var panels []panel
	for _, p := range []struct {
		title string
		of    func(*side) float64
	}{
		{"Memory, steady, MB", func(s *side) float64 { return mega(s.memory) }},
		{"CPU a minute, steady, s", func(s *side) float64 { return seconds(s.cpu) }},
		{"Restart to the first complete answer, s", func(s *side) float64 { return s.starts.of(complete).median }},
		{"All pods in protobuf, s", func(s *side) float64 { return s.protobuf.p50 }},
	} {
		one := panel{title: p.title, lines: []plotLine{{name: "metrics-server", color: peerColor}, {name: "Headwater", color: ourColor}}}
		for _, s := range all {
			one.nodes = append(one.nodes, s.nodes)
			one.lines[0].values = append(one.lines[0].values, p.of(&s.peer))
			one.lines[1].values = append(one.lines[1].values, p.of(&s.ours))
		}
		panels = append(panels, one)
	}
	return plot(panels)
}
