package kubelet

import (
	"strconv"
	"time"
)

// summary appends the body of /stats/summary, as a kubelet of 1.36 with cAdvisor writes it. Its counters are those of
// /metrics/resource; its times are cut to seconds, as the API's are.
func (f *Farm) summary(b []byte, n *node) []byte {
	now := f.cfg.Now().UnixMilli()
	n.mu.Lock()
	defer n.mu.Unlock()
	at := f.readAt(now)
	t := f.seconds(time.UnixMilli(at))
	w := jsonWriter{b: b, f: f}
	w.raw(`{"node":{"nodeName":`).text(n.name)
	w.raw(`,"systemContainers":[`)
	for i, name := range []string{"kubelet", "runtime", "pods"} {
		if i > 0 {
			w.raw(",")
		}
		w.raw(`{"name":`).text(name).field("startTime").time(n.start)
		w.usage("node/"+n.name+"/"+name, &n.usage.own, n.start, at, t).raw("}")
	}
	w.raw("]").field("startTime").time(n.start)
	id := "node/" + n.name
	w.usage(id, &n.usage, n.start, at, t)
	w.network(id, n.start, at, t)
	w.field("fs").disk(id+"/fs", nodeDisk, n.start, at, t).raw("}")
	w.raw(`,"runtime":{"imageFs":`).disk(id+"/images", nodeDisk, n.start, at, t).raw("}")
	w.field("containerFs").disk(id+"/containers", nodeDisk, n.start, at, t).raw("}}")
	w.raw(`,"rlimit":{"time":`).at(at).field("maxpid").number(4194304).field("curproc").number(uint64(400 + 3*len(n.usage.members))).raw("}}")
	w.raw(`,"pods":[`)
	first := true
	for _, p := range n.pods {
		if !p.runs(t) {
			continue
		}
		if !first {
			w.raw(",")
		}
		first = false
		w.pod(p, now, at, t)
	}
	w.raw("]}")
	return w.b
}

// pod writes one pod with its containers, read at a time, which t is in the time of the curves.
func (w *jsonWriter) pod(p *pod, now, at int64, t float64) {
	w.raw(`{"podRef":{"name":`).text(p.key.Name).field("namespace").text(p.key.Namespace).field("uid").text(string(p.uid)).raw("}")
	w.field("startTime").time(p.start)
	w.raw(`,"containers":[`)
	first := true
	for _, c := range p.usage.members {
		at, t, ok := w.f.readContainer(c, now)
		if !ok {
			continue
		}
		if !first {
			w.raw(",")
		}
		first = false
		id := c.id()
		w.raw(`{"name":`).text(c.name).field("startTime").time(c.meter.start)
		w.usage(id, &c.meter, c.meter.start, at, t)
		w.field("rootfs").disk(id+"/rootfs", nodeDisk, c.meter.start, at, t).raw("}")
		w.field("logs").disk(id+"/logs", nodeDisk, c.meter.start, at, t).raw("}}")
	}
	w.raw("]")
	id := p.key.String()
	w.usage(id, &p.usage, p.start, at, t)
	w.network(id, p.start, at, t)
	w.raw(`,"volume":[`)
	for _, claim := range p.claims {
		w.disk(p.key.Namespace+"/"+claim.name, claimDisk, p.start, at, t)
		w.field("name").text(claim.volume)
		w.raw(`,"pvcRef":{"name":`).text(claim.name).field("namespace").text(p.key.Namespace).raw("}},")
	}
	w.disk(id+"/token", 1<<20, p.start, at, t).field("name").text("kube-api-access").raw("}]")
	w.field("ephemeral-storage").disk(id, nodeDisk, p.start, at, t).raw("}")
	w.raw(`,"process_stats":{"process_count":`).number(processes(p)).raw("}}")
}

func processes(p *pod) uint64 { return uint64(1 + 2*len(p.usage.members)) }

// jsonWriter appends JSON.
type jsonWriter struct {
	b []byte
	f *Farm
}

func (w *jsonWriter) raw(text string) *jsonWriter {
	w.b = append(w.b, text...)
	return w
}

func (w *jsonWriter) field(name string) *jsonWriter {
	w.b = append(append(append(w.b, `,"`...), name...), `":`...)
	return w
}

// text writes a string. Names in Kubernetes need no escapes.
func (w *jsonWriter) text(s string) *jsonWriter {
	w.b = append(append(append(w.b, '"'), s...), '"')
	return w
}

func (w *jsonWriter) number(v uint64) *jsonWriter {
	w.b = strconv.AppendUint(w.b, v, 10)
	return w
}

// at writes a time in Unix milliseconds, cut to seconds.
func (w *jsonWriter) at(ms int64) *jsonWriter {
	w.b = append(w.b, '"')
	w.b = time.UnixMilli(ms).UTC().AppendFormat(w.b, time.RFC3339)
	w.b = append(w.b, '"')
	return w
}

// time writes a time of the curves, cut to seconds.
func (w *jsonWriter) time(seconds float64) *jsonWriter { return w.at(w.f.time(seconds).UnixMilli()) }

// usage writes the fields cpu, memory, io and swap.
func (w *jsonWriter) usage(id string, u usage, start float64, at int64, t float64) *jsonWriter {
	figures := w.f.figures(id, u, start, t)
	w.raw(`,"cpu":{"time":`).at(at)
	w.field("usageNanoCores").number(nanos(u.total(t)-u.total(t-10)) / 10).field("usageCoreNanoSeconds").number(nanos(u.total(t)))
	w.psi(figures.CPUFull, figures.CPUSome)
	w.raw(`},"memory":{"time":`).at(at)
	w.field("usageBytes").number(figures.Usage).field("workingSetBytes").number(pages(u.memory(t))).field("rssBytes").number(figures.RSS)
	w.field("pageFaults").number(figures.PageFaults).field("majorPageFaults").number(figures.MajorPageFaults)
	w.psi(figures.MemoryFull, figures.MemorySome)
	w.raw(`},"io":{"time":`).at(at)
	w.psi(figures.IOFull, figures.IOSome)
	w.raw(`},"swap":{"time":`).at(at).field("swapUsageBytes").number(figures.Swap).raw("}")
	return w
}

func (w *jsonWriter) psi(full, some uint64) {
	const averages = `,"avg10":0.12,"avg60":0,"avg300":0.01}`
	w.raw(`,"psi":{"full":{"total":`).number(full).raw(averages).raw(`,"some":{"total":`).number(some).raw(averages).raw("}")
}

// network writes the field network: the default interface's counters, and those of all.
func (w *jsonWriter) network(id string, start float64, at int64, t float64) {
	traffic := w.f.traffic(id, start, t)
	counters := func(name string, c Traffic) {
		w.raw(`"name":`).text(name).field("rxBytes").number(c.Received).field("rxErrors").number(c.ReceiveErrors)
		w.field("txBytes").number(c.Transmitted).field("txErrors").number(c.TransmitErrors)
	}
	w.raw(`,"network":{"time":`).at(at).raw(",")
	counters("eth0", traffic)
	w.raw(`,"interfaces":[{`)
	counters("eth0", traffic)
	w.raw("}]}")
}

// disk writes an object without its end.
func (w *jsonWriter) disk(id string, capacity uint64, start float64, at int64, t float64) *jsonWriter {
	d := w.f.disk(id, capacity, start, t)
	w.raw(`{"time":`).at(at).field("availableBytes").number(d.Available).field("capacityBytes").number(d.Capacity).field("usedBytes").number(d.Used)
	return w.field("inodesFree").number(d.InodesFree).field("inodes").number(d.Inodes).field("inodesUsed").number(d.InodesUsed)
}
