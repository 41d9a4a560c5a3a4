package bench

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/pins"
)

var binaries = flag.String("bin", filepath.Join("..", "..", "bin"), "folder of Headwater's binaries")

const (
	podsPerNode = 30
	resolution  = 15 * time.Second // of both, and the default of both
)

// world is a simulated cluster with Headwater and metrics-server on it.
type world struct {
	admin *rest.Config // of the cluster

	processes                  []*cluster.Process // all, in the order of their start
	metricsapi, exporter, peer server

	running    map[string]int // running containers of each running pod, by namespace/name
	containers int            // all of them
}

// server is a process that is asked.
type server struct {
	*cluster.Process
	at      string // base URL of what it serves
	readyAt string // URL that says whether it is ready
}

// newWorld starts everything and returns when both servers give complete answers. All ends with b.
func newWorld(b *testing.B, nodes int) *world {
	b.Helper()
	w := &world{}
	ctx, dir := b.Context(), b.TempDir()
	b.Cleanup(func() {
		for i := len(w.processes) - 1; i >= 0; i-- {
			if b.Failed() {
				b.Logf("%s ended with\n%s", w.processes[i].Name(), w.processes[i].Tail(5))
			}
			w.processes[i].Kill()
		}
	})
	paths, err := pins.Build(ctx, os.Stderr, "nats-server", "metrics-server")
	if err != nil {
		b.Fatal(err)
	}
	bin, err := filepath.Abs(*binaries)
	if err != nil {
		b.Fatal(err)
	}
	port := func() int {
		p, err := cluster.FreePort()
		if err != nil {
			b.Fatal(err)
		}
		return p
	}
	start := func(name, path string, args ...string) *cluster.Process {
		p := cluster.NewProcess(dir, cluster.Spec{Name: name, Path: path, Args: args})
		if err := p.Start(ctx); err != nil {
			b.Fatal(err)
		}
		w.processes = append(w.processes, p)
		return p
	}
	await := func(what string, condition func() error) {
		b.Helper()
		if err := cluster.Eventually(ctx, 3*time.Minute, condition); err != nil {
			b.Fatalf("%s: %v", what, err)
		}
	}
	awaitReady := func(url string) {
		b.Helper()
		await(url, func() error { return cluster.HTTPReady(url)(ctx) })
	}

	sim := filepath.Join(dir, "sim")
	kubeconfig := filepath.Join(sim, "kubeconfig")
	start("sim", filepath.Join(bin, "allinone"), "--sim-only", fmt.Sprintf("--sim-nodes=%d", nodes),
		fmt.Sprintf("--sim-pods-per-node=%d", podsPerNode), "--sim-churn=0", "--sim-address=127.0.0.1:0", "--data-dir="+sim)
	await("the simulated cluster", func() (err error) {
		w.admin, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
		return err
	})
	if err := w.learn(ctx); err != nil {
		b.Fatal(err)
	}

	natsPort, stateTelemetry, ingestTelemetry := port(), port(), port()
	start("nats-server", paths["nats-server"], "-a", "127.0.0.1", "-p", fmt.Sprint(natsPort), "-js", "-sd", filepath.Join(dir, "nats"))
	headwater := func(name string, args ...string) *cluster.Process {
		return start(name, filepath.Join(bin, name), append(args, fmt.Sprintf("--nats-url=nats://127.0.0.1:%d", natsPort), "--cluster=bench")...)
	}
	kubelets := []string{"--kubelet-use-node-status-port", "--kubelet-preferred-address-types=InternalIP", "--metric-resolution=" + resolution.String()}
	delegated := func(name string, port int) []string {
		return []string{"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--cert-dir=" + filepath.Join(dir, name+"-certs")}
	}
	headwater("state", "--kubeconfig="+kubeconfig, "--objects-max-bytes=1073741824", fmt.Sprintf("--telemetry-address=127.0.0.1:%d", stateTelemetry))
	headwater("ingest", append(kubelets, "--kubeconfig="+kubeconfig, fmt.Sprintf("--telemetry-address=127.0.0.1:%d", ingestTelemetry))...)
	awaitReady(fmt.Sprintf("http://127.0.0.1:%d/readyz", stateTelemetry))
	awaitReady(fmt.Sprintf("http://127.0.0.1:%d/readyz", ingestTelemetry))

	apiPort, apiTelemetry, exporterPort, exporterTelemetry, peerPort := port(), port(), port(), port(), port()
	w.metricsapi.Process = headwater("metricsapi", append(delegated("metricsapi", apiPort), "--metric-resolution="+resolution.String(),
		fmt.Sprintf("--telemetry-address=127.0.0.1:%d", apiTelemetry))...)
	w.metricsapi.at = fmt.Sprintf("https://127.0.0.1:%d", apiPort)
	w.metricsapi.readyAt = w.metricsapi.at + "/readyz"
	w.exporter.Process = headwater("exporter", fmt.Sprintf("--listen-address=127.0.0.1:%d", exporterPort), fmt.Sprintf("--telemetry-address=127.0.0.1:%d", exporterTelemetry))
	w.exporter.at = fmt.Sprintf("http://127.0.0.1:%d", exporterPort)
	w.exporter.readyAt = fmt.Sprintf("http://127.0.0.1:%d/readyz", exporterTelemetry)
	w.peer.Process = start("metrics-server", paths["metrics-server"], append(append(delegated("metrics-server", peerPort), kubelets...), "--kubelet-insecure-tls")...)
	w.peer.at = fmt.Sprintf("https://127.0.0.1:%d", peerPort)
	w.peer.readyAt = w.peer.at + "/readyz"

	for _, s := range []server{w.metricsapi, w.peer} {
		ask := w.pods(s)
		await("the pods of "+s.Name(), func() error { _, err := ask(ctx); return err })
	}
	awaitReady(w.exporter.readyAt)
	return w
}

// learn asks the API server which pods run: that is what a complete answer has.
func (w *world) learn(ctx context.Context) error {
	config := rest.CopyConfig(w.admin)
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("couldn't make a client: %w", err)
	}
	list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "status.phase=" + string(corev1.PodRunning)})
	if err != nil {
		return fmt.Errorf("couldn't ask which pods run: %w", err)
	}
	w.running = make(map[string]int, len(list.Items))
	for i := range list.Items {
		pod := &list.Items[i]
		n := 0
		for _, c := range pod.Status.ContainerStatuses {
			if c.State.Running != nil {
				n++
			}
		}
		w.running[pod.Namespace+"/"+pod.Name] = n
		w.containers += n
	}
	return nil
}

// load is what the machine does, as the kernel says it: the mean number of running processes of the last minute.
func load() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(content), " ")
	return first
}
