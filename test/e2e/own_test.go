package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// own is a second Headwater on the shared cluster, with a NATS server of its own that a test may maltreat. Nothing of it
// is started, and everything of it ends with the test.
type own struct {
	*world
	t    *testing.T
	name string
	dir  string

	nats, state, ingest, metricsapi, exporter          *cluster.Process
	natsPort, apiPort                                  int
	stateURL, ingestURL, apiTelemetryURL, telemetryURL string // of telemetry
	metricsURL                                         string // the exporter's
}

func (w *world) own(t *testing.T, name string) *own {
	t.Helper()
	o := &own{world: w, t: t, name: name, dir: filepath.Join(w.Dir, name)}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if o.natsPort, err = cluster.FreePort(); err != nil {
		t.Fatal(err)
	}
	o.nats = o.natsServer()
	o.state, o.stateURL = o.stateProcess("state")
	o.ingest, o.ingestURL = o.ingestProcess("ingest")
	o.metricsapi, o.apiPort, o.apiTelemetryURL = o.metricsapiProcess("metricsapi")
	o.exporter, o.metricsURL, o.telemetryURL = o.exporterProcess("exporter")
	return o
}

// process describes one that ends with the test. It has no Ready: the tests say what they wait for.
func (o *own) process(name, path string, args ...string) *cluster.Process {
	p := cluster.NewProcess(o.dir, cluster.Spec{Name: name, Path: path, Args: args})
	o.t.Cleanup(func() {
		if o.t.Failed() {
			o.t.Logf("%s:\n%s", name, p.Tail(15))
		}
		p.Kill()
	})
	return p
}

func (o *own) natsServer(args ...string) *cluster.Process {
	path, err := natsServer(o.t)
	if err != nil {
		o.t.Fatal(err)
	}
	return o.process("nats-server", path, append([]string{"-a", "127.0.0.1", "-p", fmt.Sprint(o.natsPort), "-js", "-sd", o.natsDir()}, args...)...)
}

func (o *own) natsDir() string { return filepath.Join(o.dir, "nats") }

func (o *own) common(telemetry *string, args ...string) []string {
	port, err := cluster.FreePort()
	if err != nil {
		o.t.Fatal(err)
	}
	*telemetry = fmt.Sprintf("http://127.0.0.1:%d", port)
	return append(args, fmt.Sprintf("--nats-url=nats://127.0.0.1:%d", o.natsPort), "--cluster="+o.name, fmt.Sprintf("--telemetry-address=127.0.0.1:%d", port))
}

func (o *own) stateProcess(name string, args ...string) (p *cluster.Process, telemetry string) {
	args = append([]string{"--kubeconfig=" + o.Kubeconfig, "--objects-max-bytes=268435456"}, args...)
	p = o.process(name, binary("state"), o.common(&telemetry, args...)...)
	return p, telemetry
}

func (o *own) ingestProcess(name string, args ...string) (p *cluster.Process, telemetry string) {
	args = append([]string{"--kubeconfig=" + o.Kubeconfig, "--kubelet-certificate-authority=" + o.CertificateAuthority(),
		"--kubelet-use-node-status-port", "--kubelet-preferred-address-types=InternalIP", "--metric-resolution=1s"}, args...)
	p = o.process(name, binary("ingest"), o.common(&telemetry, args...)...)
	return p, telemetry
}

func (o *own) metricsapiProcess(name string) (p *cluster.Process, port int, telemetry string) {
	port, err := cluster.FreePort()
	if err != nil {
		o.t.Fatal(err)
	}
	p = o.process(name, binary("metricsapi"), o.common(&telemetry, "--kubeconfig="+o.Kubeconfig, "--authentication-kubeconfig="+o.Kubeconfig,
		"--authorization-kubeconfig="+o.Kubeconfig, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--cert-dir="+filepath.Join(o.dir, name+"-certs"), "--max-sample-age=1m")...)
	return p, port, telemetry
}

func (o *own) exporterProcess(name string) (p *cluster.Process, metrics, telemetry string) {
	port, err := cluster.FreePort()
	if err != nil {
		o.t.Fatal(err)
	}
	p = o.process(name, binary("exporter"), o.common(&telemetry, fmt.Sprintf("--listen-address=127.0.0.1:%d", port), "--max-sample-age=1m")...)
	return p, fmt.Sprintf("http://127.0.0.1:%d/metrics", port), telemetry
}

func start(t *testing.T, processes ...*cluster.Process) {
	t.Helper()
	for _, p := range processes {
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// up starts everything and waits until it is ready and says the truth.
func (o *own) up() {
	o.t.Helper()
	start(o.t, o.nats, o.state, o.ingest, o.metricsapi, o.exporter)
	o.isTrue(time.Minute)
}

// isReady waits until each telemetry address says ready.
func isReady(t *testing.T, timeout time.Duration, urls ...string) {
	t.Helper()
	for _, url := range urls {
		eventually(t, timeout, func() error { _, err := get(url + "/readyz"); return err })
	}
}

// isTrue waits until the Metrics API says the kubelets' truth and the exporter the API server's.
func (o *own) isTrue(timeout time.Duration) {
	o.t.Helper()
	ask := o.direct(o.t, o.apiPort)
	eventually(o.t, timeout, func() error { return o.trueExporter(o.t.Context(), o.metricsURL) })
	eventually(o.t, timeout, func() error { return o.correctFrom(o.t.Context(), ask) })
}

// trueExporter compares the pods of an exporter with those of the API server, by UID.
func (w *world) trueExporter(ctx context.Context, url string) error {
	body, err := get(url)
	if err != nil {
		return err
	}
	list, err := w.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	got := exportedPods(body)
	for _, p := range list.Items {
		if !got[string(p.UID)] {
			return fmt.Errorf("%s/%s with UID %s is missing among %d pods", p.Namespace, p.Name, p.UID, len(got))
		}
	}
	if len(got) != len(list.Items) {
		return fmt.Errorf("%d pods are exported, but there are %d", len(got), len(list.Items))
	}
	return nil
}

// exportedPods are the UIDs of kube_pod_info.
func exportedPods(body string) map[string]bool {
	pods := map[string]bool{}
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, "kube_pod_info{"); ok {
			_, uid, _ := strings.Cut(rest, `uid="`)
			uid, _, _ = strings.Cut(uid, `"`)
			pods[uid] = true
		}
	}
	return pods
}

// metric adds up the series of a metric that have all the given texts, such as result="timeout".
func metric(t *testing.T, url, name string, having ...string) float64 {
	t.Helper()
	body, err := get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, name+"{") && !strings.HasPrefix(line, name+" ") ||
			slices.ContainsFunc(having, func(text string) bool { return !strings.Contains(line, text) }) {
			continue
		}
		fields := strings.Fields(line)
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return sum
}

// whyNotReady returns what /readyz says while it is not ready.
func whyNotReady(url string) (string, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url + "/readyz")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return "", fmt.Errorf("%s is ready", url)
	}
	b := make([]byte, 4096)
	n, _ := response.Body.Read(b)
	return string(b[:n]), nil
}

// saysNotReady waits until /readyz gives a reason with this text.
func saysNotReady(t *testing.T, url, text string) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		why, err := whyNotReady(url)
		if err == nil && !strings.Contains(why, text) {
			err = fmt.Errorf("it says %q, not %q", why, text)
		}
		return err
	})
}

// publish sends messages to NATS as any client could, and returns once the server has them. It speaks the protocol
// itself, as this module has no client.
func (o *own) publish(messages ...[2]string) {
	o.t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", o.natsPort))
	if err != nil {
		o.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	var b strings.Builder
	b.WriteString("CONNECT {\"verbose\":false}\r\n")
	for _, m := range messages {
		fmt.Fprintf(&b, "PUB %s %d\r\n%s\r\n", m[0], len(m[1]), m[1])
	}
	b.WriteString("PING\r\n")
	if _, err := conn.Write([]byte(b.String())); err != nil {
		o.t.Fatal(err)
	}
	answer, chunk := "", make([]byte, 4096)
	for !strings.Contains(answer, "PONG") {
		n, err := conn.Read(chunk)
		if err != nil {
			o.t.Fatalf("NATS said %q: %v", answer, err)
		}
		answer += string(chunk[:n])
	}
}

// sampleTimes returns the time of the newest pod of each node, as answered.
func (o *own) sampleTimes(ask func(context.Context) ([]byte, error)) (map[string]time.Time, error) {
	body, err := ask(o.t.Context())
	if err != nil {
		return nil, err
	}
	items, err := decodePods(body)
	if err != nil {
		return nil, err
	}
	times := map[string]time.Time{}
	for _, p := range o.Kubelets.Pods() {
		for _, item := range items {
			if item.Metadata.Namespace == p.Namespace && item.Metadata.Name == p.Name && item.Timestamp.After(times[p.Node]) {
				times[p.Node] = item.Timestamp
			}
		}
	}
	return times, nil
}
