package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/pins"
)

// The suite forwards this port of its own machine to the same port of the pods of metrics-server.
const upstreamPort = 10250

// upstreamPods are the pods that the suite looks for: those of metrics-server, here one that stands for Headwater's
// metricsapi, on a node that has metrics, and one whose arguments say that sidecar containers are to be tested.
const upstreamPods = `
apiVersion: v1
kind: Pod
metadata: {namespace: kube-system, name: metrics-server-0, labels: {k8s-app: metrics-server}}
spec:
  nodeSelector: {kubernetes.io/hostname: %s}
  containers:
  - name: metrics-server
    image: registry.example/metricsapi:1
    ports: [{name: https, containerPort: 10250}]
    readinessProbe: {httpGet: {path: /readyz, port: https, scheme: HTTPS}}
    livenessProbe: {httpGet: {path: /livez, port: https, scheme: HTTPS}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: kube-system, name: kube-apiserver-e2e-control-plane}
spec:
  containers:
  - {name: kube-apiserver, image: registry.example/kube-apiserver:1, command: [kube-apiserver, "--feature-gates=SidecarContainers=true"]}
`

// TestUpstreamSuite runs metrics-server's own end-to-end suite, as it is, against Headwater: through the real aggregation
// layer, and for probes and self-metrics through a forwarded port. One node is left out by --node-selector, as the suite
// has it.
func TestUpstreamSuite(t *testing.T) {
	w := shared
	paths, err := pins.Build(t.Context(), os.Stderr, "metrics-server-e2e")
	if err != nil {
		t.Fatal(err)
	}
	node := w.Kubelets.Nodes()[2]
	label := func(value string) {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"metrics-server-skip":%s}}}`, value)
		if _, err := w.Client.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	label(`"true"`)
	defer label("null")

	port := w.usageSide(t, "upstream", "--node-selector=metrics-server-skip!=true")
	const api = "v1beta1.metrics.k8s.io"
	if err := w.RegisterAPIService(t.Context(), api, port); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.RegisterAPIService(t.Context(), api, w.metricsPort); err != nil {
			t.Error(err)
		}
	}()
	for pod, usage := range map[string]cluster.Usage{"cpu-consumer": {CPU: 50, Memory: 10 << 20}, "memory-consumer": {CPU: 1, Memory: 50 << 20}} {
		w.Kubelets.SetUsage(cluster.Match{Namespace: "default", Pod: pod}, usage)
	}
	w.apply(t, fmt.Sprintf(upstreamPods, w.Kubelets.Nodes()[0]))
	w.Kubelets.Forward("kube-system", "metrics-server-0", upstreamPort, fmt.Sprintf("127.0.0.1:%d", port))
	eventually(t, time.Minute, func() error {
		if err := cluster.HTTPReady(fmt.Sprintf("https://127.0.0.1:%d/readyz", port))(t.Context()); err != nil {
			return err
		}
		out, err := w.Kubectl(t.Context(), "get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes/"+node)
		if err == nil {
			return fmt.Errorf("node %s is left out, and yet there is %s", node, out)
		}
		// It looks at once whether any pod has metrics, before those that it makes can have them.
		if _, err := w.Kubectl(t.Context(), "get", "--raw", "/apis/metrics.k8s.io/v1beta1/namespaces/kube-system/pods/metrics-server-0"); err != nil {
			return err
		}
		// The suite waits for ever if it can't have the port.
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(upstreamPort))
		if err != nil {
			return fmt.Errorf("the suite needs port %d of this machine, stop what uses it, %s: %w", upstreamPort, cluster.Listener(upstreamPort), err)
		}
		return listener.Close()
	})

	suite := exec.CommandContext(t.Context(), paths["metrics-server-e2e"], "-test.timeout=3m", "-ginkgo.v", "-ginkgo.no-color")
	suite.Env = append(os.Environ(), "KUBECONFIG="+w.Kubeconfig)
	suite.Dir = t.TempDir()
	var out bytes.Buffer
	suite.Stdout, suite.Stderr = &out, &out
	begin := time.Now()
	err = suite.Run()
	ran := regexp.MustCompile(`Ran (\d+) of (\d+) Specs`).FindStringSubmatch(out.String())
	if err != nil || ran == nil || ran[1] != "11" || ran[2] != "11" {
		t.Fatalf("%v, %q\n%s", err, ran, out.String())
	}
	t.Logf("%s in %v", ran[0], time.Since(begin).Round(time.Second))
}

// usageSide starts another state, ingest and metricsapi, under a name of their own, and returns the port of the last.
func (w *world) usageSide(t *testing.T, name string, selector string) int {
	t.Helper()
	var port, stateTelemetry, ingestTelemetry, apiTelemetry int
	if err := ports(&port, &stateTelemetry, &ingestTelemetry, &apiTelemetry); err != nil {
		t.Fatal(err)
	}
	start := func(program string, telemetry int, args ...string) {
		t.Helper()
		p, err := w.Run(t.Context(), cluster.Spec{Name: program + "-" + name, Path: binary(program),
			Args: append([]string{"--nats-url=" + w.natsURL, "--cluster=" + name, "--kubeconfig=" + w.Kubeconfig,
				fmt.Sprintf("--telemetry-address=127.0.0.1:%d", telemetry)}, args...),
			Ready: cluster.HTTPReady(fmt.Sprintf("http://127.0.0.1:%d/livez", telemetry))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	every := "--metric-resolution=" + resolution.String()
	start("state", stateTelemetry, "--objects-max-bytes=268435456")
	start("ingest", ingestTelemetry, "--kubelet-certificate-authority="+w.CertificateAuthority(), "--kubelet-use-node-status-port",
		"--kubelet-preferred-address-types=InternalIP", every, selector)
	start("metricsapi", apiTelemetry, "--authentication-kubeconfig="+w.Kubeconfig, "--authorization-kubeconfig="+w.Kubeconfig, "--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port), "--cert-dir="+filepath.Join(w.Dir, "metricsapi-certs-"+name), "--max-sample-age=1m", every, selector)
	return port
}
