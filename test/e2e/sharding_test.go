package e2e

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const statefulSet = `
apiVersion: v1
kind: Namespace
metadata: {name: sharding}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {namespace: sharding, name: headwater-exporter}
spec:
  replicas: 2
  serviceName: headwater-exporter
  selector: {matchLabels: {app: headwater-exporter}}
  template:
    metadata: {labels: {app: headwater-exporter}}
    spec: {containers: [{name: exporter, image: registry.example/exporter:1}]}
`

// TestAutoSharding: exporters that are the pods of a StatefulSet divide everything among themselves, and anew when it is
// scaled. Each answer on the way is whole: what the shard had before, or what it has after.
func TestAutoSharding(t *testing.T) {
	w := shared
	all := w.quiet(t)
	w.apply(t, statefulSet)
	scale := func(replicas int) {
		t.Helper()
		if _, err := w.Kubectl(t.Context(), "scale", "statefulset", "-n", "sharding", "headwater-exporter", fmt.Sprintf("--replicas=%d", replicas)); err != nil {
			t.Fatal(err)
		}
	}
	pod := func(i int) *replica {
		name := fmt.Sprintf("headwater-exporter-%d", i)
		return w.replica(t, name, "--pod="+name, "--pod-namespace=sharding")
	}
	ofStill := ofNamespaces(still)
	states := func(of ...*replica) (all [][]string) {
		t.Helper()
		for _, r := range of {
			lines, err := see(ofStill, r.metrics)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, lines)
		}
		return all
	}
	shards := func(of *replica, ordinal, total float64) {
		t.Helper()
		if n := metric(t, of.telemetry, "kube_state_metrics_total_shards"); n != total {
			t.Errorf("%s says that there are %v shards, want %v", of.Name(), n, total)
		}
		if n := metric(t, of.telemetry, "kube_state_metrics_shard_ordinal", fmt.Sprintf(`shard_ordinal="%v"`, ordinal)); n != ordinal {
			t.Errorf("%s says that it is shard %v, want %v", of.Name(), n, ordinal)
		}
	}
	w.running(t, "sharding", 2)

	a, b, c := pod(0), pod(1), pod(2)
	serve(t, a, b)
	eventually(t, 30*time.Second, func() error { return together(everything, w.metrics, a.metrics, b.metrics) })
	two := states(a, b)
	shards(b, 1, 2)

	// The third is there too early, and says so.
	start(t, c.Process)
	saysNotReady(t, c.telemetry, "there is no pod headwater-exporter-2 in namespace sharding on the log")

	lookA, lookB := onlook(t, a.metrics, ofStill), onlook(t, b.metrics, ofStill)
	w.apply(t, deployment("churn", "web", 15)) // the log goes on while the shards read it anew
	scale(3)
	begin := time.Now()
	isReady(t, 30*time.Second, c.telemetry)
	lookC := onlook(t, c.metrics, ofStill)
	eventually(t, 30*time.Second, func() error { return together(ofStill, w.metrics, a.metrics, b.metrics, c.metrics) })
	t.Logf("3 shards are complete %v after kubectl scale", time.Since(begin).Round(time.Millisecond))
	eventually(t, 30*time.Second, func() error { return together(everything, w.metrics, a.metrics, b.metrics, c.metrics) })
	three := states(a, b, c)
	for i, s := range three {
		// Each of some 70 objects of the namespace has a UID that makes it this shard's in one of three cases.
		if len(s) == 0 {
			t.Errorf("shard %d has nothing", i)
		}
	}
	shards(a, 0, 3)
	shards(c, 2, 3)
	lookA.sees(t, three[0])
	lookB.sees(t, three[1])
	lookC.sees(t, three[2])

	if _, err := w.Kubectl(t.Context(), "scale", "deployment", "-n", "churn", "web", "--replicas=3"); err != nil {
		t.Fatal(err)
	}
	scale(1)
	begin = time.Now()
	eventually(t, 30*time.Second, func() error { return together(ofStill, w.metrics, a.metrics, b.metrics, c.metrics) })
	t.Logf("1 shard is complete %v after kubectl scale", time.Since(begin).Round(time.Millisecond))
	eventually(t, 30*time.Second, func() error { return together(everything, w.metrics, a.metrics) })
	for i := 1; i <= 2; i++ { // the pods end, and then their processes do
		eventually(t, 30*time.Second, func() error {
			_, err := w.Client.CoreV1().Pods("sharding").Get(t.Context(), fmt.Sprintf("headwater-exporter-%d", i), metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("pod %d is still there: %v", i, err)
			}
			return nil
		})
	}
	if err := together(ofStill, w.metrics, a.metrics, b.metrics, c.metrics); err != nil {
		t.Errorf("when the pods were gone: %v", err)
	}
	lookA.saw(t, "shard 0", two[0], three[0], all)
	lookB.saw(t, "shard 1", two[1], three[1], nil)
	lookC.saw(t, "shard 2", three[2], nil)
}

// TestNodesAndUnscheduledPods: an exporter on each node and one for the pods that are on none have all pods together, and
// the usage of all nodes.
func TestNodesAndUnscheduledPods(t *testing.T) {
	w := shared
	w.quiet(t)
	w.apply(t, `
apiVersion: v1
kind: Namespace
metadata: {name: gated}
---
apiVersion: v1
kind: Pod
metadata: {namespace: gated, name: waits}
spec:
  schedulingGates: [{name: example.com/wait}]
  containers: [{name: main, image: registry.example/main:1}]
`)
	v := ofNamespaces(still, "gated")
	var replicas []*replica
	for _, node := range w.Kubelets.Nodes() {
		replicas = append(replicas, w.replica(t, node, "--resources=pods", "--node="+node))
	}
	unscheduled := w.replica(t, "unscheduled", "--resources=pods", "--track-unscheduled-pods")
	serve(t, append(replicas, unscheduled)...)
	urls := []string{unscheduled.metrics}
	for _, r := range replicas {
		urls = append(urls, r.metrics)
	}
	whole := w.metrics + "?resources=pods,usage"

	eventually(t, 30*time.Second, func() error { return together(v, whole, urls...) })
	lines, err := see(everything, unscheduled.metrics)
	if err != nil || count(lines, "kube_pod_info") != 1 || count(lines, "container_cpu_usage_seconds_total")+count(lines, "node_cpu_usage_seconds_total") > 0 {
		t.Errorf("not bound: %v, %v", first(lines), err)
	}
	for i, r := range replicas {
		lines, err := see(everything, r.metrics)
		if err != nil || count(lines, "kube_pod_info") == 0 || count(lines, "node_cpu_usage_seconds_total") != 1 {
			t.Errorf("%s has %d pods and %d nodes' usage: %v", w.Kubelets.Nodes()[i], count(lines, "kube_pod_info"), count(lines, "node_cpu_usage_seconds_total"), err)
		}
	}

	if _, err := w.Kubectl(t.Context(), "patch", "pod", "-n", "gated", "waits", "--type=json", `--patch=[{"op": "remove", "path": "/spec/schedulingGates"}]`); err != nil {
		t.Fatal(err)
	}
	w.running(t, "gated", 1)
	eventually(t, 30*time.Second, func() error {
		lines, err := see(ofNamespaces("gated"), unscheduled.metrics)
		if err == nil && len(lines) > 0 {
			err = fmt.Errorf("the pod that is bound now is still among those that are not: %q", lines[0])
		}
		return err
	})
	eventually(t, 30*time.Second, func() error {
		lines, err := see(ofNamespaces("gated"), urls...)
		if err == nil && count(lines, "container_cpu_usage_seconds_total") != 1 {
			err = fmt.Errorf("the pod that is bound now has no usage")
		}
		return err
	})
	eventually(t, 30*time.Second, func() error { return together(v, whole, urls...) })
}
