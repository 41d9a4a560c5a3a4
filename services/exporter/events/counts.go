package events

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// family is a family of counters, in the order of the exposition.
type family uint8

const (
	jobCompletions family = iota
	objectChanges
	podCompletions
	podTerminations
	families // how many there are
)

// described is a family with the names of its labels: namespace, where it has one, and two more.
type described struct {
	collector.Family
	labels          [3]string
	group, resource string // the resource that must be exported; none for objectChanges
}

// table describes the families.
func table() [families]described {
	counter := func(name, help string, labels [3]string, group, resource string) described {
		return described{collector.Family{Name: name, Type: collector.Counter, Help: help}, labels, group, resource}
	}
	return [families]described{
		counter("headwater_job_completions_total", "Jobs that came to their end while this process counted, by how they did and why.", [3]string{"namespace", "result", "reason"}, "batch", "jobs"),
		counter("headwater_object_changes_total", "Changes of exported objects that this process read from the log, by what was done.", [3]string{"", "resource", "operation"}, "", ""),
		counter("headwater_pod_completions_total", "Pods that reached their last phase while this process counted, by that phase and its reason.", [3]string{"namespace", "phase", "reason"}, "", "pods"),
		counter("headwater_pod_container_terminations_total", "Runs of containers, init and ephemeral ones too, that ended while this process counted, by the reason.", [3]string{"namespace", "reason", ""}, "", "pods"),
	}
}

// row is a series.
type row struct {
	family    family
	namespace string
	a, b      string // the values of the two other labels
}

// counts are the values of the counters. They are guarded by the mutex of the Totals.
type counts struct {
	version uint64 // counts changes
	of      map[row]uint64
	reasons map[string]string         // that are told apart
	names   map[[2]string]string      // of resources, by group and resource
	zeros   map[*kind]map[string]bool // the namespaces in which a kind's series exist
	gone    map[string]int64          // namespaces that were deleted, and when, Unix nanoseconds
}

func newCounts() counts {
	return counts{of: map[row]uint64{}, reasons: map[string]string{}, names: map[[2]string]string{},
		zeros: map[*kind]map[string]bool{&podKind: {}, &jobKind: {}}, gone: map[string]int64{}}
}

// maxReasons is how many reasons are told apart; Kubernetes has about 20. More of them, and texts that are no identifiers,
// are "Other": reasons are written by whoever runs the containers, and each makes a series in every namespace.
const (
	maxReasons = 100
	maxReason  = 63
	other      = "Other"
)

// add adds to a row, whose strings may be part of a message.
func (c *counts) add(r row, n uint64) {
	c.version++
	switch r.family {
	case podTerminations:
		r.a = c.reason(r.a)
	case podCompletions, jobCompletions:
		r.a, r.b = c.reason(r.a), c.reason(r.b)
	}
	if value, ok := c.of[r]; ok {
		c.of[r] = value + n
		return
	}
	r.namespace = strings.Clone(r.namespace)
	c.of[r] = n
}

// reason is the value that a reason's label has.
func (c *counts) reason(text string) string {
	if known, ok := c.reasons[text]; ok {
		return known
	}
	if len(c.reasons) >= maxReasons || len(text) > maxReason || strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	}) {
		return other
	}
	text = strings.Clone(text)
	c.reasons[text] = text
	return text
}

// resource is the name of a resource: its plural, with the group for those that are not of Kubernetes itself.
func (c *counts) resource(group, resource string) string {
	k := [2]string{group, resource}
	name, ok := c.names[k]
	if !ok {
		name = strings.Clone(resource)
		if kind, known := objects.ByResource(resource); group != "" && (!known || kind.Group != group) {
			name += "." + group
		}
		c.names[[2]string{strings.Clone(group), strings.Clone(resource)}] = name
	}
	return name
}

// appear makes the usual series of a kind in a namespace, with 0: an increase from nothing to 1 is none for Prometheus.
func (c *counts) appear(k *kind, namespace string) {
	if c.zeros[k][namespace] {
		return
	}
	namespace = strings.Clone(namespace)
	c.zeros[k][namespace] = true
	if k == &jobKind {
		c.add(row{jobCompletions, namespace, complete, ""}, 0)
		c.add(row{jobCompletions, namespace, failed, "BackoffLimitExceeded"}, 0)
		c.add(row{jobCompletions, namespace, failed, "DeadlineExceeded"}, 0)
		return
	}
	for _, reason := range []string{"Completed", "Error", "OOMKilled", unknown} {
		c.add(row{podTerminations, namespace, reason, ""}, 0)
	}
	c.add(row{podCompletions, namespace, "Succeeded", ""}, 0)
	c.add(row{podCompletions, namespace, "Failed", ""}, 0)
	c.add(row{podCompletions, namespace, "Failed", "Evicted"}, 0)
}

// leave notes that a namespace was deleted; stay, that it exists.
func (c *counts) leave(namespace string, at int64) { c.gone[strings.Clone(namespace)] = at }
func (c *counts) stay(namespace string)            { delete(c.gone, namespace) }

// forgetAfter is how long the series of a deleted namespace stay: several scrapes.
const forgetAfter = time.Hour

// forget drops the series of namespaces that were deleted long before now, Unix nanoseconds.
func (c *counts) forget(now int64) {
	old := map[string]bool{}
	for namespace, at := range c.gone {
		if now-at > int64(forgetAfter) {
			old[namespace] = true
		}
	}
	if len(old) == 0 {
		return
	}
	c.version++
	maps.DeleteFunc(c.of, func(r row, _ uint64) bool { return r.namespace != "" && old[r.namespace] })
	for namespace := range old {
		delete(c.gone, namespace)
		for _, namespaces := range c.zeros {
			delete(namespaces, namespace)
		}
	}
}

// rendered is the counters as they were last rendered.
type rendered struct {
	version uint64
	group   exposition.Group
	headers [families]*exposition.Header
}

// Group is the counters as they are now; false before the first build was whole. Take it after the snapshot of the
// objects: then whatever the scrape shows has been counted.
func (t *Totals) Group() (exposition.Group, bool) {
	t.rendering.Lock()
	defer t.rendering.Unlock()
	t.mu.Lock()
	if !t.started {
		t.mu.Unlock()
		return exposition.Group{}, false
	}
	t.counts.forget(t.newest)
	scope, version := t.scope, t.counts.version
	if version == t.rendered.version {
		t.mu.Unlock()
		return t.rendered.group, true
	}
	type value struct {
		row
		n uint64
	}
	values := make([]value, 0, len(t.counts.of))
	for r, n := range t.counts.of {
		values = append(values, value{r, n})
	}
	t.mu.Unlock()

	slices.SortFunc(values, func(x, y value) int {
		return cmp.Or(cmp.Compare(x.family, y.family), cmp.Compare(x.namespace, y.namespace), cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b))
	})
	group := exposition.Group{Name: "events"}
	var pages []*exposition.Page
	var text []byte
	for i, d := range table() {
		first, _ := slices.BinarySearchFunc(values, family(i), func(v value, f family) int { return cmp.Compare(v.family, f) })
		if d.resource != "" && !scope.resource(d.group, d.resource) {
			continue
		}
		text = text[:0]
		for _, v := range values[first:] {
			if v.family != family(i) {
				break
			}
			if d.labels[0] != "" && !scope.namespace(v.namespace) {
				continue
			}
			text = appendSeries(text, &d, v.row, v.n)
		}
		if t.rendered.headers[i] == nil {
			t.rendered.headers[i] = exposition.NewHeader(d.Family)
		}
		group.Families = append(group.Families, t.rendered.headers[i])
		pages = append(pages, exposition.Pack(text))
	}
	group.Pages = [][]*exposition.Page{pages}
	t.rendered.version, t.rendered.group = version, group
	return group, true
}

func appendSeries(b []byte, d *described, r row, n uint64) []byte {
	b = append(append(b, d.Name...), '{')
	for i, v := range [3]string{r.namespace, r.a, r.b} {
		if d.labels[i] == "" {
			continue
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(append(b, d.labels[i]...), '=', '"')
		b = append(collector.AppendEscaped(b, v), '"')
	}
	b = append(b, '}', ' ')
	return append(strconv.AppendUint(b, n, 10), '\n')
}
