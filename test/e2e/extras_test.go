package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/internal/stall"
)

// value is that of a series in an answer, given by its name and labels in any order.
func value(body, series string) (string, error) {
	want := sortLabels([]string{series})[0]
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, want[:strings.IndexByte(want, '{')+1]) {
			end := strings.LastIndexByte(line, '}') + 1
			if sortLabels([]string{line[:end]})[0] == want {
				return strings.TrimSpace(line[end:]), nil
			}
		}
	}
	return "", fmt.Errorf("there is no %s", series)
}

// has is nil if a series has a value.
func has(url, series, want string) error {
	body, err := get(url)
	if err != nil {
		return err
	}
	got, err := value(body, series)
	if err == nil && got != want {
		err = fmt.Errorf("%s is %s, want %s", series, got, want)
	}
	return err
}

// TestWhatHappensBetweenTwoScrapes: a container dies twice between two scrapes, the first time of want of memory. The state
// afterwards tells of the second death only; the counters tell of both, and go on when the configuration is changed. And a pod
// that was deleted lingers.
func TestWhatHappensBetweenTwoScrapes(t *testing.T) {
	w := shared
	const linger = 8 * time.Second
	w.apply(t, deployment("between", "web", 1))
	w.running(t, "between", 1)
	mount := &volume{dir: t.TempDir()}
	mount.hold(t, map[string]string{"config.yaml": "metric_denylist: {}\n"})
	r := w.replica(t, "exporter", "--event-counters", "--deleted-linger="+linger.String(), "--config="+mount.path("config.yaml"))
	serve(t, r)
	pods, err := w.Client.CoreV1().Pods("between").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("%d pods: %v", len(pods.Items), err)
	}
	pod := pods.Items[0]

	deaths := func(reason string) string {
		return fmt.Sprintf(`headwater_pod_container_terminations_total{namespace="between",reason=%q}`, reason)
	}
	for _, reason := range []string{"OOMKilled", "Error", "Unknown"} {
		eventually(t, 10*time.Second, func() error { return has(r.metrics, deaths(reason), "0") })
	}
	if err := w.Kubelets.Restart(t.Context(), "between", pod.Name, "main"); err != nil {
		t.Fatal(err)
	}
	if err := w.Kubelets.UpdatePodStatus(t.Context(), "between", pod.Name, func(pod *corev1.Pod) error {
		i := slices.IndexFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.Name == "main" })
		c := &pod.Status.ContainerStatuses[i]
		c.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: 1, Reason: "Error", StartedAt: c.State.Running.StartedAt, FinishedAt: metav1.Now(), ContainerID: c.ContainerID,
		}
		c.RestartCount++
		c.ContainerID += "again"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	main := fmt.Sprintf(`namespace="between",pod=%q,uid=%q,container="main"`, pod.Name, pod.UID)
	eventually(t, 20*time.Second, func() error { return has(r.metrics, "kube_pod_container_status_restarts_total{"+main+"}", "2") })
	body := fetch(t, r.metrics)
	for series, want := range map[string]string{
		"kube_pod_container_status_last_terminated_reason{" + main + `,reason="Error"}`: "1",
		deaths("OOMKilled"): "1", deaths("Error"): "1", deaths("Unknown"): "0",
	} {
		if got, err := value(body, series); err != nil || got != want {
			t.Errorf("%s is %s, want %s: %v", series, got, want, err)
		}
	}
	if _, err := value(body, "kube_pod_container_status_last_terminated_reason{"+main+`,reason="OOMKilled"}`); err == nil {
		t.Error("the state still tells of the first death, so that this test shows nothing")
	}

	// Another configuration: a view that is built anew from the same events.
	mount.hold(t, map[string]string{"config.yaml": "metric_denylist: {^kube_pod_created$: {}}\n"})
	eventually(t, 20*time.Second, func() error {
		body, err := get(r.metrics)
		if err == nil && strings.Contains(body, "\nkube_pod_created{") {
			err = fmt.Errorf("the changed configuration has no effect")
		}
		return err
	})
	if err := w.Kubelets.Restart(t.Context(), "between", pod.Name, "main"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() error { return has(r.metrics, deaths("OOMKilled"), "2") })
	for reason, want := range map[string]string{"Error": "1", "Unknown": "0"} {
		if err := has(r.metrics, deaths(reason), want); err != nil {
			t.Errorf("after a reload: %v", err)
		}
	}

	// The Deployment makes another pod for the one that is deleted.
	if _, err := w.Kubectl(t.Context(), "delete", "pod", "-n", "between", pod.Name); err != nil {
		t.Fatal(err)
	}
	left := fmt.Sprintf("headwater_deleted_object_timestamp_seconds{resource=\"pods\",namespace=\"between\",name=%q,uid=%q}", pod.Name, pod.UID)
	uid := fmt.Sprintf("uid=%q", pod.UID)
	eventually(t, 20*time.Second, func() error {
		body, err := get(w.metrics)
		if err == nil && strings.Contains(body, uid) {
			err = fmt.Errorf("an exporter without --deleted-linger still has the pod")
		}
		return err
	})
	var deleted string
	eventually(t, linger/2, func() (err error) { // each exporter hears of it at its own time
		if body, err = get(r.metrics); err != nil {
			return err
		}
		if deleted, err = value(body, left); err == nil && !strings.Contains(body, "kube_pod_container_status_restarts_total{"+sameOrder(body, main)) {
			err = errors.New("the pod doesn't linger")
		}
		return err
	})
	var at float64
	if _, err := fmt.Sscan(deleted, &at); err != nil {
		t.Fatalf("%q: %v", deleted, err)
	}
	begin := time.Unix(0, int64(at*1e9))
	eventually(t, linger+10*time.Second, func() error {
		body, err := get(r.metrics)
		if err == nil && strings.Contains(body, uid) {
			err = fmt.Errorf("the pod lingers on")
		}
		return err
	})
	if took := time.Since(begin); took < linger || took > linger+5*time.Second+stall.Since(begin) {
		t.Errorf("the pod lingered for %v, want %v", took, linger)
	}
}

// sameOrder is the labels in the order in which an answer has them; "" where it has not.
func sameOrder(body, labels string) string {
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, "kube_pod_container_status_restarts_total{"); ok {
			found, _, _ := strings.Cut(rest, "}")
			if sortLabels([]string{"{" + found + "}"})[0] == sortLabels([]string{"{" + labels + "}"})[0] {
				return found
			}
		}
	}
	return "\x00"
}

const narrowRole = `
apiVersion: v1
kind: Namespace
metadata: {name: narrow}
---
apiVersion: v1
kind: ServiceAccount
metadata: {namespace: narrow, name: state}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: narrow-state}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: narrow-state}
subjects: [{kind: ServiceAccount, namespace: narrow, name: state}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: narrow-state}
rules:
- apiGroups: [apps, autoscaling, batch, certificates.k8s.io, coordination.k8s.io, discovery.k8s.io, networking.k8s.io, policy, storage.k8s.io, admissionregistration.k8s.io, rbac.authorization.k8s.io]
  resources: ["*"]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [configmaps, endpoints, limitranges, namespaces, nodes, persistentvolumeclaims, persistentvolumes, pods, replicationcontrollers, resourcequotas, %sserviceaccounts, services]
  verbs: [list, watch]
`

// TestFreshnessOfForbiddenKind: the state service's ClusterRole forgets secrets. All else is exported, and --freshness says
// what is missing, and why; when the role is corrected, nobody has to be restarted.
func TestFreshnessOfForbiddenKind(t *testing.T) {
	w := shared
	w.quiet(t)
	w.apply(t, fmt.Sprintf(narrowRole, ""))
	kubeconfig, err := w.ServiceAccountKubeconfig(t.Context(), "narrow", "state")
	if err != nil {
		t.Fatal(err)
	}
	var port int
	if err := ports(&port); err != nil {
		t.Fatal(err)
	}
	state := cluster.NewProcess(w.Dir, cluster.Spec{Name: "narrow-state", Path: binary("state"),
		Args: []string{"--kubeconfig=" + kubeconfig, "--nats-url=" + w.natsURL, "--cluster=narrow", "--objects-max-bytes=268435456", fmt.Sprintf("--telemetry-address=127.0.0.1:%d", port)},
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("state:\n%s", state.Tail(20))
		}
		state.Kill()
	})
	r := w.replica(t, "exporter", "--cluster=narrow", "--usage=false", "--freshness")
	start(t, state)
	serve(t, r)

	available := func(resource, reason string) string {
		return fmt.Sprintf("headwater_resource_available{resource=%q,reason=%q}", resource, reason)
	}
	var body string
	eventually(t, 30*time.Second, func() (err error) {
		if body, err = get(r.metrics); err != nil {
			return err
		}
		for series, want := range map[string]string{
			available("secrets", "forbidden"): "0", available("pods", ""): "1", available("deployments", ""): "1", available("leases", ""): "1",
			`headwater_objects{resource="secrets"}`: "0", `headwater_lag{stream="objects"}`: "0",
		} {
			if got, err := value(body, series); err != nil || got != want {
				return fmt.Errorf("%s is %s, want %s: %v", series, got, want, err)
			}
		}
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, "headwater_resource_available{") && !strings.Contains(line, `resource="secrets"`) && !strings.HasSuffix(line, "} 1\n") {
				return fmt.Errorf("not available, though the role allows it: %s", line)
			}
		}
		return nil
	})
	lines := ofNamespaces(still)(body)
	if pods, secrets := count(lines, "kube_pod_info"), count(lines, "kube_secret_info"); pods != stillPods || secrets != 0 {
		t.Errorf("%d pods, %d secrets", pods, secrets)
	}
	newest := func(body, resource string) (at float64) {
		t.Helper()
		text, err := value(body, fmt.Sprintf("headwater_last_event_timestamp_seconds{resource=%q}", resource))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(text, &at); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return at
	}

	// An event of a kind is the newest of that kind from then on.
	w.apply(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: narrow, name: news}\n")
	eventually(t, 20*time.Second, func() error {
		now := fetch(t, r.metrics)
		if newest(now, "configmaps") <= newest(body, "configmaps") {
			return fmt.Errorf("the new ConfigMap is not the newest event")
		}
		return nil
	})

	if err := w.Apply(t.Context(), fmt.Sprintf(narrowRole, "secrets, ")); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, time.Minute, func() error {
		if err := has(r.metrics, available("secrets", ""), "1"); err != nil {
			return err
		}
		lines, err := see(ofNamespaces(still), r.metrics)
		if err == nil && count(lines, "kube_secret_info") != stillConfigMaps {
			err = fmt.Errorf("%d secrets", count(lines, "kube_secret_info"))
		}
		return err
	})
	t.Logf("the secrets were there %v after the role allowed them", took.Round(time.Millisecond))
	if err := together(ofNamespaces(still), w.metrics+"?exclude_resources=usage", r.metrics); err != nil {
		t.Error(err)
	}
}
