package usage

import (
	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
)

// richFamilies is the table of what only the kubelets' summary endpoint tells, in the order of the exposition. The names are
// cAdvisor's and the kubelet's; like cAdvisor's, one family has the series of containers, those of pods' own cgroups, which
// have no container label, and the node's own, which have id="/". A device label is missing: the endpoint names no devices.
func richFamilies() []family {
	gauge := func(name, help string, write func(*lines)) family {
		return family{Family: collector.Family{Name: name, Type: collector.Gauge, Help: help}, write: write}
	}
	counter := func(name, help string, write func(*lines)) family {
		return family{Family: collector.Family{Name: name, Type: collector.Counter, Help: help}, write: write}
	}
	return []family{
		gauge("container_fs_inodes_free", "Inodes that are free on the filesystem that the container writes to.",
			filesystems(func(root, _ *schemas.Filesystem) schemas.Optional { return root.InodesFree })),
		gauge("container_fs_inodes_total", "Inodes of the filesystem that the container writes to.",
			filesystems(func(root, _ *schemas.Filesystem) schemas.Optional { return root.Inodes })),
		gauge("container_fs_limit_bytes", "Size of the filesystem that the container writes to, in bytes.",
			filesystems(func(root, _ *schemas.Filesystem) schemas.Optional { return root.Capacity })),
		gauge("container_fs_usage_bytes", "Disk that the container has filled with its writable layer and its logs, in bytes.",
			filesystems(usedWithLogs)),
		counter("container_memory_failures_total", "Page faults, by failure_type: pgfault for all, pgmajfault for those that had to read from disk.", faults),
		gauge("container_memory_rss", "Anonymous memory, swap cache included, in bytes.",
			points(func(e *schemas.Extra) schemas.Optional { return e.RSS }, 1, memoryTime)),
		gauge("container_memory_swap", "Swap in use, in bytes.",
			points(func(e *schemas.Extra) schemas.Optional { return swapOfSummary(e) }, 1, memoryTime)),
		gauge("container_memory_usage_bytes", "Memory in use, in bytes, with what could be taken back.",
			points(func(e *schemas.Extra) schemas.Optional { return e.Usage }, 1, memoryTime)),
		counter("container_network_receive_bytes_total", "Bytes that came in by the interface.",
			networks(func(i *schemas.InterfaceUsage) schemas.Optional { return i.ReceivedBytes })),
		counter("container_network_receive_errors_total", "Errors in what came in by the interface.",
			networks(func(i *schemas.InterfaceUsage) schemas.Optional { return i.ReceiveErrors })),
		counter("container_network_transmit_bytes_total", "Bytes that went out by the interface.",
			networks(func(i *schemas.InterfaceUsage) schemas.Optional { return i.TransmittedBytes })),
		counter("container_network_transmit_errors_total", "Errors in what went out by the interface.",
			networks(func(i *schemas.InterfaceUsage) schemas.Optional { return i.TransmitErrors })),
		counter("container_pressure_cpu_stalled_seconds_total", "Time in which all tasks at once waited for CPU, in seconds.",
			points(pressure(func(p *schemas.Pressure) schemas.Optional { return p.CPUStalled }), 1e9, cpuTime)),
		counter("container_pressure_cpu_waiting_seconds_total", "Time in which some task waited for CPU, in seconds.",
			points(pressure(func(p *schemas.Pressure) schemas.Optional { return p.CPUWaiting }), 1e9, cpuTime)),
		counter("container_pressure_io_stalled_seconds_total", "Time in which all tasks at once waited for input or output, in seconds.",
			points(pressure(func(p *schemas.Pressure) schemas.Optional { return p.IOStalled }), 1e9, memoryTime)),
		counter("container_pressure_io_waiting_seconds_total", "Time in which some task waited for input or output, in seconds.",
			points(pressure(func(p *schemas.Pressure) schemas.Optional { return p.IOWaiting }), 1e9, memoryTime)),
		counter("container_pressure_memory_stalled_seconds_total", "Time in which all tasks at once waited for memory, in seconds.",
			points(pressure(func(p *schemas.Pressure) schemas.Optional { return p.MemoryStalled }), 1e9, memoryTime)),
		counter("container_pressure_memory_waiting_seconds_total", "Time in which some task waited for memory, in seconds.",
			points(pressure(func(p *schemas.Pressure) schemas.Optional { return p.MemoryWaiting }), 1e9, memoryTime)),
		gauge("container_processes", "Processes that run in the pod.", processes),
		gauge("kubelet_volume_stats_available_bytes", "Room that is left in the claim's volume, in bytes.",
			volumes(func(f *schemas.Filesystem) schemas.Optional { return f.Available })),
		gauge("kubelet_volume_stats_capacity_bytes", "Size of the claim's volume, in bytes.",
			volumes(func(f *schemas.Filesystem) schemas.Optional { return f.Capacity })),
		gauge("kubelet_volume_stats_health_status_abnormal", "1 where the driver of the claim's volume says that it isn't well, 0 where it is.", health),
		gauge("kubelet_volume_stats_inodes", "Inodes of the claim's volume.",
			volumes(func(f *schemas.Filesystem) schemas.Optional { return f.Inodes })),
		gauge("kubelet_volume_stats_inodes_free", "Inodes that are free in the claim's volume.",
			volumes(func(f *schemas.Filesystem) schemas.Optional { return f.InodesFree })),
		gauge("kubelet_volume_stats_inodes_used", "Inodes that are taken in the claim's volume.",
			volumes(func(f *schemas.Filesystem) schemas.Optional { return f.InodesUsed })),
		gauge("kubelet_volume_stats_used_bytes", "Bytes that are taken in the claim's volume.",
			volumes(func(f *schemas.Filesystem) schemas.Optional { return f.Used })),
		gauge("pod_ephemeral_storage_used_bytes", "Disk of the node that the pod has filled, with writable layers, logs and emptyDir volumes, in bytes.", ephemeral),
	}
}

// isRich tells whether a sample has anything of the summary endpoint.
func isRich(s *schemas.UsageSample) bool {
	of := func(p *schemas.Point) bool {
		return p != nil && p.Extra != nil && (p.Extra.RSS.Valid || p.Extra.Usage.Valid || p.Extra.PageFaults.Valid || p.Extra.MajorPageFaults.Valid || p.Extra.Pressure != nil)
	}
	if s.Extra != nil || of(s.Point) {
		return true
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		if p.Extra != nil || of(p.Point) {
			return true
		}
		for j := range p.Containers {
			if p.Containers[j].Extra != nil || of(&p.Containers[j].Point) {
				return true
			}
		}
	}
	return false
}

// lines writes the lines of one family and node.
type lines struct {
	b      []byte
	name   string
	sample *schemas.UsageSample
	format exposition.Format
}

// label is a label of a series; one with an empty value isn't written, which is the same to Prometheus.
type label struct{ name, value string }

// line writes one line, if there is a value. at is Unix nanoseconds, 0 for none. The labels come in the order of their names,
// the node behind them.
func (l *lines) line(value schemas.Optional, divisor float64, at int64, labels ...label) {
	if !value.Valid {
		return
	}
	l.b = append(append(l.b, l.name...), '{')
	for _, label := range labels {
		if label.value != "" {
			l.b = append(appendLabel(l.b, label.name, label.value), ',')
		}
	}
	l.b = append(appendLabel(l.b, "node", l.sample.Node), '}', ' ')
	l.b = collector.AppendFloat(l.b, float64(value.Value)/divisor)
	if at > 0 {
		l.b = appendTime(append(l.b, ' '), at, l.format)
	}
	l.b = append(l.b, '\n')
}

// rootID is the value of the label id of the node's own series, as cAdvisor has it: the root of the cgroups.
const rootID = "/"

// eachPoint calls f for the node's point, the pods' own and the containers'. What it is of are the labels container, id,
// namespace and pod, those that don't apply being empty.
func (l *lines) eachPoint(f func(p *schemas.Point, container, id, namespace, pod string)) {
	s := l.sample
	if s.Point != nil {
		f(s.Point, "", rootID, "", "")
	}
	for i := range s.Pods {
		pod := &s.Pods[i]
		if pod.Point != nil {
			f(pod.Point, "", "", pod.Namespace, pod.Name)
		}
		for j := range pod.Containers {
			if c := &pod.Containers[j]; c.Name != "" { // else its series would be the pod's
				f(&c.Point, c.Name, "", pod.Namespace, pod.Name)
			}
		}
	}
}

func cpuTime(p *schemas.Point) int64    { return p.CPUTime }
func memoryTime(p *schemas.Point) int64 { return p.MemoryTime }

// points writes a number of points' extras, divided.
func points(value func(*schemas.Extra) schemas.Optional, divisor float64, at func(*schemas.Point) int64) func(*lines) {
	return func(l *lines) {
		l.eachPoint(func(p *schemas.Point, container, id, namespace, pod string) {
			if p.Extra != nil {
				l.line(value(p.Extra), divisor, at(p), label{"container", container}, label{"id", id}, label{"namespace", namespace}, label{"pod", pod})
			}
		})
	}
}

// swapOfSummary is the swap in use, where the point is of the summary endpoint: with the other one it is known under the
// name of that one, container_swap_usage_bytes, alone.
func swapOfSummary(e *schemas.Extra) schemas.Optional {
	if !e.Usage.Valid && !e.RSS.Valid {
		return schemas.Optional{}
	}
	return e.SwapUsage
}

// pressure takes a number of the pressure where there is one.
func pressure(value func(*schemas.Pressure) schemas.Optional) func(*schemas.Extra) schemas.Optional {
	return func(e *schemas.Extra) schemas.Optional {
		if e.Pressure == nil {
			return schemas.Optional{}
		}
		return value(e.Pressure)
	}
}

// faults writes page faults. cAdvisor has them with scope="hierarchy" too, children included; the endpoint hasn't.
func faults(l *lines) {
	l.eachPoint(func(p *schemas.Point, container, id, namespace, pod string) {
		if p.Extra == nil {
			return
		}
		line := func(value schemas.Optional, kind string) {
			l.line(value, 1, p.MemoryTime, label{"container", container}, label{"failure_type", kind}, label{"id", id},
				label{"namespace", namespace}, label{"pod", pod}, label{"scope", "container"})
		}
		line(p.Extra.PageFaults, "pgfault")
		line(p.Extra.MajorPageFaults, "pgmajfault")
	})
}

// networks writes a counter of every interface of the node and of the pods.
func networks(value func(*schemas.InterfaceUsage) schemas.Optional) func(*lines) {
	return func(l *lines) {
		write := func(n *schemas.Network, id, namespace, pod string) {
			if n == nil {
				return
			}
			for i := range n.Interfaces {
				in := &n.Interfaces[i]
				l.line(value(in), 1, n.Time, label{"id", id}, label{"interface", in.Name}, label{"namespace", namespace}, label{"pod", pod})
			}
		}
		if l.sample.Extra != nil {
			write(l.sample.Extra.Network, rootID, "", "")
		}
		for i := range l.sample.Pods {
			if p := &l.sample.Pods[i]; p.Extra != nil {
				write(p.Extra.Network, "", p.Namespace, p.Name)
			}
		}
	}
}

// filesystems writes a figure of what the node and its containers write to; logs is nil for the node.
func filesystems(value func(root, logs *schemas.Filesystem) schemas.Optional) func(*lines) {
	return func(l *lines) {
		if e := l.sample.Extra; e != nil && e.Rootfs != nil {
			l.line(value(e.Rootfs, nil), 1, e.Rootfs.Time, label{"id", rootID})
		}
		for i := range l.sample.Pods {
			p := &l.sample.Pods[i]
			for j := range p.Containers {
				if c := &p.Containers[j]; c.Name != "" && c.Extra != nil && c.Extra.Rootfs != nil {
					l.line(value(c.Extra.Rootfs, c.Extra.Logs), 1, c.Extra.Rootfs.Time,
						label{"container", c.Name}, label{"namespace", p.Namespace}, label{"pod", p.Name})
				}
			}
		}
	}
}

// usedWithLogs is what cAdvisor counts as a container's.
func usedWithLogs(root, logs *schemas.Filesystem) schemas.Optional {
	used := root.Used
	if used.Valid && logs != nil && logs.Used.Valid {
		used.Value += logs.Used.Value
	}
	return used
}

func processes(l *lines) {
	for i := range l.sample.Pods {
		p := &l.sample.Pods[i]
		if p.Extra == nil {
			continue
		}
		at := int64(0)
		if p.Point != nil {
			at = p.Point.MemoryTime
		}
		l.line(p.Extra.Processes, 1, at, label{"namespace", p.Namespace}, label{"pod", p.Name})
	}
}

// ephemeral is the one family that has no model.
func ephemeral(l *lines) {
	for i := range l.sample.Pods {
		if p := &l.sample.Pods[i]; p.Extra != nil && p.Extra.Ephemeral != nil {
			l.line(p.Extra.Ephemeral.Used, 1, p.Extra.Ephemeral.Time, label{"namespace", p.Namespace}, label{"pod", p.Name})
		}
	}
}

// volumes writes a figure of every claim's volume, without a time: the kubelet looks at volumes once a minute, and exports
// them without one too.
func volumes(value func(*schemas.Filesystem) schemas.Optional) func(*lines) {
	return func(l *lines) {
		l.eachVolume(func(v *schemas.VolumeUsage) {
			if v.Filesystem != nil {
				l.line(value(v.Filesystem), 1, 0, label{"namespace", v.ClaimNamespace}, label{"persistentvolumeclaim", v.Claim})
			}
		})
	}
}

func health(l *lines) {
	l.eachVolume(func(v *schemas.VolumeUsage) {
		l.line(v.Abnormal, 1, 0, label{"namespace", v.ClaimNamespace}, label{"persistentvolumeclaim", v.Claim})
	})
}

func (l *lines) eachVolume(f func(*schemas.VolumeUsage)) {
	for i := range l.sample.Pods {
		if e := l.sample.Pods[i].Extra; e != nil {
			for j := range e.Volumes {
				f(&e.Volumes[j])
			}
		}
	}
}
