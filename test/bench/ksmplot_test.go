package bench

import (
	"bytes"
	"fmt"
	"math"
)

// panel is one figure of both servers over the sizes of clusters.
type panel struct {
	title string
	of    func(*figures) float64
}

var panels = []panel{
	{"Memory at its peak, MB", func(f *figures) float64 { return mega(f.peak) }},
	{"Restart to the first complete answer, s", func(f *figures) float64 { return seconds(f.start.complete) }},
	{"CPU of a scrape with gzip, 1 % changed, s", func(f *figures) float64 { return seconds(f.changed.cpu) }},
}

// Sizes of the plot, in pixels.
const (
	panelWidth, panelHeight = 300, 220
	marginLeft, marginTop   = 56, 40
	marginRight             = 16
	legendHeight            = 56
)

// plot draws how cost grows with the nodes, in SVG, for a light and a dark page alike. Both axes are logarithmic: a cost
// that grows as the cluster does is a straight line that rises by a decade when the nodes do.
func plot(all []*comparison) []byte {
	var b bytes.Buffer
	width := len(panels) * (marginLeft + panelWidth + marginRight)
	height := marginTop + panelHeight + legendHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="#777">`+"\n", width, height)
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i*(marginLeft+panelWidth+marginRight)+marginLeft, marginTop)
		p.draw(&b, all)
		fmt.Fprintln(&b, "</g>")
	}
	fmt.Fprintln(&b, "</svg>")
	return b.Bytes()
}

func (p panel) draw(b *bytes.Buffer, all []*comparison) {
	servers := []struct {
		name, color string
		of          func(*comparison) *figures
	}{
		{"kube-state-metrics", "#d9822b", func(c *comparison) *figures { return &c.peer }},
		{"exporter", "#2b7fd9", func(c *comparison) *figures { return &c.ours }},
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range servers {
		for _, c := range all {
			if v := p.of(s.of(c)); v > 0 {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if high < low {
		return // nothing was measured
	}
	bottom, top := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	if top == bottom {
		top++
	}
	first, last := math.Log10(float64(all[0].nodes)), math.Log10(float64(all[len(all)-1].nodes))
	x := func(nodes int) float64 {
		return (math.Log10(float64(nodes)) - first) / max(last-first, 1e-9) * panelWidth
	}
	y := func(value float64) float64 { return panelHeight - (math.Log10(value)-bottom)/(top-bottom)*panelHeight }

	fmt.Fprintf(b, `<text x="0" y="-16" font-size="13">%s</text>`+"\n", p.title)
	for decade := bottom; decade <= top; decade++ {
		at := y(math.Pow(10, decade))
		fmt.Fprintf(b, `<path d="M0 %.1fH%d" stroke="#777" stroke-opacity=".3"/><text x="-6" y="%.1f" text-anchor="end">%g</text>`+"\n", at, panelWidth, at+4, math.Pow(10, decade))
	}
	for _, c := range all {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(c.nodes), panelHeight+18, c.nodes)
	}
	for i, s := range servers {
		var line bytes.Buffer
		for j, c := range all {
			v := p.of(s.of(c))
			if v <= 0 {
				continue
			}
			fmt.Fprintf(&line, "%.1f,%.1f ", x(c.nodes), y(v))
			left, anchor, digits := x(c.nodes)-6, "end", 0
			if j == 0 {
				left, anchor = 8, "start" // the axis' own numbers are on the other side
			}
			for at := v; at < 10 && digits < 3; at *= 10 {
				digits++
			}
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/><text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%.*f</text>`+"\n",
				x(c.nodes), y(v), s.color, left, y(v)-7, anchor, s.color, digits, v)
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", bytes.TrimSpace(line.Bytes()), s.color)
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", i*150, panelHeight+40, s.color, s.name)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">nodes</text>`+"\n", panelWidth, panelHeight+40)
}
