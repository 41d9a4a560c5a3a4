package usage

import (
	"strconv"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
)

// family is a row of the table: a family, and what it takes from a point. A value that is not there gives no series.
type family struct {
	collector.Family
	of    level
	value func(p *schemas.Point) (v float64, at int64, ok bool) // at is Unix nanoseconds, 0 for none

	write func(*lines) // in the place of the two, for what is of more than one level
}

// level is what a family speaks of.
type level int

const (
	ofContainers level = iota
	ofNode
	ofPods
)

// families is the table of what the kubelets' resource endpoint tells, in the order of the exposition.
func families() []family {
	gauge := func(name, help string, stable bool) collector.Family {
		return collector.Family{Name: name, Type: collector.Gauge, Help: help, Stable: stable}
	}
	counter := func(name, help string) collector.Family {
		return collector.Family{Name: name, Type: collector.Counter, Help: help, Stable: true}
	}
	return []family{
		{counter("container_cpu_usage_seconds_total", "CPU time that the container has used since it started, in core-seconds."), ofContainers, cpu, nil},
		{gauge("container_memory_working_set_bytes", "Memory of the container that can't be taken back without harm, in bytes.", true), ofContainers, memory, nil},
		{gauge("container_start_time_seconds", "When the container started, in Unix seconds.", true), ofContainers, start, nil},
		{gauge("container_swap_limit_bytes", "Swap that the container may use, in bytes.", false), ofContainers, swapLimit, nil},
		{gauge("container_swap_usage_bytes", "Swap that the container uses, in bytes.", false), ofContainers, swapUsage, nil},
		{counter("node_cpu_usage_seconds_total", "CPU time that the node has used since it started, in core-seconds."), ofNode, cpu, nil},
		{gauge("node_memory_working_set_bytes", "Memory of the node that can't be taken back without harm, in bytes.", true), ofNode, memory, nil},
		{gauge("node_swap_usage_bytes", "Swap that the node uses, in bytes.", false), ofNode, swapUsage, nil},
		{counter("pod_cpu_usage_seconds_total", "CPU time that the pod has used since it started, in core-seconds."), ofPods, cpu, nil},
		{gauge("pod_memory_working_set_bytes", "Memory of the pod that can't be taken back without harm, in bytes.", true), ofPods, memory, nil},
		{gauge("pod_swap_usage_bytes", "Swap that the pod uses, in bytes.", false), ofPods, swapUsage, nil},
	}
}

func cpu(p *schemas.Point) (float64, int64, bool)    { return float64(p.CPU) / 1e9, p.CPUTime, true }
func memory(p *schemas.Point) (float64, int64, bool) { return float64(p.Memory), p.MemoryTime, true }

// start has no time of its own: it is one. A float can't hold today's nanoseconds, so they are divided in two parts.
func start(p *schemas.Point) (float64, int64, bool) {
	return float64(p.Start/1e9) + float64(p.Start%1e9)/1e9, 0, p.Start > 0
}

func swapUsage(p *schemas.Point) (float64, int64, bool) {
	if p.Extra == nil {
		return 0, 0, false
	}
	return float64(p.Extra.SwapUsage.Value), p.MemoryTime, p.Extra.SwapUsage.Valid
}

func swapLimit(p *schemas.Point) (float64, int64, bool) {
	if p.Extra == nil {
		return 0, 0, false
	}
	return float64(p.Extra.SwapLimit.Value), p.MemoryTime, p.Extra.SwapLimit.Valid
}

// append writes the family's series of one node.
func (f *family) append(b []byte, s *schemas.UsageSample, format exposition.Format) []byte {
	if f.write != nil {
		l := lines{b: b, name: f.Name, sample: s, format: format}
		f.write(&l)
		return l.b
	}
	switch f.of {
	case ofNode:
		if s.Point != nil {
			b = f.appendSeries(b, s.Node, "", "", "", s.Point, format)
		}
	case ofPods:
		for i := range s.Pods {
			if p := &s.Pods[i]; p.Point != nil {
				b = f.appendSeries(b, s.Node, p.Namespace, p.Name, "", p.Point, format)
			}
		}
	case ofContainers:
		for i := range s.Pods {
			p := &s.Pods[i]
			for j := range p.Containers {
				b = f.appendSeries(b, s.Node, p.Namespace, p.Name, p.Containers[j].Name, &p.Containers[j].Point, format)
			}
		}
	}
	return b
}

// appendSeries writes one line. The kubelet's labels come in its order, the node behind them.
func (f *family) appendSeries(b []byte, node, namespace, pod, container string, point *schemas.Point, format exposition.Format) []byte {
	value, at, ok := f.value(point)
	if !ok {
		return b
	}
	b = append(append(b, f.Name...), '{')
	if f.of == ofContainers {
		b = append(appendLabel(b, "container", container), ',')
	}
	if f.of != ofNode {
		b = append(appendLabel(b, "namespace", namespace), ',')
		b = append(appendLabel(b, "pod", pod), ',')
	}
	b = append(appendLabel(b, "node", node), '}', ' ')
	b = collector.AppendFloat(b, value)
	if at > 0 {
		b = appendTime(append(b, ' '), at, format)
	}
	return append(b, '\n')
}

func appendLabel(b []byte, name, value string) []byte {
	b = append(append(b, name...), '=', '"')
	return append(collector.AppendEscaped(b, value), '"')
}

// appendTime writes a time in whole milliseconds, as text, or in seconds with as many digits, as OpenMetrics has it.
func appendTime(b []byte, at int64, format exposition.Format) []byte {
	ms := at / 1e6
	if format == exposition.Text {
		return strconv.AppendInt(b, ms, 10)
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	if rest := ms % 1000; rest != 0 {
		b = append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
	}
	return b
}
