package customresource

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

// What one object may make, in bytes: what is gathered for the series of one metric (labels, their texts but for those that
// are parts of the object, and series), and the text of all. An object of a thousand elements that each copy a map of a
// thousand keys is an error, not the end of the exporter.
const (
	maxGathered = 4 << 20
	maxText     = 8 << 20
)

// What a label and a series take of maxGathered.
const (
	labelSize  = int(unsafe.Sizeof(label{}))
	seriesSize = int(unsafe.Sizeof(series{}))
)

// renderer writes the series of the objects of one kind.
type renderer struct {
	program *program
	tree    tree

	labels  []label  // of the object's root, and behind them those of the series of the metric that is being written
	series  []series // of that metric
	scratch []byte   // texts of labels that are no texts of the object
	name    []byte
	room    int // what is left of maxGathered; negative where it wasn't enough

	lines   collector.Lines // of the family that is being written
	skipped int
	text    []byte
	out     collector.Rendered
}

// series is one of a metric. Its own labels, without those that all series of the metric have, are labels[from:to].
type series struct {
	value    float64
	from, to int
}

// errTooLarge is what an object is that makes more than it may.
var errTooLarge = fmt.Errorf("it makes more than %d MiB of labels or %d MiB of text; check the paths of the configuration that copy maps", maxGathered>>20, maxText>>20)

// take takes n bytes of the room that is left, and tells whether there were as many. Whoever is told no gathers nothing more.
func (r *renderer) take(n int) bool {
	if r.room < n {
		r.room = -1
		return false
	}
	r.room -= n
	return true
}

// Render implements collector.Renderer.
func (r *renderer) Render(object []byte) (*collector.Rendered, error) {
	r.text, r.out.Ends, r.skipped = r.text[:0], r.out.Ends[:0], 0
	r.lines.Clear() // an object that was too large has left its own
	if err := r.tree.read(object); err != nil {
		return nil, fmt.Errorf("couldn't read the object: %w", err)
	}
	for i := range r.program.families {
		f := &r.program.families[i]
		for j := range f.metrics {
			if err := r.metric(f, &f.metrics[j]); err != nil {
				return nil, fmt.Errorf("couldn't write the series of %s: %w", f.describe.Name, err)
			}
		}
		var dropped int
		r.text, dropped = r.lines.DropRepeated(r.text, len(f.head))
		r.skipped += dropped
		r.lines.Clear()
		r.out.Ends = append(r.out.Ends, len(r.text))
	}
	r.out.Text, r.out.Skipped = r.text, r.skipped
	return &r.out, nil
}

// metric writes the series of one metric.
func (r *renderer) metric(f *merged, m *metric) error {
	r.labels, r.series, r.scratch, r.room = r.labels[:0], r.series[:0], r.scratch[:0], maxGathered
	root := r.tree.root()
	r.labels = append(r.labels, m.common...)
	if len(m.base.stars)+len(m.base.names) > 0 {
		r.add(&m.base, root)
		r.settle(0)
	}
	base := len(r.labels)
	r.values(&m.each, r.resolve(m.each.path, root))
	if r.room < 0 {
		return errTooLarge
	}
	size := len(r.series) * (len(f.head) + sizeOf(r.labels[:base]))
	for i := range r.series {
		size += sizeOf(r.labels[r.series[i].from:r.series[i].to])
	}
	if size > maxText-len(r.text) {
		return errTooLarge
	}
	r.text = slices.Grow(r.text, size)
	if len(r.series) > 1 {
		slices.SortStableFunc(r.series, func(a, b series) int { return compareLabels(r.labels[a.from:a.to], r.labels[b.from:b.to]) })
	}
	for i := range r.series {
		if len(r.text) > maxText { // escapes aren't in size
			return errTooLarge
		}
		s := &r.series[i]
		start := len(r.text)
		r.text = appendLabels(append(r.text, f.head...), r.labels[:base], r.labels[s.from:s.to])
		r.lines.Add(start, len(r.text))
		r.text = append(r.text, ' ')
		r.text = append(collector.AppendFloat(r.text, s.value), '\n')
	}
	return nil
}

// sizeOf is how many bytes labels take as they are written, without escapes.
func sizeOf(labels []label) int {
	size := len(labels) * len(`="",`)
	for i := range labels {
		size += len(labels[i].name) + len(labels[i].value)
	}
	return size
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
