package schemas

// Extra are the optional counters of a Point. Each is a trailing field of the wire array, in this order.
type Extra struct {
	SwapUsage       Optional // bytes
	SwapLimit       Optional // bytes
	RSS             Optional // bytes
	Usage           Optional // memory in use with caches, bytes
	PageFaults      Optional // cumulative count
	MajorPageFaults Optional // cumulative count

	// Pressure is the time lost by waiting; nil where the source tells none.
	Pressure *Pressure
}

// Pressure is for how long tasks have waited for a resource, cumulative, nanoseconds: Waiting while at least one of
// them did, Stalled while all did at once.
//
// Wire: [cpuWaiting|nil, cpuStalled|nil, memoryWaiting|nil, memoryStalled|nil, ioWaiting|nil, ioStalled|nil].
type Pressure struct {
	CPUWaiting, CPUStalled       Optional
	MemoryWaiting, MemoryStalled Optional
	IOWaiting, IOStalled         Optional
}

// NodeExtra is what richer sources say of a node beside its Point: trailing fields of UsageSample.
type NodeExtra struct {
	Network    *Network
	Rootfs     *Filesystem // that the kubelet is on
	Images     *Filesystem // the container runtime's for images; Used is of images alone
	Containers *Filesystem // the container runtime's for writable layers; Used is of these alone
}

// PodExtra is what richer sources say of a pod beside its Point: trailing fields of PodUsage.
type PodExtra struct {
	Network *Network
	// Volumes are those that belong to a persistent volume claim.
	Volumes []VolumeUsage
	// Ephemeral is what the pod takes of the node's disk: writable layers, logs and emptyDir volumes.
	Ephemeral *Filesystem
	Processes Optional // how many run
}

// ContainerExtra is what richer sources say of a container beside its Point: trailing fields of ContainerUsage.
type ContainerExtra struct {
	Rootfs *Filesystem // Used is of the writable layer
	Logs   *Filesystem // Used is of the logs
}

// Network are the counters of a network namespace, one for each interface.
//
// Wire: [time, [interface...]].
type Network struct {
	Time       int64 // of the counters, Unix nanoseconds
	Interfaces []InterfaceUsage
}

// InterfaceUsage are one network interface's counters, cumulative.
//
// Wire: [name, receivedBytes|nil, receiveErrors|nil, transmittedBytes|nil, transmitErrors|nil].
type InterfaceUsage struct {
	Name                             string
	ReceivedBytes, ReceiveErrors     Optional
	TransmittedBytes, TransmitErrors Optional
}

// Filesystem is how full a filesystem is. Used and InodesUsed are those of whom they are told of; the others are of the
// whole filesystem, so that Used needn't be Capacity less Available.
//
// Wire: [time, used|nil, capacity|nil, available|nil, inodes|nil, inodesUsed|nil, inodesFree|nil].
type Filesystem struct {
	Time                           int64    // of the figures, Unix nanoseconds
	Used, Capacity, Available      Optional // bytes
	Inodes, InodesUsed, InodesFree Optional
}

// VolumeUsage is how full a pod's volume of a persistent volume claim is.
//
// Wire: [name, claimNamespace, claim, filesystem|nil, abnormal|nil].
type VolumeUsage struct {
	Name           string // in the pod's spec
	ClaimNamespace string // the pod's own
	Claim          string // name of the PersistentVolumeClaim
	Filesystem     *Filesystem
	Abnormal       Optional // 1 where the volume's driver says that it isn't well, 0 where it is
}

// empty tells whether nothing of e is set.
func (e *NodeExtra) empty() bool { return e == nil || *e == NodeExtra{} }

// empty tells whether nothing of e is set.
func (e *PodExtra) empty() bool {
	return e == nil || e.Network == nil && len(e.Volumes) == 0 && e.Ephemeral == nil && !e.Processes.Valid
}

// empty tells whether nothing of e is set.
func (e *ContainerExtra) empty() bool { return e == nil || *e == ContainerExtra{} }

// list gives the counters in the order of the wire.
func (p *Pressure) list() [pressureFields]*Optional {
	return [...]*Optional{&p.CPUWaiting, &p.CPUStalled, &p.MemoryWaiting, &p.MemoryStalled, &p.IOWaiting, &p.IOStalled}
}

// list gives the counters in the order of the wire.
func (i *InterfaceUsage) list() [interfaceFields - 1]*Optional {
	return [...]*Optional{&i.ReceivedBytes, &i.ReceiveErrors, &i.TransmittedBytes, &i.TransmitErrors}
}

// list gives the figures in the order of the wire.
func (f *Filesystem) list() [filesystemFields - 1]*Optional {
	return [...]*Optional{&f.Used, &f.Capacity, &f.Available, &f.Inodes, &f.InodesUsed, &f.InodesFree}
}
