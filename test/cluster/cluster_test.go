package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// patience bounds every wait in these tests. Nothing takes nearly as long, even on a busy machine.
const patience = 5 * time.Minute

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers:
      - {name: migrate, image: example.org/migrate:1}
      - {name: proxy, image: example.org/proxy:1, restartPolicy: Always}
      containers:
      - {name: main, image: example.org/web:1, resources: {requests: {cpu: 100m, memory: 64Mi}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  minReplicas: 3
  maxReplicas: 6
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  metrics:
  - type: ContainerResource
    containerResource: {name: cpu, container: main, target: {type: Utilization, averageUtilization: 80}}
`

var (
	mainOfWeb  = cluster.Match{Namespace: "default", Labels: map[string]string{"app": "web"}, Container: "main"}
	proxyOfWeb = cluster.Match{Namespace: "default", Labels: map[string]string{"app": "web"}, Container: "proxy"}
)

// TestCluster shows the harness to be true before anything of Headwater is held against it: with the real metrics-server
// in Headwater's place, users see what is played.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and starts a control plane, which -short excludes")
	}
	ctx := t.Context()
	c, err := cluster.Start(ctx, cluster.Config{Nodes: 3, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Tails(30))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})

	c.Kubelets.SetUsage(mainOfWeb, cluster.Usage{CPU: 80, Memory: 96 << 20})
	c.Kubelets.SetUsage(proxyOfWeb, cluster.Usage{CPU: 5.5, Memory: 20 << 20})
	if err := c.Apply(ctx, web); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kubectl(ctx, "rollout", "status", "deployment/web", "--timeout=5m"); err != nil {
		t.Fatal(err)
	}
	server, err := c.StartMetricsServer(ctx, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RegisterAPIService(ctx, "v1beta1.metrics.k8s.io", server.Port); err != nil {
		t.Fatal(err)
	}

	t.Run("kubectl top pod shows the truth", func(t *testing.T) {
		eventually(t, func() error { return topPods(ctx, c, 3) })
	})
	t.Run("kubectl top node shows the truth", func(t *testing.T) {
		eventually(t, func() error { return topNodes(ctx, c) })
	})
	t.Run("an autoscaler reads metrics and scales", func(t *testing.T) {
		eventually(t, func() error { return autoscaled(ctx, c, 3, 80) })
		c.Kubelets.ShareUsage(mainOfWeb, cluster.Usage{CPU: 480, Memory: 576 << 20})
		eventually(t, func() error { return autoscaled(ctx, c, 6, 80) })
		eventually(t, func() error { return topPods(ctx, c, 6) })
	})
	t.Run("Prometheus scrapes the kubelets", func(t *testing.T) { prometheus(ctx, t, c) })
	t.Run("faults reach who scrapes", func(t *testing.T) {
		bad := c.Kubelets.Nodes()[0]
		c.Kubelets.Bend(cluster.Status(500), bad)
		eventually(t, func() error { return nodeServed(ctx, c, bad, false) })
		c.Kubelets.Heal(bad)
		eventually(t, func() error { return nodeServed(ctx, c, bad, true) })
	})
	t.Run("pods are restarted, completed and deleted", func(t *testing.T) { lives(ctx, t, c) })
	t.Run("the API server can be killed", func(t *testing.T) {
		c.APIServer.Kill()
		if err := c.APIServer.Start(ctx); err != nil {
			t.Fatal(err)
		}
		// After the restart controllers and the played kubelets have to find it again by themselves.
		eventually(t, func() error {
			_, err := c.Kubectl(ctx, "delete", "hpa/web", "--ignore-not-found")
			return err
		})
		eventually(t, func() error {
			_, err := c.Kubectl(ctx, "scale", "deployment/web", "--replicas=4")
			return err
		})
		eventually(t, func() error {
			if n := len(c.Kubelets.Pods()); n != 4 {
				return fmt.Errorf("%d pods run, want 4", n)
			}
			return nil
		})
	})
}

func eventually(t *testing.T, condition func() error) {
	t.Helper()
	if err := cluster.Eventually(t.Context(), patience, condition); err != nil {
		t.Fatal(err)
	}
}

// topPods compares kubectl top pod --containers with the truth, row by row.
func topPods(ctx context.Context, c *cluster.Cluster, pods int) error {
	out, err := c.Kubectl(ctx, "top", "pod", "--containers", "--no-headers")
	if err != nil {
		return err
	}
	shown := map[string]cluster.Usage{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) != 4 {
			return fmt.Errorf("kubectl top pod printed %q", line)
		}
		shown[fields[0]+"/"+fields[1]] = usage(fields[2], fields[3])
	}
	truth := c.Kubelets.Pods()
	if len(truth) != pods {
		return fmt.Errorf("%d pods run, want %d", len(truth), pods)
	}
	want := map[string]cluster.Usage{}
	for _, p := range truth {
		for container, u := range p.Containers {
			want[p.Name+"/"+container] = u
		}
	}
	return same(shown, want)
}

// topNodes compares kubectl top node with the truth.
func topNodes(ctx context.Context, c *cluster.Cluster) error {
	out, err := c.Kubectl(ctx, "top", "node", "--no-headers")
	if err != nil {
		return err
	}
	shown, want := map[string]cluster.Usage{}, map[string]cluster.Usage{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) != 5 {
			return fmt.Errorf("kubectl top node printed %q", line)
		}
		shown[fields[0]] = usage(fields[1], fields[3])
	}
	for _, name := range c.Kubelets.Nodes() {
		want[name], _ = c.Kubelets.Node(name)
	}
	return same(shown, want)
}

// usage reads kubectl's columns, such as 80m and 96Mi. What it cannot read is zero, which is never the truth.
func usage(cpu, memory string) cluster.Usage {
	millis, _ := strconv.ParseFloat(strings.TrimSuffix(cpu, "m"), 64)
	mebibytes, _ := strconv.ParseUint(strings.TrimSuffix(memory, "Mi"), 10, 64)
	return cluster.Usage{CPU: millis, Memory: mebibytes << 20}
}

// same returns an error unless both have the same keys and values within 2 %, or within the unit to which kubectl rounds.
func same(shown, want map[string]cluster.Usage) error {
	if len(shown) != len(want) {
		return fmt.Errorf("%d rows are shown, want %d", len(shown), len(want))
	}
	for key, w := range want {
		got, ok := shown[key]
		if !ok {
			return fmt.Errorf("%s isn't shown", key)
		}
		if math.Abs(got.CPU-w.CPU) > max(1, w.CPU*0.02) {
			return fmt.Errorf("%s: CPU %vm is shown, the truth is %vm", key, got.CPU, w.CPU)
		}
		if math.Abs(float64(got.Memory)-float64(w.Memory)) > max(1<<20, float64(w.Memory)*0.02) {
			return fmt.Errorf("%s: %d bytes are shown, the truth is %d", key, got.Memory, w.Memory)
		}
	}
	return nil
}

// autoscaled returns nil if the autoscaler is active, reads this utilization, and the Deployment has so many ready pods.
func autoscaled(ctx context.Context, c *cluster.Cluster, replicas, utilization int32) error {
	hpa, err := c.Client.AutoscalingV2().HorizontalPodAutoscalers("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		return err
	}
	active := false
	for _, condition := range hpa.Status.Conditions {
		if condition.Type == autoscalingv2.ScalingActive {
			active = condition.Status == "True"
			err = fmt.Errorf("the autoscaler isn't active: %s", condition.Message)
		}
	}
	if !active {
		return fmt.Errorf("the autoscaler has no metrics yet: %w", err)
	}
	if len(hpa.Status.CurrentMetrics) != 1 || hpa.Status.CurrentMetrics[0].ContainerResource == nil {
		return fmt.Errorf("the autoscaler reads %v", hpa.Status.CurrentMetrics)
	}
	read := hpa.Status.CurrentMetrics[0].ContainerResource.Current.AverageUtilization
	if read == nil || math.Abs(float64(*read-utilization)) > max(1, float64(utilization)*0.02) {
		return fmt.Errorf("the autoscaler doesn't read a utilization of %d %%: %v", utilization, hpa.Status.CurrentMetrics[0].ContainerResource)
	}
	deployment, err := c.Client.AppsV1().Deployments("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if deployment.Status.ReadyReplicas != replicas {
		return fmt.Errorf("%d pods are ready, want %d", deployment.Status.ReadyReplicas, replicas)
	}
	return nil
}

// prometheus scrapes the kubelets, checks their exposition and asks for what is true.
func prometheus(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	cert, key, err := c.ServingCertificate("prometheus")
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.StartPrometheus(ctx, cluster.PrometheusConfig{Jobs: []cluster.ScrapeJob{{
		Name:    "kubelet",
		Targets: c.Kubelets.Addresses(),
		Settings: map[string]any{
			"scheme":       "https",
			"metrics_path": "/metrics/resource",
			"tls_config":   map[string]any{"ca_file": c.CertificateAuthority(), "cert_file": cert, "key_file": key},
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return p.AllUp(ctx) })
	want := 0.0
	for _, pod := range c.Kubelets.Pods() {
		want += pod.Total().CPU / 1000
	}
	eventually(t, func() error {
		samples, err := p.Query(ctx, `sum(rate(container_cpu_usage_seconds_total[5s]))`)
		if err != nil {
			return err
		}
		if len(samples) != 1 || math.Abs(samples[0].Value-want) > 0.02*want {
			return fmt.Errorf("Prometheus answers %v, want %v cores", samples, want)
		}
		return nil
	})
	text, ok := c.Kubelets.Exposition(c.Kubelets.Nodes()[0])
	if !ok {
		t.Fatal("the first node has no exposition")
	}
	if out, err := c.Promtool(ctx, strings.NewReader(text), "check", "metrics"); err != nil {
		t.Error(out, err)
	}
}

// nodeServed returns nil if the Metrics API has the node, or has it not, as wanted.
func nodeServed(ctx context.Context, c *cluster.Cluster, name string, want bool) error {
	out, err := c.Kubectl(ctx, "get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes")
	if err != nil {
		return err
	}
	var list struct {
		Items []metav1.PartialObjectMetadata
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return err
	}
	got := false
	for _, item := range list.Items {
		got = got || item.Name == name
	}
	if got != want {
		return fmt.Errorf("node %s served: %v, want %v", name, got, want)
	}
	return nil
}

// lives plays a bare pod through its life, and a pod that fits one node only.
func lives(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	node := c.Kubelets.Nodes()[2]
	if err := c.Apply(ctx, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec:
  nodeSelector: {kubernetes.io/hostname: %s}
  restartPolicy: Never
  containers: [{name: main, image: example.org/bare:1}]
`, node)); err != nil {
		t.Fatal(err)
	}
	field := func(path, want string) func() error {
		return func() error {
			got, err := c.Kubectl(ctx, "get", "pod", "bare", "-o", "jsonpath="+path)
			if err == nil && got != want {
				err = fmt.Errorf("%s is %q, want %q", path, got, want)
			}
			return err
		}
	}
	eventually(t, func() error {
		if p, ok := c.Kubelets.Pod("default", "bare"); !ok || p.Node != node {
			return fmt.Errorf("the pod doesn't run on %s: %+v", node, p)
		}
		return nil
	})
	eventually(t, field("{.status.phase}{.status.containerStatuses[0].restartCount}", "Running0"))
	if err := c.Kubelets.Restart(ctx, "default", "bare", "main"); err != nil {
		t.Fatal(err)
	}
	eventually(t, field("{.status.phase}{.status.containerStatuses[0].restartCount}", "Running1"))
	if err := c.Kubelets.Complete(ctx, "default", "bare", 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, field("{.status.phase}", "Failed"))
	eventually(t, func() error {
		if _, ok := c.Kubelets.Pod("default", "bare"); ok {
			return fmt.Errorf("the pod still has usage")
		}
		return nil
	})
	if _, err := c.Kubectl(ctx, "delete", "pod", "bare", "--timeout=5m"); err != nil {
		t.Fatal(err)
	}
}
