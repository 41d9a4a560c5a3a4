package scraper

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
)

// dropped is the reason why something that the kubelet said isn't published: the value of the reason label of
// headwater_ingest_dropped_total.
type dropped uint8

const (
	notDropped dropped = iota
	dropNotFinite
	dropNegative
	dropOutOfRange
	dropDuplicate
	dropFuture
	dropPast
	dropPodNoCPU
	dropPodNoMemory
	dropPodCgroup
	dropNodeNoCPU
	dropNodeNoMemory
	dropTooLarge
	lastDrop
)

// dropReasons are their names.
var dropReasons = [lastDrop]string{
	dropNotFinite:    "series_not_finite",
	dropNegative:     "series_negative",
	dropOutOfRange:   "series_out_of_range",
	dropDuplicate:    "series_duplicate",             // another line of the same body says something else: the last one counts
	dropFuture:       "series_in_future",             // its time is too far ahead of ours
	dropPast:         "series_too_old",               // its time is too far behind ours
	dropPodNoCPU:     "pod_container_without_cpu",    // one container of a pod has no CPU time, or 0: all are dropped
	dropPodNoMemory:  "pod_container_without_memory", // likewise
	dropPodCgroup:    "pod_cgroup_incomplete",        // the pod's own figures
	dropNodeNoCPU:    "node_without_cpu",
	dropNodeNoMemory: "node_without_memory",
	dropTooLarge:     "message_too_large", // a pod for which there was no room in the node's message
}

// drops are what a body told of and its sample does not, for the node's report. What lies in list is not changed any more.
type drops struct {
	list []schemas.DroppedUsage
	more uint64 // those beyond schemas.MaxDropped
}

// add notes that a pod is not published, for its container's sake; the node's own point where there is no pod.
func (d *drops) add(namespace, pod, container string, why dropped) {
	if len(d.list) >= schemas.MaxDropped {
		d.more++
		return
	}
	d.list = append(d.list, schemas.DroppedUsage{Namespace: namespace, Pod: pod, Container: container, Reason: dropReasons[why]})
}

// equal tells whether the same was dropped.
func (d drops) equal(o drops) bool { return d.more == o.more && slices.Equal(d.list, o.list) }

// reason counts those of a reason in the list.
func (d drops) reason(why dropped) (n int) {
	for i := range d.list {
		if d.list[i].Reason == dropReasons[why] {
			n++
		}
	}
	return n
}

// history is what a node's timeline keeps from one good scrape to the next: the names, for recognising them without
// parsing, and the counters' past. A failed scrape leaves it as it is.
type history struct {
	node       track
	containers []*series
	pods       []*series // the pods' own cgroups
}

// sampleBuffer is the memory of one sample.
type sampleBuffer struct {
	sample     schemas.UsageSample
	point      schemas.Point
	containers []schemas.ContainerUsage
	points     []schemas.Point // the pods' own; never grown while pointed into
}

func (b *sampleBuffer) release() {
	b.sample = schemas.UsageSample{Pods: emptied(b.sample.Pods)}
	b.containers, b.points = emptied(b.containers), emptied(b.points)
}

var errEmpty = failed(resultEmpty, errors.New("no node or container in it that has both CPU time and memory; "+
	"the kubelet may have failed to read its container runtime, see its own log"))

// settle makes the sample of the body that was decoded: it applies the rules of what is published, works out the rates
// and brings h up to date. What the body doesn't name, or what isn't published, is forgotten: its next point is a first
// one. The sample, without its Node, Time and Duration, is valid until release. If nothing can be published it says so
// and leaves h alone.
func (d *decoder) settle(h *history, r rules) (*schemas.UsageSample, error) {
	d.group()
	hasNode := d.judgeNode()
	published := 0
	for i := range d.pods {
		p := &d.pods[i]
		if p.drop != notDropped {
			d.refused[p.drop]++
			at := &d.containers.readings[p.fault]
			d.drops.add(p.of.namespace, p.of.name, at.of.container, or(at.flaw, p.drop))
			p.containers = 0
		}
		if p.containers > 0 || p.own >= 0 {
			published++
		}
	}
	if !hasNode && published == 0 {
		return nil, d.empty()
	}

	b := &d.sample
	s := &b.sample
	s.Point = nil
	if hasNode {
		b.point = d.node.point
		b.point.Extra = d.node.optional()
		r.continuous(&h.node, &b.point)
		s.Point = &b.point
	} else {
		h.node = track{}
	}
	d.fill(r)
	h.containers = d.containers.keep(h.containers)
	h.pods = d.own.keep(h.pods)
	return s, nil
}

// group finds out which pods there are, in the order in which the body names them, and which of them are dropped: a
// pod with one container that has used no CPU or no memory.
func (d *decoder) group() {
	for i := range d.containers.readings {
		c := &d.containers.readings[i]
		if !c.exists {
			continue
		}
		p := d.grouped(c.of.pod)
		p.containers++
		switch {
		case p.drop != notDropped:
		case c.point.CPU == 0:
			p.drop, p.fault = dropPodNoCPU, int32(i)
		case c.point.Memory == 0:
			p.drop, p.fault = dropPodNoMemory, int32(i)
		}
	}
	for i := range d.own.readings {
		o := &d.own.readings[i]
		switch {
		case !o.exists:
		case o.point.CPU == 0 || o.point.Memory == 0:
			d.refused[dropPodCgroup]++
			o.exists = false
		default:
			d.grouped(o.of.pod).own = int32(i)
		}
	}
}

// grouped returns the group of p's readings.
func (d *decoder) grouped(p *pod) *podReading {
	if int(p.at) >= len(d.pods) || d.pods[p.at].of != p {
		p.at = int32(len(d.pods))
		d.pods = append(d.pods, podReading{of: p, own: -1})
	}
	return &d.pods[p.at]
}

// judgeNode tells whether the node's own point can be published.
func (d *decoder) judgeNode() bool {
	why := notDropped
	switch {
	case d.node.point.CPU == 0:
		why = dropNodeNoCPU
	case d.node.point.Memory == 0:
		why = dropNodeNoMemory
	default:
		return true
	}
	d.refused[why]++
	d.drops.add("", "", "", or(d.node.flaw, why))
	return false
}

// empty says why there is nothing to publish, as far as the body tells.
func (d *decoder) empty() error {
	why := ""
	switch {
	case d.refused[dropFuture]+d.refused[dropPast] > 0:
		why = fmt.Sprintf("; the times of %d of its values are more than %v ahead of ours and of %d more than %v behind: compare the clocks of the node and of this ingester's host",
			d.refused[dropFuture], time.Duration(futureBound), d.refused[dropPast], time.Duration(pastBound))
	case d.refused[dropNotFinite]+d.refused[dropNegative]+d.refused[dropOutOfRange] > 0:
		why = fmt.Sprintf("; %d of its values are negative or no numbers",
			d.refused[dropNotFinite]+d.refused[dropNegative]+d.refused[dropOutOfRange])
	case d.unwell:
		why = "; it says so itself, with scrape_error"
	}
	return fmt.Errorf("%w%s", errEmpty, why)
}

// fill lays out the sample's pods and containers and works out their rates.
func (d *decoder) fill(r rules) {
	b := &d.sample
	b.containers = grown(b.containers, len(d.containers.readings))
	b.points = grown(b.points, len(d.own.readings))
	pods := b.sample.Pods[:0]

	first, points := int32(0), 0 // free places of b.containers and b.points
	for i := range d.pods {
		p := &d.pods[i]
		usage := schemas.PodUsage{
			Namespace:  p.of.namespace,
			Name:       p.of.name,
			Containers: b.containers[first : first+p.containers : first+p.containers],
		}
		first, p.containers = first+p.containers, first // from here on: where its next container goes
		if p.own >= 0 {
			o := &d.own.readings[p.own]
			point := &b.points[points]
			points++
			*point = o.point
			point.Extra = o.optional()
			r.continuous(&o.of.track, point)
			usage.Point = point
		}
		if usage.Point != nil || len(usage.Containers) > 0 {
			pods = append(pods, usage)
		}
	}
	b.sample.Pods = pods

	for i := range d.containers.readings {
		c := &d.containers.readings[i]
		if !c.exists || d.pods[c.of.pod.at].drop != notDropped {
			c.of.track = track{}
			continue
		}
		p := &d.pods[c.of.pod.at]
		usage := &b.containers[p.containers]
		p.containers++
		usage.Name, usage.Point = c.of.container, c.point
		usage.Point.Extra = c.optional()
		r.container(&c.of.track, &usage.Point)
	}
	for i := range d.own.readings {
		if o := &d.own.readings[i]; !o.exists {
			o.of.track = track{}
		}
	}
}

// fit leaves out of the sample as many pods as it takes for its message to have at most limit bytes, and returns that
// message, in the memory of the one that was too large. Those that stay come first by namespace and name, so that they are
// the same ones from scrape to scrape, whatever the kubelet's order; a pod that is too large by itself costs only itself.
func (d *decoder) fit(s *schemas.UsageSample, limit int, payload []byte) []byte {
	pods := s.Pods
	slices.SortFunc(pods, func(a, b schemas.PodUsage) int {
		return or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	var one schemas.UsageSample
	one.Pods = pods[:0]
	empty := len(one.AppendMsgpack(payload[:0]))
	s.Pods = nil
	const lengths = 4 // by which the head of a long list is longer than that of a short one
	room := limit - len(s.AppendMsgpack(payload[:0])) - lengths
	kept := pods[:0]
	for i := range pods {
		one.Pods = pods[i : i+1]
		if size := len(one.AppendMsgpack(payload[:0])) - empty; size <= room {
			room -= size
			kept = append(kept, pods[i])
			continue
		}
		d.refused[dropTooLarge]++
		d.drops.add(pods[i].Namespace, pods[i].Name, "", dropTooLarge)
	}
	s.Pods = kept
	return s.AppendMsgpack(payload[:0])
}

// grown returns s with length n, its old contents of no interest.
func grown[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// optional returns the reading's extra figures, nil where it has none.
func (r *reading) optional() *schemas.Extra {
	if !r.extra.SwapUsage.Valid && !r.extra.SwapLimit.Valid {
		return nil
	}
	return &r.extra
}

// recall fills h from the node's last message, so that the first scrape after a restart yields rates.
func (h *history) recall(s *schemas.UsageSample) {
	*h = history{}
	if s.Point != nil {
		h.node.restore(s.Point)
	}
	for i := range s.Pods {
		usage := &s.Pods[i]
		p := &pod{namespace: usage.Namespace, name: usage.Name}
		if usage.Point != nil {
			own := &series{pod: p, order: int32(len(h.pods))}
			own.track.restore(usage.Point)
			h.pods = append(h.pods, own)
		}
		for j := range usage.Containers {
			c := &usage.Containers[j]
			s := &series{pod: p, container: c.Name, order: int32(len(h.containers))}
			s.track.restore(&c.Point)
			h.containers = append(h.containers, s)
		}
	}
}
