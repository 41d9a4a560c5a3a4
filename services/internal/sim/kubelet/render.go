package kubelet

import (
	"strconv"
	"time"
)

// resourceMetrics appends the body of /metrics/resource, as a kubelet of 1.36 writes it.
func (f *Farm) resourceMetrics(b []byte, n *node) []byte {
	now := f.cfg.Now().UnixMilli()
	n.mu.Lock()
	defer n.mu.Unlock()
	b = append(b, containerCPU...)
	for _, c := range n.usage.members {
		if at, t, ok := f.readContainer(c, now); ok {
			b = appendLine(b, "container_cpu_usage_seconds_total", c.labels, float64(nanos(c.meter.total(t)))/1e9, at)
		}
	}
	b = append(b, containerMemory...)
	for _, c := range n.usage.members {
		if at, t, ok := f.readContainer(c, now); ok {
			b = appendLine(b, "container_memory_working_set_bytes", c.labels, float64(pages(c.meter.memory(t))), at)
		}
	}
	b = append(b, containerStart...)
	for _, c := range n.usage.members {
		if _, _, ok := f.readContainer(c, now); ok {
			b = append(append(append(b, "container_start_time_seconds"...), c.labels...), ' ')
			b = append(appendValue(b, float64(f.time(c.meter.start).UnixNano())/1e9), '\n')
		}
	}
	b = append(b, containerSwapLimit...)
	for _, c := range n.usage.members {
		if _, _, ok := f.readContainer(c, now); ok {
			b = appendLine(b, "container_swap_limit_bytes", c.labels, 0, now)
		}
	}
	b = append(b, containerSwapUsage...)
	for _, c := range n.usage.members {
		if _, _, ok := f.readContainer(c, now); ok {
			b = appendLine(b, "container_swap_usage_bytes", c.labels, 0, now)
		}
	}
	at := f.readAt(now)
	t := f.seconds(time.UnixMilli(at))
	b = append(b, nodeCPU...)
	b = appendLine(b, "node_cpu_usage_seconds_total", "", float64(nanos(n.usage.total(t)))/1e9, at)
	b = append(b, nodeMemory...)
	b = appendLine(b, "node_memory_working_set_bytes", "", float64(pages(n.usage.memory(t))), at)
	b = append(b, nodeSwap...)
	b = appendLine(b, "node_swap_usage_bytes", "", 0, at)
	return append(appendPods(b, n, at, t), tail...)
}

// appendPods appends the pods' series, read at a time, which t is in the time of the curves.
func appendPods(b []byte, n *node, at int64, t float64) []byte {
	b = append(b, podCPU...)
	for _, p := range n.pods {
		if p.runs(t) {
			b = appendLine(b, "pod_cpu_usage_seconds_total", p.labels, float64(nanos(p.usage.total(t)))/1e9, at)
		}
	}
	b = append(b, podMemory...)
	for _, p := range n.pods {
		if p.runs(t) {
			b = appendLine(b, "pod_memory_working_set_bytes", p.labels, float64(pages(p.usage.memory(t))), at)
		}
	}
	b = append(b, podSwap...)
	for _, p := range n.pods {
		if p.runs(t) {
			b = appendLine(b, "pod_swap_usage_bytes", p.labels, 0, at)
		}
	}
	return b
}

// runs says whether any container of the pod had started by t.
func (p *pod) runs(t float64) bool {
	for _, c := range p.usage.members {
		if c.meter.start < t {
			return true
		}
	}
	return false
}

// readAt is when the counters that are reported now were read: now, or at the last housekeeping. Times are Unix
// milliseconds, as timestamps have them, so that a counter is exact at the time it shows.
func (f *Farm) readAt(now int64) int64 {
	if every := f.cfg.Housekeeping.Milliseconds(); every > 0 {
		return now - now%every
	}
	return now
}

// readContainer is readAt for one container: each is read a little earlier than the request. It says false for a
// container that had not started by then.
func (f *Farm) readContainer(c *container, now int64) (at int64, t float64, ok bool) {
	at = f.readAt(now) - c.jitter
	t = f.seconds(time.UnixMilli(at))
	return at, t, c.meter.start < t
}

func appendLine(b []byte, name, labels string, value float64, timestamp int64) []byte {
	b = append(append(append(b, name...), labels...), ' ')
	b = append(appendValue(b, value), ' ')
	return append(strconv.AppendInt(b, timestamp, 10), '\n')
}

// appendValue writes a number as Prometheus clients do.
func appendValue(b []byte, v float64) []byte {
	if v == 0 {
		return append(b, '0')
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

const (
	containerCPU = `# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
`
	containerMemory = `# HELP container_memory_working_set_bytes [STABLE] Current working set of the container in bytes
# TYPE container_memory_working_set_bytes gauge
`
	containerStart = `# HELP container_start_time_seconds [STABLE] Start time of the container since unix epoch in seconds
# TYPE container_start_time_seconds gauge
`
	containerSwapLimit = `# HELP container_swap_limit_bytes [ALPHA] Current amount of the container swap limit in bytes. Reported only on non-windows systems
# TYPE container_swap_limit_bytes gauge
`
	containerSwapUsage = `# HELP container_swap_usage_bytes [ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems
# TYPE container_swap_usage_bytes gauge
`
	nodeCPU = `# HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in core-seconds
# TYPE node_cpu_usage_seconds_total counter
`
	nodeMemory = `# HELP node_memory_working_set_bytes [STABLE] Current working set of the node in bytes
# TYPE node_memory_working_set_bytes gauge
`
	nodeSwap = `# HELP node_swap_usage_bytes [ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems
# TYPE node_swap_usage_bytes gauge
`
	podCPU = `# HELP pod_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the pod in core-seconds
# TYPE pod_cpu_usage_seconds_total counter
`
	podMemory = `# HELP pod_memory_working_set_bytes [STABLE] Current working set of the pod in bytes
# TYPE pod_memory_working_set_bytes gauge
`
	podSwap = `# HELP pod_swap_usage_bytes [ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems
# TYPE pod_swap_usage_bytes gauge
`
	tail = `# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise
# TYPE resource_scrape_error gauge
resource_scrape_error 0
# HELP scrape_error [ALPHA] 1 if there was an error while getting container metrics, 0 otherwise
# TYPE scrape_error gauge
scrape_error 0
`
)
