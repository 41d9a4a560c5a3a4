package kubelet

import (
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Figures are what a container, a pod or a node uses beside CPU time and working set. All but memory are cumulative,
// pressure in microseconds.
type Figures struct {
	RSS, Usage, Swap            uint64 // bytes
	PageFaults, MajorPageFaults uint64
	CPUSome, CPUFull            uint64
	MemorySome, MemoryFull      uint64
	IOSome, IOFull              uint64
}

// Traffic are the counters of one network interface.
type Traffic struct {
	Received, ReceiveErrors, Transmitted, TransmitErrors uint64
}

// Disk is how full a filesystem is, in bytes and inodes.
type Disk struct {
	Used, Capacity, Available      uint64
	Inodes, InodesUsed, InodesFree uint64
}

// claim is a pod's volume of a persistent volume claim.
type claim struct{ volume, name string }

func claimsOf(pod *corev1.Pod) []claim {
	var claims []claim
	for i := range pod.Spec.Volumes {
		if source := pod.Spec.Volumes[i].PersistentVolumeClaim; source != nil {
			claims = append(claims, claim{pod.Spec.Volumes[i].Name, source.ClaimName})
		}
	}
	return claims
}

// usage is what figures are made of: a meter, or a sum of meters.
type usage interface {
	total(t float64) float64
	memory(t float64) float64
}

// figures follow from the two curves and the seed: they grow with CPU time and with age, each at a pace of its own.
func (f *Farm) figures(id string, u usage, start, t float64) Figures {
	u1, u2 := draw(f.cfg.Seed, id, 30), draw(f.cfg.Seed, id, 31)
	cpu, age := u.total(t), max(t-start, 0)
	memory := u.memory(t)
	faults := 50*age*u1 + 2000*cpu
	waited := (0.02 + 0.2*u2) * cpu * 1e6
	return Figures{
		RSS: pages(memory * (0.5 + 0.4*u1)), Usage: pages(memory * (1.05 + 0.5*u2)),
		PageFaults: whole(faults), MajorPageFaults: whole(faults * 0.001 * u2),
		CPUSome: whole(waited), CPUFull: whole(waited * 0.25),
		MemorySome: whole(waited * 0.01), MemoryFull: whole(waited * 0.005),
		IOSome: whole(waited*0.1 + age*u1*100), IOFull: whole(waited*0.05 + age*u1*40),
	}
}

// traffic grows with the age of what has the interface, 1 kB to 1 MB a second.
func (f *Farm) traffic(id string, start, t float64) Traffic {
	age := max(t-start, 0)
	pace := 1e3 * math.Pow(1000, draw(f.cfg.Seed, id, 32))
	return Traffic{
		Received: whole(age * pace), ReceiveErrors: whole(age * pace * 1e-7),
		Transmitted: whole(age * pace * (0.2 + draw(f.cfg.Seed, id, 33))), TransmitErrors: whole(age * pace * 1e-8),
	}
}

// disk is a filesystem of which somebody uses a part, that grows, and others a larger one.
func (f *Farm) disk(id string, capacity uint64, start, t float64) Disk {
	share := 0.001 + 0.02*draw(f.cfg.Seed, id, 34)
	grown := 1 - math.Exp(-max(t-start, 0)/86400)
	d := Disk{Capacity: capacity, Inodes: capacity / 16384}
	d.Used = pages(float64(capacity) * share * grown)
	d.InodesUsed = 10 + whole(float64(d.Inodes)*share*grown/10)
	d.Available = d.Capacity - d.Used - d.Capacity/3
	d.InodesFree = d.Inodes - d.InodesUsed - d.Inodes/5
	return d
}

// Of what size the disks are.
const (
	nodeDisk  = 100 << 30
	claimDisk = 10 << 30
)

func whole(v float64) uint64 { return uint64(max(v, 0)) }

func (c *container) id() string { return c.pod.key.String() + "/" + c.name }

// Figures is what the meter's container, pod or node uses at a time, beside CPU time and working set.
func (m Meter) Figures(at time.Time) Figures {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.farm.figures(m.id, m.usage, m.start, m.farm.seconds(at))
}

// Traffic are the counters of the interface eth0 of the meter's pod or node at a time.
func (m Meter) Traffic(at time.Time) Traffic {
	return m.farm.traffic(m.id, m.start, m.farm.seconds(at))
}

// Rootfs is the disk that the meter's container writes to, at a time.
func (m Meter) Rootfs(at time.Time) Disk { return m.disk("/rootfs", nodeDisk, at) }

// Logs is the disk that the container's logs are on.
func (m Meter) Logs(at time.Time) Disk { return m.disk("/logs", nodeDisk, at) }

// Ephemeral is the disk that the meter's pod takes a part of.
func (m Meter) Ephemeral(at time.Time) Disk { return m.disk("", nodeDisk, at) }

// Filesystem is the node's disk that the kubelet is on.
func (m Meter) Filesystem(at time.Time) Disk { return m.disk("/fs", nodeDisk, at) }

func (m Meter) disk(what string, capacity uint64, at time.Time) Disk {
	return m.farm.disk(m.id+what, capacity, m.start, m.farm.seconds(at))
}

// Claim is how full a claim's volume is that a pod has mounted, at a time.
func (t Truth) Claim(namespace, podName, name string, at time.Time) (Disk, bool) {
	t.farm.mu.RLock()
	defer t.farm.mu.RUnlock()
	p := t.farm.pods[types.NamespacedName{Namespace: namespace, Name: podName}]
	if p == nil || !slices.ContainsFunc(p.claims, func(c claim) bool { return c.name == name }) {
		return Disk{}, false
	}
	return t.farm.disk(namespace+"/"+name, claimDisk, p.start, t.farm.seconds(at)), true
}
