package api

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func TestNobodyGetsWhatTheAPIServerDoesNotAllow(t *testing.T) {
	s := start(t, small)
	frontProxy := s.kube.frontProxy.client(t, "front-proxy-client")
	impostor := s.kube.frontProxy.client(t, "impostor")
	admin := s.kube.clients.client(t, "someone", "system:masters")
	foreign := newAuthority(t, "foreign").client(t, "someone", "system:masters")
	for _, c := range []struct {
		name        string
		certificate *tls.Certificate
		headers     []header
		path        string
		want        int
	}{
		{"anonymous", nil, nil, group + "/nodes", 403},
		{"anonymous, probes", nil, nil, "/readyz", 200},
		{"anonymous, one check", nil, nil, "/readyz/metric-storage-ready", 403},
		{"anonymous, self-metrics", nil, nil, "/metrics", 403},
		{"anonymous, profiles", nil, nil, "/debug/pprof/", 403},
		{"anonymous, the log's level", nil, nil, "/debug/flags/v", 403},
		{"anonymous, nodes and pods", nil, nil, debugPath, 403},
		{"anonymous, why a pod has no metrics", nil, nil, debugPath + "?pod=shop/web-1", 403},
		{"anonymous, the page by another path", nil, nil, "/debug/../debug/nodes", 403},
		{"anonymous, the index", nil, nil, "/", 403},
		{"anonymous, discovery", nil, nil, "/apis", 403},
		{"anonymous, the version", nil, nil, "/version", 403},
		{"anonymous, the API's description", nil, nil, "/openapi/v2", 403},
		{"anonymous, the build", nil, nil, "/statusz", 403},
		{"anonymous, no such path", nil, nil, "/nothing", 403},
		{"anonymous, probes with their names", nil, nil, "/readyz?verbose", 200},
		{"viewer, nodes and pods", nil, []header{{"Authorization", "Bearer viewer-token"}}, debugPath, 403},
		{"wrong token", nil, []header{{"Authorization", "Bearer wrong"}}, group + "/nodes", 401},
		{"user without rights", nil, []header{{"Authorization", "Bearer nobody-token"}}, group + "/nodes", 403},
		{"viewer", nil, []header{{"Authorization", "Bearer viewer-token"}}, group + "/namespaces/shop/pods", 200},
		{"viewer, a watch is authorized before it is refused", nil, []header{{"Authorization", "Bearer viewer-token"}}, group + "/pods?watch=1", 405},
		{"viewer, self-metrics", nil, []header{{"Authorization", "Bearer viewer-token"}}, "/metrics", 403},
		{"admin", nil, []header{{"Authorization", "Bearer admin-token"}}, group + "/nodes", 200},
		{"client certificate", &admin, nil, group + "/nodes", 200},
		{"certificate of another CA, which a client does not even send", &foreign, nil, group + "/nodes", 403},
		{"aggregation layer", &frontProxy, []header{{"X-Remote-User", "viewer"}}, group + "/nodes", 200},
		{"aggregation layer, user without rights", &frontProxy, []header{{"X-Remote-User", "nobody"}}, group + "/nodes", 403},
		{"aggregation layer, by its groups", &frontProxy, []header{{"X-Remote-User", "x"}, {"X-Remote-Group", "system:masters"}}, group + "/nodes", 200},
		{"another certificate of the aggregation layer's CA", &impostor, []header{{"X-Remote-User", "viewer"}}, group + "/nodes", 401},
		{"headers without a certificate", nil, []header{{"X-Remote-User", "viewer"}, {"X-Remote-Group", "system:masters"}}, group + "/nodes", 403},
	} {
		request, err := http.NewRequest(http.MethodGet, s.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range c.headers {
			request.Header.Set(h[0], h[1])
		}
		response, err := s.client(c.certificate).Do(request)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, response.StatusCode, body, c.want)
		}
	}
	s.kube.set(func() {
		seen := map[string]bool{}
		for _, review := range s.kube.reviews {
			if a := review.ResourceAttributes; a != nil {
				seen[fmt.Sprintf("%s %s %s/%s %q", review.User, a.Verb, a.Group, a.Resource, a.Namespace)] = true
			}
		}
		for _, want := range []string{`viewer list metrics.k8s.io/pods "shop"`, `viewer watch metrics.k8s.io/pods ""`, `system:anonymous list metrics.k8s.io/nodes ""`} {
			if !seen[want] {
				t.Errorf("the API server was not asked about %q, but about %v", want, seen)
			}
		}
	})
}

// TestHowOftenTokensAreReviewed is about the library's cache, whose time is --authentication-token-webhook-cache-ttl. It remembers a
// user, and that there is none, but no error, and kube-apiserver's review of a token that nobody has is one: such a token costs a
// review each time, as in metrics-server.
func TestHowOftenTokensAreReviewed(t *testing.T) {
	s := start(t, small, func(c *Config) { c.Options.Authentication.CacheTTL = time.Minute })
	for _, c := range []struct {
		token, unknown string
		code, reviews  int
	}{
		{"viewer-token", "", 200, 1},
		{"nobody-has-this", "", 401, 1},
		{"nor-this", "[invalid bearer token, token lookup failed]", 401, 5},
	} {
		var before, after int
		s.kube.set(func() { before, s.kube.unknown = s.kube.tokens, c.unknown })
		for range 5 {
			if code, body := s.get(group+"/nodes", header{"Authorization", "Bearer " + c.token}); code != c.code {
				t.Errorf("%s: %d %s", c.token, code, body)
			}
		}
		s.kube.set(func() { after = s.kube.tokens })
		if after-before != c.reviews {
			t.Errorf("%s: %d reviews for five requests, want %d", c.token, after-before, c.reviews)
		}
	}
}

func TestHealthEndpoints(t *testing.T) {
	s := start(t, nil) // an empty cluster is ready
	const hooks = "[+]poststarthook/max-in-flight-filter ok\n[+]poststarthook/storage-object-count-tracker-hook ok\n"
	want := map[string]string{
		"/healthz": "[+]ping ok\n[+]log ok\n" + hooks + "[+]metadata-informer-sync ok\nhealthz check passed\n",
		"/livez":   "[+]ping ok\n[+]log ok\n" + hooks + "[+]metric-collection-timely ok\n[+]metadata-informer-sync ok\nlivez check passed\n",
		"/readyz":  "[+]ping ok\n[+]log ok\n" + hooks + "[+]metric-storage-ready ok\n[+]metric-informer-sync ok\n[+]metadata-informer-sync ok\n[+]shutdown ok\nreadyz check passed\n",
	}
	for path, verbose := range want {
		if code, body := s.get(path); code != 200 || body != "ok" {
			t.Errorf("%s: %d %q", path, code, body)
		}
		if code, body := s.get(path + "?verbose"); code != 200 || body != verbose {
			t.Errorf("%s?verbose: %d (-want +got):\n%s", path, code, cmp.Diff(verbose, body))
		}
		for _, line := range strings.Split(verbose, "\n") {
			if name, ok := strings.CutPrefix(strings.TrimSuffix(line, " ok"), "[+]"); ok {
				if code, body := s.get(path + "/" + name); code != 200 || body != "ok" {
					t.Errorf("%s/%s: %d %q", path, name, code, body)
				}
			}
		}
	}
	if code, _ := s.get("/readyz/no-such-check"); code != 404 {
		t.Errorf("an unknown check: %d", code)
	}
	before := time.Now().Add(-time.Hour)
	s.service.lastSweep.Store(&before)
	if code, body := s.get("/livez"); code != 500 || !strings.Contains(body, "[-]metric-collection-timely failed: reason withheld\n") {
		t.Errorf("without a sweep: %d %q", code, body)
	}
	if code, body := s.get("/livez?exclude=metric-collection-timely"); code != 200 {
		t.Errorf("without a sweep, excluded: %d %q", code, body)
	}
}

func TestNoAnswerFromAHalfBuiltView(t *testing.T) {
	s := newServed(t).run()
	small(s)
	check := func(step string, listing, ready int, failing ...string) {
		t.Helper()
		for _, path := range []string{"/nodes", "/nodes/node-a", "/pods", "/namespaces/shop/pods", "/namespaces/shop/pods/web-1"} {
			if code, body := s.get(group + path); code != listing {
				t.Errorf("%s: %s: %d %s", step, path, code, body)
			}
		}
		code, body := s.get("/readyz")
		if code != ready {
			t.Errorf("%s: /readyz: %d %s", step, code, body)
		}
		for _, name := range failing {
			if !strings.Contains(body, "[-]"+name+" failed: reason withheld\n") {
				t.Errorf("%s: %s does not fail: %s", step, name, body)
			}
		}
		if err := s.service.Ready(); (err == nil) != (ready == 200) {
			t.Errorf("%s: Ready: %v", step, err)
		}
		for _, path := range []string{"/livez", "/healthz", group, "/openapi/v2", "/apis"} {
			if code, body := s.get(path); code != 200 {
				t.Errorf("%s: %s: %d %s", step, path, code, body)
			}
		}
	}
	check("nothing is whole", 503, 500, "metric-storage-ready", "metric-informer-sync")
	answer, err := s.client(nil).Do(s.request(http.MethodGet, group+"/pods"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var status metav1.Status
	if err := json.NewDecoder(answer.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	if answer.Header.Get("Retry-After") != "1" || status.Reason != metav1.StatusReasonServiceUnavailable ||
		!strings.Contains(status.Message, "the objects are being replayed") || !strings.Contains(status.Message, "the usage is being replayed") {
		t.Errorf("Retry-After %q, %+v", answer.Header.Get("Retry-After"), status)
	}

	s.service.serveUsage(s.samples, s.usage.Position())
	check("the objects are not whole", 503, 500, "metric-informer-sync")
	s.service.serveCatalog(s.catalog, s.objects.Position())
	check("both are whole", 200, 200)

	// A rebuild goes on out of sight.
	before, held := s.catalog, s.samples
	s.catalog, s.samples = s.service.beginCatalog(), s.service.beginUsage()
	check("a rebuild is under way", 200, 200)
	s.catalog, s.samples = before, held

	s.usage.heard.Store(epoch.Add(-26 * time.Second).UnixNano())
	check("the stream has been silent for as long as samples of healthy nodes are true", 200, 200)
	s.usage.heard.Store(epoch.Add(-27 * time.Second).UnixNano())
	check("the stream has been silent for longer", 503, 500, "metric-storage-ready")
	s.usage.heard.Store(epoch.UnixNano())
	check("it is heard again", 200, 200)
	if _, body := s.get("/metrics"); !strings.Contains(body, "headwater_metricsapi_unavailable_total 1") {
		t.Error("the 503s are not counted")
	}
}

// TestNobodyScrapes: a cluster with nodes of which none has a sample that is young enough isn't ready, and says so in the log; what
// can be answered is.
func TestNobodyScrapes(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex // guards log
	var later atomic.Int64
	s := newServed(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(b)
		}), nil))
	})
	s.service.now = func() time.Time { return epoch.Add(time.Duration(later.Load())) }
	s.whole()
	s.run()
	check := func(step string, ready int) {
		t.Helper()
		for range 3 {
			if code, body := s.get("/readyz"); code != ready || (code == 500) != strings.Contains(body, "[-]metric-storage-ready failed: reason withheld\n") {
				t.Errorf("%s: /readyz: %d %s", step, code, body)
			}
		}
		for _, path := range []string{"/livez", "/healthz", group + "/nodes", group + "/pods"} {
			if code, body := s.get(path); code != 200 {
				t.Errorf("%s: %s: %d %s", step, path, code, body)
			}
		}
		if err := s.service.Ready(); err != nil {
			t.Errorf("%s: Ready: %v", step, err)
		}
	}
	check("there are no nodes", 200)
	s.apply(newNode("node-a", nil))
	check("nobody has scraped it", 500)
	s.sample(measured(1e6))
	check("it has a sample", 200)
	later.Store(int64(45 * time.Second))
	check("the sample is as old as may be", 200)
	later.Add(1)
	check("the sample is older", 500)
	s.apply(newNode("node-b", nil))
	p := point(1, 1, time.Second)
	other := nodeSample("node-b", &p)
	other.Time = at(45 * time.Second)
	s.sample(other)
	check("another node has a young one", 200)
	later.Store(int64(time.Hour))
	s.remove(newNode("node-a", nil))
	s.remove(newNode("node-b", nil))
	check("the nodes are gone", 200)

	mu.Lock()
	defer mu.Unlock()
	const reason = `level=WARN msg="a health check fails" check=metric-storage-ready reason="no node has a sample younger than 45s: is ingest running, and can it write to NATS? See /debug/nodes`
	if fails, passes := strings.Count(log.String(), reason), strings.Count(log.String(), `msg="a health check passes" check=metric-storage-ready`); fails != 2 || passes != 2 {
		t.Errorf("the log tells of %d failures and %d recoveries, want 2 of each:\n%s", fails, passes, log.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestClientsWaitByThemselves shows that client-go obeys the Retry-After of a server that isn't ready yet.
func TestClientsWaitByThemselves(t *testing.T) {
	s := newServed(t).run()
	small(s)
	type answer struct {
		list *v1beta1.PodMetricsList
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		list, err := s.metrics("").MetricsV1beta1().PodMetricses("shop").List(t.Context(), metav1.ListOptions{})
		answers <- answer{list, err}
	}()
	testenv.Eventually(t, 10*time.Second, func() error {
		if testutil.ToFloat64(s.service.metrics.unavailable) == 0 {
			return errors.New("the client has not been refused yet")
		}
		return nil
	})
	s.whole()
	if got := <-answers; got.err != nil || len(got.list.Items) != 4 {
		t.Errorf("%+v, %v", got.list, got.err)
	}
}
