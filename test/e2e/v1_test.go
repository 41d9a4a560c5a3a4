package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/pins"
)

// The two kubectls, as they call themselves to the API server: one that knows v1beta1 alone, one that takes what discovery has
// first of v1 and v1beta1.
const kubectl136, kubectl137 = "kubectl", "kubectl-1.37"

// TestVersion1 uses metrics.k8s.io/v1 as Kubernetes 1.37 does, through the real aggregation layer and the APIServices that are
// shipped. What was asked for, the API server's audit log tells.
func TestVersion1(t *testing.T) {
	v := &twoVersions{world: shared}
	paths, err := pins.Build(t.Context(), os.Stderr, kubectl136, kubectl137)
	if err != nil {
		t.Fatal(err)
	}
	v.paths = paths
	_, v.port = v.anotherAPI(t, "metricsapi-v1", "--enable-watch", "--extended-usage")
	v.ship(t, v.port)
	v.Kubelets.SetUsage(cluster.Match{Namespace: v1Namespace, Container: "main"}, cluster.Usage{CPU: 300, Memory: 200 << 20, Swap: 32 << 20})
	v.Kubelets.SetUsage(cluster.Match{Namespace: v1Namespace, Container: "side"}, cluster.Usage{CPU: 125, Memory: 64 << 20, Swap: 4 << 20})
	v.haveSwap(t)
	v.apply(t, deployment(v1Namespace, "web", 3))
	v.running(t, v1Namespace, 3)
	if said := v.must(t, kubectl137, "version", "--client"); !strings.HasPrefix(said, "Client Version: v1.37.") {
		t.Fatalf("the newer kubectl is %s", said)
	}

	t.Run("AsShipped", v.asShipped)
	t.Run("V1First", v.v1First)
	t.Run("Get", v.get)
	t.Run("Watch", v.watch)
	t.Run("V1Alone", v.v1Alone)
	t.Run("V1beta1Alone", v.v1beta1Alone)
	t.Run("V1LeftBehind", v.v1LeftBehind)
}

const v1Namespace = "version-1"

// twoVersions is the world with both APIServices on a metricsapi of its own.
type twoVersions struct {
	*world
	port  int
	paths map[string]string
}

// haveSwap gives the nodes swap: without it, kubectl takes it that they have none.
func (v *twoVersions) haveSwap(t *testing.T) {
	t.Helper()
	set := func(ctx context.Context, swap *corev1.NodeSwapStatus) {
		for _, node := range v.Kubelets.Nodes() {
			if err := v.Kubelets.UpdateNodeStatus(ctx, node, func(s *corev1.NodeStatus) { s.NodeInfo.Swap = swap }); err != nil {
				t.Error(err)
			}
		}
	}
	capacity := int64(1 << 30)
	set(t.Context(), &corev1.NodeSwapStatus{Capacity: &capacity})
	t.Cleanup(func() { set(context.Background(), nil) })
}

// run runs one of the kubectls; the error has what it printed on standard error.
func (v *twoVersions) run(ctx context.Context, kubectl string, args ...string) (string, error) {
	cache, err := os.MkdirTemp(v.Dir, "kubectl-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(cache)
	cmd := exec.CommandContext(ctx, v.paths[kubectl], append([]string{"--kubeconfig=" + v.Kubeconfig, "--cache-dir=" + cache}, args...)...)
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", kubectl, strings.Join(args, " "), err, strings.TrimSpace(failed.String()))
	}
	return out.String(), nil
}

func (v *twoVersions) must(t *testing.T, kubectl string, args ...string) string {
	t.Helper()
	out, err := v.run(t.Context(), kubectl, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// same waits until both kubectls print the same, which tells of the same moment then, and returns that.
func (v *twoVersions) same(t *testing.T, args ...string) (out string) {
	t.Helper()
	eventually(t, 30*time.Second, func() error {
		one, err := v.run(t.Context(), kubectl137, args...)
		if err != nil {
			return err
		}
		if out, err = v.run(t.Context(), kubectl136, args...); err != nil {
			return err
		}
		if one != out {
			return fmt.Errorf("kubectl %s of 1.37 and 1.36:\n%s\n%s", strings.Join(args, " "), one, out)
		}
		return nil
	})
	return out
}

// asks waits until a kubectl's lists are all of one version, as the API server recorded them.
func (v *twoVersions) asks(t *testing.T, kubectl, version string, args ...string) {
	t.Helper()
	place := v.audit.now(t)
	eventually(t, 10*time.Second, func() error { // discovery may have a version a moment before its backend is asked
		_, err := v.run(t.Context(), kubectl, args...)
		return err
	})
	var asked []request
	eventually(t, 10*time.Second, func() error { // an answer may be here before its record is
		asked = v.audit.since(t, place, func(r request) bool {
			return r.ObjectRef.APIGroup == "metrics.k8s.io" && strings.HasPrefix(r.UserAgent, kubectl+"/")
		})
		if len(asked) == 0 {
			return errNothing
		}
		return nil
	})
	for _, r := range asked {
		if !strings.HasPrefix(r.RequestURI, "/apis/metrics.k8s.io/"+version+"/") {
			t.Errorf("kubectl %s: %s, want %s", strings.Join(args, " "), r, version)
		}
	}
}

// prefer gives the APIService of v1 a priority; that of v1beta1 is 100.
func (v *twoVersions) prefer(t *testing.T, priority int) {
	t.Helper()
	v.must(t, kubectl136, "patch", "apiservice", "v1.metrics.k8s.io", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"versionPriority":%d}}`, priority))
}

// discovered waits until discovery has just these versions, in this order, the first of them preferred: that of the group, that
// of all groups, and the aggregated one.
func (v *twoVersions) discovered(t *testing.T, want ...string) {
	t.Helper()
	ask := func(path, accept string, into any) error {
		raw, err := v.Client.Discovery().RESTClient().Get().AbsPath(path).SetHeader("Accept", accept).DoRaw(t.Context())
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, into)
	}
	eventually(t, 30*time.Second, func() error {
		var group metav1.APIGroup
		var groups metav1.APIGroupList
		if err := ask("/apis/metrics.k8s.io", "application/json", &group); err != nil {
			return err
		}
		if err := ask("/apis", "application/json", &groups); err != nil {
			return err
		}
		groups.Groups = slices.DeleteFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name != "metrics.k8s.io" })
		for _, g := range append(groups.Groups, group) {
			var got []string
			for _, version := range g.Versions {
				got = append(got, version.Version)
			}
			if !slices.Equal(got, want) || g.PreferredVersion.Version != want[0] {
				return fmt.Errorf("the group has %v, preferred %s, want %v", got, g.PreferredVersion.Version, want)
			}
		}
		var aggregated struct {
			Items []struct {
				Metadata metav1.ObjectMeta
				Versions []struct{ Version string }
			}
		}
		if err := ask("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", &aggregated); err != nil {
			return err
		}
		var got []string
		for _, g := range aggregated.Items {
			for _, v := range g.Versions {
				if g.Metadata.Name == "metrics.k8s.io" {
					got = append(got, v.Version)
				}
			}
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("aggregated discovery has %v, want %v", got, want)
		}
		if len(groups.Groups) != 1 {
			return fmt.Errorf("of the groups, %d are metrics.k8s.io", len(groups.Groups))
		}
		return nil
	})
}

// tops compares what kubectl top prints in all its ways, and with the truth.
func (v *twoVersions) tops(t *testing.T) {
	t.Helper()
	for _, row := range rows(v.same(t, "top", "pod", "-n", v1Namespace, "--containers", "--show-swap")) {
		if want := map[string]string{"main": "300m 200Mi 32Mi", "side": "125m 64Mi 4Mi"}[row[1]]; strings.Join(row[2:], " ") != want {
			t.Errorf("kubectl top prints %v, want %s", row, want)
		}
	}
	pods := rows(v.same(t, "top", "pod", "-A", "--containers"))
	if !slices.ContainsFunc(pods, func(row []string) bool { return row[0] == v1Namespace }) {
		t.Errorf("kubectl top pod -A: %v", pods)
	}
	nodes := rows(v.same(t, "top", "node", "--show-swap"))
	if len(nodes) != len(v.Kubelets.Nodes()) || len(nodes[0]) != 7 {
		t.Errorf("kubectl top node --show-swap: %v", nodes)
	}
	v.same(t, "top", "node", nodes[0][0])
	v.same(t, "top", "pod", "-n", v1Namespace, "-l", "app=web", "--sort-by=cpu", "--sum")
}

// asShipped: v1beta1 comes first, as with metrics-server, so that both ask for that.
func (v *twoVersions) asShipped(t *testing.T) {
	v.discovered(t, "v1beta1", "v1")
	v.tops(t)
	v.asks(t, kubectl136, "v1beta1", "top", "node")
	v.asks(t, kubectl137, "v1beta1", "top", "node")
}

// v1First: a higher versionPriority makes v1 what is preferred. The newer kubectl asks for it then, the older one can't.
func (v *twoVersions) v1First(t *testing.T) {
	v.prefer(t, 150)
	v.discovered(t, "v1", "v1beta1")
	v.tops(t)
	v.asks(t, kubectl137, "v1", "top", "node")
	v.asks(t, kubectl137, "v1", "top", "pod", "-A")
	v.asks(t, kubectl136, "v1beta1", "top", "pod", "-A")
}

// get: what kubectl get prints in either version differs by its name alone, and explain knows v1.
func (v *twoVersions) get(t *testing.T) {
	for _, resource := range []string{"podmetrics", "nodemetrics"} {
		read := func(kubectl, version string) (string, error) {
			out, err := v.run(t.Context(), kubectl, "get", resource+"."+version+".metrics.k8s.io", "-n", v1Namespace, "-o", "json")
			if err != nil {
				return "", err
			}
			var list struct{ Items []map[string]any }
			if err := json.Unmarshal([]byte(out), &list); err != nil {
				return "", err
			}
			for _, item := range list.Items {
				if item["apiVersion"] != "metrics.k8s.io/"+version {
					return "", fmt.Errorf("an item of %s is of %s", version, item["apiVersion"])
				}
				delete(item, "apiVersion")
				delete(item["metadata"].(map[string]any), "creationTimestamp")
			}
			if len(list.Items) == 0 {
				return "", errNothing
			}
			text, err := json.Marshal(list)
			return string(text), err
		}
		eventually(t, 30*time.Second, func() error {
			one, err := read(kubectl137, "v1")
			if err != nil {
				return err
			}
			beta, err := read(kubectl136, "v1beta1")
			if err == nil && one != beta {
				err = fmt.Errorf("v1 and v1beta1:\n%s\n%s", one, beta)
			}
			return err
		})
		var said string
		eventually(t, time.Minute, func() error { // the aggregation layer asks a new backend for its document now and then
			out, err := v.run(t.Context(), kubectl137, "explain", resource, "--api-version=metrics.k8s.io/v1")
			said = strings.Join(strings.Fields(out), " ")
			return err
		})
		for _, want := range []string{"GROUP: metrics.k8s.io", "VERSION: v1 ", "timestamp <", "window <"} {
			if !strings.Contains(said, want) {
				t.Errorf("explain %s doesn't say %q: %s", resource, want, said)
			}
		}
	}
}

// watch: kubectl get -w follows v1.
func (v *twoVersions) watch(t *testing.T) {
	watching := watching{v.startKubectl(t, kubectl137, "kubectl-1.37-w", "get", "podmetrics.v1.metrics.k8s.io", "-n", v1Namespace, "-w", "--output-watch-events"),
		[]string{"CPU", "MEMORY", "SWAP"}}
	want := map[string][]string{}
	for _, p := range v.Kubelets.Pods() {
		if p.Namespace == v1Namespace {
			want[p.Name] = []string{"ADDED", "MODIFIED", "MODIFIED"}
		}
	}
	watching.has(t, want)
}

// v1Alone: when v1beta1 is not registered any more, kubectl 1.37 works, and 1.36 says that there is nothing for it; what goes by
// discovery goes on.
func (v *twoVersions) v1Alone(t *testing.T) {
	v.must(t, kubectl136, "delete", "apiservice", apiName)
	v.discovered(t, "v1")
	v.asks(t, kubectl137, "v1", "top", "node")
	if out, err := v.run(t.Context(), kubectl136, "top", "node"); err == nil || !strings.Contains(err.Error(), "Metrics API not available") {
		t.Errorf("kubectl top 1.36: %v\n%s", err, out)
	}
	v.same(t, "get", "podmetrics", "-n", v1Namespace)
}

// v1beta1Alone: the newer kubectl falls back, as it has to where metrics-server is.
func (v *twoVersions) v1beta1Alone(t *testing.T) {
	v.ship(t, v.port)
	v.must(t, kubectl136, "delete", "apiservice", "v1.metrics.k8s.io")
	v.discovered(t, "v1beta1")
	v.asks(t, kubectl137, "v1beta1", "top", "node")
	v.same(t, "top", "pod", "-n", v1Namespace)
}

// v1LeftBehind: metrics-server has taken v1beta1 back, Headwater is gone, and nobody has deleted the APIService of v1. kubectl
// passes over a version that nobody answers, wherever it stands; but namespaces aren't deleted until it is gone.
func (v *twoVersions) v1LeftBehind(t *testing.T) {
	nobody, err := cluster.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	v.ship(t, nobody)
	if err := v.RegisterAPIService(t.Context(), apiName, v.port); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() error {
		if out, err := v.run(t.Context(), kubectl136, "get", "--raw", "/apis/metrics.k8s.io/v1/nodes"); err == nil {
			return fmt.Errorf("v1 is answered: %.100s", out)
		}
		return nil
	})
	for _, order := range [][]string{{"v1beta1", "v1"}, {"v1", "v1beta1"}} {
		v.prefer(t, map[string]int{"v1beta1": 50, "v1": 150}[order[0]])
		v.discovered(t, order...)
		v.asks(t, kubectl137, "v1beta1", "top", "node")
	}
	v.apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: left-behind}\n")
	v.must(t, kubectl136, "delete", "namespace", "left-behind", "--wait=false")
	eventually(t, 30*time.Second, func() error {
		said, err := v.run(t.Context(), kubectl136, "get", "namespace", "left-behind", "-o", `jsonpath={.status.conditions[?(@.type=="NamespaceDeletionDiscoveryFailure")].status}`)
		if err == nil && said != "True" {
			err = fmt.Errorf("its discovery failed: %q", said)
		}
		return err
	})
	v.must(t, kubectl136, "delete", "apiservice", "v1.metrics.k8s.io")
	took := eventually(t, time.Minute, func() error {
		if out, err := v.run(t.Context(), kubectl136, "get", "namespace", "left-behind", "-o", "name", "--ignore-not-found"); err != nil || out != "" {
			return fmt.Errorf("%s is still there: %v", out, err)
		}
		return nil
	})
	t.Logf("the namespace went %v after the APIService", took.Round(100*time.Millisecond))
}
