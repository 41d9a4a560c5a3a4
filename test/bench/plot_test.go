package bench

import (
	"bytes"
	"fmt"
	"math"
)

// panel is one figure of several servers over the sizes of clusters.
type panel struct {
	title string
	nodes []int // sizes of clusters, ascending
	lines []plotLine
}

// plotLine is one server's. A value of 0 was not measured.
type plotLine struct {
	name, color string
	values      []float64 // as many as panel.nodes
}

const (
	peerColor = "#d9822b"
	ourColor  = "#2b7fd9"
)

// Sizes of the plot, in pixels.
const (
	panelWidth, panelHeight = 300, 220
	marginLeft, marginTop   = 56, 40
	marginRight             = 16
	legendHeight            = 56
)

// plot draws how cost grows with the nodes, in SVG, for a light and a dark page alike. Both axes are logarithmic: a cost
// that grows as the cluster does is a straight line that rises by a decade when the nodes do.
func plot(panels []panel) []byte {
	var b bytes.Buffer
	width := len(panels) * (marginLeft + panelWidth + marginRight)
	height := marginTop + panelHeight + legendHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="#777">`+"\n", width, height)
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i*(marginLeft+panelWidth+marginRight)+marginLeft, marginTop)
		p.draw(&b)
		fmt.Fprintln(&b, "</g>")
	}
	fmt.Fprintln(&b, "</svg>")
	return b.Bytes()
}

func (p panel) draw(b *bytes.Buffer) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, l := range p.lines {
		for _, v := range l.values {
			if v > 0 {
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
	first, last := math.Log10(float64(p.nodes[0])), math.Log10(float64(p.nodes[len(p.nodes)-1]))
	x := func(nodes int) float64 {
		return (math.Log10(float64(nodes)) - first) / max(last-first, 1e-9) * panelWidth
	}
	y := func(value float64) float64 { return panelHeight - (math.Log10(value)-bottom)/(top-bottom)*panelHeight }

	fmt.Fprintf(b, `<text x="0" y="-16" font-size="13">%s</text>`+"\n", p.title)
	for decade := bottom; decade <= top; decade++ {
		at := y(math.Pow(10, decade))
		fmt.Fprintf(b, `<path d="M0 %.1fH%d" stroke="#777" stroke-opacity=".3"/><text x="-6" y="%.1f" text-anchor="end">%g</text>`+"\n", at, panelWidth, at+4, math.Pow(10, decade))
	}
	for _, nodes := range p.nodes {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(nodes), panelHeight+18, nodes)
	}
	for i, l := range p.lines {
		var line bytes.Buffer
		for j, v := range l.values {
			if v <= 0 {
				continue
			}
			fmt.Fprintf(&line, "%.1f,%.1f ", x(p.nodes[j]), y(v))
			left, anchor, digits := x(p.nodes[j])-6, "end", 0
			if j == 0 {
				left, anchor = 8, "start" // the axis' own numbers are on the other side
			}
			for at := v; at < 10 && digits < 3; at *= 10 {
				digits++
			}
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/><text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%.*f</text>`+"\n",
				x(p.nodes[j]), y(v), l.color, left, y(v)-7, anchor, l.color, digits, v)
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", bytes.TrimSpace(line.Bytes()), l.color)
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", i*150, panelHeight+40, l.color, l.name)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">nodes</text>`+"\n", panelWidth, panelHeight+40)
}
