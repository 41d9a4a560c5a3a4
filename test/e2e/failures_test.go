package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/internal/stall"
)

const debugReader = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: debug-nodes}
rules: [{nonResourceURLs: [/debug/nodes], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: debug-nodes}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: debug-nodes}
subjects: [{kind: ServiceAccount, namespace: bad, name: debugger}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {namespace: bad, name: debugger}
---
apiVersion: v1
kind: Pod
metadata: {namespace: bad, name: idle, labels: {app: idle}}
spec: {nodeSelector: {group: bad}, containers: [{name: main, image: registry.example/main:1}, {name: zero, image: registry.example/zero:1}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: bad, name: pending}
spec: {nodeSelector: {group: none}, containers: [{name: main, image: registry.example/main:1}]}
`

// failuresStaySmall: of eight kubelets three hang, one resets connections, one answers with a page and one is down. The
// others' usage gets no older for it. What is known of the six stands, with its time, until it is too old. Whoever asks why
// is told.
func failuresStaySmall(t *testing.T, u *usageWorld) {
	const maxAge = 10 * resolution
	o := u.own(t, "bad")
	u.Kubelets.SetUsage(cluster.Match{Namespace: "bad", Container: "zero"}, cluster.Usage{Memory: 1 << 20})
	u.agents(t, "bad", "bad", badNodes)
	u.apply(t, debugReader)
	u.running(t, "bad", badNodes+1)
	ingest := o.ingester("ingest", "group=bad", 0)
	api, port := o.server("metricsapi", "--max-sample-age="+maxAge.String())
	start(t, o.nats, o.state, api, ingest.Process)
	ask := o.direct(t, port)

	nodes, broken, well := u.bad(), u.bad()[:6], u.bad()[6:]
	hung, resets, page, down := nodes[:3], nodes[3], nodes[4], nodes[5]
	on := map[string]string{} // the DaemonSet's pods by node
	for _, p := range u.Kubelets.Pods() {
		if p.Namespace == "bad" && p.Name != "idle" {
			on[p.Node] = p.Name
		}
	}
	answered := func() (map[string]podMetrics, error) {
		items, err := decodeAnswer(ask(t.Context()))
		got := map[string]podMetrics{}
		for _, item := range items {
			if item.Metadata.Namespace == "bad" {
				got[item.Metadata.Name] = item
			}
		}
		return got, err
	}
	all := func() error {
		got, err := answered()
		if err != nil {
			return err
		}
		for node, pod := range on {
			item, ok := got[pod]
			if !ok {
				return fmt.Errorf("%s on %s is missing", pod, node)
			}
			truth, _ := u.Kubelets.Pod("bad", pod)
			if err := item.has(truth.Containers); err != nil {
				return err
			}
			if time.Since(item.Timestamp) > 2*resolution+time.Second {
				return fmt.Errorf("%s on %s is of %v", pod, node, item.Timestamp)
			}
		}
		return nil
	}
	eventually(t, 30*time.Second, all)
	reports := o.scrapeReports()

	// The others: always there, right and fresh.
	healthy := lookOn(t, "bad", ask, func(items []podMetrics) error {
		for _, node := range well {
			at := slices.IndexFunc(items, func(p podMetrics) bool { return p.Metadata.Name == on[node] })
			if at < 0 {
				return fmt.Errorf("the pod on %s is missing", node)
			}
			truth, _ := u.Kubelets.Pod("bad", on[node])
			if err := items[at].has(truth.Containers); err != nil {
				return err
			}
			// A resolution until the next scrape; timestamps are cut to seconds.
			if age := time.Since(items[at].Timestamp); age > resolution+time.Second+slack+stall.Since(items[at].Timestamp) {
				return fmt.Errorf("the pod on %s is %v old", node, age)
			}
		}
		return nil
	})
	u.Kubelets.Bend(cluster.Hang, hung...)
	u.Kubelets.Bend(cluster.Reset, resets)
	u.Kubelets.Bend(cluster.HTML, page)
	u.Kubelets.Stop(down)
	bent := time.Now()
	t.Cleanup(func() {
		u.Kubelets.Heal(broken...)
		if err := u.Kubelets.Resume(down); err != nil {
			t.Error(err)
		}
	})
	last, err := answered()
	if err != nil {
		t.Fatal(err)
	}

	// Both debug pages.
	results := map[string][]string{resets: {"read", "connect"}, page: {"decode"}, down: {"connect"}}
	for _, node := range hung {
		results[node] = []string{"timeout"}
	}
	said := func(page debugPage, metricsapi bool) error {
		if page.Total < badNodes {
			return fmt.Errorf("%d nodes", page.Total)
		}
		for i, n := range page.Nodes {
			want, bad := results[n.Node]
			if !bad {
				if slices.Contains(nodes, n.Node) && n.State != "fresh" && n.State != "partial" {
					return fmt.Errorf("%+v", n)
				}
				continue
			}
			if i >= len(results) {
				return fmt.Errorf("%s is not among the first: %+v", n.Node, page.Nodes)
			}
			// A good scrape just before counts, one after doesn't.
			if n.State != "failing" || n.Failures < 2 || n.LastSuccess.After(bent.Add(resolution)) || n.LastSuccess.Before(bent.Add(-2*resolution)) ||
				!strings.Contains(n.URL, "/metrics/resource") || metricsapi && n.Scraper != "ingest" {
				return fmt.Errorf("%+v", n)
			}
			if !strings.Contains(n.Error, "; ") || !slices.Contains(want, n.Result) { // what is wrong; what to do
				return fmt.Errorf("of %s it says %q: %s", n.Node, n.Result, n.Error)
			}
		}
		return nil
	}
	eventually(t, 4*resolution, func() error {
		page, err := debug(ingest.url, "")
		if err != nil {
			return err
		}
		return said(page, false)
	})
	address := fmt.Sprintf("https://127.0.0.1:%d/debug/nodes?format=json", port)
	for who, v := range map[string]visitor{"nobody": {}, "a service account": {token: u.token(t, "bad", "default")}} {
		if status, text, _ := u.get(t, v, address); status != http.StatusForbidden && status != http.StatusUnauthorized {
			t.Errorf("%s may see the page: %d %.200s", who, status, text)
		}
	}
	reader := visitor{token: u.token(t, "bad", "debugger")}
	read := func(query string) (debugPage, error) {
		status, text, _ := u.get(t, reader, address+query)
		if status != http.StatusOK {
			return debugPage{}, fmt.Errorf("%d: %s", status, text)
		}
		return readDebug(text)
	}
	eventually(t, 10*time.Second, func() error {
		page, err := read("")
		if err != nil {
			return err
		}
		page.Nodes = slices.DeleteFunc(page.Nodes, func(n debugNode) bool { return !slices.Contains(nodes, n.Node) })
		return said(page, true)
	})

	// Pods, and which rule they don't pass. The first one has metrics for as long as its last sample stands.
	for _, c := range [][2]string{
		{on[nodes[0]], "It has metrics"}, {on[well[0]], "It has metrics"},
		{"idle", "pod_container_without_cpu"}, {"pending", "not Running"}, {"nobody", "no such pod"},
	} {
		pod, want := c[0], c[1]
		var page debugPage
		eventually(t, 5*time.Second, func() (err error) {
			page, err = read("&pod=bad/" + pod)
			if err == nil && (page.Pod == nil || !strings.Contains(page.Pod.Verdict, want)) {
				err = fmt.Errorf("of %s it says %+v, not %s", pod, page.Pod, want)
			}
			return err
		})
		if page.Pod.HasMetrics != strings.HasPrefix(want, "It has") {
			t.Errorf("%s: %+v", pod, page.Pod)
		}
		if pod == "idle" && !slices.ContainsFunc(page.Pod.Steps, func(s struct {
			Rule, Detail string
			OK           bool
		}) bool {
			return !s.OK && strings.Contains(s.Detail, "zero")
		}) {
			t.Errorf("it doesn't name the container: %+v", page.Pod)
		}
	}
	if got, err := answered(); err != nil || got["idle"].Metadata.Name != "" {
		t.Errorf("a pod with a container without CPU time has metrics: %v, %+v", err, got["idle"])
	}
	if status, _, _ := u.get(t, reader, address+"&node=nobody"); status != http.StatusNotFound {
		t.Errorf("a node that isn't there: %d", status)
	}

	// The last samples stand with their time until they are too old.
	stands := map[string]time.Time{}
	eventually(t, maxAge+4*time.Second, func() error {
		got, err := answered()
		if err != nil {
			return err
		}
		left := 0
		for _, node := range broken {
			item, ok := got[on[node]]
			age := time.Since(last[on[node]].Timestamp)
			switch {
			case ok && item.Timestamp.Before(last[on[node]].Timestamp):
				t.Errorf("%s: its time went back from %v to %v", node, last[on[node]].Timestamp, item.Timestamp)
			case ok && !item.Timestamp.Before(bent.Add(resolution)):
				t.Errorf("%s: its time went on to %v, and it was bent at %v", node, item.Timestamp, bent)
			case !ok && age < maxAge-slack:
				t.Errorf("%s is absent after %v", node, age)
			case ok && age > maxAge+resolution+2*time.Second+stall.Since(bent):
				t.Errorf("%s is still there after %v", node, age)
			}
			if ok {
				left++
				stands[node] = item.Timestamp
			}
		}
		if left > 0 {
			return fmt.Errorf("%d are still there", left)
		}
		return nil
	})
	if len(stands) != len(broken) {
		t.Errorf("of the broken ones only %v stood", stands)
	}
	raw := fmt.Sprintf("/apis/metrics.k8s.io/v1beta1/nodes/%s", nodes[0])
	out, err := o.Kubectl(t.Context(), fmt.Sprintf("--server=https://127.0.0.1:%d", port), "--insecure-skip-tls-verify", "get", "--raw", raw)
	if err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("%s: %v, %s", raw, err, out)
	}
	if page, err := read("&pod=bad/" + on[nodes[0]]); err != nil || page.Pod.HasMetrics || !strings.Contains(page.Pod.Verdict, "too old") {
		t.Errorf("%v: %+v", err, page.Pod)
	}

	// Back.
	u.Kubelets.Heal(broken...)
	if err := u.Kubelets.Resume(down); err != nil {
		t.Fatal(err)
	}
	healed := time.Now()
	back := eventually(t, 4*resolution+slack, all)
	if back > 4*resolution+slack+stall.Since(healed) {
		t.Errorf("all was right again %v after they were well only", back)
	}
	t.Logf("back %v after they are well", back.Round(time.Millisecond))
	healthy.end(t, false)

	got := reports()
	for node, want := range results {
		r, ok := got[node]
		switch {
		case !ok:
			t.Errorf("no report of %s", node)
		case len(r) < 12 || r[2] != "ingest" || !slices.Contains(append(want, "success"), fmt.Sprint(r[5])) || r[7] == "":
			t.Errorf("the report of %s is %v", node, r)
		}
	}
	for _, node := range well {
		if r, ok := got[node]; ok && r[5] != "success" {
			t.Errorf("there is a report of %s: %v", node, r)
		}
	}
}
