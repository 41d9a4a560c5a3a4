package kubelet

import (
	"math"
	"sort"
)

// curve is a value over time: a base with a slow wave on it. Times are seconds since the epoch.
type curve struct {
	base, swing   float64
	period, phase float64
}

func (c curve) at(t float64) float64 {
	if c.swing == 0 {
		return c.base
	}
	return c.base + c.swing*math.Sin(2*math.Pi*t/c.period+c.phase)
}

// integral is the area under the curve.
func (c curve) integral(from, to float64) float64 {
	area := c.base * (to - from)
	if c.swing == 0 {
		return area
	}
	omega := 2 * math.Pi / c.period
	return area + c.swing/omega*(math.Cos(omega*from+c.phase)-math.Cos(omega*to+c.phase))
}

// segment is a time in which one pair of curves holds; total is the counter at its start.
type segment struct {
	from, total float64
	cpu, memory curve
}

// meter is the usage of one container: CPU in cores and memory in bytes, from its start on. Its owner locks it.
type meter struct {
	start    float64
	segments []segment // by time, never empty
}

func newMeter(start float64, cpu, memory curve) meter {
	return meter{start: start, segments: []segment{{from: start, cpu: cpu, memory: memory}}}
}

func (m *meter) segment(t float64) segment {
	after := sort.Search(len(m.segments), func(i int) bool { return m.segments[i].from > t })
	return m.segments[max(after-1, 0)]
}

// total is the counter at t, in core-seconds.
func (m *meter) total(t float64) float64 {
	if t <= m.start {
		return 0
	}
	s := m.segment(t)
	return s.total + s.cpu.integral(s.from, t)
}

// memory is the working set at t, in bytes.
func (m *meter) memory(t float64) float64 {
	if t < m.start {
		return 0
	}
	return m.segment(t).memory.at(t)
}

// set lets other curves hold from t on; the counter goes on from where it is.
func (m *meter) set(t float64, cpu, memory curve) {
	t = max(t, m.segments[len(m.segments)-1].from)
	m.segments = append(m.segments, segment{from: t, total: m.total(t), cpu: cpu, memory: memory})
}

// sum is a counter over many meters, which stays whole when some of them end: a pod's or a node's.
type sum struct {
	own     meter
	members []*container
	ended   []ended
	// before is what ended so long ago that nobody asks when.
	before float64
}

// ended is a meter that stopped.
type ended struct {
	meter meter
	at    float64
}

// keepEnded is for how long, in seconds, a sum can tell when a member ended.
const keepEnded = 900

func (s *sum) end(m meter, t float64) {
	s.ended = append(s.ended, ended{meter: m, at: t})
	for len(s.ended) > 0 && s.ended[0].at < t-keepEnded {
		s.before += s.ended[0].meter.total(s.ended[0].at)
		s.ended = s.ended[1:]
	}
}

func (s *sum) total(t float64) float64 {
	total := s.before + s.own.total(t)
	for _, e := range s.ended {
		total += e.meter.total(min(t, e.at))
	}
	for _, c := range s.members {
		total += c.meter.total(t)
	}
	return total
}

func (s *sum) memory(t float64) float64 {
	memory := s.own.memory(t)
	for _, c := range s.members {
		memory += c.meter.memory(t)
	}
	return memory
}

// nanos and bytes turn a reading into what the kubelet reports: whole nanoseconds, whole pages.
func nanos(coreSeconds float64) uint64 { return uint64(math.Round(max(coreSeconds, 0) * 1e9)) }

func pages(bytes float64) uint64 { return uint64(max(bytes, 0)) / 4096 * 4096 }

// draw gives a number in [0,1) that depends on the seed and the text alone; each round gives another one.
func draw(seed uint64, text string, round uint64) float64 {
	h := seed ^ 0xcbf29ce484222325
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 0x100000001b3
	}
	// The finalizer of splitmix64.
	h += (round + 1) * 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return float64((h^h>>31)>>11) / (1 << 53)
}
