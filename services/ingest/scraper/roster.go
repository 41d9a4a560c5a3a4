package scraper

import (
	"github.com/headwater-metrics/headwater/schemas"
)

// pod is a pod as one node's kubelet names it (the resource endpoint gives no UID).
type pod struct {
	namespace, name string

	at int32 // its place in decoder.pods during a decode; stale otherwise, so it is checked before use
}

// series is one container, or one pod's own cgroup, through time: what a node's history holds of it between scrapes.
type series struct {
	// labels is the label block as the kubelet wrote it, braces included. The same line of the next scrape is
	// recognised by comparing these bytes; the names below are usually parts of this string.
	labels    string
	pod       *pod
	container string // "" for a pod's own series

	at    int32 // its place in roster.readings during a decode; stale otherwise, so it is checked before use
	order int32 // its place in history's list; -1 before it is in there

	track track
}

// reading is what the body at hand says of one series.
type reading struct {
	of     *series
	point  schemas.Point
	extra  schemas.Extra
	exists bool // one of the CPU, memory and start time series named it: others alone do not make it exist

	given uint8   // which values there were in this body, a bit each
	flaw  dropped // why its CPU time or memory was refused, if it was
}

// roster finds the series that a line is about: nearly always the one that stood in this place before, so that neither
// labels are parsed nor names allocated. Where a body surprises, names are looked up in a map built for the occasion.
type roster struct {
	known    []*series // of the previous good scrape, in its order
	readings []reading // of this body, in order of appearance
	next     int       // in known: which is expected to appear for the first time
	again    int       // in readings: which is expected to appear again
	index    map[seriesKey]*series
}

type seriesKey struct {
	pod       *pod
	container string
}

// begin makes r ready for a body of the node whose previous series are known.
func (r *roster) begin(known []*series) {
	r.known, r.next, r.again = known, 0, 0
}

// rewind tells that another family begins, whose lines will come in the order of the first one.
func (r *roster) rewind() { r.again = 0 }

// guess returns the reading that the label block at the beginning of p belongs to if p meets expectation, and the
// length of the block; nil otherwise.
func (r *roster) guess(p []byte) (*reading, int) {
	// A family may leave out a series now and then: two places are looked at.
	for i := r.again; i < len(r.readings) && i < r.again+2; i++ {
		if l := r.readings[i].of.labels; hasPrefix(p, l) {
			r.again = i + 1
			return &r.readings[i], len(l)
		}
	}
	if r.next < len(r.known) {
		if s := r.known[r.next]; hasPrefix(p, s.labels) {
			r.next++
			return r.reading(s), len(s.labels)
		}
	}
	return nil, 0
}

// hasPrefix tells whether p begins with a label block. A block ends with its closing brace, so no other block begins
// with it. "" is no block: a series that came from the stream and has not been seen in a body yet.
func hasPrefix(p []byte, labels string) bool {
	return labels != "" && len(p) >= len(labels) && string(p[:len(labels)]) == labels
}

// reading returns the reading of s in this body, added if this is its first appearance.
func (r *roster) reading(s *series) *reading {
	if int(s.at) >= len(r.readings) || r.readings[s.at].of != s {
		s.at = int32(len(r.readings))
		r.readings = append(r.readings, reading{of: s})
	}
	r.again = int(s.at) + 1
	return &r.readings[s.at]
}

// lookup returns the series of a pod's container, new if the node has not had it. labels is the block that names it.
func (r *roster) lookup(p *pod, container string, labels string) *series {
	if len(r.index) == 0 {
		if r.index == nil {
			r.index = make(map[seriesKey]*series)
		}
		for _, s := range r.known {
			r.index[seriesKey{s.pod, s.container}] = s
		}
	}
	s := r.index[seriesKey{p, container}]
	switch {
	case s == nil:
		s = &series{labels: labels, pod: p, container: container, order: -1}
		r.index[seriesKey{p, container}] = s
	case s.order >= 0:
		s.labels = labels
		r.next = int(s.order) + 1
	}
	return s
}

// keep makes the series of this body the known ones, in known's own memory where that fits.
func (r *roster) keep(known []*series) []*series {
	clear(known)
	if n := len(r.readings); cap(known) < n || cap(known) > 2*n+16 {
		known = make([]*series, 0, n+n/8)
	}
	known = known[:0]
	for i := range r.readings {
		s := r.readings[i].of
		s.order = int32(i)
		known = append(known, s)
	}
	return known
}

// release forgets the body.
func (r *roster) release() {
	r.readings, r.index, r.known = emptied(r.readings), emptiedMap(r.index), nil
}

// pooled is how many elements of a body's tables a pooled decoder keeps memory for: far more than a node has pods.
const pooled = 4096

// emptied returns s with nothing in it, so that a pooled decoder pins no node's memory, and not too much of its own.
func emptied[T any](s []T) []T {
	if cap(s) > pooled {
		return nil
	}
	clear(s)
	return s[:0]
}

// emptiedMap is emptied for maps.
func emptiedMap[K comparable, V any](m map[K]V) map[K]V {
	if len(m) > pooled {
		return nil
	}
	clear(m)
	return m
}
