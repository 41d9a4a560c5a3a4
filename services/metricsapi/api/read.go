package api

import (
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// nodeMetrics makes a node's answer from its latest sample; false where it has none to give: no sample, one that is too
// old, only one point yet, a counter that went backwards.
func nodeMetrics(e *view.Entry[node], sample *schemas.UsageSample, now time.Time, maxAge time.Duration) (metrics.NodeMetrics, bool) {
	if sample == nil || sample.Point == nil || !sample.Point.HasRate() || expired(sample, now, maxAge) || sample.Time < e.Value.created*1e9 {
		return metrics.NodeMetrics{}, false
	}
	return metrics.NodeMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: e.Name, Labels: e.Value.labels.Map(), CreationTimestamp: metav1.Time{Time: now}},
		Timestamp:  timestamp(sample.Point.Time),
		Window:     metav1.Duration{Duration: time.Duration(sample.Point.Window)},
		Usage:      usage(sample.Point),
	}, true
}

// podMetrics makes a pod's answer from its part of a sample; false where it has none to give. A pod is absent as a whole
// while one of its containers has only one point, because a sum without it would mislead the autoscaler; a container
// whose counter went backwards is left out.
func podMetrics(e *view.Entry[pod], found view.PodUsage, now time.Time, maxAge time.Duration) (metrics.PodMetrics, bool) {
	if found.Pod == nil || len(found.Pod.Containers) == 0 || expired(found.Sample, now, maxAge) || !belongs(found, &e.Value) {
		return metrics.PodMetrics{}, false
	}
	answer := metrics.PodMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: e.Name, Namespace: e.Namespace, Labels: e.Value.labels.Map(), CreationTimestamp: metav1.Time{Time: now}},
		Containers: make([]metrics.ContainerMetrics, 0, len(found.Pod.Containers)),
	}
	var earliest *schemas.Point
	for i := range found.Pod.Containers {
		container := &found.Pod.Containers[i]
		point := &container.Point
		if point.Window == 0 {
			return metrics.PodMetrics{}, false
		}
		if !point.HasRate() {
			continue
		}
		answer.Containers = append(answer.Containers, metrics.ContainerMetrics{Name: container.Name, Usage: usage(point)})
		if earliest == nil || point.Time < earliest.Time || point.Time == earliest.Time && point.Window > earliest.Window {
			earliest = point
		}
	}
	if earliest != nil {
		answer.Timestamp = timestamp(earliest.Time)
		answer.Window.Duration = time.Duration(earliest.Window)
	}
	slices.SortFunc(answer.Containers, func(a, b metrics.ContainerMetrics) int { return strings.Compare(a.Name, b.Name) })
	return answer, true
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

// usage is what a point amounts to: CPU as its rate, memory as it was at that moment.
func usage(point *schemas.Point) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    quantity(point.Rate, -9, resource.DecimalSI),
		corev1.ResourceMemory: quantity(point.Memory, 0, resource.BinarySI),
	}
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

func timestamp(nanoseconds int64) metav1.Time { return metav1.Time{Time: time.Unix(0, nanoseconds)} }
