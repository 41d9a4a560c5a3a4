package usage

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// Store holds the newest sample of every node. Its methods may be called concurrently.
type Store struct {
	mu    sync.Mutex // guards nodes; held for moments only
	nodes map[string]*node
}

// node is the newest sample of a node: its message, and what was rendered of it. A newer sample makes another node.
type node struct {
	name    string
	moment  view.Moment
	message []byte
	pods    int
	rich    bool // it has something of the summary endpoint
	// rendered is what was rendered for the selection that was asked for last: there is one, but for the moment in which
	// another takes its place.
	rendered atomic.Pointer[rendered]
}

// rendered is what was rendered of a sample.
type rendered struct {
	selection *Selection
	pages     [2]struct { // by exposition.Format
		once sync.Once
		row  []*exposition.Page
	}
}

// NewStore makes an empty store.
func NewStore() *Store { return &Store{nodes: map[string]*node{}} }

// samples are used to decode messages.
var samples = sync.Pool{New: func() any { return new(schemas.UsageSample) }}

// Apply takes a node's sample as its message, which is copied. What comes last counts, but for one that comes after its
// successor (view.Moment.Late), which is ignored. Errors wrap those of schemas.UsageSample.Unmarshal.
func (s *Store) Apply(message []byte) error {
	sample := samples.Get().(*schemas.UsageSample)
	defer samples.Put(sample)
	if err := sample.Unmarshal(message); err != nil {
		return err
	}
	n := &node{name: sample.Node, moment: view.MomentOf(sample), message: slices.Clone(message), pods: len(sample.Pods), rich: isRich(sample)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.nodes[n.name]; old == nil || !n.moment.Late(old.moment) {
		s.nodes[n.name] = n
	}
	return nil
}

// Stats says how many nodes and pods the store holds samples of, and when the newest was taken.
func (s *Store) Stats() (nodes, pods int, newest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last int64
	for _, n := range s.nodes {
		pods += n.pods
		last = max(last, n.moment.Taken)
	}
	if last > 0 {
		newest = time.Unix(0, last)
	}
	return len(s.nodes), pods, newest
}

// Expire forgets the nodes whose newest sample was taken before t, and returns how many there were.
func (s *Store) Expire(t time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.nodes)
	for name, n := range s.nodes {
		if n.moment.Taken < t.UnixNano() {
			delete(s.nodes, name)
		}
	}
	return before - len(s.nodes)
}

// Groups are the selected series of all nodes whose newest sample was taken since t, in the order of their names: those that
// every kubelet tells, and behind them, where any node has such, those that come of the summary endpoint.
func (s *Store) Groups(format exposition.Format, t time.Time, of *Selection) []exposition.Group {
	if len(of.families) == 0 {
		return nil
	}
	s.mu.Lock()
	nodes := make([]*node, 0, len(s.nodes))
	rich := 0
	for _, n := range s.nodes {
		if n.moment.Taken >= t.UnixNano() && of.wantsNode(n.name) {
			nodes = append(nodes, n)
			if n.rich {
				rich++
			}
		}
	}
	s.mu.Unlock()
	if len(nodes) == 0 {
		return nil
	}
	slices.SortFunc(nodes, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	rows := make([][]*exposition.Page, len(nodes))
	exposition.Parallel(len(nodes), func(i int) { rows[i] = nodes[i].row(of, format) })

	var groups []exposition.Group
	if plain := of.plain; plain > 0 {
		group := exposition.Group{Name: "usage", Families: of.headers[:plain], Pages: make([][]*exposition.Page, len(nodes))}
		for i, row := range rows {
			group.Pages[i] = row[:plain]
		}
		groups = append(groups, group)
	}
	if rich > 0 && len(of.families) > of.plain {
		group := exposition.Group{Name: "usage", Families: of.headers[of.plain:], Pages: make([][]*exposition.Page, 0, rich)}
		for i, row := range rows {
			if nodes[i].rich {
				group.Pages = append(group.Pages, row[of.plain:])
			}
		}
		groups = append(groups, group)
	}
	return groups
}

// row renders a node's series, or takes what was rendered before: as many pages as there are families, of a node that isn't
// rich only those of the resource endpoint.
func (n *node) row(of *Selection, format exposition.Format) []*exposition.Page {
	r := n.rendered.Load()
	if r == nil || r.selection != of {
		mine := &rendered{selection: of}
		if n.rendered.CompareAndSwap(r, mine) {
			r = mine
		} else if r = n.rendered.Load(); r.selection != of {
			r = mine // two selections at a time: this one is not kept
		}
	}
	pages := &r.pages[format]
	pages.once.Do(func() {
		families := of.families
		if !n.rich {
			families = families[:of.plain]
		}
		pages.row = make([]*exposition.Page, len(families))
		sample := samples.Get().(*schemas.UsageSample)
		defer samples.Put(sample)
		if err := sample.Unmarshal(n.message); err != nil {
			return // unreachable: Apply has read it
		}
		of.cut(sample)
		unique(sample)
		var text []byte
		for i := range families {
			text = families[i].append(text[:0], sample, format)
			pages.row[i] = exposition.Pack(text)
		}
	})
	return pages.row
}

// unique drops a pod, a container, an interface or a claim that a sample names twice: a series that appears twice spoils the
// whole scrape. The first one stays. Pods of a node may share a claim.
func unique(s *schemas.UsageSample) {
	type key struct{ namespace, name string }
	pods := make(map[key]struct{}, len(s.Pods))
	s.Pods = slices.DeleteFunc(s.Pods, func(p schemas.PodUsage) bool {
		k := key{p.Namespace, p.Name}
		_, repeated := pods[k]
		pods[k] = struct{}{}
		return repeated
	})
	claims := map[key]struct{}{}
	for i := range s.Pods {
		p := &s.Pods[i]
		p.Containers = uniqueNames(p.Containers, func(c *schemas.ContainerUsage) string { return c.Name })
		if p.Extra == nil {
			continue
		}
		uniqueInterfaces(p.Extra.Network)
		p.Extra.Volumes = slices.DeleteFunc(p.Extra.Volumes, func(v schemas.VolumeUsage) bool {
			k := key{v.ClaimNamespace, v.Claim}
			_, repeated := claims[k]
			claims[k] = struct{}{}
			return repeated
		})
	}
	if s.Extra != nil {
		uniqueInterfaces(s.Extra.Network)
	}
}

func uniqueInterfaces(n *schemas.Network) {
	if n != nil {
		n.Interfaces = uniqueNames(n.Interfaces, func(i *schemas.InterfaceUsage) string { return i.Name })
	}
}

// uniqueNames drops what has the name of one before it.
func uniqueNames[T any](list []T, name func(*T) string) []T {
	if len(list) < 2 {
		return list
	}
	seen := make(map[string]struct{}, len(list))
	return slices.DeleteFunc(list, func(one T) bool {
		_, repeated := seen[name(&one)]
		seen[name(&one)] = struct{}{}
		return repeated
	})
}
