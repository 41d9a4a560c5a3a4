package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/debugpage"
)

// troubled is small, and everything that can keep a pod from having metrics.
func troubled(s *served) {
	small(s)
	for _, name := range []string{"old", "hung", "unscraped", "dropping"} {
		s.apply(newNode(name, nil))
	}
	usual := point(1e9, 4096, 15*time.Second)
	pods := map[string]string{ // the pods by name, and their nodes
		"on-old": "old", "on-hung": "hung", "on-unscraped": "unscraped", "without-cpu": "dropping", "not-told": "dropping", "claimed": "dropping",
		"on-no-node": "", "on-gone": "gone", "recreated": "node-c", "healthy": "node-c", "another-uid": "node-c",
	}
	s.apply(newNode("node-c", nil))
	for name, node := range pods {
		p := newPod("shop", name, node, nil)
		if name == "recreated" {
			p.CreationTimestamp.Time = epoch.Add(-time.Second)
			p.Status.StartTime = &p.CreationTimestamp
		}
		s.apply(p)
	}
	waiting := newPod("shop", "waiting", "", nil)
	waiting.Status.Phase = corev1.PodPending
	s.apply(waiting)

	old := nodeSample("old", &usual, podUsage("shop", "on-old", container("main", usual)))
	old.Time = at(-50 * time.Second)
	s.sample(old)
	hung := nodeSample("hung", &usual, podUsage("shop", "on-hung", container("main", usual)))
	hung.Time = at(-time.Minute)
	s.sample(hung)
	s.report(schemas.ScrapeReport{
		Node: "hung", Ingester: "ingest-1", Time: at(-10 * time.Second), Duration: 10e9, Result: "timeout", Error: "it didn't answer within 10s; look at the kubelet's log",
		URL: "https://192.0.2.1:10250/metrics/resource", Failures: 4, LastSuccess: at(-time.Minute), Next: at(5 * time.Second),
	})
	other := podUsage("shop", "another-uid", container("main", usual))
	other.UID = "uid-of-another"
	s.sample(nodeSample("node-c", &usual, podUsage("shop", "recreated", container("main", usual)), podUsage("shop", "healthy", container("main", usual)), other,
		podUsage("shop", "claimed", container("main", usual))))
	s.sample(nodeSample("dropping", &usual))
	s.report(schemas.ScrapeReport{
		Node: "dropping", Ingester: "ingest-2", Time: at(-time.Second), Result: schemas.ScrapeSuccess, LastSuccess: at(-time.Second), More: 3,
		Dropped: []schemas.DroppedUsage{{Namespace: "shop", Pod: "without-cpu", Container: "server", Reason: "pod_container_without_cpu"}},
	})
}

// page asks for the debug page as JSON.
func (s *served) page(query string) (code int, page struct {
	Nodes []debugpage.Node
	Pod   debugpage.Pod
	Notes []string
	Total int
}) {
	s.t.Helper()
	code, body := s.get("/debug/nodes?format=json" + query)
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		s.t.Fatalf("%v: %s", err, body)
	}
	return code, page
}

// TestWhyAPodHasNoMetrics goes through every rule, and compares the verdict with what a request gets.
func TestWhyAPodHasNoMetrics(t *testing.T) {
	s := start(t, troubled)
	for name, want := range map[string]struct {
		steps int    // how many rules were looked at
		says  string // the last of them that doesn't hold, or the verdict
	}{
		"nothing":      {1, "no such pod is known; is it spelled right"},
		"done":         {2, `its phase is "Succeeded"; only running pods have metrics, as in metrics-server. Its containers have ended`},
		"waiting":      {2, `its phase is "Pending"; only running pods have metrics, as in metrics-server. It has been waiting for a node, an image or a volume since it was created at 2026-03-04T04:36:07Z; kubectl describe pod -n shop waiting tells for what`},
		"on-no-node":   {3, "it has no spec.nodeName"},
		"on-gone":      {5, "there is no sample of gone, and no report of a failure"},
		"on-unscraped": {5, "no report of a failure, while other nodes are scraped: does an ingester's --node-selector (or --node, or --shard) take in this node?"},
		"on-old":       {6, "the sample is 51s old, and one counts for 45s (--max-sample-age); no attempt is known since, while other nodes are scraped: does an ingester's --node-selector"},
		"on-hung":      {6, "the sample is 1m1s old, and one counts for 45s (--max-sample-age); ingest-1 failed 4 times in a row since the last success, which was at 2026-03-04T05:05:07Z; the last time at 2026-03-04T05:05:57Z (timeout): it didn't answer within 10s; look at the kubelet's log; the next attempt is due at 2026-03-04T05:06:12Z"},
		"without-cpu":  {7, "the ingester dropped it because of its container server: pod_container_without_cpu: the kubelet gave no CPU time"},
		"not-told":     {7, "the kubelet of dropping didn't tell of it at 2026-03-04T05:06:07Z: its containers were not running yet, or are not any more; or it is one of the 3 that were dropped and are not known by name. kubectl get --raw /api/v1/nodes/dropping/proxy/metrics/resource shows what it tells, kubectl describe pod -n shop not-told whether they run"},
		"claimed":      {7, "that of node-c has a pod of this name, which is not believed: the API says that it runs on dropping"},
		"recreated":    {8, "this pod was created at 2026-03-04T05:06:06Z, and what is known was read, or its containers started, before: it was recreated; the next scrape, due at about 2026-03-04T05:06:22Z, brings its own"},
		"another-uid":  {8, "at 2026-03-04T05:06:07Z it had the UID uid-of-another, this pod has uid-of-another-uid: it was recreated"},
		"fresh":        {9, "of new (started at 2026-03-04T04:36:08Z) there is one reading only, as it is new or was restarted; the whole pod waits for the next scrape, due at about 2026-03-04T05:06:22Z, because"},
		"mixed":        {10, "It has metrics, without those of bad."},
		"reset":        {10, "It has metrics, but of no container"},
		"healthy":      {10, "It has metrics."},
		"web-1":        {10, "It has metrics."},
		"unseen":       {7, "the kubelet of node-a didn't tell of it"},
	} {
		_, page := s.page("&pod=shop/" + name)
		says := page.Pod.Verdict
		held := true
		for i, step := range page.Pod.Steps {
			if !step.OK && name != "mixed" && name != "reset" {
				held, says = false, step.Detail
			}
			if i < len(page.Pod.Steps)-1 && !step.OK && name != "on-gone" {
				t.Errorf("%s: rule %q doesn't hold, and others were looked at after it", name, step.Rule)
			}
		}
		if len(page.Pod.Steps) != want.steps || !strings.Contains(says, want.says) {
			t.Errorf("%s: %d rules, want %d; %q, want %q", name, len(page.Pod.Steps), want.steps, says, want.says)
		}
		if !held && !strings.HasPrefix(page.Pod.Verdict, "It has no metrics: ") {
			t.Errorf("%s: a rule doesn't hold, and the verdict is %q", name, page.Pod.Verdict)
		}
		if code, body := s.get(group + "/namespaces/shop/pods/" + name); (code == http.StatusOK) != page.Pod.HasMetrics {
			t.Errorf("%s: the page says %v, a request gets %d %s", name, page.Pod.HasMetrics, code, body)
		}
	}
}

// TestThePageAgreesWithTheServer asks about many made-up pods in all combinations of what can be wrong.
func TestThePageAgreesWithTheServer(t *testing.T) {
	s := newServed(t)
	s.apply(newNode("node-a", nil))
	var names []string
	number := 0
	for _, phase := range []corev1.PodPhase{corev1.PodRunning, corev1.PodFailed} {
		for _, created := range []time.Duration{-time.Hour, -3 * time.Second, time.Second} {
			for _, uid := range []string{"", "same", "other"} {
				for _, rates := range [][]uint64{{}, {1}, {1, 0}, {1, schemas.NoRate}, {schemas.NoRate}} {
					for _, node := range []string{"node-a", "node-b"} {
						number++
						name := fmt.Sprintf("pod-%03d", number)
						names = append(names, name)
						p := newPod("shop", name, node, nil)
						p.UID, p.Status.Phase = "same", phase
						p.CreationTimestamp.Time = epoch.Add(created)
						p.Status.StartTime = &p.CreationTimestamp
						s.apply(p)
						usage := podUsage("shop", name)
						usage.UID = uid
						for i, rate := range rates {
							c := container(fmt.Sprint("c", i), point(rate, 1, 10*time.Second))
							if rate == 0 {
								c.Point.Window = 0
							}
							usage.Containers = append(usage.Containers, c)
						}
						sample := nodeSample("node-a", nil, usage)
						if number > 1 {
							previous, _ := s.samples.(*usageSink).usage.Node("node-a")
							sample.Pods = append(previous.Pods[:len(previous.Pods):len(previous.Pods)], sample.Pods...)
						}
						s.sample(sample)
					}
				}
			}
		}
	}
	s.whole()
	s.run()
	with := 0
	for _, name := range names {
		_, page := s.page("&pod=shop/" + name)
		code, _ := s.get(group + "/namespaces/shop/pods/" + name)
		if page.Pod.HasMetrics != (code == http.StatusOK) || (page.Pod.Verdict == "") {
			t.Errorf("%s: %d, %+v", name, code, page.Pod)
		}
		if page.Pod.HasMetrics {
			with++
		}
	}
	if with == 0 || with == len(names) {
		t.Errorf("%d of %d have metrics", with, len(names))
	}
}

func TestThePageOfNodes(t *testing.T) {
	s := start(t, troubled)
	code, page := s.page("")
	states := map[string]string{}
	for _, n := range page.Nodes {
		states[n.Name] = n.State
	}
	for name, want := range map[string]string{
		"hung": debugpage.Failing, "old": debugpage.Stale, "unscraped": debugpage.Waiting, "dropping": debugpage.Partial, "node-c": debugpage.Fresh, "node-a": debugpage.Fresh, "silent": debugpage.Waiting,
	} {
		if states[name] != want {
			t.Errorf("%s is %q, want %q", name, states[name], want)
		}
	}
	if code != 200 || page.Total != 10 || page.Nodes[0].Name != "hung" {
		t.Errorf("%d, %d nodes, %+v first", code, page.Total, page.Nodes[0])
	}
	if n := page.Nodes[0]; n.Failures != 4 || n.Scraper != "ingest-1" || n.Result != "timeout" || n.URL == "" || n.Error == "" || !n.LastSuccess.Equal(epoch.Add(-time.Minute)) ||
		!n.LastAttempt.Equal(epoch.Add(-10*time.Second)) || !n.NextAttempt.Equal(epoch.Add(5*time.Second)) {
		t.Errorf("%+v", n)
	}
	for name, want := range map[string]string{
		"node-a": "node-a has metrics: the sample is 1s old, and one counts for 45s (--max-sample-age).", "silent": "silent has no metrics: it has not been scraped: there is no sample of silent, and no report",
		"hung": "hung has no metrics: it has only a sample that is too old: the sample is 1m1s old", "first": "there is one reading so far", "back": "its CPU counter went backwards",
	} {
		code, page := s.page("&node=" + name)
		if code != 200 || len(page.Nodes) != 1 || len(page.Notes) != 1 || !strings.Contains(page.Notes[0], want) {
			t.Errorf("%s: %d %v, want %q", name, code, page.Notes, want)
		}
	}
	// Only the summary failed: the sample is there, without a part.
	s.report(schemas.ScrapeReport{Node: "node-a", Ingester: "ingest-1", Time: at(0), Result: "status", Error: "see its log", URL: "https://x/stats/summary", LastSuccess: at(0)})
	if _, page := s.page("&node=node-a"); page.Nodes[0].State != debugpage.Partial || page.Nodes[0].Error != "see its log" || page.Nodes[0].Failures != 0 || !strings.Contains(page.Notes[0], "has metrics") {
		t.Errorf("%+v", page)
	}
	// A success after the failures: all is well again.
	p := point(1, 1, time.Second)
	s.sample(nodeSample("hung", &p))
	if _, page := s.page("&node=hung"); page.Nodes[0].State != debugpage.Fresh || page.Nodes[0].Failures != 0 || page.Nodes[0].Error != "" {
		t.Errorf("%+v", page.Nodes[0])
	}
	// The node's own figures were dropped.
	s.sample(nodeSample("silent", nil))
	s.report(schemas.ScrapeReport{Node: "silent", Result: schemas.ScrapeSuccess, Time: at(0), Dropped: []schemas.DroppedUsage{{Reason: "node_without_cpu"}}})
	if _, page := s.page("&node=silent"); !strings.Contains(page.Notes[0], "its own figures of 2026-03-04T05:06:07Z were dropped (node_without_cpu): the kubelet gave no CPU time") {
		t.Errorf("%v", page.Notes)
	}
	if code, page := s.page("&node=" + url.QueryEscape("<b>")); code != 404 || len(page.Nodes) != 0 {
		t.Errorf("an unknown node: %d %+v", code, page)
	}
	if code, body := s.get("/debug/nodes", header{"Accept", "text/html"}); code != 200 || !strings.Contains(body, "<table>") || !strings.Contains(body, "https://192.0.2.1:10250/metrics/resource") {
		t.Errorf("as HTML: %d %s", code, body)
	}
	for _, path := range []string{"/debug/nodes?pod=shop", "/debug/nodes?limit=x", "/debug/nodes?limit=1000000"} {
		if code, body := s.get(path); code != 400 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

func TestThePageBeforeAnythingIsWhole(t *testing.T) {
	s := newServed(t).run()
	small(s)
	code, page := s.page("&pod=shop/web-1")
	if code != 200 || len(page.Notes) != 1 || !strings.Contains(page.Notes[0], "503") {
		t.Errorf("%d %+v", code, page)
	}
}

// TestWhoMaySeeThePage: it is authorised as a non-resource URL, like /metrics.
func TestWhoMaySeeThePage(t *testing.T) {
	s := start(t, small)
	for token, want := range map[string]int{"": 403, "nobody-token": 403, "viewer-token": 403, "wrong": 401, "admin-token": 200} {
		request, err := http.NewRequest(http.MethodGet, s.url+debugPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := s.client(nil).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%q: %d, want %d", token, response.StatusCode, want)
		}
	}
	s.kube.set(func() {
		for _, review := range s.kube.reviews {
			if a := review.NonResourceAttributes; a != nil && a.Path == debugPath && a.Verb == "get" && review.User == "viewer" {
				return
			}
		}
		t.Error("the API server was not asked")
	})
}
