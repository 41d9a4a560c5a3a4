package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/pins"
)

// resolution is how often the played kubelets are scraped; a truth is steady for longer than that before it is compared.
const resolution = 2 * time.Second

// world is a cluster with Headwater on it, each part a process.
type world struct {
	*cluster.Cluster

	nats, state, ingest, metricsapi, exporter *cluster.Process

	natsURL           string
	metricsPort       int    // of metricsapi
	metrics           string // URL of the exporter's /metrics
	exporterTelemetry string // URL of the exporter's own

	audit audit // what the API server was asked
}

// shared is the world of all tests in this package.
var shared *world

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "headwater-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "couldn't make a folder for the world:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	w, err := newWorld(ctx, dir)
	if w != nil {
		defer func() {
			if err := w.Close(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "couldn't start the world:", err)
		return 1
	}
	shared = w
	code := m.Run()
	if code != 0 {
		fmt.Fprintln(os.Stderr, w.Tails(30))
	}
	return code
}

func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// newWorld starts everything, in a folder. The world that it returns has to be closed even if there is an error beside it.
func newWorld(ctx context.Context, dir string) (*world, error) {
	audit, err := newAudit(dir)
	if err != nil {
		return nil, err
	}
	c, err := cluster.Start(ctx, cluster.Config{Nodes: 3, Dir: dir, Log: logf, APIServerArgs: audit.args()})
	if err != nil {
		return nil, err
	}
	w := &world{Cluster: c, audit: audit}
	paths, err := pins.Build(ctx, os.Stderr, "nats-server")
	if err != nil {
		return w, err
	}
	var natsPort, stateTelemetry, ingestTelemetry, apiTelemetry, metrics, metricsTelemetry int
	if err := ports(&natsPort, &stateTelemetry, &ingestTelemetry, &apiTelemetry, &w.metricsPort, &metrics, &metricsTelemetry); err != nil {
		return w, err
	}
	w.natsURL = fmt.Sprintf("nats://127.0.0.1:%d", natsPort)
	w.metrics = fmt.Sprintf("http://127.0.0.1:%d/metrics", metrics)
	w.exporterTelemetry = fmt.Sprintf("http://127.0.0.1:%d", metricsTelemetry)
	ready := func(scheme string, port int) func(context.Context) error {
		return cluster.HTTPReady(fmt.Sprintf("%s://127.0.0.1:%d/readyz", scheme, port))
	}
	common := []string{"--nats-url=" + w.natsURL, "--cluster=e2e"}
	telemetry := func(port int) string { return fmt.Sprintf("--telemetry-address=127.0.0.1:%d", port) }

	for _, p := range []struct {
		process **cluster.Process
		spec    cluster.Spec
	}{
		{&w.nats, cluster.Spec{Name: "nats-server", Path: paths["nats-server"],
			Args:  []string{"-a", "127.0.0.1", "-p", fmt.Sprint(natsPort), "-js", "-sd", filepath.Join(c.Dir, "nats")},
			Ready: dial(natsPort)}},
		{&w.state, cluster.Spec{Name: "state", Path: binary("state"),
			Args:  append([]string{"--kubeconfig=" + c.Kubeconfig, telemetry(stateTelemetry), "--objects-max-bytes=1073741824"}, common...),
			Ready: ready("http", stateTelemetry)}},
		{&w.ingest, cluster.Spec{Name: "ingest", Path: binary("ingest"),
			Args: append([]string{"--kubeconfig=" + c.Kubeconfig, "--kubelet-certificate-authority=" + c.CertificateAuthority(),
				"--kubelet-use-node-status-port", "--kubelet-preferred-address-types=InternalIP",
				"--metric-resolution=" + resolution.String(), telemetry(ingestTelemetry)}, common...),
			Ready: ready("http", ingestTelemetry)}},
		{&w.metricsapi, cluster.Spec{Name: "metricsapi", Path: binary("metricsapi"),
			Args: append([]string{"--kubeconfig=" + c.Kubeconfig, "--authentication-kubeconfig=" + c.Kubeconfig,
				"--authorization-kubeconfig=" + c.Kubeconfig, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", w.metricsPort),
				"--cert-dir=" + filepath.Join(c.Dir, "metricsapi-certs"), "--max-sample-age=1m", telemetry(apiTelemetry)}, common...),
			Ready: ready("https", w.metricsPort)}},
		{&w.exporter, cluster.Spec{Name: "exporter", Path: binary("exporter"),
			Args: append([]string{fmt.Sprintf("--listen-address=127.0.0.1:%d", metrics), "--max-sample-age=1m",
				fmt.Sprintf("--telemetry-address=127.0.0.1:%d", metricsTelemetry)}, common...),
			Ready: ready("http", metricsTelemetry)}},
	} {
		if *p.process, err = c.Run(ctx, p.spec); err != nil {
			return w, err
		}
	}
	return w, c.RegisterAPIService(ctx, "v1beta1.metrics.k8s.io", w.metricsPort)
}

// binary is the path of one of Headwater's own programs, which make build puts into bin/.
func binary(name string) string {
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", name))
	if err != nil {
		return name
	}
	return path
}

func ports(into ...*int) error {
	for _, p := range into {
		port, err := cluster.FreePort()
		if err != nil {
			return err
		}
		*p = port
	}
	return nil
}

// apply creates objects for the time of a test.
func (w *world) apply(t *testing.T, manifest string) {
	t.Helper()
	if err := w.Apply(t.Context(), manifest); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		if _, err := w.KubectlInput(ctx, strings.NewReader(manifest), "delete", "--ignore-not-found", "--wait=false", "-f", "-"); err != nil {
			t.Errorf("couldn't clean up: %v", err)
		}
	})
}

// eventually fails the test unless condition holds soon; it returns how long that took. A machine that has nothing else to
// do is done within timeout by far; another one is given four times that, and half a minute.
func eventually(t *testing.T, timeout time.Duration, condition func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	if err := cluster.Eventually(t.Context(), 4*timeout+30*time.Second, condition); err != nil {
		t.Fatal(err)
	}
	return time.Since(begin)
}

// settled waits until nothing is left of what earlier tests made: what is being deleted would otherwise go while a test
// takes it that nothing changes.
func (w *world) settled(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		namespaces, err := w.Client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, n := range namespaces.Items {
			if n.DeletionTimestamp != nil {
				return fmt.Errorf("namespace %s is being deleted: %v", n.Name, n.Status.Conditions)
			}
		}
		pods, err := w.Client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.DeletionTimestamp != nil {
				return fmt.Errorf("pod %s/%s is being deleted", p.Namespace, p.Name)
			}
		}
		return nil
	})
}

// restart kills a process as a crash would and starts it again; it returns when the process was started.
func restart(t *testing.T, p *cluster.Process) time.Time {
	t.Helper()
	p.Kill()
	begin := time.Now()
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return begin
}

// deployment is a manifest: a namespace, and a Deployment of pods with the containers "main" and "side".
func deployment(namespace, name string, replicas int) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: %[1]s, name: %[2]s}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: registry.example/main:1, resources: {requests: {cpu: 500m, memory: 64Mi}}}
      - {name: side, image: registry.example/side:1, resources: {requests: {cpu: 500m, memory: 64Mi}}}
`, namespace, name, replicas)
}

// running waits until a namespace has that many played pods.
func (w *world) running(t *testing.T, namespace string, pods int) {
	t.Helper()
	eventually(t, 30*time.Second, func() error {
		n := 0
		for _, p := range w.Kubelets.Pods() {
			if p.Namespace == namespace {
				n++
			}
		}
		if n != pods {
			return fmt.Errorf("%d of %d pods run in %s", n, pods, namespace)
		}
		return nil
	})
}

var errNothing = errors.New("nothing to compare: no pod runs")
