package scraper

import (
	"bytes"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/headwater-metrics/headwater/schemas"
)

// family is a series name that the kubelet's resource endpoint has and the usage sample wants.
type family uint8

const (
	unused family = iota
	nodeCPU
	nodeMemory
	nodeSwapUsage
	podCPU // the first of the pods' own
	podMemory
	podSwapUsage
	containerCPU // the first of the containers'
	containerMemory
	containerStart
	containerSwapUsage
	containerSwapLimit
	kubeletError // about no point: the kubelet itself had trouble
)

func familyOf(name []byte) family {
	switch string(name) {
	case "container_cpu_usage_seconds_total":
		return containerCPU
	case "container_memory_working_set_bytes":
		return containerMemory
	case "container_start_time_seconds":
		return containerStart
	case "container_swap_usage_bytes":
		return containerSwapUsage
	case "container_swap_limit_bytes":
		return containerSwapLimit
	case "pod_cpu_usage_seconds_total":
		return podCPU
	case "pod_memory_working_set_bytes":
		return podMemory
	case "pod_swap_usage_bytes":
		return podSwapUsage
	case "node_cpu_usage_seconds_total":
		return nodeCPU
	case "node_memory_working_set_bytes":
		return nodeMemory
	case "node_swap_usage_bytes":
		return nodeSwapUsage
	case "scrape_error", "resource_scrape_error":
		return kubeletError
	}
	return unused
}

// podReading groups a body's readings by pod.
type podReading struct {
	of         *pod
	own        int32   // the pod's own reading, as an index of pods.readings; -1: none
	containers int32   // how many of its containers exist in this body
	drop       dropped // why its containers are not published, and
	fault      int32   // for which of them, as an index of containers.readings
}

// decoder turns the body of a kubelet's /metrics/resource into readings. It is used for one body at a time and pooled:
// what it holds between begin and release belongs to that body; what lasts is in the node's history.
type decoder struct {
	received         int64 // the time of a series that carries none, Unix nanoseconds
	earliest, latest int64 // between which the times of counters are believed, Unix nanoseconds

	node       reading
	containers roster
	own        roster // the pods' own series
	pods       []podReading
	podIndex   map[podKey]*pod

	name   []byte // the series name of the line before, and
	family family // what it stands for

	refused [lastDrop]int // values that can't be true, by reason
	unwell  bool          // the kubelet says that it couldn't read everything
	drops   drops
	sample  sampleBuffer
}

type podKey struct{ namespace, name string }

// What a kubelet's clock may differ from ours: what it calls newer or older is refused. Whoever reads the samples judges
// their age by their times, and would take such a point for news, or for history, wrongly. A kubelet has nothing older than
// two minutes; a clock that is wrong by less than these is a trouble that its users see, but no reason for having nothing.
const (
	futureBound = int64(2 * time.Minute)
	pastBound   = int64(10 * time.Minute)
)

// begin makes d ready for a body of the node with history h, requested at the given moment.
func (d *decoder) begin(h *history, requested time.Time) {
	d.received = requested.UnixMilli() * int64(time.Millisecond)
	d.earliest, d.latest = d.received-pastBound, d.received+futureBound
	d.node = reading{}
	d.containers.begin(h.containers)
	d.own.begin(h.pods)
	d.name, d.family = nil, unused
	d.refused, d.unwell, d.drops = [lastDrop]int{}, false, drops{}
}

// release forgets the body and the node.
func (d *decoder) release() {
	d.containers.release()
	d.own.release()
	d.pods, d.podIndex, d.name, d.drops = emptied(d.pods), emptiedMap(d.podIndex), nil, drops{}
	d.sample.release()
}

// decode reads the whole body, or says why it can't be read: then nothing of it counts.
func (d *decoder) decode(body []byte) error {
	if !utf8.Valid(body) {
		return failed(resultDecode, notKubelet(errUTF8))
	}
	for i := 0; i < len(body); {
		switch body[i] {
		case '\n', ' ', '\t':
			i++
		case '#':
			end := bytes.IndexByte(body[i:], '\n')
			if end < 0 {
				return nil
			}
			i += end + 1
		default:
			n, err := d.line(body[i:])
			if err != nil {
				return failed(resultOf(err, resultDecode), notKubelet(lineError(body, i, err)))
			}
			i += n
		}
	}
	return nil
}

// notKubelet says what to do about an answer that can't be read.
func notKubelet(err error) error {
	return fmt.Errorf("%w; if it isn't a kubelet that answers, check --kubelet-port and the node's annotation %s", err, pathAnnotation)
}

// line reads the sample line at the beginning of p and returns its length.
func (d *decoder) line(p []byte) (n int, err error) {
	n = len(d.name)
	if n == 0 || len(p) <= n || nameBytes[p[n]] != 0 || !bytes.Equal(p[:n], d.name) {
		if n = scanName(p); n == 0 && p[0] != '{' {
			return 0, errName
		}
		d.name = p[:n]
		d.family = familyOf(d.name)
		d.containers.rewind()
		d.own.rewind()
	}
	blanks := scanBlanks(p[n:])
	n += blanks

	var r *reading
	if n < len(p) && p[n] == '{' {
		var size int
		if r, size, err = d.find(p[n:]); err != nil {
			return n, err
		}
		n += size
		n += scanBlanks(p[n:])
	} else if d.family >= podCPU && d.family != kubeletError {
		return n, errLabels
	} else if blanks == 0 {
		return n, errValue
	}
	if d.family == nodeCPU || d.family == nodeMemory || d.family == nodeSwapUsage {
		r = &d.node
	}

	value, size, err := scanValue(p[n:])
	if err != nil {
		return n, err
	}
	n += size
	ms, size, err := scanTail(p[n:])
	if err != nil {
		return n, err
	}
	if r != nil {
		d.store(r, value, ms)
	} else if d.family == kubeletError && value != 0 {
		d.unwell = true
	}
	return n + size, nil
}

// find reads the label block at the beginning of p and returns the reading of the series that it names: nil for the
// families that are about no pod.
func (d *decoder) find(p []byte) (r *reading, size int, err error) {
	in := &d.containers
	if d.family < containerCPU {
		in = &d.own
	}
	ofPods := d.family >= podCPU && d.family != kubeletError
	if ofPods {
		if r, size = in.guess(p); r != nil {
			return r, size, nil
		}
	}
	l, size, err := scanLabels(p)
	if err != nil || !ofPods {
		return nil, size, err
	}
	if len(l.namespace) == 0 || len(l.pod) == 0 || d.family >= containerCPU && len(l.container) == 0 {
		return nil, size, errLabels
	}
	// The names become parts of the block's own string: one allocation for all three.
	block := string(p[:size])
	name := func(value []byte) string {
		at := cap(p) - cap(value) // where value begins within p
		return unescape(block[at : at+len(value)])
	}
	key := podKey{name(l.namespace), name(l.pod)}
	if d.family < containerCPU {
		return in.reading(in.lookup(d.pod(key), "", block)), size, nil
	}
	return in.reading(in.lookup(d.pod(key), name(l.container), block)), size, nil
}

// pod returns the pod of that name, new if the node has not had it.
func (d *decoder) pod(key podKey) *pod {
	if len(d.podIndex) == 0 {
		if d.podIndex == nil {
			d.podIndex = make(map[podKey]*pod)
		}
		for _, known := range [][]*series{d.containers.known, d.own.known} {
			for _, s := range known {
				d.podIndex[podKey{s.pod.namespace, s.pod.name}] = s.pod
			}
		}
	}
	p := d.podIndex[key]
	if p == nil {
		p = &pod{namespace: key.namespace, name: key.name}
		d.podIndex[key] = p
	}
	return p
}

const (
	maxUint64 = float64(1 << 63 * 2)
	maxInt64  = float64(1 << 63)
	maxMillis = math.MaxInt64 / int64(time.Millisecond)
)

// store puts a value where its family belongs. The last line of a family wins, and that there were others is counted. A
// value that can't be true is counted and changes nothing.
func (d *decoder) store(r *reading, value float64, ms int64) {
	limit := maxUint64
	counter := true // a CPU time or a memory: what makes a point, and gives it its time
	switch d.family {
	case nodeCPU, podCPU, containerCPU:
		value *= 1e9 // nanoseconds
	case containerStart:
		value *= 1e9
		limit = maxInt64
		counter = false // old kubelets give it the time of the start
	case nodeMemory, podMemory, containerMemory:
	default:
		counter = false
	}
	at := d.received
	if ms >= 0 && ms <= maxMillis {
		at = ms * int64(time.Millisecond)
	}
	why := notDropped
	switch {
	case math.IsNaN(value), math.IsInf(value, 0):
		why = dropNotFinite
	case value < 0:
		why = dropNegative
	case value >= limit, ms > maxMillis:
		why = dropOutOfRange
	case counter && at > d.latest:
		why = dropFuture
	case counter && at < d.earliest:
		why = dropPast
	}
	if why != notDropped {
		d.refused[why]++
		if counter {
			r.flaw, r.exists = why, true
		}
		return
	}

	p := &r.point
	bit := uint8(0)
	switch d.family {
	case nodeCPU, podCPU, containerCPU:
		p.CPU, p.CPUTime, p.Time = uint64(value), at, at
		r.exists, bit = true, 1
	case nodeMemory, podMemory, containerMemory:
		p.Memory, p.MemoryTime, p.Time = uint64(value), at, at
		r.exists, bit = true, 1<<1
	case containerStart:
		p.Start = int64(value)
		r.exists, bit = true, 1<<2
	case nodeSwapUsage, podSwapUsage, containerSwapUsage:
		r.extra.SwapUsage = schemas.Optional{Value: uint64(value), Valid: true}
		bit = 1 << 3
	case containerSwapLimit:
		r.extra.SwapLimit = schemas.Optional{Value: uint64(value), Valid: true}
		bit = 1 << 4
	}
	if r.given&bit != 0 {
		d.refused[dropDuplicate]++
	}
	r.given |= bit
}

var errLabels = failed(resultLabels, fmt.Errorf("a container's or pod's series lacks its namespace, pod or container label"))
