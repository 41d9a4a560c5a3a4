package api

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// TestEncodings reads the same list in every encoding, as kubectl top (protobuf) and the autoscaler do.
func TestEncodings(t *testing.T) {
	s := start(t, small)
	var want *v1beta1.PodMetricsList
	for _, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		client := s.metrics(contentType).MetricsV1beta1()
		list, err := client.PodMetricses("shop").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		normalize(list)
		if want == nil {
			want = list
		}
		if diff := cmp.Diff(want, list); diff != "" || len(list.Items) != 4 {
			t.Errorf("%s: %d pods, difference from JSON:\n%s", contentType, len(list.Items), diff)
		}
		one, err := client.NodeMetricses().Get(t.Context(), "node-b", metav1.GetOptions{})
		if err != nil || one.Usage.Cpu().MilliValue() != 1000 || one.Usage.Memory().Value() != 12533760 || one.Window.Duration != 10*time.Second ||
			!one.Timestamp.Equal(&metav1.Time{Time: epoch.Add(-2 * time.Second)}) {
			t.Errorf("%s: %v, %v", contentType, one, err)
		}
		_, err = client.PodMetricses("shop").Get(t.Context(), "unseen", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) || err.Error() != `podmetrics.metrics.k8s.io "shop/unseen" not found` {
			t.Errorf("%s: %v", contentType, err)
		}
	}
	code, body := s.get(group+"/namespaces/shop/pods", header{"Accept", "application/yaml"})
	var list v1beta1.PodMetricsList
	if err := yaml.UnmarshalStrict([]byte(body), &list); err != nil || code != http.StatusOK {
		t.Fatalf("%d, %v: %s", code, err, body)
	}
	normalize(&list)
	list.TypeMeta = want.TypeMeta
	if diff := cmp.Diff(want, &list); diff != "" {
		t.Errorf("YAML differs from JSON:\n%s", diff)
	}
}

// normalize makes what the encodings leave open the same.
func normalize(list *v1beta1.PodMetricsList) {
	for i := range list.Items {
		p := &list.Items[i]
		p.Timestamp.Time, p.CreationTimestamp.Time = p.Timestamp.UTC(), p.CreationTimestamp.UTC()
		for j := range p.Containers {
			for name, quantity := range p.Containers[j].Usage {
				_ = quantity.String() // which it caches
				p.Containers[j].Usage[name] = quantity
			}
		}
		if len(p.Containers) == 0 {
			p.Containers = nil
		}
	}
}

func TestNodeSelectorRestrictsTheList(t *testing.T) {
	s := start(t, small, func(c *Config) { c.Options.NodeSelector = " pool,pool!=green " })
	names := func(path string) (names []string) {
		_, body := s.get(group + path)
		var list v1beta1.NodeMetricsList
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			names = append(names, item.Name)
		}
		return names
	}
	if got := names("/nodes"); !slices.Equal(got, []string{"node-b"}) {
		t.Errorf("all: %v", got)
	}
	if got := names("/nodes?labelSelector=pool%3Dgreen"); got != nil {
		t.Errorf("green: %v", got)
	}
}

func TestSelfMetrics(t *testing.T) {
	s := start(t, small)
	page := func() map[string]string {
		t.Helper()
		code, body := s.get("/metrics")
		if code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(body)) // which refuses what is there twice
		if err != nil {
			t.Fatal(err)
		}
		help := map[string]string{}
		for name, family := range families {
			help[name] = family.GetHelp()
		}
		return help
	}
	const freshness = "metrics_server_api_metric_freshness_seconds"
	if _, ok := page()[freshness]; ok {
		t.Error("a freshness before anything was read")
	}
	s.get(group + "/pods")
	s.get(group + "/nodes/node-a")
	families := page()
	for _, name := range []string{freshness, "apiserver_request_total", "go_goroutines", "process_cpu_seconds_total", "rest_client_requests_total",
		"headwater_metricsapi_view_running_pods", "headwater_metricsapi_unavailable_total"} {
		if families[name] == "" {
			t.Errorf("no %s", name)
		}
	}
	if !strings.HasPrefix(families[freshness], "[ALPHA] ") {
		t.Errorf("help of %s: %q", freshness, families[freshness])
	}
	_, body := s.get("/metrics")
	for _, want := range []string{freshness + "_count 6\n", freshness + `_bucket{le="1.860496`, freshness + `_bucket{le="2.53771654`, freshness + `_bucket{le="+Inf"} 6` + "\n",
		"headwater_metricsapi_view_running_pods 7\n", "headwater_metricsapi_view_nodes 5\n", "headwater_metricsapi_view_usage_nodes 4\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q on the page", want)
		}
	}
}

func TestOpenAPI(t *testing.T) {
	s := start(t, nil)
	for path, definitions := range map[string][]string{"/openapi/v2": {"definitions"}, "/openapi/v3" + group: {"components", "schemas"}} {
		code, body := s.get(path)
		var document map[string]any
		if err := json.Unmarshal([]byte(body), &document); err != nil || code != 200 {
			t.Fatalf("%s: %d, %v", path, code, err)
		}
		if diff := cmp.Diff(map[string]any{"title": "Kubernetes metrics-server", "version": "v1.2.3"}, document["info"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
		for _, key := range definitions {
			document, _ = document[key].(map[string]any)
		}
		for _, kind := range []string{"NodeMetrics", "NodeMetricsList", "PodMetrics", "PodMetricsList", "ContainerMetrics"} {
			definition, _ := document["io.k8s.metrics.pkg.apis.metrics.v1beta1."+kind].(map[string]any)
			if definition["properties"] == nil {
				t.Errorf("%s has no definition of %s", path, kind)
			}
		}
	}
	code, body := s.get("/version")
	var version struct{ GitVersion string }
	if err := json.Unmarshal([]byte(body), &version); err != nil || code != 200 || version.GitVersion != "v1.2.3-dirty" {
		t.Errorf("/version: %d, %v, %s", code, err, body)
	}
	_, body = s.get("/apis/metrics.k8s.io")
	golden(t, "discovery-group", strings.ReplaceAll(body, s.url, "HOST"))
	_, body = s.get("/apis", header{"Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"})
	golden(t, "discovery-aggregated", body)
}

// TestListsWhileEverythingChanges is for the race detector, and looks that answers are of one piece.
func TestListsWhileEverythingChanges(t *testing.T) {
	s := start(t, small)
	done := make(chan struct{})
	var writers, readers sync.WaitGroup
	writers.Go(func() {
		for i := range 200 {
			pod := newPod("shop", fmt.Sprint("churn-", i%20), "node-a", map[string]string{"app": "churn", "round": fmt.Sprint(i / 20)})
			if i%3 == 0 {
				s.remove(pod)
			} else {
				s.apply(pod)
			}
		}
	})
	writers.Go(func() {
		sink := s.service.beginUsage()
		for i := range 200 {
			p := point(uint64(i), uint64(i), time.Second)
			sample := nodeSample("node-a", &p)
			for j := range 20 {
				sample.Pods = append(sample.Pods, podUsage("shop", fmt.Sprint("churn-", j), container("main", p)))
			}
			if err := sink.(*usageSink).Apply(event(sample)); err != nil {
				t.Error(err)
			}
			if i == 100 {
				s.service.serveUsage(sink, s.usage.Position())
			}
		}
	})
	for range 2 {
		readers.Go(func() {
			client := s.metrics("application/vnd.kubernetes.protobuf").MetricsV1beta1()
			for {
				list, err := client.PodMetricses("shop").List(t.Context(), metav1.ListOptions{LabelSelector: "app=churn"})
				if err != nil {
					t.Error(err)
				}
				for _, item := range list.Items {
					if item.Labels["app"] != "churn" || len(item.Containers) != 1 || item.Containers[0].Usage.Cpu().ScaledValue(-9) != item.Containers[0].Usage.Memory().Value() {
						t.Errorf("%+v", item)
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
}

// TestTwoServersInOneProcess runs two, which share the library's global registries.
func TestTwoServersInOneProcess(t *testing.T) {
	a := start(t, small)
	b := start(t, func(s *served) {
		s.apply(newNode("other", nil))
		p := point(1, 1, time.Second)
		s.sample(nodeSample("other", &p))
	})
	for _, s := range []*served{a, b} {
		if code, body := s.get("/readyz"); code != 200 {
			t.Errorf("/readyz: %d %s", code, body)
		}
		if code, _ := s.get("/metrics"); code != 200 {
			t.Errorf("/metrics: %d", code)
		}
	}
	if code, _ := a.get(group + "/nodes/node-a"); code != 200 {
		t.Errorf("a: %d", code)
	}
	if code, body := b.get(group + "/nodes/node-a"); code != 404 || !strings.Contains(body, `node \"node-a\" not found`) {
		t.Errorf("b: %d %s", code, body)
	}
}

func TestRunningPodsOnly(t *testing.T) {
	s := start(t, small)
	web := newPod("shop", "web-1", "node-a", map[string]string{"app": "web"})
	see := func(step string, want int) {
		t.Helper()
		if code, body := s.get(group + "/namespaces/shop/pods/web-1"); code != want {
			t.Errorf("%s: %d %s, want %d", step, code, body, want)
		}
	}
	see("running", 200)
	for _, phase := range []corev1.PodPhase{corev1.PodPending, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown, ""} {
		web.Status.Phase = phase
		s.apply(web)
		see(string(phase), 404)
		web.Status.Phase = corev1.PodRunning
		s.apply(web)
		see("running again", 200)
	}
	now := metav1.NewTime(epoch)
	web.DeletionTimestamp = &now
	s.apply(web)
	see("terminating", 200)
	s.remove(web)
	see("deleted", 404)
	s.remove(newNode("node-b", nil))
	if code, _ := s.get(group + "/nodes/node-b"); code != 404 {
		t.Errorf("a deleted node: %d", code)
	}
}

func TestSamplesGetTooOld(t *testing.T) {
	s := start(t, small, func(c *Config) { c.Options.MaxSampleAge = 20 * time.Second })
	if code, _ := s.get(group + "/nodes/node-a"); code != 200 {
		t.Errorf("young: %d", code)
	}
	s2 := newServed(t, func(c *Config) { c.Options.MaxSampleAge = 20 * time.Second })
	s2.service.now = func() time.Time { return epoch.Add(20*time.Second + 1) }
	small(s2)
	s2.whole()
	s2.run()
	for _, path := range []string{"/nodes/node-a", "/namespaces/shop/pods/web-1"} {
		if code, body := s2.get(group + path); code != 404 || !strings.Contains(body, "metrics.metrics.k8s.io") {
			t.Errorf("old: %s: %d %s", path, code, body)
		}
	}
	if _, body := s2.get(group + "/pods"); !strings.Contains(body, `"items":[]`) {
		t.Errorf("old: %s", body)
	}
}
