package api

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/schemas"
)

// selecting gives --node-selector.
func selecting(selector string) func(*Config) {
	return func(c *Config) { c.Options.NodeSelector = selector }
}

// TestUnselectedNodesHaveNoMetrics asks for what is on a node that is selected, on one that isn't, and on one that was deleted,
// in all ways and encodings. What isn't there is refused as metrics-server refuses what it hasn't scraped.
func TestUnselectedNodesHaveNoMetrics(t *testing.T) {
	s := start(t, func(s *served) {
		small(s)
		s.apply(newPod("shop", "lost", "gone", nil)) // on a node that was deleted just now
		p := point(1, 1, time.Second)
		s.sample(nodeSample("gone", &p, podUsage("shop", "lost", container("main", p))))
	}, selecting("pool=blue"))
	for path, want := range map[string]string{
		"/nodes/node-a":                `nodemetrics.metrics.k8s.io "node-a" not found`,
		"/nodes/nowhere":               `node "nowhere" not found`,
		"/namespaces/shop/pods/web-1":  `podmetrics.metrics.k8s.io "shop/web-1" not found`,
		"/namespaces/shop/pods/lost":   "",
		"/nodes/node-b":                "",
		"/namespaces/shop/pods/db-0":   "",
		"/namespaces/bank/pods/ledger": "",
	} {
		code, body := s.get(group + path)
		if want == "" && code != http.StatusOK || want != "" && (code != http.StatusNotFound || !strings.Contains(body, fmt.Sprintf(`"message":%q`, want))) {
			t.Errorf("%s: %d %s, want %s", path, code, body, want)
		}
	}
	name := regexp.MustCompile(`\b(node-[ab]|web-1|db-0|ledger|mixed|reset|lost)\b`)
	for path, want := range map[string]string{
		"/nodes": "node-b", "/nodes?labelSelector=pool%3Dgreen": "", "/nodes?labelSelector=pool": "node-b", "/nodes?fieldSelector=metadata.name%3Dnode-a": "",
		"/pods": "ledger db-0 lost", "/namespaces/shop/pods": "db-0 lost", "/namespaces/shop/pods?labelSelector=app%3Dweb": "", "/pods?labelSelector=app": "db-0",
	} {
		for _, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf", "application/yaml", "application/json;as=Table;v=v1;g=meta.k8s.io"} {
			code, body := s.get(group+path, header{"Accept", accept})
			var names []string
			for _, found := range name.FindAllString(body, -1) {
				if !strings.Contains(strings.Join(names, " "), found) {
					names = append(names, found)
				}
			}
			if got := strings.Join(names, " "); code != http.StatusOK || got != want {
				t.Errorf("%s as %s: %d with %q, want %q", path, accept, code, got, want)
			}
		}
	}
	_, body := s.get("/metrics")
	for _, want := range []string{`metrics_server_storage_points{type="node"} 2`, `metrics_server_storage_points{type="container"} 3`} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if _, page := s.page(""); len(page.Notes) != 1 || page.Notes[0] != "Not selected by --node-selector=pool=blue, so that neither they nor the pods on them have metrics, whatever stands here of their scrapes: back, first, node-a, silent (4 nodes)." {
		t.Errorf("the page of all nodes says %q", page.Notes)
	}
}

// TestNothingIsHiddenWithoutNodeSelector: the view is read as it is.
func TestNothingIsHiddenWithoutNodeSelector(t *testing.T) {
	s := start(t, small, selecting(" "))
	_, usage, err := s.service.views()
	if err != nil || usage != s.service.usage.Load() {
		t.Errorf("%v: answers are made of %T", err, usage)
	}
}

// TestReadyWithNodeSelector: that only other nodes are scraped doesn't make it ready, unless no node is selected anyway.
func TestReadyWithNodeSelector(t *testing.T) {
	for selector, ready := range map[string]bool{"": true, "pool=blue": true, "!pool": false, "pool=red": true} {
		s := newServed(t, selecting(selector))
		s.apply(newNode("node-a", map[string]string{"pool": "blue"}))
		s.apply(newNode("node-b", nil))
		p := point(1, 1, time.Second)
		s.sample(nodeSample("node-a", &p))
		s.whole()
		if err := s.service.storageReady(); (err == nil) != ready {
			t.Errorf("%q: %v, want ready: %v", selector, err, ready)
		}
	}
}

// TestWatchNodesThatCeaseToBeSelected: with a node's labels, its answer and those of its pods end and begin.
func TestWatchNodesThatCeaseToBeSelected(t *testing.T) {
	s := start(t, small, enableWatch, selecting("pool=blue"))
	nodes, pods := s.watch(t, group+"/nodes?watch=true"), s.watch(t, group+"/pods?watch=true")
	all := "ADDED PodMetrics bank/ledger\nADDED PodMetrics shop/db-0"
	nodes.expect("ADDED NodeMetrics node-b 1")
	pods.expect(all)
	version := s.version(group + "/pods")
	s.apply(newNode("node-b", nil))
	nodes.expect("DELETED NodeMetrics node-b 1")
	pods.expect("DELETED PodMetrics bank/ledger\nDELETED PodMetrics shop/db-0")
	later := s.watch(t, group+"/pods?watch=true&resourceVersion="+version)
	later.expect("DELETED PodMetrics bank/ledger\nDELETED PodMetrics shop/db-0")
	b := point(1e9, 12533760, 10*time.Second)
	s.sample(schemas.UsageSample{Node: "node-b", Time: at(time.Second), Point: &b, Pods: []schemas.PodUsage{podUsage("shop", "db-0", container("db", b))}})
	s.apply(newNode("node-b", map[string]string{"pool": "blue"}))
	nodes.expect("ADDED NodeMetrics node-b 1")
	pods.expect("ADDED PodMetrics shop/db-0")
	s.remove(newNode("node-b", nil))
	nodes.expect("DELETED NodeMetrics node-b 1")
	if code, body := s.get(group + "/namespaces/shop/pods/db-0"); code != http.StatusOK { // until it is deleted, or too old
		t.Errorf("%d %s", code, body)
	}
	s.remove(newPod("shop", "db-0", "node-b", nil))
	pods.expect("DELETED PodMetrics shop/db-0")
}

// TestWatchGoesOnWhereANodeIsNotSelected: somebody has a pod from a replica that has read a sample and not that the node isn't
// selected any more, or the other way round, and goes on where the pod never had an answer.
func TestWatchGoesOnWhereANodeIsNotSelected(t *testing.T) {
	for name, first := range map[string]string{"it was selected": "blue", "it comes to be selected": "green"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLogs(t)
				blue := func(o *Options) { o.NodeSelector = "pool=blue" }
				a, b := l.replica(blue), l.replica(blue)
				aged := func(pool string) *corev1.Node {
					n := newNode("node-a", map[string]string{"pool": pool})
					n.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
					return n
				}
				p := newPod("shop", "web-0", "node-a", nil)
				p.CreationTimestamp, p.Status.StartTime = aged("").CreationTimestamp, nil
				l.object(aged(first), schemas.Applied)
				l.object(p, schemas.Applied)
				for _, r := range []*replica{a, b} {
					r.catchUp()
					r.whole()
				}
				rate := schemas.Point{Time: time.Now().UnixNano(), Rate: 1, Memory: 1, Window: 1e9}
				sample := schemas.UsageSample{Node: "node-a", Time: time.Now().UnixNano(), Point: &rate, Pods: []schemas.PodUsage{podUsage("shop", "web-0", container("main", rate))}}
				l.sample(sample)
				if first == "blue" { // b reads of the end of it before the sample
					a.read(0, 1)
					l.object(aged("green"), schemas.Applied)
					b.read(1, 0)
				} else { // b reads that the pod is gone from the samples before it reads that the node is selected
					l.object(aged("blue"), schemas.Applied)
					a.read(1, 1)
					sample.Pods = nil
					l.sample(sample)
					b.read(0, 2)
				}
				c := &modelClient{t: t, from: func(r *replica) storage { return r.pods }}
				c.connect(a, false)
				if len(c.has) != 1 {
					t.Fatalf("at first it has %v", c.has)
				}
				c.disconnect()
				b.catchUp()
				c.connect(b, false)
				time.Sleep(time.Second) // the bubble's
				synctest.Wait()
				if c.lost() || len(c.has) != 0 {
					t.Errorf("at last it has %v, %v", c.has, c.failure)
				}
				c.disconnect()
			})
		})
	}
}
