package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

const (
	rounds = 3 // of kills: metrics-server takes long
	often  = 3 // that Headwater's are killed in each round
)

// BenchmarkRestart kills servers and measures the time from their start to their first complete answer.
func BenchmarkRestart(b *testing.B) {
	for _, nodes := range []int{100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			w := newWorld(b, nodes)
			for b.Loop() {
				w.measure(b, nodes)
			}
		})
	}
}

func (w *world) measure(b *testing.B, nodes int) {
	ctx, before := b.Context(), load()
	fail := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	ask, steady := w.exposition(nil)
	fail(cluster.Eventually(ctx, time.Minute, func() error { _, err := ask(ctx); return err }))
	usage, err := w.window(ctx, time.Minute)
	fail(err)

	var metricsapi, exporter, peer series
	for range rounds {
		for range often {
			fail(metricsapi.add(ctx, w.metricsapi, w.pods(w.metricsapi)))
			ask, _ := w.exposition(steady)
			fail(exporter.add(ctx, w.exporter, ask))
		}
		fail(peer.add(ctx, w.peer, w.pods(w.peer)))
	}

	ours, theirs := metricsapi.of(complete), peer.of(complete)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours.median, "metricsapi-s")
	b.ReportMetric(theirs.median, "metrics-server-s")
	b.ReportMetric(theirs.median/ours.median, "ratio")
	b.ReportMetric(exporter.of(complete).median, "exporter-s")

	fmt.Printf("\nRestart (kill -9, start): %d nodes x %d pods, %d pods run with %d containers; scraped every %v; %d cores, load %s to %s\n",
		nodes, podsPerNode, len(w.running), w.containers, resolution, runtime.NumCPU(), before, load())
	printRestarts(os.Stdout, map[string]series{"metricsapi": metricsapi, "metrics-server": peer, "exporter": exporter})
	fmt.Printf("metrics-server / metricsapi, to the first complete answer: %.1f. The exporter's answer has %d series.\n", theirs.median/ours.median, steady.total())
	fmt.Println("Before, with nothing restarted, in a minute, and the peak since the start:")
	usage.print(os.Stdout)
	fmt.Println()
}

// restart is what one has cost, in seconds and MB: its figures have functions of their names.
type restart struct {
	ready, complete, oldest, cpu, waited, peak, warm, megabytes float64

	log string // what the process had to say
}

func isReady(r restart) float64   { return r.ready }
func complete(r restart) float64  { return r.complete }
func oldest(r restart) float64    { return r.oldest }
func cpu(r restart) float64       { return r.cpu }
func waited(r restart) float64    { return r.waited }
func peak(r restart) float64      { return r.peak }
func warm(r restart) float64      { return r.warm }
func megabytes(r restart) float64 { return r.megabytes }

// series are the restarts of one process.
type series []restart

// add kills the process, starts it, asks at once and again until it is ready and until its answer is whole, and then
// once more.
func (s *series) add(ctx context.Context, p server, whole asks) error {
	p.Kill()
	begin := time.Now()
	if err := p.Start(ctx); err != nil {
		return err
	}
	var readied, first answer
	var readyErr, wholeErr error
	var group sync.WaitGroup
	group.Go(func() { readied, readyErr = poll(ctx, ready(p)) })
	group.Go(func() { first, wholeErr = poll(ctx, whole) })
	group.Wait()
	if err := errors.Join(readyErr, wholeErr); err != nil {
		return fmt.Errorf("%s after its restart: %w", p.Name(), err)
	}
	again, err := whole(ctx)
	if err != nil {
		return fmt.Errorf("%s answered completely, and then: %w", p.Name(), err)
	}
	r := restart{
		ready: readied.at.Sub(begin).Seconds(), complete: first.at.Sub(begin).Seconds(), megabytes: float64(first.bytes) / 1e6,
		cpu: first.cost.cpu.Seconds(), waited: first.cost.waited.Seconds(), peak: float64(first.cost.peak) / 1e6, warm: again.took.Seconds(),
		log: p.Tail(30),
	}
	if !first.oldest.IsZero() {
		r.oldest = first.at.Sub(first.oldest).Seconds()
	}
	*s = append(*s, r)
	return nil
}

// poll asks again and again. The pause is a fiftieth of the time that has passed, so that it adds 2 % at most and does
// not busy a server that takes long; 2 to 100 ms.
func poll(ctx context.Context, ask asks) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for begin := time.Now(); ; {
		a, err := ask(ctx)
		if err == nil {
			return a, nil
		}
		select {
		case <-ctx.Done():
			return a, fmt.Errorf("not within %v: %w", time.Since(begin).Round(time.Second), err)
		case <-time.After(min(max(time.Since(begin)/50, 2*time.Millisecond), 100*time.Millisecond)):
		}
	}
}

// usage is what each process used within a time.
type usage struct {
	names []string
	costs []cost
}

// window looks on for a while.
func (w *world) window(ctx context.Context, long time.Duration) (usage, error) {
	return windowOf(ctx, w.processes, long)
}

// windowOf looks on for a while at what some processes use.
func windowOf(ctx context.Context, processes []*cluster.Process, long time.Duration) (usage, error) {
	var u usage
	all := func() (costs []cost, err error) {
		for _, p := range processes {
			c, err := costOf(p.Pid())
			if err != nil {
				return nil, err
			}
			costs = append(costs, c)
		}
		return costs, nil
	}
	before, err := all()
	if err != nil {
		return u, err
	}
	select {
	case <-ctx.Done():
		return u, ctx.Err()
	case <-time.After(long):
	}
	after, err := all()
	if err != nil {
		return u, err
	}
	for i, p := range processes {
		u.names = append(u.names, p.Name())
		u.costs = append(u.costs, cost{cpu: after[i].cpu - before[i].cpu, peak: after[i].peak, resident: after[i].resident})
	}
	return u, nil
}
