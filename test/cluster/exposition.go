package cluster

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// family is one metric of the kubelet's resource endpoint.
type family struct {
	name, kind, help string
	series           []series
}

// series is one line of a family; text is its labels in braces, or empty.
type series struct {
	text  string
	value float64

	// bare lines carry no timestamp.
	bare bool
}

// expose renders the resource endpoint of a node at the given time, byte for byte as a kubelet 1.36 does: families by
// name, series by container, namespace and pod, each with its time in milliseconds except start times.
func (t *truth) expose(node string, now time.Time) []byte {
	// Cut first, so that each counter is exact for the time that is printed beside it.
	now = now.Truncate(time.Millisecond)
	t.mu.Lock()
	defer t.mu.Unlock()

	var containerCPU, containerMemory, containerStart, swapLimit, containerSwap, podCPU, podMemory, podSwap []series
	for _, p := range t.sorted(node) {
		var memory, swap uint64
		for _, c := range p.containers {
			memory += c.memory
			swap += c.swap
		}
		labels := fmt.Sprintf("{namespace=%q,pod=%q}", p.namespace, p.name)
		podCPU = append(podCPU, series{text: labels, value: nanos(p.cpu.read(now))})
		podMemory = append(podMemory, series{text: labels, value: float64(memory)})
		podSwap = append(podSwap, series{text: labels, value: float64(swap)})
	}
	for _, cp := range t.containers(node) {
		c := cp.container
		labels := fmt.Sprintf("{container=%q,namespace=%q,pod=%q}", c.name, cp.pod.namespace, cp.pod.name)
		containerCPU = append(containerCPU, series{text: labels, value: nanos(c.cpu.read(now))})
		containerMemory = append(containerMemory, series{text: labels, value: float64(c.memory)})
		containerStart = append(containerStart, series{text: labels, value: float64(c.started.UnixNano()) / 1e9, bare: true})
		swapLimit = append(swapLimit, series{text: labels})
		containerSwap = append(containerSwap, series{text: labels, value: float64(c.swap)})
	}
	n := t.nodes[node]
	families := []family{
		{"container_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the container in core-seconds", containerCPU},
		{"container_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the container in bytes", containerMemory},
		{"container_start_time_seconds", "gauge", "[STABLE] Start time of the container since unix epoch in seconds", containerStart},
		{"container_swap_limit_bytes", "gauge", "[ALPHA] Current amount of the container swap limit in bytes. Reported only on non-windows systems", swapLimit},
		{"container_swap_usage_bytes", "gauge", "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems", containerSwap},
		{"node_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the node in core-seconds", []series{{value: nanos(n.cpu.read(now))}}},
		{"node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes", []series{{value: float64(n.memory)}}},
		{"node_swap_usage_bytes", "gauge", "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems", []series{{value: float64(n.swap)}}},
		{"pod_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds", podCPU},
		{"pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes", podMemory},
		{"pod_swap_usage_bytes", "gauge", "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems", podSwap},
		{"resource_scrape_error", "gauge", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise", []series{{bare: true}}},
		{"scrape_error", "gauge", "[ALPHA] 1 if there was an error while getting container metrics, 0 otherwise", []series{{bare: true}}},
	}
	var b bytes.Buffer
	for _, f := range families {
		f.write(&b, now)
	}
	return b.Bytes()
}

// write renders the family; one without series is left out, as a kubelet does.
func (f *family) write(b *bytes.Buffer, now time.Time) {
	if len(f.series) == 0 {
		return
	}
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
	for _, s := range f.series {
		b.WriteString(f.name)
		b.WriteString(s.text)
		b.WriteByte(' ')
		b.WriteString(strconv.FormatFloat(s.value, 'g', -1, 64))
		if !s.bare {
			b.WriteByte(' ')
			b.WriteString(strconv.FormatInt(now.UnixMilli(), 10))
		}
		b.WriteByte('\n')
	}
}

// nanos rounds seconds to whole nanoseconds, which is what a kubelet counts in.
func nanos(seconds float64) float64 {
	return math.Round(seconds*1e9) / 1e9
}

// sorted returns the node's pods by namespace and name. The caller holds mu.
func (t *truth) sorted(node string) []*podTruth {
	var pods []*podTruth
	for _, p := range t.pods {
		if p.node == node {
			pods = append(pods, p)
		}
	}
	slices.SortFunc(pods, func(a, b *podTruth) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	return pods
}

// inPod is a container with its pod.
type inPod struct {
	pod       *podTruth
	container *containerTruth
}

// containers returns the node's containers by container name, namespace and pod. The caller holds mu.
func (t *truth) containers(node string) []inPod {
	var all []inPod
	for _, p := range t.sorted(node) {
		for _, c := range p.containers {
			all = append(all, inPod{p, c})
		}
	}
	slices.SortStableFunc(all, func(a, b inPod) int { return cmp.Compare(a.container.name, b.container.name) })
	return all
}
