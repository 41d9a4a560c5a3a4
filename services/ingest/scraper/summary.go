package scraper

import (
	"sync"

	"github.com/headwater-metrics/headwater/schemas"
)

// summary is what a kubelet's /stats/summary says beside CPU time and working set. It is used for one scrape at a time
// and pooled: decode fills it, add puts it into the scrape's sample, which is valid until release.
type summary struct {
	node       nodeSummary
	pods       []podSummary
	containers []containerSummary
	interfaces []interfaceSummary
	volumes    []volumeSummary
	names      []byte // of all of them, one after the other

	refused [lastDrop]int // values that can't be true, by reason

	// What add makes of these.
	index          map[podKey]int32 // the first of a name, in pods
	byName         map[string]int32 // containers of one pod that has many, and
	byNameOf       *podSummary      // which pod that is
	text           string           // names
	networks       []schemas.Network
	usedInterfaces []schemas.InterfaceUsage
	usedVolumes    []schemas.VolumeUsage
	nodeExtra      schemas.NodeExtra
}

// span is a part of summary.names.
type span struct{ from, to int32 }

// stretch is a part of one of summary's lists.
type stretch struct{ from, to int32 }

// measured is what nodes, pods and containers have in common.
type measured struct {
	extra    schemas.Extra
	pressure schemas.Pressure
}

type nodeSummary struct {
	measured
	network                    networkSummary
	rootfs, images, containers schemas.Filesystem
}

type podSummary struct {
	measured
	namespace, name, uid span
	containers, volumes  stretch
	network              networkSummary
	ephemeral            schemas.Filesystem
	processes            schemas.Optional

	same int32 // the next pod of the same name, as an index of pods; -1: none
	out  schemas.PodExtra
}

type containerSummary struct {
	measured
	name         span
	start        int64 // Unix nanoseconds, in whole seconds; 0 where unknown
	rootfs, logs schemas.Filesystem

	out schemas.ContainerExtra
}

// networkSummary are the counters of a network namespace; from == to: none.
type networkSummary struct {
	time       int64
	interfaces stretch
}

type interfaceSummary struct {
	name  span
	usage schemas.InterfaceUsage // but for the name
}

type volumeSummary struct {
	name, claimNamespace, claim span
	filesystem                  schemas.Filesystem
	abnormal                    schemas.Optional
}

var summaries = sync.Pool{New: func() any { return new(summary) }}

// release gives m back. The sample that it was added to is no longer valid then.
func (m *summary) release() {
	if m == nil {
		return
	}
	m.reset()
	summaries.Put(m)
}

// reset empties m.
func (m *summary) reset() {
	m.node, m.nodeExtra, m.text, m.refused = nodeSummary{}, schemas.NodeExtra{}, "", [lastDrop]int{}
	m.pods, m.containers = emptied(m.pods), emptied(m.containers)
	m.interfaces, m.volumes, m.networks = emptied(m.interfaces), emptied(m.volumes), emptied(m.networks)
	m.usedInterfaces, m.usedVolumes = emptied(m.usedInterfaces), emptied(m.usedVolumes)
	m.index, m.byName, m.byNameOf = emptiedMap(m.index), emptiedMap(m.byName), nil
	if m.names = m.names[:0]; cap(m.names) > 64*pooled {
		m.names = nil
	}
}

// add puts what m says into a sample of the same node, for what is in that one; requested is when it was asked for, Unix
// nanoseconds. What it refuses is added to refused. Nothing happens where m is nil.
func (m *summary) add(s *schemas.UsageSample, requested int64, refused *[lastDrop]int) {
	if m == nil {
		return
	}
	defer func() {
		for reason, n := range m.refused {
			refused[reason] += n
		}
	}()
	m.text = string(m.names)
	m.link()
	m.list()
	if s.Point != nil {
		s.Point.Extra = m.node.merge(s.Point.Extra)
	}
	n := &m.node
	m.nodeExtra = schemas.NodeExtra{
		Network: m.network(n.network, requested), Rootfs: m.filesystem(&n.rootfs, requested),
		Images: m.filesystem(&n.images, requested), Containers: m.filesystem(&n.containers, requested),
	}
	s.Extra = &m.nodeExtra

	for i := range s.Pods {
		usage := &s.Pods[i]
		p := m.find(usage)
		if p == nil {
			continue
		}
		usage.UID = m.string(p.uid)
		if usage.Point != nil {
			usage.Point.Extra = p.merge(usage.Point.Extra)
		}
		p.out = schemas.PodExtra{
			Network: m.network(p.network, requested), Volumes: m.usedVolumes[p.volumes.from:p.volumes.to:p.volumes.to],
			Ephemeral: m.filesystem(&p.ephemeral, requested), Processes: p.processes,
		}
		usage.Extra = &p.out
		for j := range usage.Containers {
			to := &usage.Containers[j]
			c := m.container(p, to)
			if c == nil {
				continue
			}
			to.Point.Extra = c.merge(to.Point.Extra)
			c.out = schemas.ContainerExtra{Rootfs: m.filesystem(&c.rootfs, requested), Logs: m.filesystem(&c.logs, requested)}
			to.Extra = &c.out
		}
	}
}

// link makes the index of pods.
func (m *summary) link() {
	if m.index == nil {
		m.index = make(map[podKey]int32, len(m.pods))
	}
	for i := len(m.pods) - 1; i >= 0; i-- {
		p := &m.pods[i]
		key := podKey{m.string(p.namespace), m.string(p.name)}
		p.same = -1
		if other, ok := m.index[key]; ok {
			p.same = other
		}
		m.index[key] = int32(i)
	}
}

// list makes the sample's lists of interfaces and volumes, whole, so that they don't move any more.
func (m *summary) list() {
	m.networks = grown(m.networks, len(m.pods)+1)[:0]
	m.usedInterfaces = grown(m.usedInterfaces, len(m.interfaces))
	for i := range m.interfaces {
		m.usedInterfaces[i] = m.interfaces[i].usage
		m.usedInterfaces[i].Name = m.string(m.interfaces[i].name)
	}
	m.usedVolumes = grown(m.usedVolumes, len(m.volumes))
	for i := range m.volumes {
		v := &m.volumes[i]
		m.usedVolumes[i] = schemas.VolumeUsage{
			Name: m.string(v.name), ClaimNamespace: m.string(v.claimNamespace), Claim: m.string(v.claim), Abnormal: v.abnormal,
		}
		if v.filesystem != (schemas.Filesystem{}) {
			m.usedVolumes[i].Filesystem = &v.filesystem
		}
	}
}

// find returns what m says of a sample's pod; nil where that is nothing. The two are told apart by their containers' starts:
// of one name there may be the old pod and the new one, and between the two requests a pod may have been made again.
func (m *summary) find(usage *schemas.PodUsage) *podSummary {
	at, ok := m.index[podKey{usage.Namespace, usage.Name}]
	if !ok {
		return nil
	}
	alone := m.pods[at].same < 0
	for range mostAlike {
		if at < 0 {
			break
		}
		p := &m.pods[at]
		alike, unlike := 0, 0
		for i := range usage.Containers {
			switch c := m.named(p, usage.Containers[i].Name); {
			case c == nil:
			case c.startedWith(&usage.Containers[i].Point):
				alike++
			default:
				unlike++
			}
		}
		if alike > 0 || alone && unlike == 0 {
			return p
		}
		at = p.same
	}
	return nil
}

// mostAlike is how many pods of one name are looked at. Two can be, the old one and the new one.
const mostAlike = 4

// container returns what m says of a container of p, nil where that is nothing, or of the one before a restart.
func (m *summary) container(p *podSummary, usage *schemas.ContainerUsage) *containerSummary {
	if c := m.named(p, usage.Name); c != nil && c.startedWith(&usage.Point) {
		return c
	}
	return nil
}

// named returns the container of p of that name, the last one where there are several.
func (m *summary) named(p *podSummary, name string) *containerSummary {
	const many = 16
	if p.containers.to-p.containers.from <= many {
		for i := p.containers.to - 1; i >= p.containers.from; i-- {
			if c := &m.containers[i]; m.string(c.name) == name {
				return c
			}
		}
		return nil
	}
	if m.byNameOf != p {
		if m.byNameOf = p; m.byName == nil {
			m.byName = make(map[string]int32)
		}
		clear(m.byName)
		for i := p.containers.from; i < p.containers.to; i++ {
			m.byName[m.string(m.containers[i].name)] = i
		}
	}
	if i, ok := m.byName[name]; ok {
		return &m.containers[i]
	}
	return nil
}

// startedWith tells whether c is the container that a point is of, as far as their starts are known: c's is cut to
// seconds, and the point's has gone through a floating-point number.
func (c *containerSummary) startedWith(p *schemas.Point) bool {
	const second, blur = int64(1e9), int64(1e3)
	after := p.Start - c.start
	return c.start == 0 || p.Start == 0 || after >= -blur && after < second+blur
}

// merge returns what both endpoints say: extra is the resource endpoint's, which is the later one.
func (m *measured) merge(extra *schemas.Extra) *schemas.Extra {
	if extra != nil {
		if extra.SwapUsage.Valid {
			m.extra.SwapUsage = extra.SwapUsage
		}
		m.extra.SwapLimit = extra.SwapLimit
	}
	if m.pressure != (schemas.Pressure{}) {
		m.extra.Pressure = &m.pressure
	}
	if m.extra == (schemas.Extra{}) {
		return nil
	}
	return &m.extra
}

// network returns the counters of n, nil where there are none or where their time can't be true.
func (m *summary) network(n networkSummary, requested int64) *schemas.Network {
	if n.interfaces.from == n.interfaces.to || !m.believes(n.time, requested) {
		return nil
	}
	m.networks = append(m.networks, schemas.Network{
		Time: n.time, Interfaces: m.usedInterfaces[n.interfaces.from:n.interfaces.to:n.interfaces.to],
	})
	return &m.networks[len(m.networks)-1]
}

// filesystem returns f, nil where it says nothing or where its time can't be true.
func (m *summary) filesystem(f *schemas.Filesystem, requested int64) *schemas.Filesystem {
	if *f == (schemas.Filesystem{}) || !m.believes(f.Time, requested) {
		return nil
	}
	return f
}

// believes tells whether a time can be true, and counts those that can't: they are held to the bounds that points are.
func (m *summary) believes(at, requested int64) bool {
	switch {
	case at > requested+futureBound:
		m.refused[dropFuture]++
	case at < requested-pastBound:
		m.refused[dropPast]++
	default:
		return true
	}
	return false
}

func (m *summary) string(s span) string { return m.text[s.from:s.to] }
