package schemas

import "math"

// UsageSample is what one scrape of one node's kubelet said: one message per node and scrape.
//
// Wire: [version, node, time, duration, point|nil, [pod...], optional...], see SPEC.md; the optional fields are those of
// NodeExtra, written up to the last one that is set.
type UsageSample struct {
	Node     string     // name of the Node object
	Time     int64      // when the request was sent, Unix nanoseconds
	Duration int64      // how long the scrape took, nanoseconds
	Point    *Point     // the node's own usage; nil where the kubelet gave none that is usable
	Pods     []PodUsage // in the kubelet's order

	Extra *NodeExtra // nil where the source tells nothing of it
}

// PodUsage is one pod's part of a UsageSample.
//
// Wire: [namespace, name, uid, [container...], point|nil, optional...]; the optional fields are those of PodExtra.
type PodUsage struct {
	Namespace  string
	Name       string
	UID        string // "" where the source does not know it (the kubelet's resource endpoint does not)
	Containers []ContainerUsage
	Point      *Point // the pod's own cgroup, where the kubelet reports it; never the sum of the containers

	Extra *PodExtra // nil where the source tells nothing of it
}

// ContainerUsage is one container's part of a PodUsage.
//
// Wire: [name, point, optional...]; the optional fields are those of ContainerExtra.
type ContainerUsage struct {
	Name  string
	Point Point

	Extra *ContainerExtra // nil where the source tells nothing of it
}

// Point is a reading of cumulative and instantaneous counters at one moment.
//
// Wire: [time, cpuTime-time, memoryTime-time, start, cpu, memory, rate|nil, window, optional...]; the optional fields
// are written up to the last one that is set, nil for one that is not.
type Point struct {
	Time       int64  // the sample's timestamp as metrics-server would give it, Unix nanoseconds
	CPUTime    int64  // the CPU counter's own timestamp, Unix nanoseconds
	MemoryTime int64  // the working set's own timestamp, Unix nanoseconds
	Start      int64  // when the container started, Unix nanoseconds; 0 where unknown and for nodes
	CPU        uint64 // cumulative CPU time, nanoseconds
	Memory     uint64 // working set, bytes

	// Rate is the mean CPU use over Window, in nanocores (billionths of a core); NoRate where a previous point exists
	// but its counter or start time is ahead of this one's. Meaningless while Window is 0.
	Rate uint64
	// Window is the time between the previous point and this one, nanoseconds; 0 means that there is no previous point.
	Window int64

	// Extra holds what richer sources add; nil where there is none of it.
	Extra *Extra
}

// NoRate in Point.Rate says that the two points do not yield a rate: a counter went backwards without a restart.
// On the wire it is nil.
const NoRate = math.MaxUint64

// HasRate tells whether Rate can be used.
func (p *Point) HasRate() bool { return p.Window > 0 && p.Rate != NoRate }

// Optional is a number that may be absent.
type Optional struct {
	Value uint64
	Valid bool
}
