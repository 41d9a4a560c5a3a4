package schemas

import (
	"fmt"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

// The arrays of a usage sample: how many elements each has had since version 1. More may follow, fewer may not.
const (
	usageFields     = 6
	podFields       = 4 // the pod's own point may be missing
	containerFields = 2
	pointFields     = 8
	extraFields     = 6 // optional numbers, after pointFields; the pressure follows
)

// The fewest bytes that a pod and a container take, so that a claimed length can be checked before memory is taken.
const (
	minPodBytes       = 1 + podFields
	minContainerBytes = 2 + 1 + pointFields
)

// bytesPerContainer is about how many bytes of a message there are for each container, its share of the pod included.
const bytesPerContainer = 100

// Marshal returns the sample's message. A caller that has a buffer uses AppendMsgpack.
func (s *UsageSample) Marshal() []byte {
	const point = 56 // is about what a point takes, and two thirds of what it can
	n := 32 + len(s.Node) + point
	for i := range s.Pods {
		p := &s.Pods[i]
		n += 8 + len(p.Namespace) + len(p.Name) + len(p.UID) + (point+16)*len(p.Containers)
	}
	return s.AppendMsgpack(make([]byte, 0, n))
}

// AppendMsgpack appends the sample's message to b. Names that are not valid UTF-8, which Kubernetes does not admit, are
// written with U+FFFD in the place of what is invalid.
func (s *UsageSample) AppendMsgpack(b []byte) []byte {
	extra := s.Extra.count()
	b = wire.AppendArrayLen(b, usageFields+extra)
	b = wire.AppendUint(b, Version)
	b = appendName(b, s.Node)
	b = wire.AppendInt(b, s.Time)
	b = wire.AppendInt(b, s.Duration)
	b = appendOptionalPoint(b, s.Point)
	b = wire.AppendArrayLen(b, len(s.Pods))
	for i := range s.Pods {
		p := &s.Pods[i]
		extra := p.Extra.count()
		b = wire.AppendArrayLen(b, podFields+1+extra)
		b = appendName(b, p.Namespace)
		b = appendName(b, p.Name)
		b = appendName(b, p.UID)
		b = wire.AppendArrayLen(b, len(p.Containers))
		for j := range p.Containers {
			c := &p.Containers[j]
			extra := c.Extra.count()
			b = wire.AppendArrayLen(b, containerFields+extra)
			b = appendName(b, c.Name)
			b = appendPoint(b, &c.Point)
			if extra > 0 {
				b = appendContainerExtra(b, c.Extra, extra)
			}
		}
		b = appendOptionalPoint(b, p.Point)
		if extra > 0 {
			b = appendPodExtra(b, p.Extra, extra)
		}
	}
	if extra > 0 {
		b = appendNodeExtra(b, s.Extra, extra)
	}
	return b
}

func appendOptionalPoint(b []byte, p *Point) []byte {
	if p == nil {
		return wire.AppendNil(b)
	}
	return appendPoint(b, p)
}

func appendPoint(b []byte, p *Point) []byte {
	extra := 0
	if p.Extra != nil {
		extra = p.Extra.count()
	}
	b = wire.AppendArrayLen(b, pointFields+extra)
	b = wire.AppendInt(b, p.Time)
	b = wire.AppendInt(b, p.CPUTime-p.Time)
	b = wire.AppendInt(b, p.MemoryTime-p.Time)
	b = wire.AppendInt(b, p.Start)
	b = wire.AppendUint(b, p.CPU)
	b = wire.AppendUint(b, p.Memory)
	b = appendOptional(b, Optional{Value: p.Rate, Valid: p.Rate != NoRate})
	b = wire.AppendInt(b, p.Window)
	if extra > 0 {
		fields := p.Extra.fields()
		for _, o := range fields[:min(extra, extraFields)] {
			b = appendOptional(b, *o)
		}
		if extra > extraFields {
			b = appendPressure(b, p.Extra.Pressure)
		}
	}
	return b
}

func appendOptional(b []byte, o Optional) []byte {
	if o.Valid {
		return wire.AppendUint(b, o.Value)
	}
	return wire.AppendNil(b)
}

// fields lists the optional counters in the order of the wire.
func (e *Extra) fields() [extraFields]*Optional {
	return [...]*Optional{&e.SwapUsage, &e.SwapLimit, &e.RSS, &e.Usage, &e.PageFaults, &e.MajorPageFaults}
}

// count is how many optional fields a point's array has: up to the last one that is set.
func (e *Extra) count() int {
	if e.Pressure != nil && *e.Pressure != (Pressure{}) {
		return extraFields + 1
	}
	n := 0
	for i, o := range e.fields() {
		if o.Valid {
			n = i + 1
		}
	}
	return n
}

// Unmarshal reads one message, which must fill b. It overwrites s whole, and reuses its slices, points and, where they
// have not changed, its strings: decoding a node's samples one after the other into the same UsageSample allocates next
// to nothing, and what the former message said is gone. s keeps nothing of b. The strings and slices of one message share
// a few allocations, so whoever keeps a single one of them for long copies it.
//
// Errors wrap ErrVersion or ErrMalformed; s is then of no use except for another Unmarshal.
func (s *UsageSample) Unmarshal(b []byte) error { return s.unmarshal(b, richDecoder{}) }

func (s *UsageSample) unmarshal(b []byte, rich richDecoder) error {
	d := usageDecoder{names: names{r: wire.NewReader(b)}, rich: rich}
	if err := d.sample(s); err != nil {
		return fmt.Errorf("couldn't read a usage sample: %w", err)
	}
	return nil
}

// usageDecoder is the state of one Unmarshal. The blocks are memory taken for many elements at once.
type usageDecoder struct {
	names
	containers []ContainerUsage
	points     []Point
	extras     []Extra
	rich       richDecoder
	podsLeft   int // with the one at hand; 0 before the first
}

// containersLeft is about how many containers may still come: two in every other pod, and no more than there are bytes.
func (d *usageDecoder) containersLeft() int {
	return 1 + min(d.r.Len()/bytesPerContainer, d.podsLeft+d.podsLeft/2)
}

func (d *usageDecoder) sample(s *UsageSample) error {
	n, err := d.begin(usageFields)
	if err != nil {
		return err
	}
	if s.Node, err = d.name(s.Node); err != nil {
		return err
	}
	if s.Time, err = d.r.Int(); err != nil {
		return err
	}
	if s.Duration, err = d.r.Int(); err != nil {
		return err
	}
	if s.Point, err = d.optionalPoint(s.Point, 1); err != nil {
		return err
	}
	pods, err := d.list(minPodBytes)
	if err != nil {
		return err
	}
	if old := s.Pods[:cap(s.Pods)]; pods > len(old) {
		s.Pods = make([]PodUsage, pods)
		copy(s.Pods, old) // whose memory is reused
	}
	s.Pods = s.Pods[:pods]
	namespace := ""
	for i := range s.Pods {
		p := &s.Pods[i]
		if p.Namespace == "" {
			p.Namespace = namespace // most likely the same again
		}
		if err := d.pod(p, pods-i); err != nil {
			return err
		}
		namespace = p.Namespace
	}
	if err := d.nodeExtra(s, n-usageFields); err != nil {
		return err
	}
	return d.end(0)
}

func (d *usageDecoder) pod(p *PodUsage, podsLeft int) error {
	d.podsLeft = podsLeft
	n, err := d.array(podFields)
	if err != nil {
		return err
	}
	if p.Namespace, err = d.name(p.Namespace); err != nil {
		return err
	}
	if p.Name, err = d.name(p.Name); err != nil {
		return err
	}
	if p.UID, err = d.name(p.UID); err != nil {
		return err
	}
	containers, err := d.list(minContainerBytes)
	if err != nil {
		return err
	}
	p.Containers = d.takeContainers(p.Containers, containers)
	for i := range p.Containers {
		if err := d.container(&p.Containers[i]); err != nil {
			return err
		}
	}
	if n == podFields || d.rich.onlyContainers {
		p.Point, p.Extra = nil, nil
		return d.skip(n - podFields)
	}
	if p.Point, err = d.optionalPoint(p.Point, podsLeft); err != nil {
		return err
	}
	if n == podFields+1 {
		p.Extra = nil
		return nil
	}
	return d.podExtra(p, n-podFields-1)
}

func (d *usageDecoder) container(c *ContainerUsage) error {
	n, err := d.array(containerFields)
	if err != nil {
		return err
	}
	if c.Name, err = d.name(c.Name); err != nil {
		return err
	}
	if err := d.point(&c.Point); err != nil {
		return err
	}
	if n == containerFields {
		c.Extra = nil
		return nil
	}
	return d.containerExtra(c, n-containerFields)
}

// optionalPoint reads a point or nil into the memory of p, or into the current block, of which another n may want a part.
func (d *usageDecoder) optionalPoint(p *Point, n int) (*Point, error) {
	if d.r.Nil() {
		return nil, nil
	}
	if p == nil {
		p = take(&d.points, n)
	}
	return p, d.point(p)
}

func (d *usageDecoder) point(p *Point) error {
	n, err := d.array(pointFields)
	if err != nil {
		return err
	}
	if p.Time, err = d.r.Int(); err != nil {
		return err
	}
	if p.CPUTime, err = d.r.Int(); err != nil {
		return err
	}
	p.CPUTime += p.Time
	if p.MemoryTime, err = d.r.Int(); err != nil {
		return err
	}
	p.MemoryTime += p.Time
	if p.Start, err = d.r.Int(); err != nil {
		return err
	}
	if p.CPU, err = d.r.Uint(); err != nil {
		return err
	}
	if p.Memory, err = d.r.Uint(); err != nil {
		return err
	}
	if d.r.Nil() {
		p.Rate = NoRate
	} else if p.Rate, err = d.r.Uint(); err != nil {
		return err
	}
	if p.Window, err = d.r.Int(); err != nil {
		return err
	}
	if n == pointFields {
		p.Extra = nil
		return nil
	}
	return d.extra(p, n-pointFields)
}

// extra reads the n elements of a point after its fixed ones.
func (d *usageDecoder) extra(p *Point, n int) error {
	if d.rich.onlyContainers {
		p.Extra = nil
		return d.skip(n)
	}
	e := p.Extra
	if e == nil {
		e = take(&d.extras, d.podsLeft+d.containersLeft())
	}
	pressure := e.Pressure
	*e = Extra{}
	p.Extra = nil
	fields := e.fields()
	for _, o := range fields[:min(n, extraFields)] {
		if d.r.Nil() {
			continue
		}
		v, err := d.r.Uint()
		if err != nil {
			return err
		}
		*o = Optional{Value: v, Valid: true}
		p.Extra = e
	}
	if n <= extraFields {
		return nil
	}
	var err error
	if e.Pressure, err = d.pressure(pressure); err != nil {
		return err
	}
	if e.Pressure != nil {
		p.Extra = e
	}
	return d.skip(n - extraFields - 1)
}

// takeContainers returns n containers in the memory of old, or in the current block.
func (d *usageDecoder) takeContainers(old []ContainerUsage, n int) []ContainerUsage {
	if n <= cap(old) {
		return old[:n]
	}
	if n > len(d.containers) {
		d.containers = make([]ContainerUsage, max(n, d.containersLeft()))
	}
	c := d.containers[:n:n]
	d.containers = d.containers[n:]
	return c
}

// take returns one element of the block, and takes memory for another block of n where it is used up.
func take[T any](block *[]T, n int) *T {
	if len(*block) == 0 {
		*block = make([]T, n)
	}
	t := &(*block)[0]
	*block = (*block)[1:]
	return t
}
