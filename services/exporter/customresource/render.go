package customresource

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

// What one object may make: labels that are gathered for the series of one metric, and bytes of text. An object of a
// thousand elements that each copy a map of a thousand keys is an error, not the end of the exporter.
const (
	maxLabels = 1 << 20
	maxText   = 32 << 20
)

// renderer writes the series of the objects of one kind.
type renderer struct {
	program *program
	tree    tree

	labels  []label  // of the object's root, and behind them those of the series of the metric that is being written
	series  []series // of that metric
	scratch []byte   // texts of labels that are no texts of the object
	name    []byte

	lines   []span         // of the family that is being written, where it has several series
	seen    map[uint64]int // hash of a line's labels -> index in lines
	seed    maphash.Seed
	skipped int
	text    []byte
	out     collector.Rendered
}

// series is one of a metric. Its own labels, without those that all series of the metric have, are labels[from:to].
type series struct {
	value    float64
	from, to int
}

// span is a part of the text.
type span struct{ from, to int }

// errTooLarge is what an object is that makes more than it may.
var errTooLarge = fmt.Errorf("it makes more than %d MiB of text or %d labels; check the paths of the configuration that copy maps", maxText>>20, maxLabels)

// Render implements collector.Renderer.
func (r *renderer) Render(object []byte) (*collector.Rendered, error) {
	r.text, r.out.Ends, r.skipped = r.text[:0], r.out.Ends[:0], 0
	if err := r.tree.read(object); err != nil {
		return nil, fmt.Errorf("couldn't read the object: %w", err)
	}
	for i := range r.program.families {
		f := &r.program.families[i]
		start := len(r.text)
		for j := range f.metrics {
			if err := r.metric(f, &f.metrics[j]); err != nil {
				return nil, fmt.Errorf("couldn't write the series of %s: %w", f.describe.Name, err)
			}
		}
		if len(r.lines) > 1 {
			r.dropRepeated(start)
		}
		r.lines = r.lines[:0]
		r.out.Ends = append(r.out.Ends, len(r.text))
	}
	r.out.Text, r.out.Skipped = r.text, r.skipped
	return &r.out, nil
}

// metric writes the series of one metric.
func (r *renderer) metric(f *merged, m *metric) error {
	r.labels, r.series, r.scratch = r.labels[:0], r.series[:0], r.scratch[:0]
	root := r.tree.root()
	r.labels = append(r.labels, m.common...)
	if len(m.base.stars)+len(m.base.names) > 0 {
		r.add(&m.base, root)
		r.settle(0)
	}
	base := len(r.labels)
	r.values(&m.each, r.resolve(m.each.path, root))
	if len(r.labels) > maxLabels {
		return errTooLarge
	}
	if len(r.series) > 1 {
		slices.SortStableFunc(r.series, func(a, b series) int { return compareLabels(r.labels[a.from:a.to], r.labels[b.from:b.to]) })
	}
	for i := range r.series {
		if len(r.text) > maxText {
			return errTooLarge
		}
		s := &r.series[i]
		start := len(r.text)
		r.text = appendLabels(append(r.text, f.head...), r.labels[:base], r.labels[s.from:s.to])
		r.lines = append(r.lines, span{start, len(r.text)})
		r.text = append(r.text, ' ')
		r.text = append(collector.AppendFloat(r.text, s.value), '\n')
	}
	return nil
}

// appendLabels writes the labels of a series and the closing brace. Both lists are sorted; those of the series itself come
// before those of the metric where they have one name.
func appendLabels(b []byte, base, own []label) []byte {
	for len(base) > 0 || len(own) > 0 {
		var l *label
		switch {
		case len(base) == 0, len(own) > 0 && own[0].name < base[0].name:
			l, own = &own[0], own[1:]
		case len(own) > 0 && own[0].name == base[0].name:
			l, own, base = &own[0], own[1:], base[1:]
		default:
			l, base = &base[0], base[1:]
		}
		b = append(append(b, l.name...), '=', '"')
		b = append(collector.AppendEscaped(b, l.value), '"', ',')
	}
	if b[len(b)-1] == ',' {
		b = b[:len(b)-1]
	}
	return append(b, '}')
}

// dropRepeated leaves one line of each series of a family, the first, and counts the others. The family's text begins at
// start.
func (r *renderer) dropRepeated(start int) {
	if r.seen == nil {
		r.seen, r.seed = map[uint64]int{}, maphash.MakeSeed()
	}
	clear(r.seen)
	kept := start
	for i, line := range r.lines {
		end := len(r.text)
		if i+1 < len(r.lines) {
			end = r.lines[i+1].from
		}
		labels := r.text[line.from:line.to]
		hash := maphash.Bytes(r.seed, labels)
		if first, again := r.seen[hash]; again && bytes.Equal(labels, r.text[r.lines[first].from:r.lines[first].to]) {
			r.skipped++
			continue
		}
		moved := copy(r.text[kept:], r.text[line.from:end])
		r.lines[i] = span{kept, kept + line.to - line.from}
		r.seen[hash] = i
		kept += moved
	}
	r.text = r.text[:kept]
}
