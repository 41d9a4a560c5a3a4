package topparity

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/internal/stall"
	"github.com/headwater-metrics/headwater/test/pins"
)

var (
	binaries = flag.String("bin", filepath.Join("..", "..", "bin"), "folder of Headwater's binaries")
	seed     = flag.Uint64("seed", 1, "seed of the random pods")
	dicePods = flag.Int("pods", 400, "random pods")
)

const (
	// resolution is that of both: the shortest that metrics-server takes.
	resolution = 10 * time.Second
	// maxAge is how long ours serves a sample after its scrape. Where a script says that a sample is kept, that is no more than
	// 39 s ago: three rounds, of which a kubelet that hangs makes one last for up to 19 s. Where it says that it is gone, that
	// is at least 40 s ago, less what a slow machine came late by, and patience waits for the rest.
	maxAge = 42 * time.Second
	// patience is how long ours has to come to agree; while it lasts the next scrapes are held back.
	patience = 6 * time.Second
)

// world is a control plane with both sides on its kubelets.
type world struct {
	*cluster.Cluster
	gate, rarely *gate
	differences  *differences
	our, their   server
	metricsapi   *cluster.Process
	peer         *cluster.Process
	nats         string
	kubeconfigs  map[string]string // by client
	nodes        []*node
	started      time.Time // of all pods
	before       answers   // of the round before
	again        func()    // makes another Node in the place of one that was deleted
	now          int64     // the time of this round's readings, Unix milliseconds
}

// quiet keeps the controllers from deleting the pods of a node that is gone, which they do when it suits them.
const quiet = "--controllers=*,-node-lifecycle-controller,-taint-eviction-controller,-node-ipam-controller,-pod-garbage-collector-controller"

func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// newWorld starts everything. All of it ends with the test.
func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	d, err := readDifferences()
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Start(ctx, cluster.Config{Nodes: nodes, Log: logf, ControllerManagerArgs: []string{quiet}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Tails(15))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{Cluster: c, gate: newGate(ours, theirs), rarely: newGate(rarelyOurs, rarelyTheir), differences: d, kubeconfigs: map[string]string{}}
	for _, client := range []string{ours, theirs, rarelyOurs, rarelyTheir} {
		if w.kubeconfigs[client], err = c.KubeconfigFor(client, "system:masters"); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range c.Kubelets.Nodes() {
		c.Kubelets.Bend(gates{w.gate, w.rarely}.kubelet(name), name)
	}
	for i, change := range map[int]string{
		elsewhere:  `{"metadata":{"annotations":{"metrics.k8s.io/resource-metrics-path":"/elsewhere/metrics"}}}`,
		unselected: `{"metadata":{"labels":{"scrape":"no"}}}`,
	} {
		w.patchNode(t, i, change)
	}
	w.nodes = cast(c.Kubelets.Nodes(), *seed, 0, *dicePods)
	w.populate(t)
	if err := w.startOurs(ctx); err != nil {
		t.Fatal(err)
	}
	return w
}

const wanted = "--node-selector=scrape!=no"

// timeout is the longest time for one scrape that both sides take, so that what is held back, or a machine that stands still,
// is no failure.
func timeout(resolution time.Duration) string {
	return "--kubelet-request-timeout=" + (resolution * 9 / 10).String()
}

// startTheirs starts metrics-server.
func (w *world) startTheirs(ctx context.Context) error {
	peer, err := w.StartMetricsServer(ctx, resolution, "--kubeconfig="+w.kubeconfigs[theirs], timeout(resolution), wanted)
	if err != nil {
		return err
	}
	w.peer = peer.Process
	w.their, err = w.server(theirs, peer.Port, w.REST)
	return err
}

// side is where Headwater's programs belong.
type side struct {
	cluster, client string
	every           time.Duration // the resolution
	args            []string      // of metricsapi
}

// startOurs starts Headwater.
func (w *world) startOurs(ctx context.Context) error {
	paths, err := pins.Build(ctx, os.Stderr, "nats-server")
	if err != nil {
		return err
	}
	nats, err := cluster.FreePort()
	if err != nil {
		return err
	}
	w.nats = fmt.Sprintf("nats://127.0.0.1:%d", nats)
	if _, err := w.Run(ctx, cluster.Spec{Name: "nats-server", Path: paths["nats-server"],
		Args: []string{"-a", "127.0.0.1", "-p", fmt.Sprint(nats), "-js", "-sd", filepath.Join(w.Dir, "nats")}}); err != nil {
		return err
	}
	w.our, w.metricsapi, err = w.start(ctx, side{"topparity", ours, resolution, []string{"--max-sample-age=" + maxAge.String()}})
	return err
}

// start starts the programs that belong together, and returns what serves the Metrics API.
func (w *world) start(ctx context.Context, s side) (server, *cluster.Process, error) {
	every := "--metric-resolution=" + s.every.String()
	if _, err := w.service(ctx, s, "state", "--kubeconfig="+w.Kubeconfig, "--objects-max-bytes=268435456"); err != nil {
		return server{}, nil, err
	}
	if _, err := w.service(ctx, s, "ingest", "--kubeconfig="+w.kubeconfigs[s.client], "--kubelet-certificate-authority="+w.CertificateAuthority(),
		"--kubelet-use-node-status-port", "--kubelet-preferred-address-types=InternalIP", timeout(s.every), every, wanted); err != nil {
		return server{}, nil, err
	}
	port, err := cluster.FreePort()
	if err != nil {
		return server{}, nil, err
	}
	p, err := w.service(ctx, s, "metricsapi", append([]string{"--kubeconfig=" + w.Kubeconfig, "--authentication-kubeconfig=" + w.Kubeconfig,
		"--authorization-kubeconfig=" + w.Kubeconfig, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--cert-dir=" + filepath.Join(w.Dir, "metricsapi-"+s.cluster), every, wanted}, s.args...)...)
	if err != nil {
		return server{}, nil, err
	}
	serves, err := w.server("headwater", port, w.REST)
	if err != nil {
		return server{}, nil, err
	}
	return serves, p, cluster.Eventually(ctx, 3*time.Minute, func() error { _, err := serves.state(ctx); return err })
}

// service starts one of Headwater's programs and waits until it lives: that it is ready needs scrapes.
func (w *world) service(ctx context.Context, s side, program string, args ...string) (*cluster.Process, error) {
	port, err := cluster.FreePort()
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(filepath.Join(*binaries, program))
	if err != nil {
		return nil, err
	}
	return w.Run(ctx, cluster.Spec{Name: program + "-" + s.cluster, Path: path,
		Args:  append([]string{"--nats-url=" + w.nats, "--cluster=" + s.cluster, fmt.Sprintf("--telemetry-address=127.0.0.1:%d", port)}, args...),
		Ready: cluster.HTTPReady(fmt.Sprintf("http://127.0.0.1:%d/livez", port))})
}

// server is what serves on a port of this machine, asked with the certificate of a configuration.
func (w *world) server(name string, port int, as *rest.Config) (server, error) {
	config := &tls.Config{InsecureSkipVerify: true}
	if as != nil {
		cert, err := tls.X509KeyPair(as.CertData, as.KeyData)
		if err != nil {
			return server{}, fmt.Errorf("couldn't read a client's certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return server{name, fmt.Sprintf("https://127.0.0.1:%d", port), &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 10 * time.Second}}, nil
}

// populate makes the pods and waits until they run; then it says when their containers started.
func (w *world) populate(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	for _, namespace := range []string{home, "dice", "idle", young} {
		if _, err := w.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	all := 0
	for _, n := range w.nodes {
		for _, p := range n.pods {
			w.create(t, p, "one")
			if p.phase == "" {
				all++
			}
		}
	}
	for _, p := range infants(w.Kubelets.Nodes()[plain], 0) {
		w.create(t, p, "one")
		all++
	}
	if err := cluster.Eventually(ctx, 3*time.Minute, func() error {
		if n := len(w.Kubelets.Pods()); n != all {
			return fmt.Errorf("%d of %d pods run", n, all)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	w.started = time.Now()
	start := w.started.UnixMilli()
	for _, n := range w.nodes {
		for _, p := range n.pods {
			for _, c := range p.containers {
				c.start = start + c.offset
				c.born = c.start
			}
		}
	}
}

// create makes a pod of a generation.
func (w *world) create(t *testing.T, p *pod, generation string) {
	t.Helper()
	object := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, Labels: map[string]string{"app": p.name, "generation": generation, "containers": fmt.Sprint(len(p.containers))}},
		Spec:       corev1.PodSpec{NodeName: p.node},
	}
	for _, c := range p.containers {
		object.Spec.Containers = append(object.Spec.Containers, corev1.Container{Name: c.name, Image: "registry.example/" + c.name + ":1"})
	}
	if p.phase == "pending" {
		object.Spec.NodeName, object.Spec.SchedulingGates = "", []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
	}
	if err := cluster.Eventually(t.Context(), time.Minute, func() error {
		_, err := w.Client.CoreV1().Pods(p.namespace).Create(t.Context(), object, metav1.CreateOptions{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// soon waits until a condition holds, for patience and for as long as the machine kept this process waiting.
func soon(ctx context.Context, condition func() error) error {
	begin := time.Now()
	for {
		err := cluster.Eventually(ctx, patience, condition)
		if err == nil || time.Since(begin)-stall.Since(begin) >= patience || ctx.Err() != nil {
			return err
		}
	}
}

// find returns a pod of the script.
func (w *world) find(t *testing.T, name string) *pod {
	t.Helper()
	for _, n := range w.nodes {
		for _, p := range n.pods {
			if p.name == name {
				return p
			}
		}
	}
	t.Fatalf("there is no pod %s", name)
	return nil
}

// asked are the nodes that are scraped in a round.
func (w *world) asked(round int) []string {
	var names []string
	for i, n := range w.nodes {
		if i != unselected && n.away[round] == "" {
			names = append(names, n.name)
		}
	}
	return names
}

// at is a time as the Metrics API writes it.
func at(milliseconds int64) string {
	return time.UnixMilli(milliseconds).UTC().Format(time.RFC3339)
}

// tails shorten what a failed test shows.
func first(lines []string, n int) string {
	if len(lines) > n {
		lines = append(lines[:n:n], fmt.Sprintf("and %d more", len(lines)-n))
	}
	return strings.Join(lines, "\n")
}
