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

	"github.com/headwater-metrics/headwater/test/cluster"
)

var binaries = flag.String("bin", filepath.Join("..", "..", "bin"), "folder of Headwater's binaries")

const (
	podsPerNode = 30
	resolution  = 15 * time.Second // of both, and the default of both
)

// world is a simulated cluster with Headwater and metrics-server on it.
type world struct {
	*lab
	admin *rest.Config // of the cluster

	metricsapi, exporter, peer server

	running    map[string]int // running containers of each running pod, by namespace/name
	containers int            // all of them

	apps             []application
	crowdedNamespace string // the one with most running pods,
	crowd            int    // so many
	kubelets         []kubelet
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
	l := newLab(b, "nats-server", "metrics-server")
	w := &world{lab: l}
	_, w.admin = l.simulate(nodes)
	ctx := b.Context()
	if err := w.learn(ctx); err != nil {
		b.Fatal(err)
	}

	l.startNATS()
	stateTelemetry, ingestTelemetry := l.port(), l.port()
	kubeconfig := l.kubeconfig
	kubelets := []string{"--kubelet-use-node-status-port", "--kubelet-preferred-address-types=InternalIP", "--metric-resolution=" + resolution.String()}
	delegated := func(name string, port int) []string {
		return []string{"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--cert-dir=" + filepath.Join(l.dir, name+"-certs")}
	}
	l.begin(l.service("state", "state", "--kubeconfig="+kubeconfig, "--objects-max-bytes=1073741824", fmt.Sprintf("--telemetry-address=127.0.0.1:%d", stateTelemetry)))
	l.begin(l.service("ingest", "ingest", append(kubelets, "--kubeconfig="+kubeconfig, fmt.Sprintf("--telemetry-address=127.0.0.1:%d", ingestTelemetry))...))
	l.awaitReady(fmt.Sprintf("http://127.0.0.1:%d/readyz", stateTelemetry))
	l.awaitReady(fmt.Sprintf("http://127.0.0.1:%d/readyz", ingestTelemetry))

	apiPort, apiTelemetry, exporterPort, exporterTelemetry, peerPort := l.port(), l.port(), l.port(), l.port(), l.port()
	w.metricsapi.Process = l.begin(l.service("metricsapi", "metricsapi", append(delegated("metricsapi", apiPort), "--metric-resolution="+resolution.String(),
		fmt.Sprintf("--telemetry-address=127.0.0.1:%d", apiTelemetry))...))
	w.metricsapi.at = fmt.Sprintf("https://127.0.0.1:%d", apiPort)
	w.metricsapi.readyAt = w.metricsapi.at + "/readyz"
	w.exporter.Process = l.begin(l.service("exporter", "exporter", fmt.Sprintf("--listen-address=127.0.0.1:%d", exporterPort), fmt.Sprintf("--telemetry-address=127.0.0.1:%d", exporterTelemetry)))
	w.exporter.at = fmt.Sprintf("http://127.0.0.1:%d", exporterPort)
	w.exporter.readyAt = fmt.Sprintf("http://127.0.0.1:%d/readyz", exporterTelemetry)
	w.peer.Process = l.start("metrics-server", l.pins["metrics-server"], append(append(delegated("metrics-server", peerPort), kubelets...), "--kubelet-insecure-tls")...)
	w.peer.at = fmt.Sprintf("https://127.0.0.1:%d", peerPort)
	w.peer.readyAt = w.peer.at + "/readyz"

	for _, s := range []server{w.metricsapi, w.peer} {
		ask := w.pods(s)
		l.await("the pods of "+s.Name(), func() error { _, err := ask(ctx); return err })
	}
	l.awaitReady(w.exporter.readyAt)
	return w
}

// appLabel names a pod's application.
const appLabel = "app.kubernetes.io/name"

// learn asks the API server which pods run, in pages: that is what a complete answer has.
func (w *world) learn(ctx context.Context) error {
	config := rest.CopyConfig(w.admin)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("couldn't make a client: %w", err)
	}
	w.running = map[string]int{}
	crowds, apps := map[string]int{}, map[[2]string]int{}
	options := metav1.ListOptions{Limit: 5000, FieldSelector: "status.phase=" + string(corev1.PodRunning)}
	for {
		list, err := client.CoreV1().Pods("").List(ctx, options)
		if err != nil {
			return fmt.Errorf("couldn't ask which pods run: %w", err)
		}
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
			crowds[pod.Namespace]++
			if app := pod.Labels[appLabel]; app != "" {
				apps[[2]string{pod.Namespace, app}]++
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			break
		}
	}
	for namespace, n := range crowds {
		if n > w.crowd {
			w.crowdedNamespace, w.crowd = namespace, n
		}
	}
	for of, n := range apps {
		w.apps = append(w.apps, application{of[0], of[1], n})
	}
	w.kubelets, err = kubeletsOf(ctx, client)
	return err
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
