package scraper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// share is the part of all targets that this ingester scrapes. It stands between those who know the targets and the
// schedule, and hides from the schedule whatever is another ingester's. There are three kinds:
//
//	everything   one ingester alone, or one per node (--node)
//	a fixed one  --shard of --total-shards
//	a living one the nodes are divided among the ingesters that are alive; the default
type share struct {
	log      *slog.Logger
	members  *stream.Members // nil with --node: there may be thousands of those
	part     stream.Part     // the fixed share; zero for the others
	settings string
	metrics  *shareMetrics
	overlaps atomic.Int64 // how many other ingesters scrape nodes of this one

	known     chan struct{} // closed when the targets are known
	onceKnown sync.Once

	mu      sync.Mutex // guards what follows; sinks are called under it
	to      TargetSink
	lost    func(nodes []string) // told of nodes that are another ingester's from now on
	targets map[string]*shared
	slots   slots
	self    int // our place in slots; -1 while none of the nodes is ours
	// since is up to when nodes that become ours were scraped by another one; zero where nobody knows.
	since time.Time
}

// shared is a target, whoever has it.
type shared struct {
	target Target
	hash   uint64
	ours   bool
}

// membersGroup names the bucket in which ingesters find each other.
const membersGroup = "INGEST"

func newShare(c *Config) (*share, error) {
	s := &share{log: c.Log, known: make(chan struct{}), targets: map[string]*shared{}, self: -1, settings: c.shareSettings()}
	lease := leaseFor(c.MetricResolution)
	switch {
	case c.Node != "":
		s.slots, s.self = fixedSlots(1), 0
	case c.TotalShards > 0:
		s.slots, s.self = fixedSlots(c.TotalShards), c.Shard
		s.part, lease = stream.Part{Number: c.Shard, Of: c.TotalShards}, fixedLease
	}
	if c.Node == "" {
		var err error
		s.members, err = stream.NewMembers(stream.MembersConfig{
			Conn: c.Conn, Cluster: c.Streams.Cluster, Group: membersGroup, Replicas: c.Streams.Replicas, Name: c.Instance,
			Lease: lease, Settings: s.settings, Part: s.part, Others: s.overlap, Log: c.Log, Registry: c.Registry,
		})
		if err != nil {
			return nil, fmt.Errorf("couldn't set up the sharing of nodes: %w; see --instance", err)
		}
	}
	s.metrics = newShareMetrics(c.Registry, s)
	return s, nil
}

// leaseFor is how long an ingester may be silent before the others take its nodes over. With the 4 s over which they spread
// the first scrapes, that is less than two resolutions after it was lost, also at the shortest one.
func leaseFor(resolution time.Duration) time.Duration {
	return min(max(resolution, time.Second), 10*time.Second)
}

// begin says who is to be told of our targets, and of nodes that are lost to others. Before anything else.
func (s *share) begin(to TargetSink, lost func(nodes []string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to, s.lost = to, lost
}

// Run takes part in the division of the nodes until ctx ends; its error is ctx's, or one that trying again can't cure. An
// ingester becomes a member when it knows the nodes, so that it can scrape at once what the others leave to it.
func (s *share) Run(ctx context.Context) error {
	switch {
	case s.members == nil:
		<-ctx.Done()
		return ctx.Err()
	case s.fixed():
		return s.attend(ctx)
	}
	select {
	case <-s.known:
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.members.Run(ctx, s.divide)
}

// Ready says why this ingester has no share yet, or none any more; nil when it has one.
func (s *share) Ready() error {
	if s.fixed() {
		return nil
	}
	if err := s.members.Ready(); err != nil {
		return fmt.Errorf("not a member of those that share the nodes: %w", err)
	}
	return nil
}

// fixed tells whether the share depends on nobody who is alive.
func (s *share) fixed() bool { return s.members == nil || s.part.Of > 0 }

// Replace implements TargetSink.
func (s *share) Replace(all []Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.targets
	s.since = time.Time{}
	s.targets = make(map[string]*shared, len(all))
	for _, t := range all {
		n := &shared{target: t, hash: hashName(t.Node)}
		if old := before[t.Node]; old != nil {
			n.ours = old.ours
		}
		s.targets[t.Node] = n
	}
	s.again()
	s.onceKnown.Do(func() { close(s.known) })
}

// Set implements TargetSink.
func (s *share) Set(t Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.targets[t.Node]
	if n == nil {
		n = &shared{hash: hashName(t.Node)}
		n.ours = s.has(n.hash)
		s.targets[t.Node] = n
	}
	n.target = t
	if n.ours {
		s.to.Set(t)
	}
}

// Remove implements TargetSink.
func (s *share) Remove(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.targets[node]; n != nil && n.ours {
		s.to.Remove(node)
	}
	delete(s.targets, node)
}

// divide divides the nodes among the members. Those that become ours were scraped by another one up to the last sign of
// life of those who are gone; when we have just become a member, nobody may have.
func (s *share) divide(members []stream.Member, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.slots)
	if s.self < 0 {
		since = time.Time{}
	}
	s.since = since
	s.slots, s.self = memberSlots(members, s.members.Self())
	taken, given := s.again()
	s.metrics.changes.Inc()
	if s.self < 0 {
		s.log.Warn("no member of those that share the nodes any more, so nothing is scraped here until it is one again", "given", given)
		return
	}
	names := make([]string, 0, maxNames)
	for _, m := range members[:min(len(members), maxNames)] {
		names = append(names, m.Name)
	}
	s.log.Info("the nodes are divided anew", "ingesters", len(s.slots), "before", before, "names", names,
		"nodes", s.count(), "of", len(s.targets), "taken", taken, "given", given)
}

// forget drops what is not published yet of nodes that another ingester has now, and has newer samples of.
func (s *Service) forget(nodes []string) {
	subjects := make(map[string]bool, 2*len(nodes))
	for _, node := range nodes {
		subjects[schemas.UsageSubject{Cluster: s.cfg.Streams.Cluster, Node: node}.String()] = true
		subjects[schemas.ScrapeSubject{Cluster: s.cfg.Streams.Cluster, Node: node}.String()] = true
	}
	s.publisher.Forget(subjects)
}

// maxNames is how many members the log names.
const maxNames = 16

// again works out which nodes are ours and tells the schedule. It returns how many became so or ceased to be. The caller
// holds mu.
func (s *share) again() (taken, given int) {
	ours := make([]Target, 0, len(s.targets))
	var lost []string
	for node, n := range s.targets {
		was := n.ours
		n.ours = s.has(n.hash)
		switch {
		case n.ours:
			t := n.target
			if !was {
				taken++
				t.since = s.since
			}
			ours = append(ours, t)
		case was:
			lost = append(lost, node)
		}
	}
	s.to.Replace(ours)
	if len(lost) > 0 {
		s.lost(lost)
	}
	s.metrics.moved.WithLabelValues(movedTaken).Add(float64(taken))
	s.metrics.moved.WithLabelValues(movedGiven).Add(float64(len(lost)))
	return taken, len(lost)
}

func (s *share) has(hash uint64) bool { return s.self >= 0 && s.slots.owner(hash) == s.self }

// count is how many nodes are ours. The caller holds mu.
func (s *share) count() (n int) {
	for _, t := range s.targets {
		if t.ours {
			n++
		}
	}
	return n
}

// sharing says what is wrong with the settings of shares.
func (c *Config) sharing(wrong func(format string, args ...any)) {
	switch {
	case c.TotalShards < 0 || c.TotalShards > maxShards:
		wrong("--total-shards is %d; it must be 1 to %d, or left out for ingesters that share the nodes by themselves", c.TotalShards, maxShards)
	case c.TotalShards == 0 && c.Shard != 0:
		wrong("--shard is %d without --total-shards; give both, or neither for ingesters that share the nodes by themselves", c.Shard)
	case c.TotalShards > 0 && (c.Shard < 0 || c.Shard >= c.TotalShards):
		wrong("--shard is %d; it must be 0 to %d, one less than --total-shards", c.Shard, c.TotalShards-1)
	case c.TotalShards > 0 && c.Node != "":
		wrong("--node already says which node is scraped, so --shard and --total-shards make no sense beside it: give one of them")
	}
	if err := checkInstance(c.Instance); err != nil {
		wrong("--instance %w", err)
	}
	switch address := strings.Trim(c.KubeletAddress, "[]"); {
	case address == "":
	case c.Node == "":
		wrong("--kubelet-address is the address of one node's kubelet; say which node by --node, or leave it out")
	case net.ParseIP(address) == nil && len(validation.IsDNS1123Subdomain(strings.ToLower(address))) > 0:
		wrong("--kubelet-address is %q; it must be an IP address or a host's name, without a port: that is --kubelet-port", c.KubeletAddress)
	}
}

// maxShards bounds --total-shards: far more than there could be use for.
const maxShards = 10_000

// checkInstance says why name can't be an ingester's.
func checkInstance(name string) error {
	if len(name) > 253 {
		return fmt.Errorf("has %d bytes; it must have at most 253", len(name))
	}
	for _, c := range name {
		if c < ' ' || c == 0x7f || c == '\uFFFD' {
			return errors.New("has a control character or isn't UTF-8; use a name such as that of the pod")
		}
	}
	return nil
}
