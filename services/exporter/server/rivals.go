package server

import (
	"bytes"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
)

// rivals sees to it that no series of custom resources is exported twice: a configuration may leave out the labels that
// would tell two objects apart, and one such pair spoils the whole scrape. The object that comes first has the series; when
// it goes, or exports it no more, the next one has it. Built-in kinds don't need that: their labels name the object.
type rivals struct {
	metrics *metrics
	seed    maphash.Seed

	mu      sync.Mutex
	owners  map[uint64]*claimant   // by the hash of the series' name and labels
	waiting map[uint64][]*claimant // who would have it next
	objects map[claimKey]*claimant
}

type claimKey struct {
	table *customTable
	key   string
}

// claimant is an object. Only where it doesn't have all of its series, it keeps their lines.
type claimant struct {
	claimKey
	uid    string
	series []uint64 // sorted
	text   []byte
	ends   []int
}

func newRivals(m *metrics) *rivals {
	return &rivals{metrics: m, seed: maphash.MakeSeed(), owners: map[uint64]*claimant{}, waiting: map[uint64][]*claimant{}, objects: map[claimKey]*claimant{}}
}

// put puts an object's lines into its table, without those of series that another object has. It returns what Table.Put
// does.
func (r *rivals) put(table *customTable, key, uid string, lines *collector.Rendered) bool {
	var series []uint64
	for line := range bytes.Lines(lines.Text) {
		series = append(series, r.hash(line))
	}
	slices.Sort(series)
	series = slices.Compact(series)

	r.mu.Lock()
	c := r.objects[claimKey{table, key}]
	if c == nil {
		c = &claimant{claimKey: claimKey{table, key}}
		r.objects[c.claimKey] = c
	}
	old := c.series
	c.uid, c.series = uid, series
	lost := 0
	for _, s := range series {
		switch owner := r.owners[s]; {
		case owner == nil:
			r.owners[s] = c
		case owner != c:
			lost++
			if _, was := slices.BinarySearch(old, s); !was {
				r.waiting[s] = append(r.waiting[s], c)
			}
		}
	}
	heirs := r.release(c, old)
	if lost == 0 && len(heirs) == 0 {
		c.text, c.ends = nil, nil
		r.mu.Unlock() // nobody else puts this object's lines
		return table.Put(key, uid, lines.Text, lines.Ends)
	}
	defer r.mu.Unlock()
	c.text, c.ends = lines.Text, lines.Ends
	changed := r.write(c)
	if lost > 0 {
		r.metrics.odd(oddRival, table.Name(), key)
		c.text, c.ends = slices.Clone(lines.Text), slices.Clone(lines.Ends) // lines are the renderer's
	}
	for _, heir := range heirs {
		r.write(heir)
	}
	return changed
}

// remove takes an object out of its table; it returns whether it was there. A uid that is not the object's leaves it alone,
// an empty one means any.
func (r *rivals) remove(table *customTable, key, uid string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if table.Delete(key, uid) != exposition.Removed {
		return false
	}
	c := r.objects[claimKey{table, key}]
	if c == nil {
		return true
	}
	delete(r.objects, c.claimKey)
	old := c.series
	c.series = nil
	for _, heir := range r.release(c, old) {
		r.write(heir)
	}
	return true
}

// release gives up those of the old series that c has no more, and returns the objects that got one. The mutex is held.
func (r *rivals) release(c *claimant, old []uint64) (heirs []*claimant) {
	for _, s := range old {
		if _, kept := slices.BinarySearch(c.series, s); kept {
			continue
		}
		waiting := r.waiting[s]
		switch {
		case r.owners[s] != c:
			waiting = slices.DeleteFunc(waiting, func(w *claimant) bool { return w == c })
		case len(waiting) == 0:
			delete(r.owners, s)
		default:
			r.owners[s] = waiting[0]
			if !slices.Contains(heirs, waiting[0]) {
				heirs = append(heirs, waiting[0])
			}
			waiting = waiting[1:]
		}
		if len(waiting) == 0 {
			delete(r.waiting, s)
		} else {
			r.waiting[s] = waiting
		}
	}
	return heirs
}

// write puts the lines that c has into its table. The mutex is held.
func (r *rivals) write(c *claimant) bool {
	text := make([]byte, 0, len(c.text))
	ends := make([]int, len(c.ends))
	complete, start := true, 0
	for i, end := range c.ends {
		for line := range bytes.Lines(c.text[start:end]) {
			if r.owners[r.hash(line)] == c {
				text = append(text, line...)
			} else {
				complete = false
			}
		}
		ends[i], start = len(text), end
	}
	if complete {
		c.text, c.ends = nil, nil // it has all: they are not needed again
	}
	return c.table.Put(c.key, c.uid, text, ends)
}

// hash is that of a line's name and labels: all but the value behind the last space.
func (r *rivals) hash(line []byte) uint64 {
	return maphash.Bytes(r.seed, line[:max(bytes.LastIndexByte(line, ' '), 0)])
}
