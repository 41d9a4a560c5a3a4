package watcher

import (
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/customresource"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// pacing has the objects whose newest state has to wait, the one that is due first in front.
type pacing struct {
	heap paceHeap
}

type pacedRecord struct {
	record *record
	due    time.Time
}

func (p *pacing) len() int { return len(p.heap) }

func (p *pacing) add(r *record, due time.Time) { heap.Push(&p.heap, pacedRecord{r, due}) }

func (p *pacing) peek() (r *record, due time.Time, ok bool) {
	if len(p.heap) == 0 {
		return nil, due, false
	}
	return p.heap[0].record, p.heap[0].due, true
}

func (p *pacing) pop() { heap.Pop(&p.heap) }

type paceHeap []pacedRecord

func (h paceHeap) Len() int           { return len(h) }
func (h paceHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h paceHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *paceHeap) Push(x any)        { *h = append(*h, x.(pacedRecord)) }
func (h *paceHeap) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = pacedRecord{}
	*h = (*h)[:last]
	return r
}

// Pace is a flag's value of the form "leases=30s,foos.example.com=5s".
type Pace map[string]time.Duration

// String is what Set takes, in order of the names.
func (p *Pace) String() string {
	var all []string
	for _, resource := range slices.Sorted(maps.Keys(*p)) {
		all = append(all, resource+"="+(*p)[resource].String())
	}
	return strings.Join(all, ",")
}

// Set replaces the paces; "" means none.
func (p *Pace) Set(text string) error {
	parsed := Pace{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		resource, value, ok := strings.Cut(part, "=")
		if !ok {
			return fmt.Errorf("%q has no \"=\": write it like leases=30s", part)
		}
		if _, known := objects.ByResource(resource); !known && !custom(resource) {
			return fmt.Errorf("there is no resource %q; a custom resource is written like foos.example.com=30s", resource)
		}
		pace, err := time.ParseDuration(value)
		if err != nil || pace < 0 {
			return fmt.Errorf("%q isn't a length of time: write it like leases=30s", part)
		}
		parsed[resource] = pace
	}
	*p = parsed
	return nil
}

// custom tells whether a name is the plural and the group of a custom resource.
func custom(name string) bool {
	p, err := customresource.ParsePattern(name)
	return err == nil && p.Plural != customresource.Any && p.Version == customresource.Any && p.Plural+"."+p.Group == name
}

// Type names the form, for --help.
func (p *Pace) Type() string { return "resource=duration,..." }
