package schemas

import "github.com/headwater-metrics/headwater/schemas/wire"

// The arrays that richer sources add: how many elements each has had from its beginning, and how many trailing fields
// they are of the arrays of usage_codec.go.
const (
	pressureFields   = 6
	networkFields    = 2
	interfaceFields  = 5
	filesystemFields = 7
	volumeFields     = 5

	nodeExtras      = 4 // behind usageFields
	podExtras       = 4 // behind podFields and the pod's own point
	containerExtras = 2 // behind containerFields
)

// The fewest bytes that an interface and a volume take.
const (
	minInterfaceBytes = 1 + interfaceFields
	minVolumeBytes    = 1 + volumeFields
)

// trailing is how many trailing fields are written: up to the last one that is set.
func trailing(set ...bool) int {
	n := len(set)
	for n > 0 && !set[n-1] {
		n--
	}
	return n
}

// count is how many trailing fields e takes: nothing, without a call, where it isn't there.
func (e *NodeExtra) count() int {
	if e == nil {
		return 0
	}
	return e.countSet()
}

func (e *NodeExtra) countSet() int {
	return trailing(e.Network != nil, e.Rootfs != nil, e.Images != nil, e.Containers != nil)
}

func (e *PodExtra) count() int {
	if e == nil {
		return 0
	}
	return e.countSet()
}

func (e *PodExtra) countSet() int {
	return trailing(e.Network != nil, len(e.Volumes) > 0, e.Ephemeral != nil, e.Processes.Valid)
}

func (e *ContainerExtra) count() int {
	if e == nil {
		return 0
	}
	return e.countSet()
}

func (e *ContainerExtra) countSet() int {
	return trailing(e.Rootfs != nil, e.Logs != nil)
}

func appendNodeExtra(b []byte, e *NodeExtra, n int) []byte {
	b = appendNetwork(b, e.Network)
	filesystems := [...]*Filesystem{e.Rootfs, e.Images, e.Containers}
	for _, f := range filesystems[:n-1] {
		b = appendFilesystem(b, f)
	}
	return b
}

func appendPodExtra(b []byte, e *PodExtra, n int) []byte {
	b = appendNetwork(b, e.Network)
	if n > 1 {
		b = appendVolumes(b, e.Volumes)
	}
	if n > 2 {
		b = appendFilesystem(b, e.Ephemeral)
	}
	if n > 3 {
		b = appendOptional(b, e.Processes)
	}
	return b
}

func appendContainerExtra(b []byte, e *ContainerExtra, n int) []byte {
	b = appendFilesystem(b, e.Rootfs)
	if n > 1 {
		b = appendFilesystem(b, e.Logs)
	}
	return b
}

func appendPressure(b []byte, p *Pressure) []byte {
	b = wire.AppendArrayLen(b, pressureFields)
	for _, o := range p.list() {
		b = appendOptional(b, *o)
	}
	return b
}

func appendNetwork(b []byte, n *Network) []byte {
	if n == nil {
		return wire.AppendNil(b)
	}
	b = wire.AppendArrayLen(b, networkFields)
	b = wire.AppendInt(b, n.Time)
	b = wire.AppendArrayLen(b, len(n.Interfaces))
	for i := range n.Interfaces {
		in := &n.Interfaces[i]
		b = wire.AppendArrayLen(b, interfaceFields)
		b = appendName(b, in.Name)
		for _, o := range in.list() {
			b = appendOptional(b, *o)
		}
	}
	return b
}

func appendVolumes(b []byte, volumes []VolumeUsage) []byte {
	if len(volumes) == 0 {
		return wire.AppendNil(b)
	}
	b = wire.AppendArrayLen(b, len(volumes))
	for i := range volumes {
		v := &volumes[i]
		b = wire.AppendArrayLen(b, volumeFields)
		b = appendName(b, v.Name)
		b = appendName(b, v.ClaimNamespace)
		b = appendName(b, v.Claim)
		b = appendFilesystem(b, v.Filesystem)
		b = appendOptional(b, v.Abnormal)
	}
	return b
}

func appendFilesystem(b []byte, f *Filesystem) []byte {
	if f == nil {
		return wire.AppendNil(b)
	}
	b = wire.AppendArrayLen(b, filesystemFields)
	b = wire.AppendInt(b, f.Time)
	for _, o := range f.list() {
		b = appendOptional(b, *o)
	}
	return b
}
