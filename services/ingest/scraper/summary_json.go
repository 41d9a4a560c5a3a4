package scraper

import (
	"errors"
	"math"
	"unicode/utf8"

	"github.com/headwater-metrics/headwater/schemas"
)

// decode reads the body of /stats/summary, in one pass and without keeping anything of it, or says why it can't be read:
// then nothing of it counts. Fields that it doesn't know, and those of CPU time and working set, are stepped over. A number
// that can't be true is counted, and is as one that is not there.
func (m *summary) decode(body []byte) error {
	r := jsonReader{b: body, m: m}
	for more := r.begin('{'); more; more = r.next('}') {
		switch string(r.key()) {
		case "node":
			r.node()
		case "pods":
			for more := r.begin('['); more; more = r.next(']') {
				r.pod()
			}
		default:
			r.skip()
		}
	}
	r.space()
	if r.err == nil && r.i < len(body) {
		r.fail(errors.New("something follows the JSON object"))
	}
	if r.err == nil && !utf8.Valid(m.names) {
		r.err = errUTF8
	}
	return r.err
}

func (r *jsonReader) node() {
	n := &r.m.node
	*n = nodeSummary{}
	for more := r.begin('{'); more; more = r.next('}') {
		switch key := r.key(); string(key) {
		case "network":
			r.network(&n.network)
		case "fs":
			r.filesystem(&n.rootfs)
		case "runtime":
			for more := r.begin('{'); more; more = r.next('}') {
				switch string(r.key()) {
				case "imageFs":
					r.filesystem(&n.images)
				case "containerFs":
					r.filesystem(&n.containers)
				default:
					r.skip()
				}
			}
		default:
			r.measured(key, &n.measured)
		}
	}
}

func (r *jsonReader) pod() {
	at := len(r.m.pods)
	r.m.pods = append(r.m.pods, podSummary{})
	p := &r.m.pods[at]
	for more := r.begin('{'); more; more = r.next('}') {
		switch key := r.key(); string(key) {
		case "podRef":
			for more := r.begin('{'); more; more = r.next('}') {
				switch string(r.key()) {
				case "name":
					p.name = r.name()
				case "namespace":
					p.namespace = r.name()
				case "uid":
					p.uid = r.name()
				default:
					r.skip()
				}
			}
		case "containers":
			p.containers.from = int32(len(r.m.containers))
			for more := r.begin('['); more; more = r.next(']') {
				r.container()
			}
			p.containers.to = int32(len(r.m.containers))
		case "network":
			r.network(&p.network)
		case "volume":
			p.volumes.from = int32(len(r.m.volumes))
			for more := r.begin('['); more; more = r.next(']') {
				r.volume()
			}
			p.volumes.to = int32(len(r.m.volumes))
		case "ephemeral-storage":
			r.filesystem(&p.ephemeral)
		case "process_stats":
			for more := r.begin('{'); more; more = r.next('}') {
				if string(r.key()) == "process_count" {
					p.processes = r.uint()
				} else {
					r.skip()
				}
			}
		default:
			r.measured(key, &p.measured)
		}
	}
}

func (r *jsonReader) container() {
	r.m.containers = append(r.m.containers, containerSummary{})
	c := &r.m.containers[len(r.m.containers)-1]
	for more := r.begin('{'); more; more = r.next('}') {
		switch key := r.key(); string(key) {
		case "name":
			c.name = r.name()
		case "startTime":
			c.start = r.time()
		case "rootfs":
			r.filesystem(&c.rootfs)
		case "logs":
			r.filesystem(&c.logs)
		default:
			r.measured(key, &c.measured)
		}
	}
}

// measured reads the value of key, if it is one that nodes, pods and containers have in common.
func (r *jsonReader) measured(key []byte, to *measured) {
	e, p := &to.extra, &to.pressure
	switch string(key) {
	case "cpu":
		for more := r.begin('{'); more; more = r.next('}') {
			if string(r.key()) == "psi" {
				r.stall(&p.CPUWaiting, &p.CPUStalled)
			} else {
				r.skip()
			}
		}
	case "memory":
		for more := r.begin('{'); more; more = r.next('}') {
			switch string(r.key()) {
			case "usageBytes":
				e.Usage = r.uint()
			case "rssBytes":
				e.RSS = r.uint()
			case "pageFaults":
				e.PageFaults = r.uint()
			case "majorPageFaults":
				e.MajorPageFaults = r.uint()
			case "psi":
				r.stall(&p.MemoryWaiting, &p.MemoryStalled)
			default:
				r.skip()
			}
		}
	case "io":
		for more := r.begin('{'); more; more = r.next('}') {
			if string(r.key()) == "psi" {
				r.stall(&p.IOWaiting, &p.IOStalled)
			} else {
				r.skip()
			}
		}
	case "swap":
		for more := r.begin('{'); more; more = r.next('}') {
			if string(r.key()) == "swapUsageBytes" {
				e.SwapUsage = r.uint()
			} else {
				r.skip()
			}
		}
	default:
		r.skip()
	}
}

// stall reads what a cgroup has lost by waiting. The API says nanoseconds; but the kubelet passes on what the kernel says,
// which is microseconds, and so reads it who exports it (cAdvisor).
func (r *jsonReader) stall(waiting, stalled *schemas.Optional) {
	for more := r.begin('{'); more; more = r.next('}') {
		var to *schemas.Optional
		switch string(r.key()) {
		case "some":
			to = waiting
		case "full":
			to = stalled
		default:
			r.skip()
			continue
		}
		for more := r.begin('{'); more; more = r.next('}') {
			if string(r.key()) != "total" {
				r.skip()
				continue
			}
			*to = r.uint()
			if to.Value > math.MaxInt64/1000 {
				r.m.refused[dropOutOfRange]++
				*to = schemas.Optional{}
			}
			to.Value *= 1000
		}
	}
}

// network reads a network namespace's counters: those of all interfaces, or of the default one where they are not listed.
func (r *jsonReader) network(to *networkSummary) {
	m := r.m
	*to = networkSummary{}
	var standard interfaceSummary
	var listed stretch
	for more := r.begin('{'); more; more = r.next('}') {
		switch key := r.key(); string(key) {
		case "time":
			to.time = r.time()
		case "interfaces":
			listed.from = int32(len(m.interfaces))
			for more := r.begin('['); more; more = r.next(']') {
				var one interfaceSummary
				for more := r.begin('{'); more; more = r.next('}') {
					r.counters(r.key(), &one)
				}
				if one.name.from < one.name.to {
					m.interfaces = append(m.interfaces, one)
				}
			}
			listed.to = int32(len(m.interfaces))
		default:
			r.counters(key, &standard)
		}
	}
	if listed.from == listed.to && standard.name.from < standard.name.to {
		listed = stretch{int32(len(m.interfaces)), int32(len(m.interfaces) + 1)}
		m.interfaces = append(m.interfaces, standard)
	}
	to.interfaces = listed
}

func (r *jsonReader) counters(key []byte, to *interfaceSummary) {
	switch string(key) {
	case "name":
		to.name = r.name()
	case "rxBytes":
		to.usage.ReceivedBytes = r.uint()
	case "rxErrors":
		to.usage.ReceiveErrors = r.uint()
	case "txBytes":
		to.usage.TransmittedBytes = r.uint()
	case "txErrors":
		to.usage.TransmitErrors = r.uint()
	default:
		r.skip()
	}
}

// filesystem reads how full a filesystem is, into an empty one.
func (r *jsonReader) filesystem(to *schemas.Filesystem) {
	*to = schemas.Filesystem{}
	for more := r.begin('{'); more; more = r.next('}') {
		if key := r.key(); !r.ofFilesystem(key, to) {
			r.skip()
		}
	}
}

func (r *jsonReader) ofFilesystem(key []byte, to *schemas.Filesystem) bool {
	switch string(key) {
	case "time":
		to.Time = r.time()
	case "usedBytes":
		to.Used = r.uint()
	case "capacityBytes":
		to.Capacity = r.uint()
	case "availableBytes":
		to.Available = r.uint()
	case "inodes":
		to.Inodes = r.uint()
	case "inodesUsed":
		to.InodesUsed = r.uint()
	case "inodesFree":
		to.InodesFree = r.uint()
	default:
		return false
	}
	return true
}

// volume reads a volume, and keeps it if it belongs to a claim.
func (r *jsonReader) volume() {
	var v volumeSummary
	for more := r.begin('{'); more; more = r.next('}') {
		switch key := r.key(); string(key) {
		case "name":
			v.name = r.name()
		case "pvcRef":
			for more := r.begin('{'); more; more = r.next('}') {
				switch string(r.key()) {
				case "name":
					v.claim = r.name()
				case "namespace":
					v.claimNamespace = r.name()
				default:
					r.skip()
				}
			}
		case "volumeHealthStats":
			for more := r.begin('{'); more; more = r.next('}') {
				if string(r.key()) == "abnormal" {
					v.abnormal = r.bool()
				} else {
					r.skip()
				}
			}
		default:
			if !r.ofFilesystem(key, &v.filesystem) {
				r.skip()
			}
		}
	}
	if v.claim.from < v.claim.to {
		r.m.volumes = append(r.m.volumes, v)
	}
}
