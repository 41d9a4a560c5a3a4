package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// indented returns a JSON document with a line for each value.
func indented(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	b.WriteByte('\n')
	return b.String()
}

// golden compares a JSON document with testdata/<name>.json.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = indented(t, got)
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// small is a cluster with one of everything that the contract tells apart.
func small(s *served) {
	s.apply(newNode("node-b", map[string]string{"kubernetes.io/hostname": "node-b", "pool": "blue"}))
	s.apply(newNode("node-a", map[string]string{"kubernetes.io/hostname": "node-a", "pool": "green"}))
	s.apply(newNode("silent", nil)) // has no sample
	s.apply(newNode("first", nil))  // has one point
	s.apply(newNode("back", nil))   // its counter went backwards

	s.apply(newPod("shop", "web-1", "node-a", map[string]string{"app": "web", "tier": "front"}))
	s.apply(newPod("shop", "db-0", "node-b", map[string]string{"app": "db"}))
	s.apply(newPod("bank", "ledger", "node-b", nil))
	s.apply(newPod("shop", "fresh", "node-a", nil))  // one of its containers has one point
	s.apply(newPod("shop", "reset", "node-a", nil))  // all of its containers' counters went backwards
	s.apply(newPod("shop", "mixed", "node-a", nil))  // one of two did
	s.apply(newPod("shop", "unseen", "node-a", nil)) // is in no sample
	done := newPod("shop", "done", "node-a", nil)
	done.Status.Phase = corev1.PodSucceeded
	s.apply(done)

	later, noRate := point(1, 4096, 20*time.Second), point(schemas.NoRate, 4096, 10*time.Second)
	later.Time, later.Rate, later.Memory = at(-time.Second), 0, 53687091
	a, b := point(1500000, 1616273408, 15023*time.Millisecond), point(1e9, 12533760, 10*time.Second)
	first, back := point(0, 4096, 0), noRate
	s.sample(nodeSample("node-a", &a,
		podUsage("shop", "web-1", container("web", point(49530274, 52428800, 15*time.Second)), container("sidecar", later)),
		podUsage("shop", "fresh", container("old", point(1, 1, time.Second)), container("new", first)),
		podUsage("shop", "reset", container("main", noRate)),
		podUsage("shop", "mixed", container("good", later), container("bad", noRate)),
		podUsage("shop", "done", container("main", point(1, 1, time.Second))),
		podUsage("shop", "stranger", container("main", point(1, 1, time.Second))), // no such pod is known
	))
	s.sample(nodeSample("node-b", &b,
		podUsage("shop", "db-0", container("db", point(50000000, 1023, 61500*time.Millisecond))),
		podUsage("bank", "ledger", container("main", point(1, 18446744073709551610, 10*time.Second))),
	))
	s.sample(nodeSample("first", &first))
	s.sample(nodeSample("back", &back))
}

const group = "/apis/metrics.k8s.io/v1beta1"

func TestGoldenBodies(t *testing.T) {
	s := start(t, small)
	as := func(kind string) header {
		return header{"Accept", "application/json;as=" + kind + ";g=meta.k8s.io;v=v1"}
	}
	for _, c := range []struct {
		name, path string
		code       int
		headers    []header
	}{
		{name: "nodes", path: "/nodes"},
		{name: "nodes-label", path: "/nodes?labelSelector=pool%3Dblue"},
		{name: "nodes-field", path: "/nodes?fieldSelector=metadata.name%3Dnode-a"},
		{name: "nodes-field-namespace", path: "/nodes?fieldSelector=metadata.namespace%3Dshop"},
		{name: "node", path: "/nodes/node-a"},
		{name: "node-unknown", path: "/nodes/nowhere", code: 404},
		{name: "node-without-sample", path: "/nodes/silent", code: 404},
		{name: "node-first-point", path: "/nodes/first", code: 404},
		{name: "node-counter-back", path: "/nodes/back", code: 404},
		{name: "pods", path: "/pods"},
		{name: "pods-namespace", path: "/namespaces/shop/pods"},
		{name: "pods-no-namespace", path: "/namespaces/nowhere/pods"},
		{name: "pods-label", path: "/namespaces/shop/pods?labelSelector=app%20in%20(web,db),tier"},
		{name: "pods-label-all-namespaces", path: "/pods?labelSelector=!app"},
		{name: "pods-field", path: "/pods?fieldSelector=metadata.namespace!%3Dshop"},
		{name: "pods-paging-ignored", path: "/pods?limit=1&continue=x&resourceVersion=0"},
		{name: "pod", path: "/namespaces/shop/pods/web-1"},
		{name: "pod-counter-back", path: "/namespaces/shop/pods/reset"},
		{name: "pod-counter-back-in-one", path: "/namespaces/shop/pods/mixed"},
		{name: "pod-unknown", path: "/namespaces/shop/pods/nothing", code: 404},
		{name: "pod-not-running", path: "/namespaces/shop/pods/done", code: 404},
		{name: "pod-without-sample", path: "/namespaces/shop/pods/unseen", code: 404},
		{name: "pod-first-point", path: "/namespaces/shop/pods/fresh", code: 404},
		{name: "table-nodes", path: "/nodes", headers: []header{as("Table")}},
		{name: "table-node", path: "/nodes/node-a?includeObject=None", headers: []header{as("Table")}},
		{name: "table-pods", path: "/namespaces/shop/pods?includeObject=Object", headers: []header{as("Table")}},
		{name: "table-pod", path: "/namespaces/shop/pods/web-1", headers: []header{as("Table")}},
		{name: "table-empty", path: "/namespaces/nowhere/pods", headers: []header{as("Table")}},
		{name: "partial-pods", path: "/namespaces/shop/pods", headers: []header{as("PartialObjectMetadataList")}},
		{name: "partial-node", path: "/nodes/node-a", headers: []header{as("PartialObjectMetadata")}},
		{name: "error-field", path: "/pods?fieldSelector=spec.nodeName%3Dx", code: 400},
		{name: "error-label", path: "/pods?labelSelector=a%3D%3D%3Db", code: 400},
		{name: "error-watch-pods", path: "/pods?watch=true", code: 405},
		{name: "error-watch-nodes", path: "/nodes?watch=1", code: 405},
		{name: "discovery", path: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, body := s.get(group+c.path, c.headers...)
			if want := max(c.code, http.StatusOK); code != want {
				t.Errorf("code %d, want %d", code, want)
			}
			golden(t, c.name, body)
		})
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		code, body := s.do(method, group+"/namespaces/shop/pods/web-1")
		if code != http.StatusMethodNotAllowed {
			t.Errorf("%s: code %d", method, code)
		}
		golden(t, "error-method", body)
	}
}
