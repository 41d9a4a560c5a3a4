package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

const (
	steadyTime = time.Minute      // in which CPU is counted: figures are for a minute
	settleTime = 20 * time.Second // before it: every node was scraped again, and garbage of the start collected
	agesTime   = 2 * resolution   // in which the age of samples is looked at
	lateBy     = 10 * time.Second // of the nodes that hang
	ourStarts  = 5
	peerStarts = 2 // it takes long
)

// BenchmarkScale puts Headwater's usage side and metrics-server, one after the other, on the same simulated kubelets, over
// HTTPS, and measures what each takes and how it answers.
func BenchmarkScale(b *testing.B) {
	var all []*sides
	for _, nodes := range sizesOf(b) {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			for b.Loop() {
				s, before := &sides{nodes: nodes}, load()
				s.run(b)
				b.ReportMetric(0, "ns/op")
				s.report(b)
				fmt.Printf("\nmetrics-server and Headwater: %d nodes x %d pods, %d pods run with %d containers; scraped every %v; %d cores, load %s to %s\n",
					nodes, podsPerNode, s.pods, s.containers, resolution, runtime.NumCPU(), before, load())
				s.print(os.Stdout)
				all = append(all, s)
			}
		})
	}
	if len(all) > 1 {
		printSides(os.Stdout, all)
	}
	if *plotFile != "" && len(all) > 1 {
		if err := os.WriteFile(*plotFile, plotSides(all), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

// sizesOf reads the flag with the sizes of clusters.
func sizesOf(b *testing.B) (all []int) {
	b.Helper()
	for _, text := range strings.Split(*sizes, ",") {
		nodes, err := strconv.Atoi(text)
		if err != nil || nodes < 1 {
			b.Fatalf("-nodes is %q; it has to be numbers with commas between them", *sizes)
		}
		all = append(all, nodes)
	}
	return all
}

// sides are both servers on one size of cluster.
type sides struct {
	nodes, pods, containers int
	largest                 int // pods in the namespace that has most
	peer, ours              side
}

// side is what one of them takes and how it answers. Zero is not measured.
type side struct {
	starts       series // of the process that answers: kill -9, start, first complete answer with all pods
	memory, peak int64  // resident, of all that it takes to scrape and answer: steady, and the most until the end
	another      int64  // of one more process that answers, steady
	cpu          time.Duration
	anotherCPU   time.Duration
	parts        []part

	protobuf, json quantiles // seconds, of answers with all pods
	protobufBytes  int
	jsonBytes      int
	app, crowded   quantiles // milliseconds, of answers with the pods of an application: anywhere, and in the largest namespace
	age, hung      quantiles // seconds since a node's sample, when read: usually, and of the others while 1 % of the nodes hang
}

// part is one process in the steady minute.
type part struct {
	name string
	cost
}

// run measures everything on one cluster.
func (s *sides) run(b *testing.B) {
	w := &world{lab: newLab(b, "nats-server", "metrics-server")}
	simulation, admin := w.simulate(s.nodes)
	w.admin = admin
	ctx := b.Context()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	check(w.learn(ctx))
	s.pods, s.containers = len(w.running), w.containers
	s.largest = w.crowd
	kubelets := []string{"--kubelet-use-node-status-port", "--kubelet-preferred-address-types=InternalIP", "--metric-resolution=" + resolution.String()}

	nats := w.startNATS()
	stateTelemetry, ingestTelemetry := w.port(), w.port()
	state := w.begin(w.service("state", "state", "--kubeconfig="+w.kubeconfig, "--objects-max-bytes=4294967296", fmt.Sprintf("--telemetry-address=127.0.0.1:%d", stateTelemetry)))
	w.awaitReady(fmt.Sprintf("http://127.0.0.1:%d/readyz", stateTelemetry))
	ingest := w.begin(w.service("ingest", "ingest", append(kubelets, "--kubeconfig="+w.kubeconfig, fmt.Sprintf("--telemetry-address=127.0.0.1:%d", ingestTelemetry))...))
	w.awaitReady(fmt.Sprintf("http://127.0.0.1:%d/readyz", ingestTelemetry))
	first, second := w.answering("metricsapi"), w.answering("metricsapi-2")
	for _, one := range []server{first, second} {
		check(one.Start(ctx))
		_, err := w.until(ctx, one)
		check(err)
	}
	check(s.ours.steady(ctx, []*cluster.Process{ingest, first.Process, second.Process}, []*cluster.Process{nats, state, simulation}))
	// What a second replica takes isn't what it takes to scrape and answer.
	two := s.ours.parts[2]
	s.ours.memory, s.ours.another, s.ours.anotherCPU = s.ours.memory-two.resident, two.resident, two.cpu
	second.Kill()
	for range ourStarts {
		check(s.ours.starts.add(ctx, first, w.packed(first)))
	}
	check(s.ours.answers(ctx, w, first))
	check(s.ours.peaks(ingest, first.Process))
	for _, p := range []*cluster.Process{first.Process, ingest, state, nats} {
		p.Kill()
	}

	peer := w.delegate("metrics-server", w.pins["metrics-server"], append(kubelets, "--kubelet-insecure-tls")...)
	for range peerStarts {
		check(s.peer.starts.add(ctx, peer, w.packed(peer)))
	}
	check(s.peer.steady(ctx, []*cluster.Process{peer.Process}, []*cluster.Process{simulation}))
	s.peer.another, s.peer.anotherCPU = s.peer.memory, s.peer.cpu
	check(s.peer.answers(ctx, w, peer))
	check(s.peer.peaks(peer.Process))
}

// answering describes a metricsapi.
func (w *world) answering(name string) server {
	telemetry := w.port()
	return w.delegate(name, filepath.Join(w.bin, "metricsapi"), "--metric-resolution="+resolution.String(), "--cluster=bench",
		fmt.Sprintf("--nats-url=nats://127.0.0.1:%d", w.nats), fmt.Sprintf("--telemetry-address=127.0.0.1:%d", telemetry))
}

// delegate describes a server of the Metrics API, which asks the API server who its clients are.
func (w *world) delegate(name, program string, args ...string) server {
	port := w.port()
	s := server{at: fmt.Sprintf("https://127.0.0.1:%d", port)}
	s.readyAt = s.at + "/readyz"
	s.Process = w.describe(name, program, append(args, "--kubeconfig="+w.kubeconfig, "--authentication-kubeconfig="+w.kubeconfig, "--authorization-kubeconfig="+w.kubeconfig,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--cert-dir="+filepath.Join(w.dir, name+"-certs"))...)
	return s
}

// until waits for a complete answer.
func (w *world) until(ctx context.Context, s server) (answer, error) { return poll(ctx, w.packed(s)) }

// steady counts for a while what processes use that nobody asks: first those that are counted together, then those that are
// only shown.
func (s *side) steady(ctx context.Context, counted, shown []*cluster.Process) error {
	if err := pause(ctx, settleTime); err != nil {
		return err
	}
	u, err := windowOf(ctx, append(counted[:len(counted):len(counted)], shown...), steadyTime)
	if err != nil {
		return err
	}
	for i, c := range u.costs {
		s.parts = append(s.parts, part{u.names[i], c})
		if i < len(counted) {
			s.cpu += c.cpu
			s.memory += c.resident
		}
	}
	return nil
}

// peaks adds up the most memory that each process had since it was last started.
func (s *side) peaks(counted ...*cluster.Process) error {
	for _, p := range counted {
		c, err := costOf(p.Pid())
		if err != nil {
			return err
		}
		s.peak += c.peak
	}
	return nil
}

// answers asks a server for everything that is measured of its answers.
func (s *side) answers(ctx context.Context, w *world, of server) (err error) {
	if s.age, err = w.ages(ctx, of, nil); err != nil {
		return err
	}
	if s.protobuf, s.protobufBytes, err = repeat(ctx, w.packed(of)); err != nil {
		return err
	}
	if s.json, s.jsonBytes, err = repeat(ctx, w.pods(of)); err != nil {
		return err
	}
	if s.app, err = w.applications(ctx, of, false); err != nil {
		return err
	}
	if s.crowded, err = w.applications(ctx, of, true); err != nil {
		return err
	}
	hanging, err := w.hang(ctx, agesTime+2*resolution)
	if err != nil {
		return err
	}
	// What was asked before it began is over, and every node has been asked once.
	if err := pause(ctx, resolution); err != nil {
		return err
	}
	s.hung, err = w.ages(ctx, of, hanging)
	return err
}
