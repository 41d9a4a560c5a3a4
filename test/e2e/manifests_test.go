package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// manifest reads a file of deploy/kubernetes.
func manifest(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "kubernetes", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ship applies the APIServices of deploy/kubernetes, for the time of a test, with a metricsapi that is a process of this machine
// and no pod.
func (w *world) ship(t *testing.T, port int) {
	t.Helper()
	const service = "name: headwater-metricsapi\n    port: 443"
	services := manifest(t, "apiservice.yaml")
	if strings.Count(services, service) != 2 {
		t.Fatal("apiservice.yaml doesn't name the Service twice")
	}
	t.Cleanup(func() { // the world stays as the other tests know it
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := w.Kubectl(ctx, "delete", "--wait=false", "--ignore-not-found", "apiservice/v1.metrics.k8s.io"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if err := w.RegisterAPIService(ctx, apiName, w.metricsPort); err != nil {
			t.Error(err)
		}
	})
	if err := w.Apply(t.Context(), strings.ReplaceAll(services, service, fmt.Sprintf("name: local-v1beta1-metrics-k8s-io\n    port: %d", port))); err != nil {
		t.Fatal(err)
	}
}

// TestManifestsOfTheUsageSide applies what deploy/kubernetes has: the API server takes it, answers both versions of the
// Metrics API from metricsapi, gives v1beta1 to who doesn't choose, and the accounts may do what they need and no more.
func TestManifestsOfTheUsageSide(t *testing.T) {
	w := shared
	w.apply(t, manifest(t, "rbac.yaml")+"---\n"+manifest(t, "service.yaml"))
	w.ship(t, w.metricsPort)

	raw := func(path string, into any) error {
		text, err := w.Kubectl(t.Context(), "get", "--raw", path)
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(text), into)
	}
	for _, version := range []string{"v1", "v1beta1"} {
		eventually(t, time.Minute, func() error {
			var list struct {
				APIVersion string
				Items      []struct{ Metadata metav1.ObjectMeta }
			}
			if err := raw("/apis/metrics.k8s.io/"+version+"/nodes", &list); err != nil {
				return err
			}
			if list.APIVersion != "metrics.k8s.io/"+version || len(list.Items) != len(w.Kubelets.Nodes()) {
				return fmt.Errorf("%s: %d nodes in %s", version, len(list.Items), list.APIVersion)
			}
			return nil
		})
	}
	eventually(t, time.Minute, func() error {
		var group metav1.APIGroup
		if err := raw("/apis/metrics.k8s.io", &group); err != nil {
			return err
		}
		if len(group.Versions) != 2 || group.PreferredVersion.Version != "v1beta1" || group.Versions[0].Version != "v1beta1" || group.Versions[1].Version != "v1" {
			return fmt.Errorf("the group has %+v, preferred %s", group.Versions, group.PreferredVersion.Version)
		}
		return nil
	})
	if top, err := w.Kubectl(t.Context(), "top", "nodes", "--no-headers"); err != nil || strings.Count(top, "\n") != len(w.Kubelets.Nodes()) {
		t.Errorf("kubectl top nodes: %v\n%s", err, top)
	}

	w.apply(t, `
apiVersion: v1
kind: Namespace
metadata: {name: manifests}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: manifests, name: viewers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: manifests-viewer}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: manifests-debug}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: headwater-metricsapi-debug}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: manifests-operator}]
`)
	const ingest, metricsapi = "system:serviceaccount:kube-system:headwater-ingest", "system:serviceaccount:kube-system:headwater-metricsapi"
	for _, c := range []struct {
		who, what string
		may       bool
	}{
		{ingest, "get nodes --subresource=metrics", true}, {ingest, "get nodes --subresource=stats", true}, {ingest, "get nodes --subresource=proxy", false}, {ingest, "list nodes", false},
		{metricsapi, "create tokenreviews.authentication.k8s.io", true}, {metricsapi, "create subjectaccessreviews.authorization.k8s.io", true},
		{metricsapi, "get configmaps/extension-apiserver-authentication -n kube-system", true}, {metricsapi, "list configmaps -n kube-system", false}, {metricsapi, "list pods", false},
		{"manifests-viewer", "watch pods.metrics.k8s.io -n manifests", true}, {"manifests-viewer", "list pods.metrics.k8s.io -n default", false}, {"manifests-viewer", "get /debug/nodes", false},
		{"manifests-operator", "get /debug/nodes", true}, {"manifests-operator", "list nodes.metrics.k8s.io", false},
	} {
		eventually(t, time.Minute, func() error { // aggregated roles take their time
			said, _ := w.Kubectl(t.Context(), append([]string{"auth", "can-i", "--as=" + c.who}, strings.Fields(c.what)...)...)
			if got := strings.HasPrefix(said, "yes"); got != c.may {
				return fmt.Errorf("%s may %s: %v, want %v (%s)", c.who, c.what, got, c.may, said)
			}
			return nil
		})
	}
}
