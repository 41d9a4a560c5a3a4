package api

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strconv"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// The protobuf messages of metrics.k8s.io, by field and wire type. All their strings and messages are written even if
// they are empty, except in maps and lists.
const (
	fieldVarint1 = 1 << 3
	fieldVarint2 = 2 << 3
	fieldVarint7 = 7 << 3
	fieldBytes1  = 1<<3 | 2
	fieldBytes2  = 2<<3 | 2
	fieldBytes3  = 3<<3 | 2
	fieldBytes4  = 4<<3 | 2
	fieldBytes5  = 5<<3 | 2
	fieldBytes6  = 6<<3 | 2
	fieldBytes8  = 8<<3 | 2
	fieldBytes11 = 11<<3 | 2
)

// backward is a buffer that is filled from its end, so that a message's length is known when its place comes.
type backward struct {
	b  []byte
	at int // what has been written is b[at:]
}

func (w *backward) reset()        { w.at = len(w.b) }
func (w *backward) bytes() []byte { return w.b[w.at:] }
func (w *backward) len() int      { return len(w.b) - w.at }

// room makes sure that n bytes fit before what has been written.
func (w *backward) room(n int) {
	if w.at >= n {
		return
	}
	grown := make([]byte, 2*len(w.b)+n)
	at := len(grown) - w.len()
	copy(grown[at:], w.bytes())
	w.b, w.at = grown, at
}

func (w *backward) byte(b byte) {
	w.at--
	w.b[w.at] = b
}

// maxVarint is the most that a field's tag and a number take.
const maxVarint = 1 + binary.MaxVarintLen64

func (w *backward) varint(v uint64) {
	w.at -= (bits.Len64(v|1) + 6) / 7
	binary.PutUvarint(w.b[w.at:], v)
}

// number writes a field with a number.
func (w *backward) number(field byte, v uint64) {
	w.room(maxVarint)
	w.varint(v)
	w.byte(field)
}

// end writes the head of a field whose content has been written since the length was from.
func (w *backward) end(field byte, from int) { w.number(field, uint64(w.len()-from)) }

// string writes a field with a string.
func (w *backward) string(field byte, s string) {
	w.room(len(s) + maxVarint)
	w.at -= len(s)
	copy(w.b[w.at:], s)
	w.varint(uint64(len(s)))
	w.byte(field)
}

// text is string for bytes.
func (w *backward) text(field byte, s []byte) {
	w.room(len(s) + maxVarint)
	w.at -= len(s)
	copy(w.b[w.at:], s)
	w.varint(uint64(len(s)))
	w.byte(field)
}

// protobufNode writes a NodeMetrics, as an element of a list.
func (w *itemWriter) protobufNode(b *backward, r *nodeReading) {
	end := b.len()
	w.protobufUsage(b, fieldBytes4, r.point)
	w.protobufMeasured(b, r.point.Time, r.point.Window)
	w.protobufMetadata(b, "", r.entry.Name, r.entry.Value.labels)
	b.end(fieldBytes2, end)
}

// protobufPod writes a PodMetrics, as an element of a list.
func (w *itemWriter) protobufPod(b *backward, r *podReading) {
	end := b.len()
	for i := range slices.Backward(r.containers) {
		c := &r.containers[i]
		if !c.Point.HasRate() {
			continue
		}
		end := b.len()
		w.protobufUsage(b, fieldBytes2, &c.Point)
		b.string(fieldBytes1, c.Name)
		b.end(fieldBytes4, end)
	}
	w.protobufMeasured(b, r.time, r.window)
	w.protobufMetadata(b, r.entry.Namespace, r.entry.Name, r.entry.Value.labels)
	b.end(fieldBytes2, end)
}

func (w *itemWriter) protobufMetadata(b *backward, namespace, name string, labels *view.Labels) {
	end := b.len()
	for _, label := range slices.Backward(labels.Sorted()) {
		end := b.len()
		b.string(fieldBytes2, label.Value)
		b.string(fieldBytes1, label.Key)
		b.end(fieldBytes11, end)
	}
	protobufTime(b, fieldBytes8, w.now.Unix())
	b.number(fieldVarint7, 0) // generation
	var text []byte
	if w.version != 0 {
		text = strconv.AppendUint(w.scratch[:0], w.version, 10)
	}
	b.text(fieldBytes6, text)
	b.string(fieldBytes5, "") // uid
	b.string(fieldBytes4, "") // selfLink
	b.string(fieldBytes3, namespace)
	b.string(fieldBytes2, "") // generateName
	b.string(fieldBytes1, name)
	b.end(fieldBytes1, end)
}

func (w *itemWriter) protobufMeasured(b *backward, time, window int64) {
	end := b.len()
	b.number(fieldVarint1, uint64(window))
	b.end(fieldBytes3, end)
	if window == 0 { // so there is no time
		b.end(fieldBytes2, b.len())
		return
	}
	protobufTime(b, fieldBytes2, floor(time, 1e9))
}

// floor is a/b, rounded down, of a positive b.
func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// protobufTime writes a time, Unix seconds.
func protobufTime(b *backward, field byte, seconds int64) {
	end := b.len()
	b.number(fieldVarint2, 0) // nanoseconds are not in the API
	b.number(fieldVarint1, uint64(seconds))
	b.end(field, end)
}

func (w *itemWriter) protobufUsage(b *backward, field byte, p *schemas.Point) {
	if swap, ok := w.swap(p); ok {
		protobufQuantity(b, field, "swap", appendBytes(w.scratch[:0], swap))
	}
	protobufQuantity(b, field, "memory", appendBytes(w.scratch[:0], p.Memory))
	protobufQuantity(b, field, "cpu", appendCPU(w.scratch[:0], p.Rate))
}

// protobufQuantity writes an entry of a resource list.
func protobufQuantity(b *backward, field byte, resource string, quantity []byte) {
	end := b.len()
	b.text(fieldBytes1, quantity)
	b.end(fieldBytes2, end)
	b.string(fieldBytes1, resource)
	b.end(field, end)
}
