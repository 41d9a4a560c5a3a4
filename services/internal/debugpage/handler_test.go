package debugpage_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/services/internal/debugpage"
)

var now = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

// nodes are in no order.
func nodes() []debugpage.Node {
	return []debugpage.Node{
		{Name: "fresh-b", State: debugpage.Fresh, LastSuccess: now.Add(-2 * time.Second), NextAttempt: now.Add(13 * time.Second), Result: "success", Pods: 30, Took: 12 * time.Millisecond},
		{Name: "failing", State: debugpage.Failing, URL: "https://10.0.0.1:10250/metrics/resource", LastSuccess: now.Add(-90 * time.Second), LastAttempt: now.Add(-time.Second),
			Result: "timeout", Error: `it didn't answer <script>alert("x")</script>`, Failures: 6, Took: 10 * time.Second},
		{Name: "fresh-a", State: debugpage.Fresh, LastSuccess: now.Add(-2 * time.Second)},
		{Name: "waiting", State: debugpage.Waiting},
		{Name: "failing-always", State: debugpage.Failing, Result: "connect", Failures: 100, Error: "nobody listens"},
		{Name: "partial", State: debugpage.Partial, LastSuccess: now.Add(-3 * time.Second), More: 7, Dropped: []debugpage.Dropped{
			{Namespace: "shop", Pod: "web-0", Container: "server", Reason: "pod_container_without_cpu"}, {Reason: "node_without_memory"},
		}},
		{Name: "stale", State: debugpage.Stale, LastSuccess: now.Add(-time.Minute)},
	}
}

func page(_ *http.Request, q debugpage.Query) debugpage.Page {
	p := debugpage.Page{Service: "ingest x", Time: now, Resolution: 15 * time.Second}
	for _, n := range nodes() {
		if q.Node == "" && q.Pod == "" || q.Node == n.Name {
			p.Nodes = append(p.Nodes, n)
		}
	}
	if q.Pod != "" {
		p.Pod = &debugpage.Pod{Namespace: q.Namespace, Name: q.Pod, Verdict: "It has no metrics.", Steps: []debugpage.Step{
			{Rule: "the pod exists", OK: true, Detail: "it does"}, {Rule: "it is Running", Detail: "it is <b>Pending</b>"},
		}}
	}
	return p
}

// get asks the handler.
func get(t *testing.T, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for _, accept := range headers {
		r.Header.Add("Accept", accept)
	}
	w := httptest.NewRecorder()
	debugpage.Handler(page).ServeHTTP(w, r)
	return w
}

type answer struct {
	Service           string
	ResolutionSeconds float64
	States            map[string]int
	Total             int
	Next              string
	Notes             []string
	Nodes             []struct {
		Node         string
		AgeSeconds   *float64
		TookSeconds  float64
		Dropped      []debugpage.Dropped
		DroppedCount uint64
		DroppedMore  uint64
		LastSuccess  *time.Time
	}
	Pod *debugpage.Pod
}

func decode(t *testing.T, w *httptest.ResponseRecorder) (a answer) {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Fatalf("the answer is %s: %s", got, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return a
}

func TestTheWorstNodesComeFirst(t *testing.T) {
	a := decode(t, get(t, "/debug/nodes?format=json"))
	var names []string
	for _, n := range a.Nodes {
		names = append(names, n.Node)
	}
	if diff := cmp.Diff([]string{"failing-always", "failing", "stale", "waiting", "partial", "fresh-a", "fresh-b"}, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"failing": 2, "stale": 1, "waiting": 1, "partial": 1, "fresh": 2}, a.States); diff != "" || a.Total != 7 || a.ResolutionSeconds != 15 {
		t.Errorf("%s, total %d, resolution %v", diff, a.Total, a.ResolutionSeconds)
	}
	if n := a.Nodes[1]; n.AgeSeconds == nil || *n.AgeSeconds != 90 || n.TookSeconds != 10 {
		t.Errorf("%+v", n)
	}
	if n := a.Nodes[0]; n.AgeSeconds != nil || n.LastSuccess != nil {
		t.Errorf("a node without a success has one: %+v", n)
	}
	if n := a.Nodes[4]; n.DroppedCount != 9 || n.Dropped != nil || n.DroppedMore != 0 {
		t.Errorf("a list shows more than the count of what was dropped: %+v", n)
	}
}

func TestOneNodeIsShownWhole(t *testing.T) {
	a := decode(t, get(t, "/debug/nodes?node=partial", "application/json"))
	if len(a.Nodes) != 1 || a.Nodes[0].DroppedCount != 9 || a.Nodes[0].DroppedMore != 7 || len(a.Nodes[0].Dropped) != 2 || !strings.Contains(a.Nodes[0].Dropped[0].Explained, "CPU") {
		t.Errorf("%+v", a.Nodes)
	}
	w := get(t, "/debug/nodes?node=nowhere", "application/json")
	if a := decode(t, w); w.Code != http.StatusNotFound || len(a.Notes) != 1 || !strings.Contains(a.Notes[0], "nowhere") {
		t.Errorf("%d %+v", w.Code, a)
	}
	text := get(t, "/debug/nodes?node=partial").Body.String()
	for _, want := range []string{"web-0", "server", "pod_container_without_cpu", "the node itself", "And 7 more", `href="?pod=shop%2fweb-0"`} {
		if !strings.Contains(text, want) && !strings.Contains(text, strings.ReplaceAll(want, "%2f", "/")) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
}

func TestAPod(t *testing.T) {
	a := decode(t, get(t, "/debug/nodes?pod=shop/web-0&format=json"))
	if a.Pod == nil || a.Pod.Namespace != "shop" || a.Pod.Name != "web-0" || len(a.Pod.Steps) != 2 || !a.Pod.Steps[0].OK || a.Pod.Steps[1].OK {
		t.Errorf("%+v", a.Pod)
	}
	text := get(t, "/debug/nodes?pod=shop/web-0").Body.String()
	for _, want := range []string{"It has no metrics.", "it is Running", "it is &lt;b&gt;Pending"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
}

func TestHTML(t *testing.T) {
	w := get(t, "/debug/nodes", "text/html,application/xhtml+xml,application/json;q=0.9")
	text := w.Body.String()
	for _, want := range []string{
		"1m30s ago", "in 13s", "never", "2 failing, 1 stale, 1 waiting, 1 partial, 2 fresh", "12ms",
		"it didn&#39;t answer &lt;script&gt;", "https://10.0.0.1:10250/metrics/resource", "Shown: 1 to 7 of 7",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "<script") || strings.Contains(text, "ZgotmplZ") {
		t.Errorf("the page has what it must not have:\n%s", text)
	}
	if w.Header().Get("Content-Security-Policy") == "" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", w.Header())
	}
	text = get(t, "/debug/nodes?node="+strings.Repeat("%3Cb%3E%22", 1000)).Body.String()
	if strings.Contains(text, "<b>") || !strings.Contains(text, "&lt;b&gt;") {
		t.Errorf("a query isn't escaped: %.2000s", text)
	}
}

func TestTheListIsCut(t *testing.T) {
	var seen []string
	query := "?limit=3&format=json"
	for range 10 {
		a := decode(t, get(t, "/debug/nodes"+query))
		if len(a.Nodes) > 3 || a.Total != 7 {
			t.Fatalf("%d nodes of %d", len(a.Nodes), a.Total)
		}
		for _, n := range a.Nodes {
			seen = append(seen, n.Node)
		}
		if query = a.Next; query == "" {
			break
		}
	}
	if len(seen) != 7 || seen[6] != "fresh-b" {
		t.Errorf("%v", seen)
	}
	if a := decode(t, get(t, "/debug/nodes?offset=100", "application/json")); len(a.Nodes) != 0 || a.Nodes == nil {
		t.Errorf("%+v", a)
	}
	many := debugpage.Handler(func(*http.Request, debugpage.Query) debugpage.Page {
		p := debugpage.Page{Time: now}
		for i := range 20_000 {
			p.Nodes = append(p.Nodes, debugpage.Node{Name: fmt.Sprintf("node-%05d", i), State: debugpage.Fresh})
		}
		return p
	})
	for query, most := range map[string]int{"": 500, "?limit=5000": 5000} {
		w := httptest.NewRecorder()
		many.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/nodes"+query, nil))
		if n := strings.Count(w.Body.String(), `href="?node=node-`); n != most {
			t.Errorf("%q shows %d nodes, want %d", query, n, most)
		}
		if !strings.Contains(w.Body.String(), ">More</a>") {
			t.Errorf("%q doesn't lead on", query)
		}
	}
}

func TestBadQueries(t *testing.T) {
	for query, says := range map[string]string{
		"?pod=web-0":                            "NAMESPACE/NAME",
		"?pod=/web-0":                           "NAMESPACE/NAME",
		"?pod=shop/":                            "NAMESPACE/NAME",
		"?pod=a/b/c":                            "NAMESPACE/NAME",
		"?pod=a/b&node=c":                       "not both",
		"?limit=0":                              "from 1 to 5000",
		"?limit=5001":                           "from 1 to 5000",
		"?limit=x":                              "from 1 to 5000",
		"?offset=-1":                            "from 0",
		"?format=xml":                           "html or json",
		"?pod=%zz":                              "couldn't read the query",
		"?limit=" + strings.Repeat("9", 10_000): "...",
	} {
		w := get(t, "/debug/nodes"+query)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) || w.Body.Len() > 300 {
			t.Errorf("%.40s: %d %.400s, want %q", query, w.Code, w.Body, says)
		}
	}
	w := httptest.NewRecorder()
	debugpage.Handler(page).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/debug/nodes", nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

// Every reason that can be in a report is explained.
func TestExplain(t *testing.T) {
	for _, reason := range []string{"pod_container_without_cpu", "pod_container_without_memory", "node_without_cpu", "node_without_memory",
		"message_too_large", "series_not_finite", "series_negative", "series_out_of_range", "series_in_future", "series_too_old"} {
		if debugpage.Explain(reason) == "" {
			t.Errorf("%s isn't explained", reason)
		}
	}
	if got := debugpage.Explain("of a later version"); got != "" {
		t.Error(got)
	}
}
