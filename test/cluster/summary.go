package cluster

import (
	"encoding/json"
	"maps"
	"net/http"
	"time"
)

// What every played container, pod and node has beside CPU and memory, as /stats/summary tells it.
const (
	// ReceivedRate is what comes in by a pod's or node's interface eth0, in bytes a second. Half of it goes out.
	ReceivedRate = 4096
	// RootfsBytes and LogsBytes are what a container has on disk, FilesystemBytes is what there is room for.
	RootfsBytes     = 96 << 20
	LogsBytes       = 8 << 20
	FilesystemBytes = 100 << 30
	// StalledTime is for how long it waited for CPU, memory and disk: in the kubelet's answer microseconds, as the kernel says.
	StalledTime = 3 * time.Second
)

// summarize answers a request for a node's /stats/summary.
func (k *Kubelets) summarize(n *node, w http.ResponseWriter, r *http.Request) {
	n.scrapes.Add(1)
	if n.turnedAway(w, r) {
		return
	}
	body, err := json.MarshalIndent(k.truth.summary(n.name, time.Now()), "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, r, "application/json", body)
}

// object is one of JSON.
type object = map[string]any

// summary is what a kubelet 1.36 answers, with the figures of /metrics/resource where that has them too.
func (t *truth) summary(node string, now time.Time) object {
	t.mu.Lock()
	defer t.mu.Unlock()
	// Times are in whole seconds here, and what they are of must not seem to jump.
	now = now.Truncate(time.Second)
	at := now.UTC().Format(time.RFC3339)
	n := t.nodes[node]
	pods := []object{}
	for _, p := range t.sorted(node) {
		containers := []object{}
		var all Usage
		for _, c := range p.containers {
			used := Usage{Memory: c.memory, Swap: c.swap}
			all = all.add(used)
			containers = append(containers, measures(at, &c.cpu, used, now, object{
				"name": c.name, "startTime": c.started.UTC().Format(time.RFC3339),
				"rootfs": disk(at, RootfsBytes), "logs": disk(at, LogsBytes),
			}))
		}
		pods = append(pods, measures(at, &p.cpu, all, now, object{
			"podRef":            object{"name": p.name, "namespace": p.namespace, "uid": p.uid},
			"containers":        containers,
			"network":           network(at, now.Sub(n.since)),
			"ephemeral-storage": disk(at, uint64(len(containers))*(RootfsBytes+LogsBytes)),
			"volume": []object{
				with(disk(at, 1<<20), object{"name": "data", "pvcRef": object{"name": "data-" + p.name, "namespace": p.namespace}}),
				with(disk(at, 4096), object{"name": "kube-api-access"}),
			},
			"process_stats": object{"process_count": 1 + 2*len(containers)},
		}))
	}
	return object{
		"node": measures(at, &n.cpu, Usage{Memory: n.memory, Swap: n.swap}, now, object{
			"nodeName": node, "startTime": n.since.UTC().Format(time.RFC3339), "systemContainers": []object{},
			"network": network(at, now.Sub(n.since)), "fs": disk(at, 7<<30),
			"runtime": object{"imageFs": disk(at, 3<<30), "containerFs": disk(at, 1<<30)},
		}),
		"pods": pods,
	}
}

// measures adds what nodes, pods and containers have in common.
func measures(at string, cpu *meter, used Usage, now time.Time, to object) object {
	psi := func() object {
		stalled := object{"total": StalledTime.Microseconds(), "avg10": 0, "avg60": 0.5, "avg300": 0}
		return object{"full": stalled, "some": stalled}
	}
	return with(to, object{
		"cpu": object{"time": at, "usageNanoCores": uint64(cpu.rate * 1e6), "usageCoreNanoSeconds": uint64(nanos(cpu.read(now)) * 1e9), "psi": psi()},
		"memory": object{"time": at, "usageBytes": used.Memory + 5<<20, "workingSetBytes": used.Memory, "rssBytes": used.Memory / 2,
			"pageFaults": 1000, "majorPageFaults": 7, "psi": psi()},
		"swap": object{"time": at, "swapAvailableBytes": 1 << 30, "swapUsageBytes": used.Swap},
		"io":   object{"time": at, "psi": psi()},
	})
}

func network(at string, since time.Duration) object {
	received := uint64(since.Seconds() * ReceivedRate)
	counters := func() object {
		return object{"name": "eth0", "rxBytes": received, "rxErrors": 0, "txBytes": received / 2, "txErrors": 1}
	}
	return with(counters(), object{"time": at, "interfaces": []object{counters()}})
}

func disk(at string, used uint64) object {
	const inodes = 6553600
	return object{"time": at, "availableBytes": FilesystemBytes - used, "capacityBytes": uint64(FilesystemBytes), "usedBytes": used,
		"inodes": inodes, "inodesFree": inodes - 100, "inodesUsed": 100}
}

// with adds fields to an object, which it returns.
func with(o, more object) object {
	maps.Copy(o, more)
	return o
}
