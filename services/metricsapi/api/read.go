package api

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// nodeReading is what the views say of a node that has metrics: all that an answer says but the time when it was asked for.
type nodeReading struct {
	entry   *view.Entry[node]
	point   *schemas.Point
	version uint64 // the item's resourceVersion; 0 for none
}

// podReading is the same of a pod.
type podReading struct {
	entry *view.Entry[pod]
	// containers are those of the sample, by name; those without a rate are not shown.
	containers []schemas.ContainerUsage
	// time and window are those of the earliest point, Unix nanoseconds and nanoseconds; window 0 says that no container
	// has a rate, and that there is no time either.
	time, window int64
	version      uint64 // the item's resourceVersion; 0 for none
}

// readNode tells what a node's latest sample says; false where that is nothing: no sample, one that is too old, only one
// point yet, a counter that went backwards.
func readNode(e *view.Entry[node], sample *schemas.UsageSample, now time.Time, maxAge time.Duration) (nodeReading, bool) {
	if sample == nil || sample.Point == nil || !sample.Point.HasRate() || expired(sample, now, maxAge) || sample.Time < e.Value.created*1e9 {
		return nodeReading{}, false
	}
	return nodeReading{entry: e, point: sample.Point}, true
}

// readPod tells what a pod's part of a sample says; false where that is nothing. A pod is absent as a whole while one of
// its containers has only one point, because a sum without it would mislead the autoscaler; a container whose counter went
// backwards is left out.
func readPod(e *view.Entry[pod], found view.PodUsage, now time.Time, maxAge time.Duration) (podReading, bool) {
	if found.Pod == nil || len(found.Pod.Containers) == 0 || expired(found.Sample, now, maxAge) || !belongs(found, &e.Value) {
		return podReading{}, false
	}
	reading := podReading{entry: e, containers: found.Pod.Containers}
	for i := range reading.containers {
		point := &reading.containers[i].Point
		if point.Window == 0 {
			return podReading{}, false
		}
		if !point.HasRate() {
			continue
		}
		if reading.window == 0 || point.Time < reading.time || point.Time == reading.time && point.Window > reading.window {
			reading.time, reading.window = point.Time, point.Window
		}
	}
	if !slices.IsSortedFunc(reading.containers, byName) {
		reading.containers = slices.SortedStableFunc(slices.Values(reading.containers), byName)
	}
	return reading, true
}

func byName(a, b schemas.ContainerUsage) int { return strings.Compare(a.Name, b.Name) }

// timestamp is the time of the answer, zero where it has none.
func (r nodeReading) timestamp() time.Time { return time.Unix(0, r.point.Time) }

// timestamp is the time of the answer, zero where it has none.
func (r podReading) timestamp() time.Time {
	if r.window == 0 {
		return time.Time{}
	}
	return time.Unix(0, r.time)
}

// item makes the answer for the library. The encodings of lists (see encode.go) say the same.
func (r nodeReading) item(now time.Time, extended bool) metrics.NodeMetrics {
	return metrics.NodeMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: r.entry.Name, ResourceVersion: resourceVersion(r.version), Labels: r.entry.Value.labels.Map(), CreationTimestamp: metav1.Time{Time: now}},
		Timestamp:  metav1.Time{Time: r.timestamp()},
		Window:     metav1.Duration{Duration: time.Duration(r.point.Window)},
		Usage:      usage(r.point, extended),
	}
}

// item makes the answer for the library. The encodings of lists (see encode.go) say the same.
func (r podReading) item(now time.Time, extended bool) metrics.PodMetrics {
	item := metrics.PodMetrics{
		ObjectMeta: metav1.ObjectMeta{
			Name: r.entry.Name, Namespace: r.entry.Namespace, ResourceVersion: resourceVersion(r.version),
			Labels: r.entry.Value.labels.Map(), CreationTimestamp: metav1.Time{Time: now},
		},
		Timestamp:  metav1.Time{Time: r.timestamp()},
		Window:     metav1.Duration{Duration: time.Duration(r.window)},
		Containers: make([]metrics.ContainerMetrics, 0, len(r.containers)),
	}
	for i := range r.containers {
		if c := &r.containers[i]; c.Point.HasRate() {
			item.Containers = append(item.Containers, metrics.ContainerMetrics{Name: c.Name, Usage: usage(&c.Point, extended)})
		}
	}
	return item
}

func resourceVersion(version uint64) string {
	if version == 0 {
		return ""
	}
	return strconv.FormatUint(version, 10)
}

// nodeMetrics makes a node's answer from its latest sample; false where it has none to give.
func nodeMetrics(e *view.Entry[node], sample *schemas.UsageSample, now time.Time, maxAge time.Duration, extended bool) (metrics.NodeMetrics, bool) {
	reading, ok := readNode(e, sample, now, maxAge)
	if !ok {
		return metrics.NodeMetrics{}, false
	}
	return reading.item(now, extended), true
}

// podMetrics makes a pod's answer from its part of a sample; false where it has none to give.
func podMetrics(e *view.Entry[pod], found view.PodUsage, now time.Time, maxAge time.Duration, extended bool) (metrics.PodMetrics, bool) {
	reading, ok := readPod(e, found, now, maxAge)
	if !ok {
		return metrics.PodMetrics{}, false
	}
	return reading.item(now, extended), true
}

// expired tells whether a sample is too old to be true. Its age is that of the scrape: a kubelet that answers with an
// unchanged reading is repeated, with the reading's own time.
func expired(sample *schemas.UsageSample, now time.Time, maxAge time.Duration) bool {
	return now.UnixNano()-sample.Time > int64(maxAge)
}

const (
	// settling is how long after a pod's creation a sample may still be of its predecessor of the same name. Later, what
	// a kubelet reports is what runs, and to doubt it by the starts of its containers would hide the pods of nodes whose
	// clocks were wrong when they booted.
	settling = 5 * time.Minute
	// rounding is how much earlier than its pod a container may seem to start, because the API has whole seconds.
	rounding = time.Second
)

// belongs tells whether usage that was found by a pod's name is of that pod, and neither of one that had the name before
// it nor of one that a node that does not run it claims to have. The kubelet's resource endpoint gives no UID, so that
// times have to tell, where possible those of one clock.
func belongs(found view.PodUsage, p *pod) bool {
	if p.node != "" && p.node != found.Sample.Node {
		return false
	}
	if p.mirror {
		return true // its containers may be older than itself, and the kubelet has another UID for it
	}
	if found.Pod.UID != "" {
		return found.Pod.UID == p.uid
	}
	created := p.created * 1e9
	switch age := found.Sample.Time - created; {
	case age < 0:
		return false
	case age > int64(settling):
		return true
	}
	since := p.started * 1e9
	if since == 0 {
		since = created
	}
	for i := range found.Pod.Containers {
		point := &found.Pod.Containers[i].Point
		if point.Time < since || point.Start != 0 && point.Start < since-int64(rounding) {
			return false
		}
	}
	return true
}

// resourceSwap is the key under which kubectl top --show-swap looks for swap.
const resourceSwap corev1.ResourceName = "swap"

// usage is what a point amounts to: CPU as its rate, memory as it was at that moment; extended, swap too, where it is known.
func usage(point *schemas.Point, extended bool) corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:    quantity(point.Rate, -9, resource.DecimalSI),
		corev1.ResourceMemory: quantity(point.Memory, 0, resource.BinarySI),
	}
	if extended && point.Extra != nil && point.Extra.SwapUsage.Valid {
		list[resourceSwap] = quantity(point.Extra.SwapUsage.Value, 0, resource.BinarySI)
	}
	return list
}

// quantity is value * 10^scale. One that doesn't fit 63 bits loses its last decimal.
func quantity(value uint64, scale resource.Scale, format resource.Format) resource.Quantity {
	if value > math.MaxInt64 {
		value, scale = value/10, scale+1
	}
	q := *resource.NewScaledQuantity(int64(value), scale)
	q.Format = format
	return q
}
