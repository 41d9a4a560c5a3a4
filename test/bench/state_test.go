package bench

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/test/cluster"
)

var stateBefore = flag.String("state-before", "", "another binary of the state service, to measure on the same simulated cluster first")

const (
	stateRestarts = 5
	stateChanges  = 3000 // of pods
	stateRate     = 300  // of them a second
)

// BenchmarkState measures what the state service takes for a cluster: memory at rest and at its peak, CPU, and how long it
// takes to start, with an empty log and with a full one.
func BenchmarkState(b *testing.B) {
	for _, nodes := range sizesOf(b) {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			for b.Loop() {
				before := load()
				s := newStates(b, nodes)
				s.run()
				fmt.Printf("\nstate: %d nodes x %d pods, %d objects, log of %.0f MB; %d cores, load %s to %s\n",
					nodes, podsPerNode, int(s.all[0].objects), mega(int64(s.all[0].bytes)), runtime.NumCPU(), before, load())
				s.print()
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// states are the services that are compared, on one cluster.
type states struct {
	*scale
	all []*stateSide
}

// stateSide is one of them, with a NATS server of its own.
type stateSide struct {
	*cluster.Process
	at string // base URL of its telemetry

	objects, bytes float64   // in the log
	first          stateCost // with an empty log
	again          []stateCost
	minute         cost // at rest, and the memory then
	late           cost // some time after the last start with a full log
	change         time.Duration
}

// stateCost is what a start took until the service was ready, and until it had written a snapshot.
type stateCost struct {
	ready, snapshot time.Duration
	atReady, at     cost
}

func newStates(b *testing.B, nodes int) *states {
	b.Helper()
	s := &states{scale: &scale{lab: newLab(b, "nats-server"), rate: stateRate}}
	_, config := s.simulate(nodes)
	config = rest.CopyConfig(config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	var err error
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		b.Fatal(err)
	}
	if err := s.learn(b.Context()); err != nil {
		b.Fatal(err)
	}
	if *stateBefore != "" {
		s.add("before", *stateBefore, nodes)
	}
	s.add("now", filepath.Join(s.bin, "state"), nodes)
	return s
}

func (s *states) add(name, path string, nodes int) {
	s.Helper()
	nats, telemetry := s.port(), s.port()
	s.start("nats-"+name, s.pins["nats-server"], "-a", "127.0.0.1", "-p", fmt.Sprint(nats), "-js", "-sd", filepath.Join(s.dir, "nats-"+name))
	s.all = append(s.all, &stateSide{
		at: fmt.Sprintf("http://127.0.0.1:%d", telemetry),
		Process: s.describe(name, path, "--kubeconfig="+s.kubeconfig, fmt.Sprintf("--nats-url=nats://127.0.0.1:%d", nats), "--cluster=bench",
			fmt.Sprintf("--objects-max-bytes=%d", max(1<<28, nodes<<19)), fmt.Sprintf("--telemetry-address=127.0.0.1:%d", telemetry)),
	})
}

// run measures one after the other, and then starts them by turns.
func (s *states) run() {
	ctx := s.Context()
	check := func(err error) {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
	}
	for _, one := range s.all {
		var err error
		one.first, err = one.start(ctx)
		check(err)
		check(pause(ctx, settleTime))
		u, err := windowOf(ctx, []*cluster.Process{one.Process}, steadyTime)
		check(err)
		one.minute = u.costs[0]
		one.objects, err = one.metric(ctx, "headwater_state_objects{")
		check(err)
		one.bytes, err = one.metric(ctx, "headwater_state_object_bytes")
		check(err)
		check(s.changes(ctx, one))
		one.Kill()
	}
	for range stateRestarts {
		for _, one := range s.all {
			c, err := one.start(ctx)
			check(err)
			one.again = append(one.again, c)
			one.Kill()
		}
	}
	for _, one := range s.all {
		_, err := one.start(ctx)
		check(err)
		check(pause(ctx, settleTime+steadyTime))
		one.late, err = costOf(one.Pid())
		check(err)
		one.Kill()
	}
}

// start starts a service and waits until it is ready and has written a snapshot.
func (one *stateSide) start(ctx context.Context) (c stateCost, err error) {
	begin := time.Now()
	until := func(condition func() error) (time.Duration, cost, error) {
		a, err := poll(ctx, func(context.Context) (answer, error) { return answer{at: time.Now()}, condition() })
		if err != nil {
			return 0, cost{}, err
		}
		c, err := costOf(one.Pid())
		return a.at.Sub(begin), c, err
	}
	if err := one.Start(ctx); err != nil {
		return c, err
	}
	if c.ready, c.atReady, err = until(func() error { return cluster.HTTPReady(one.at + "/readyz")(ctx) }); err != nil {
		return c, err
	}
	c.snapshot, c.at, err = until(func() error {
		n, err := one.metric(ctx, `headwater_state_snapshots_total{result="ok"}`)
		if err == nil && n == 0 {
			err = errors.New("no snapshot yet")
		}
		return err
	})
	return c, err
}

// changes measures the CPU that a change of a pod takes, until it is in the log.
func (s *states) changes(ctx context.Context, one *stateSide) error {
	const events = `headwater_state_events_total{operation="applied",resource="pods"}`
	written, err := one.metric(ctx, events)
	if err != nil {
		return err
	}
	before, err := costOf(one.Pid())
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := s.change(ctx, stateChanges, s.rate); err != nil {
		return err
	}
	err = cluster.Eventually(ctx, time.Minute, func() error {
		n, err := one.metric(ctx, events)
		if err == nil && n < written+stateChanges {
			err = fmt.Errorf("%.0f of %d changes are in the log", n-written, stateChanges)
		}
		return err
	})
	if err != nil {
		return err
	}
	after, err := costOf(one.Pid())
	usual := time.Duration(float64(one.minute.cpu) * float64(time.Since(begin)) / float64(steadyTime))
	one.change = (after.cpu - before.cpu - usual) / stateChanges
	return err
}

// metric adds up the series of the service's own metrics that begin like this; 0 where there is none.
func (one *stateSide) metric(ctx context.Context, prefix string) (sum float64, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, one.at+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("couldn't read the metrics of %s: %w", one.Name(), err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if text := lines.Text(); strings.HasPrefix(text, prefix) {
			value, err := strconv.ParseFloat(text[strings.LastIndexByte(text, ' ')+1:], 64)
			if err != nil {
				return 0, fmt.Errorf("couldn't read the metrics of %s: %w", one.Name(), err)
			}
			sum += value
		}
	}
	return sum, lines.Err()
}

func (s *states) print() {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(what string, of func(*stateSide) float64) {
		fmt.Fprintf(t, "%s\t", what)
		for _, one := range s.all {
			fmt.Fprintf(t, "%.2f\t", of(one))
		}
		if len(s.all) == 2 {
			fmt.Fprintf(t, "x %.2f\t", of(s.all[1])/of(s.all[0]))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprint(t, "\t")
	for _, one := range s.all {
		fmt.Fprintf(t, "%s\t", one.Name())
	}
	fmt.Fprintln(t)
	pods := float64(s.pods) / 1000
	median := func(of func(stateCost) float64) func(*stateSide) float64 {
		return func(one *stateSide) float64 {
			var all []float64
			for _, c := range one.again {
				all = append(all, of(c))
			}
			slices.Sort(all)
			return all[len(all)/2]
		}
	}
	line("memory at rest after the first start, MB", func(one *stateSide) float64 { return mega(one.minute.resident) })
	line("the same for 1,000 pods, MB", func(one *stateSide) float64 { return mega(one.minute.resident) / pods })
	line("memory at rest after a restart, MB", func(one *stateSide) float64 { return mega(one.late.resident) })
	line("peak of the first start, MB", func(one *stateSide) float64 { return mega(one.minute.peak) })
	line("peak of a restart, MB", func(one *stateSide) float64 { return mega(one.late.peak) })
	line("first start: ready, s", func(one *stateSide) float64 { return one.first.ready.Seconds() })
	line("its snapshot, s", func(one *stateSide) float64 { return (one.first.snapshot - one.first.ready).Seconds() })
	line("CPU until both, s", func(one *stateSide) float64 { return one.first.at.cpu.Seconds() })
	line("restart, median: ready, s", median(func(c stateCost) float64 { return c.ready.Seconds() }))
	line("its snapshot, s", median(func(c stateCost) float64 { return (c.snapshot - c.ready).Seconds() }))
	line("CPU until ready, s", median(func(c stateCost) float64 { return c.atReady.cpu.Seconds() }))
	line("CPU until both, s", median(func(c stateCost) float64 { return c.at.cpu.Seconds() }))
	line("CPU a minute at rest, s", func(one *stateSide) float64 { return one.minute.cpu.Seconds() })
	line("CPU a change of a pod, us", func(one *stateSide) float64 { return float64(one.change.Microseconds()) })
	t.Flush()
	for _, one := range s.all {
		s.ReportMetric(mega(one.minute.resident)/pods, one.Name()+"-MB/1000pods")
	}
}
