package bench

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

var (
	sizes    = flag.String("nodes", "1000", "comma-separated numbers of nodes for the comparisons with kube-state-metrics and metrics-server")
	plotFile = flag.String("plot", "", "file for a plot of how cost grows with the nodes, in SVG; needs several -nodes")
)

// BenchmarkKubeStateMetrics puts the exporter and kube-state-metrics on the same objects and measures both by turns.
func BenchmarkKubeStateMetrics(b *testing.B) {
	var all []*comparison
	for _, nodes := range sizesOf(b) {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			for b.Loop() {
				c, before := &comparison{nodes: nodes}, load()
				c.run(newScale(b, nodes))
				b.ReportMetric(0, "ns/op")
				c.report(b)
				fmt.Printf("\nkube-state-metrics and exporter: %d nodes x %d pods; %d cores, load %s to %s\n", nodes, podsPerNode, runtime.NumCPU(), before, load())
				c.print(os.Stdout)
				all = append(all, c)
			}
		})
	}
	if len(all) > 1 {
		printGrowth(os.Stdout, all)
	}
	if *plotFile != "" && len(all) > 1 {
		if err := os.WriteFile(*plotFile, plotComparisons(all), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

// comparison is what a size of cluster costs.
type comparison struct {
	nodes        int
	series, text int // of the exporter, without usage
	peer, ours   figures
	usage        figures       // of the exporter with usage
	pipeline     []pipelineRow // what Headwater needs besides the exporter
	rate         float64       // status changes a second that were reached
	differences  []string      // families of which one side has other numbers of series
}

// figures are one server's. Zero is not measured.
type figures struct {
	start     startFigures
	resident  int64 // after the start, at rest, in bytes
	plain     scrapeFigures
	gzip      scrapeFigures
	changed   scrapeFigures // gzip, after 1 % of the pods changed
	perMinute time.Duration // CPU, at the rate of changes
	peak, end int64         // resident memory after all of this: its peak, and at rest
	shards    shardFigures
}

type startFigures struct {
	ready, complete time.Duration // to readiness, and to the end of the first plain answer
	cpu             time.Duration // until ready
	scrapeCPU       time.Duration // of that first answer
	apiCPU          time.Duration // of the API server until then
	requests        int           // to the API server, by this server
	peak            int64         // resident memory until then
}

type scrapeFigures struct {
	took, cpu time.Duration // median and mean
	bytes     int
}

type shardFigures struct {
	resident int64 // peaks, together
	apiCPU   time.Duration
	requests int
}

type pipelineRow struct {
	name string
	cpu  time.Duration // a minute, at the rate of changes
	peak int64
}

// run measures everything, in an order in which nothing disturbs what comes after it.
func (c *comparison) run(s *scale) {
	ctx := s.Context()
	must := func(err error) {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
	}
	patience := 3
	if c.nodes >= 5000 {
		patience = 1 // of kube-state-metrics, which takes a minute
	}
	must(s.starts(ctx, s.exporter, &c.ours.start, 3))
	must(s.starts(ctx, s.peer, &c.peer.start, patience))
	must(s.compare(ctx, c))
	must(s.quiet(ctx))
	for _, pair := range s.pairs(c) {
		must(pair.resident(&pair.figures.resident))
	}

	turns := map[*target]int{s.peer: 2, s.exporter: 6}
	for _, pair := range s.pairs(c) {
		must(s.scrapes(ctx, pair.target, "identity", turns[pair.target], &pair.figures.plain))
	}
	for _, pair := range s.pairs(c) {
		must(s.scrapes(ctx, pair.target, "gzip", turns[pair.target]*2-1, &pair.figures.gzip))
	}

	var peer, ours []scraped
	for round := range 5 {
		must(s.change(ctx, s.pods/100, 1000))
		must(s.quiet(ctx))
		one, err := s.exporter.scrape(ctx, "gzip")
		must(err)
		ours = append(ours, one)
		if round < 2 {
			one, err := s.peer.scrape(ctx, "gzip")
			must(err)
			peer = append(peer, one)
		}
	}
	c.ours.changed, c.peer.changed = summary(ours), summary(peer)
	must(s.quiet(ctx))
	must(s.minute(ctx, c))
	must(s.quiet(ctx))
	for _, pair := range s.pairs(c) {
		cost, err := costOf(pair.Pid())
		must(err)
		pair.figures.peak, pair.figures.end = cost.peak, cost.resident
	}
	must(s.sharded(ctx, c))
	must(s.withUsage(ctx, c))
}

// pair is a server and where its figures go.
type pair struct {
	*target
	figures *figures
}

func (s *scale) pairs(c *comparison) []pair {
	return []pair{{s.exporter, &c.ours}, {s.peer, &c.peer}}
}

func (p pair) resident(into *int64) error {
	cost, err := costOf(p.Pid())
	*into = cost.resident
	return err
}

// starts kills and starts a server several times, and keeps the figures of the median.
func (s *scale) starts(ctx context.Context, t *target, into *startFigures, times int) error {
	var all []startFigures
	for range times {
		t.Kill()
		figures, err := s.begun(ctx, t)
		if err != nil {
			return err
		}
		all = append(all, figures)
	}
	slices.SortFunc(all, func(a, b startFigures) int { return cmp.Compare(a.complete, b.complete) })
	*into = all[(len(all)-1)/2]
	return nil
}

// begun starts a server and follows it to its first complete answer.
func (s *scale) begun(ctx context.Context, t *target) (f startFigures, err error) {
	apiBefore, err := costOf(s.api.Pid())
	if err != nil {
		return f, err
	}
	asked, err := s.requests(ctx, t.client)
	if err != nil {
		return f, err
	}
	begin := time.Now()
	if err := t.Start(ctx); err != nil {
		return f, err
	}
	if err := t.await(ctx); err != nil {
		return f, err
	}
	f.ready = time.Since(begin)
	before, err := costOf(t.Pid())
	if err != nil {
		return f, err
	}
	first, err := t.scrape(ctx, "identity")
	if err != nil {
		return f, err
	}
	f.complete, f.cpu, f.scrapeCPU, f.peak = time.Since(begin), before.cpu, first.cpu, first.peak
	apiAfter, err := costOf(s.api.Pid())
	if err != nil {
		return f, err
	}
	again, err := s.requests(ctx, t.client)
	f.apiCPU, f.requests = apiAfter.cpu-apiBefore.cpu, again-asked
	if err != nil {
		return f, err
	}
	return f, t.whole(first)
}

// scrapes asks several times, at full speed.
func (s *scale) scrapes(ctx context.Context, t *target, encoding string, times int, into *scrapeFigures) error {
	var all []scraped
	for range times {
		one, err := t.scrape(ctx, encoding)
		if err != nil {
			return err
		}
		if encoding == "identity" {
			if err := t.whole(one); err != nil {
				return err
			}
		}
		all = append(all, one)
	}
	*into = summary(all)
	return nil
}

// minute lets pods change their status at the rate of the figures, and nobody scrapes.
func (s *scale) minute(ctx context.Context, c *comparison) error {
	const long = time.Minute
	cpu := func() (all []cost, err error) {
		for _, p := range s.processes {
			cost, err := costOf(p.Pid())
			if err != nil {
				return nil, err
			}
			all = append(all, cost)
		}
		return all, nil
	}
	before, err := cpu()
	if err != nil {
		return err
	}
	begin, n := time.Now(), int(s.rate*long.Seconds())
	if err := s.change(ctx, n, s.rate); err != nil {
		return err
	}
	took := time.Since(begin)
	c.rate = float64(n) / took.Seconds()
	if err := s.quiet(ctx); err != nil {
		return err
	}
	after, err := cpu()
	if err != nil {
		return err
	}
	for i, p := range s.processes {
		used := time.Duration(float64(after[i].cpu-before[i].cpu) * float64(long) / float64(took))
		switch p {
		case s.peer.Process:
			c.peer.perMinute = used
		case s.exporter.Process:
			c.ours.perMinute = used
		case s.state, s.natsServer:
			c.pipeline = append(c.pipeline, pipelineRow{p.Name(), used, after[i].peak})
		}
	}
	return nil
}

// sharded starts two shards of each at once, in place of the one, and checks that they have everything between them.
func (s *scale) sharded(ctx context.Context, c *comparison) error {
	for _, set := range []struct {
		one  *target
		make func(name string, args ...string) *target
		into *shardFigures
	}{{s.exporter, s.newExporter, &c.ours.shards}, {s.peer, s.newPeer, &c.peer.shards}} {
		if set.one == s.exporter && !s.exporterShards() {
			continue
		}
		var shards []*target
		for i := range 2 {
			shards = append(shards, set.make(fmt.Sprintf("%s-shard-%d", set.one.Name(), i), fmt.Sprintf("--shard=%d", i), "--total-shards=2"))
		}
		if err := s.shardsOf(ctx, set.one, shards, set.into); err != nil {
			return err
		}
	}
	return nil
}

func (s *scale) shardsOf(ctx context.Context, one *target, shards []*target, into *shardFigures) error {
	all, err := one.scrape(ctx, "identity")
	if err != nil {
		return err
	}
	one.Kill()
	apiBefore, err := costOf(s.api.Pid())
	if err != nil {
		return err
	}
	asked, err := s.requests(ctx, one.client)
	if err != nil {
		return err
	}
	for _, shard := range shards {
		if err := shard.Start(ctx); err != nil {
			return err
		}
	}
	// A shard of kube-state-metrics streams its lists, so that it watches from the beginning, and nothing but its answer
	// tells when it is complete. What that costs isn't measured here.
	err = cluster.Eventually(ctx, 5*time.Minute, func() error {
		series := 0
		for _, shard := range shards {
			if err := shard.ready(ctx); err != nil {
				return err
			}
			answer, err := shard.scrape(ctx, "identity")
			if err != nil {
				return err
			}
			series += answer.series
		}
		if series != all.series {
			return fmt.Errorf("two shards of %s have %d series together, and one process has %d", one.Name(), series, all.series)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, shard := range shards {
		cost, err := costOf(shard.Pid())
		if err != nil {
			return err
		}
		into.resident += cost.peak
	}
	apiAfter, err := costOf(s.api.Pid())
	if err != nil {
		return err
	}
	again, err := s.requests(ctx, one.client)
	into.apiCPU, into.requests = apiAfter.cpu-apiBefore.cpu, again-asked
	if err != nil {
		return err
	}
	for _, shard := range shards {
		shard.Kill()
	}
	return nil
}

// withUsage measures the exporter as it is by default, with the usage of every container beside the state of objects.
func (s *scale) withUsage(ctx context.Context, c *comparison) error {
	t := s.startUsage()
	if err := pause(ctx, 2*resolution); err != nil { // all nodes have been scraped
		return err
	}
	if err := s.starts(ctx, t, &c.usage.start, 3); err != nil {
		return err
	}
	if err := s.scrapes(ctx, t, "identity", 3, &c.usage.plain); err != nil {
		return err
	}
	if err := s.scrapes(ctx, t, "gzip", 5, &c.usage.gzip); err != nil {
		return err
	}
	cost, err := costOf(t.Pid())
	c.usage.peak, c.usage.end = cost.peak, cost.resident
	return err
}
