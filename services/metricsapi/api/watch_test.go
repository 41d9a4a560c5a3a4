package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/rest"
	clientfeatures "k8s.io/client-go/features"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

func enableWatch(c *Config) { c.Options.EnableWatch = true }

// watchStream is a watch over HTTPS as it comes in.
type watchStream struct {
	t        *testing.T
	response *http.Response
	lines    chan string // closed at the end
}

// watch begins a watch of a path with its query.
func (s *served) watch(t *testing.T, path string, headers ...header) *watchStream {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	request := s.request(http.MethodGet, path).WithContext(ctx)
	for _, h := range headers {
		request.Header.Set(h[0], h[1])
	}
	response, err := s.client(nil).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	w := &watchStream{t: t, response: response, lines: make(chan string, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(w.lines)
		reader := bufio.NewReader(response.Body)
		for {
			line, err := reader.ReadString('\n')
			if line != "" {
				w.lines <- line
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		response.Body.Close()
		<-done
	})
	return w
}

// next is the next event as JSON; "" at the end.
func (w *watchStream) next() string {
	w.t.Helper()
	select {
	case line := <-w.lines:
		return line
	case <-time.After(10 * time.Second):
		w.t.Fatal("no event for 10 s")
		return ""
	}
}

// told is the next event in short: its type, the object and what the test looks at of it.
func (w *watchStream) told() string {
	w.t.Helper()
	line := w.next()
	if line == "" {
		return "end"
	}
	var event struct {
		Type   string
		Object struct {
			Kind     string
			Code     int
			Reason   string
			Metadata metav1.ObjectMeta
			Usage    map[string]string
		}
	}
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		w.t.Fatalf("%v in %s", err, line)
	}
	o := event.Object
	if event.Type == "ERROR" {
		return fmt.Sprint("ERROR ", o.Code, " ", o.Reason)
	}
	text := event.Type + " " + o.Kind
	if o.Metadata.Name != "" {
		text += " " + strings.TrimPrefix(o.Metadata.Namespace+"/"+o.Metadata.Name, "/")
	}
	if cpu := o.Usage["cpu"]; cpu != "" {
		text += " " + cpu
	}
	if o.Metadata.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
		text += " (end of the initial ones)"
	}
	if o.Metadata.ResourceVersion == "" {
		text += " without a version"
	}
	return text
}

// expect compares the next events; those without order are given as one argument of several lines.
func (w *watchStream) expect(want ...string) {
	w.t.Helper()
	for _, lines := range want {
		wanted := strings.Split(lines, "\n")
		var got []string
		for range wanted {
			got = append(got, w.told())
		}
		slices.Sort(wanted)
		slices.Sort(got)
		if !slices.Equal(got, wanted) {
			w.t.Fatalf("told %q, want %q", got, wanted)
		}
	}
}

// version is the resourceVersion of a list.
func (s *served) version(path string) string {
	s.t.Helper()
	code, body := s.get(path)
	var list metav1.PartialObjectMetadataList
	if err := json.Unmarshal([]byte(body), &list); err != nil || code != 200 || list.ResourceVersion == "" {
		s.t.Fatalf("%d, %v: %s", code, err, body)
	}
	for _, item := range list.Items {
		if item.ResourceVersion == "" {
			s.t.Fatalf("%s has no version", item.Name)
		}
	}
	return list.ResourceVersion
}

// measured is a new sample of node-a.
func measured(rate uint64, pods ...schemas.PodUsage) schemas.UsageSample {
	p := point(rate, 4096, 10*time.Second)
	return nodeSample("node-a", &p, pods...)
}

// TestWatchIsOffByDefault: nothing tells that it exists.
func TestWatchIsOffByDefault(t *testing.T) {
	s := start(t, small)
	for _, path := range []string{"/pods?watch=true", "/namespaces/shop/pods?watch=1", "/nodes?watch=true"} {
		code, body := s.get(group + path)
		if code != 405 || !strings.Contains(body, "watch is not supported on resources of kind") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, path := range []string{"", "/pods?resourceVersion=nonsense", "/nodes", "/nodes/node-a"} {
		if code, body := s.get(group + path); code != 200 || strings.Contains(body, "resourceVersion") || strings.Contains(body, `"watch"`) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

func TestWatchIsInDiscovery(t *testing.T) {
	s := start(t, small, enableWatch)
	for _, version := range []string{"v1beta1", "v1"} {
		_, body := s.get("/apis/metrics.k8s.io/" + version)
		var list metav1.APIResourceList
		if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.APIResources) != 2 {
			t.Fatalf("%v: %s", err, body)
		}
		for _, resource := range list.APIResources {
			if !slices.Equal(resource.Verbs, []string{"get", "list", "watch"}) {
				t.Errorf("%s %s: %v", version, resource.Name, resource.Verbs)
			}
		}
	}
}

func TestWatchFromAList(t *testing.T) {
	s := start(t, small, enableWatch)
	nodes := s.watch(t, group+"/nodes?watch=true&resourceVersion="+s.version(group+"/nodes"))
	version := s.version(group + "/namespaces/shop/pods")
	all := s.watch(t, group+"/namespaces/shop/pods?watch=true&resourceVersion="+version)
	web := s.watch(t, group+"/namespaces/shop/pods?watch=true&labelSelector=app%3Dweb&resourceVersion="+version)
	one := s.watch(t, "/apis/metrics.k8s.io/v1/namespaces/shop/pods?watch=true&fieldSelector=metadata.name%3Dweb-1&resourceVersion="+version)

	usage := func(rate uint64) []schemas.PodUsage {
		return []schemas.PodUsage{
			podUsage("shop", "web-1", container("web", point(rate, 1, time.Second))),
			podUsage("shop", "mixed", container("good", point(rate, 1, time.Second))),
			podUsage("shop", "reset", container("main", point(schemas.NoRate, 4096, 10*time.Second))), // as before
		}
	}
	s.sample(measured(7e6, usage(1)...))
	nodes.expect("MODIFIED NodeMetrics node-a 7m")
	all.expect("MODIFIED PodMetrics shop/web-1\nMODIFIED PodMetrics shop/mixed")
	web.expect("MODIFIED PodMetrics shop/web-1")
	one.expect("MODIFIED PodMetrics shop/web-1")

	s.apply(newPod("shop", "mixed", "node-a", map[string]string{"app": "web"}))
	all.expect("MODIFIED PodMetrics shop/mixed")
	web.expect("ADDED PodMetrics shop/mixed")
	s.apply(newPod("shop", "web-1", "node-a", map[string]string{"app": "other"}))
	all.expect("MODIFIED PodMetrics shop/web-1")
	if line := web.next(); !strings.HasPrefix(line, `{"type":"DELETED","object":{"kind":"PodMetrics"`) || !strings.Contains(line, `"labels":{"app":"web","tier":"front"}`) {
		t.Errorf("what ceased to match: %s", line)
	}
	one.expect("MODIFIED PodMetrics shop/web-1")

	s.remove(newPod("shop", "mixed", "node-a", nil))
	all.expect("DELETED PodMetrics shop/mixed")
	web.expect("DELETED PodMetrics shop/mixed")
	s.sample(measured(8e6, podUsage("shop", "web-1", container("web", point(2, 1, time.Second)), container("new", point(0, 1, 0)))))
	nodes.expect("MODIFIED NodeMetrics node-a 8m")
	all.expect("DELETED PodMetrics shop/reset\nDELETED PodMetrics shop/web-1") // one isn't in the sample, one has a new container
	one.expect("DELETED PodMetrics shop/web-1")
	s.sample(measured(9e6, podUsage("shop", "web-1", container("web", point(3, 1, time.Second)), container("new", point(1, 1, time.Second)))))
	all.expect("ADDED PodMetrics shop/web-1")
	one.expect("ADDED PodMetrics shop/web-1")

	// The same again is no change; what follows shows that nothing came before it.
	s.sample(measured(9e6, podUsage("shop", "web-1", container("web", point(3, 1, time.Second)), container("new", point(1, 1, time.Second)))))
	s.apply(newPod("shop", "web-1", "node-a", map[string]string{"app": "web"}))
	web.expect("ADDED PodMetrics shop/web-1")
	all.expect("MODIFIED PodMetrics shop/web-1")
	nodes.expect("MODIFIED NodeMetrics node-a 9m")
	s.remove(newNode("node-a", nil))
	nodes.expect("DELETED NodeMetrics node-a 9m")

	// From the old version on, all of it once, as it is now.
	again := s.watch(t, group+"/namespaces/shop/pods?watch=true&resourceVersion="+version)
	again.expect("MODIFIED PodMetrics shop/web-1\nDELETED PodMetrics shop/mixed\nDELETED PodMetrics shop/reset")
}

func TestWatchBeginsWithWhatThereIs(t *testing.T) {
	s := start(t, small, enableWatch)
	const pods = "ADDED PodMetrics shop/web-1\nADDED PodMetrics shop/db-0\nADDED PodMetrics shop/mixed\nADDED PodMetrics shop/reset"
	for _, query := range []string{"", "&resourceVersion=0"} {
		s.watch(t, group+"/namespaces/shop/pods?watch=true"+query).expect(pods)
	}
	streaming := "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
	s.watch(t, group+"/namespaces/shop/pods?watch=true"+streaming+"&allowWatchBookmarks=true").expect(pods, "BOOKMARK PodMetrics (end of the initial ones)")
	s.watch(t, group+"/nodes?watch=true"+streaming+"&allowWatchBookmarks=true&resourceVersion="+s.version(group+"/nodes")).
		expect("ADDED NodeMetrics node-a 1500u\nADDED NodeMetrics node-b 1", "BOOKMARK NodeMetrics (end of the initial ones)")
	s.watch(t, group+"/namespaces/none/pods?watch=true"+streaming+"&allowWatchBookmarks=true").expect("BOOKMARK PodMetrics (end of the initial ones)")
	silent := s.watch(t, group+"/namespaces/shop/pods?watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan")
	plain := s.watch(t, group+"/namespaces/shop/pods?watch=true"+streaming)
	plain.expect(pods)
	s.remove(newPod("shop", "web-1", "node-a", nil))
	silent.expect("DELETED PodMetrics shop/web-1")
	plain.expect("DELETED PodMetrics shop/web-1")
}

func TestWatchNodeSelector(t *testing.T) {
	s := start(t, small, enableWatch, func(c *Config) { c.Options.NodeSelector = "pool" })
	w := s.watch(t, group+"/nodes?watch=true&fieldSelector=metadata.name%3Dnode-b")
	w.expect("ADDED NodeMetrics node-b 1")
	s.apply(newNode("node-b", nil)) // is in no pool any more
	w.expect("DELETED NodeMetrics node-b 1")
}

// TestWatchTable: what kubectl get -w asks for. Each event says its columns, of which there may come to be more.
func TestWatchTable(t *testing.T) {
	s := start(t, small, enableWatch)
	w := s.watch(t, group+"/namespaces/shop/pods?watch=true&resourceVersion="+s.version(group+"/namespaces/shop/pods"),
		header{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"})
	other := s.watch(t, group+"/namespaces/shop/pods?watch=true&resourceVersion="+s.version(group+"/namespaces/shop/pods")) // so that events are shared
	for i, want := range []string{`["web-1","11m","2Ki","10s"]`, `["web-1","12m","2Ki","10s"]`} {
		s.sample(measured(1, podUsage("shop", "web-1", container("a", point(uint64(i+5)*1e6, 1024, 10*time.Second)), container("b", point(6e6, 1024, 10*time.Second)))))
		var line string
		for line == "" || strings.Contains(line, "DELETED") { // of the pods that the sample hasn't
			line = w.next()
		}
		columns := strings.Contains(line, `"name":"Window"`)
		if !strings.Contains(line, `"type":"MODIFIED","object":{"kind":"Table"`) || !strings.Contains(line, want) || !columns || !strings.Contains(line, `"kind":"PartialObjectMetadata"`) {
			t.Errorf("event %d: %s", i, line)
		}
		for line = ""; !strings.Contains(line, "web-1"); {
			line = other.next()
		}
		if !strings.Contains(line, `"object":{"kind":"PodMetrics"`) {
			t.Errorf("%s", line)
		}
	}
}

// TestWatchRefusals: combinations that mean nothing, and versions that can't be.
func TestWatchRefusals(t *testing.T) {
	s := start(t, small, enableWatch)
	version := s.version(group + "/nodes")
	for query, want := range map[string]string{
		"watch=true&resourceVersion=abc":                                                        `400 resourceVersion \"abc\" is no number; take one that a list or a watch of this API has given`,
		"watch=true&resourceVersion=-1":                                                         "400 is no number",
		"resourceVersion=1.5":                                                                   "400 is no number",
		"watch=true&sendInitialEvents=true":                                                     "422 sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
		"watch=true&resourceVersionMatch=NotOlderThan":                                          "422 resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
		"watch=true&sendInitialEvents=true&resourceVersionMatch=Exact":                          "422 Unsupported value",
		"sendInitialEvents=true":                                                                "422 sendInitialEvents is forbidden for list",
		"resourceVersionMatch=Exact":                                                            "422 resourceVersionMatch is forbidden unless resourceVersion is provided",
		"resourceVersionMatch=Exact&resourceVersion=0":                                          "422 forbidden for resourceVersion",
		"resourceVersionMatch=Nonsense&resourceVersion=" + version:                              "422 Unsupported value",
		"resourceVersionMatch=Exact&resourceVersion=" + version:                                 "200 node-a",
		"resourceVersionMatch=NotOlderThan&resourceVersion=" + version:                          "200 node-a",
		"resourceVersionMatch=NotOlderThan&resourceVersion=5":                                   "200 node-a",
		"resourceVersionMatch=Exact&resourceVersion=5":                                          "410 too old resource version: 5",
		"watch=true&timeoutSeconds=x":                                                           "400 ",
		"watch=true&fieldSelector=spec.nodeName%3Da":                                            `400 not a known field selector`,
		"watch=true&resourceVersion=5":                                                          "200 too old resource version: 5",
		"watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=x": "400 is no number",
	} {
		if strings.HasPrefix(want, "200 too old") {
			w := s.watch(t, group+"/nodes?"+query)
			if line := w.next(); w.response.StatusCode != 200 || !strings.Contains(line, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1"`) ||
				!strings.Contains(line, want[4:]) || !strings.Contains(line, `"reason":"Expired","code":410`) {
				t.Errorf("%s: %s", query, line)
			}
			w.expect("end")
			continue
		}
		code, body := s.get(group + "/nodes?" + query)
		if want := strings.SplitN(want, " ", 2); fmt.Sprint(code) != want[0] || !strings.Contains(body, want[1]) {
			t.Errorf("%s: %d %s, want %s", query, code, body, want)
		}
	}
	if code, body := s.get(group + "/nodes/node-a?resourceVersion=abc"); code != 400 {
		t.Errorf("%d %s", code, body)
	}
	if code, body := s.get(group + "/nodes/node-a?resourceVersion=" + version); code != 200 || !strings.Contains(body, `"resourceVersion":"`+version+`"`) {
		t.Errorf("%d %s", code, body)
	}
	if _, body := s.get("/metrics"); !strings.Contains(body, `headwater_metricsapi_watches_refused_total{reason="Expired"} 1`) {
		t.Error("no refused watch was counted")
	}
}

// TestWatchTimeout: a watch ends when its time is over, and a bookmark comes before.
func TestWatchTimeout(t *testing.T) {
	s := start(t, small, enableWatch)
	version := s.version(group + "/nodes")
	began := time.Now()
	s.watch(t, group+"/nodes?watch=true&allowWatchBookmarks=true&timeoutSeconds=3&resourceVersion="+version).expect("BOOKMARK NodeMetrics", "end")
	if took := time.Since(began); took < 2*time.Second || took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
	s.watch(t, group+"/nodes?watch=true&timeoutSeconds=1&resourceVersion="+version).expect("end")
}

func TestWatchEndsWithTheService(t *testing.T) {
	s := newServed(t, enableWatch)
	small(s)
	s.whole()
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.service.Run(ctx) }()
	testenv.Eventually(t, 10*time.Second, s.service.Ready)
	s.url = "https://" + s.service.Addr().String()
	idle := s.watch(t, group+"/nodes?watch=true&resourceVersion="+s.version(group+"/nodes"))
	stop()
	idle.expect("end")
	select {
	case err := <-stopped:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a watch holds up the end")
	}
}

// TestWatchWhileNothingIsTrue: when the usage has not been heard of for long, those who watch are told what those are told who
// list, and not that everything is gone.
func TestWatchWhileNothingIsTrue(t *testing.T) {
	s := start(t, small, enableWatch)
	w := s.watch(t, group+"/nodes?watch=true&resourceVersion="+s.version(group+"/nodes"))
	s.usage.heard.Store(epoch.Add(-time.Hour).UnixNano())
	w.expect("ERROR 503 ServiceUnavailable", "end")
	if code, _ := s.get(group + "/nodes?watch=true"); code != 503 {
		t.Errorf("another one: %d", code)
	}
	s.usage.heard.Store(0)
	w = s.watch(t, group+"/nodes?watch=true")
	w.expect("ADDED NodeMetrics node-a 1500u\nADDED NodeMetrics node-b 1")
}

// TestWatchOfOldSamples: what is too old is gone for those who watch, within a second or two.
func TestWatchOfOldSamples(t *testing.T) {
	s := newServed(t, enableWatch)
	small(s)
	s.whole()
	var later atomic.Int64
	s.service.now = func() time.Time { return epoch.Add(time.Second + time.Duration(later.Load())) }
	s.run()
	w := s.watch(t, group+"/pods?watch=true&resourceVersion="+s.version(group+"/pods"))
	later.Store(int64(45 * time.Second))
	w.expect("DELETED PodMetrics shop/web-1\nDELETED PodMetrics shop/db-0\nDELETED PodMetrics bank/ledger\nDELETED PodMetrics shop/mixed\nDELETED PodMetrics shop/reset")
	if code, body := s.get(group + "/pods"); code != 200 || strings.Contains(body, "web-1") {
		t.Errorf("%d %s", code, body)
	}
}

// TestWatchWhenTheObjectsAreReadOnceMore: when the objects had to be read once more, those who watch are told to list.
func TestWatchWhenTheObjectsAreReadOnceMore(t *testing.T) {
	s := start(t, small, enableWatch)
	version := s.version(group + "/nodes")
	w := s.watch(t, group+"/nodes?watch=true&resourceVersion="+version)
	s.catalog = s.service.beginCatalog()
	s.sequence += 100
	s.apply(newNode("node-b", nil))
	s.service.serveCatalog(s.catalog, stream.Position{})
	w.expect("ERROR 410 Expired", "end")
	s.watch(t, group+"/nodes?watch=true&resourceVersion="+version).expect("ERROR 410 Expired", "end")
	s.watch(t, group+"/nodes?watch=true").expect("ADDED NodeMetrics node-b 1")
}

// TestWatchProtobuf: client-go's typed client, in both encodings.
func TestWatchProtobuf(t *testing.T) {
	s := start(t, small, enableWatch)
	for i, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		client := s.metrics(contentType).MetricsV1beta1().PodMetricses("shop")
		list, err := client.List(t.Context(), metav1.ListOptions{})
		if err != nil || list.ResourceVersion == "" || list.Items[0].ResourceVersion == "" {
			t.Fatalf("%v, %+v", err, list)
		}
		w, err := client.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion, FieldSelector: "metadata.name=web-1"})
		if err != nil {
			t.Fatal(err)
		}
		s.sample(measured(1, podUsage("shop", "web-1", container("web", point(uint64(i+1), 1024, time.Second)))))
		select {
		case event := <-w.ResultChan():
			item, ok := event.Object.(*v1beta1.PodMetrics)
			if !ok || event.Type != watch.Modified || item.Name != "web-1" || len(item.Containers) != 1 || item.Containers[0].Usage.Memory().Value() != 1024 || item.ResourceVersion <= list.ResourceVersion {
				t.Errorf("%s: %s %+v", contentType, event.Type, event.Object)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: no event", contentType)
		}
		w.Stop()
		_, err = client.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "x"})
		if !apierrors.IsBadRequest(err) {
			t.Errorf("%s: %v", contentType, err)
		}
	}
}

// requests counts what a client asks for.
type requests struct {
	http.RoundTripper
	mu     sync.Mutex
	counts map[string]int
}

func (r *requests) RoundTrip(request *http.Request) (*http.Response, error) {
	query := request.URL.Query()
	kind := "list"
	if query.Get("sendInitialEvents") == "true" {
		kind = "streaming list"
	} else if query.Get("watch") != "" {
		kind = "watch"
	}
	r.mu.Lock()
	r.counts[kind]++
	r.mu.Unlock()
	return r.RoundTripper.RoundTrip(request)
}

func (r *requests) of(kind string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[kind]
}

// gates are client-go's feature gates with one of them set.
type gates struct {
	clientfeatures.Gates
	watchList bool
}

func (g gates) Enabled(feature clientfeatures.Feature) bool {
	if feature == clientfeatures.WatchListClient {
		return g.watchList
	}
	return g.Gates.Enabled(feature)
}

// TestWatchByInformers lets client-go's reflector follow, with streaming lists and without.
func TestWatchByInformers(t *testing.T) {
	original := clientfeatures.FeatureGates()
	t.Cleanup(func() { clientfeatures.ReplaceFeatureGates(original) })
	for _, streaming := range []bool{true, false} {
		t.Run(fmt.Sprint("streaming lists: ", streaming), func(t *testing.T) {
			clientfeatures.ReplaceFeatureGates(gates{original, streaming})
			followByInformer(t, streaming)
		})
	}
}

func followByInformer(t *testing.T, streaming bool) {
	s := start(t, small, enableWatch)
	counted := &requests{counts: map[string]int{}}
	client, err := metricsclient.NewForConfig(&clientrest.Config{
		Host: s.url, BearerToken: "admin-token", TLSClientConfig: clientrest.TLSClientConfig{Insecure: true}, QPS: -1,
		WrapTransport: func(next http.RoundTripper) http.RoundTripper { counted.RoundTripper = next; return counted },
	})
	if err != nil {
		t.Fatal(err)
	}
	pods := client.MetricsV1beta1().PodMetricses(metav1.NamespaceAll)
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	reflector := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return pods.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return pods.Watch(ctx, options)
		},
	}, client), &v1beta1.PodMetrics{}, store, cache.ReflectorOptions{})
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); reflector.RunWithContext(ctx) }()
	defer func() { stop(); <-stopped }()

	same := func() error {
		list, err := pods.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		want, got := map[string]string{}, map[string]string{}
		for _, item := range list.Items {
			want[item.Namespace+"/"+item.Name] = fmt.Sprint(item.Labels, len(item.Containers), item.Timestamp.Unix(), item.Window)
		}
		for _, object := range store.List() {
			item := object.(*v1beta1.PodMetrics)
			got[item.Namespace+"/"+item.Name] = fmt.Sprint(item.Labels, len(item.Containers), item.Timestamp.Unix(), item.Window)
		}
		if !maps.Equal(want, got) {
			return fmt.Errorf("the informer has %v, the list %v", got, want)
		}
		return nil
	}
	testenv.Eventually(t, 20*time.Second, same)
	lists := counted.of("list")
	for i := range 20 {
		name := fmt.Sprint("new-", i%7)
		s.apply(newPod("shop", name, "node-a", map[string]string{"round": fmt.Sprint(i)}))
		p := point(1, 1, time.Duration(i+1)*time.Second)
		s.sample(measured(uint64(i), podUsage("shop", name, container("c", p))))
		if i%3 == 0 {
			s.remove(newPod("shop", fmt.Sprint("new-", (i+2)%7), "node-a", nil))
		}
	}
	testenv.Eventually(t, 20*time.Second, same)
	if streaming != (counted.of("streaming list") == 1) || counted.of("streaming list") > 1 || streaming && lists > 2 {
		t.Errorf("asked for %v", counted.counts)
	}
	// The log is read once more: the informer is told 410, lists, and goes on.
	before := counted.of("streaming list") + counted.of("watch")
	s.catalog = s.service.beginCatalog()
	s.sequence += 1000
	s.apply(newPod("bank", "ledger", "node-b", nil))
	s.service.serveCatalog(s.catalog, stream.Position{})
	testenv.Eventually(t, 30*time.Second, func() error {
		if counted.of("streaming list")+counted.of("watch") == before {
			return errors.New("it hasn't asked again")
		}
		return same()
	})
}

// TestWatchSlowReader: one who doesn't read on gets less and newer, and costs nothing.
func TestWatchSlowReader(t *testing.T) {
	l := newLogs(t)
	r := l.replica()
	r.service.now = func() time.Time { return epoch.Add(time.Second) }
	r.pods = rebuilt(r)
	l.object(newNode("node-a", nil), schemas.Applied)
	const pods = 500
	usage := func(round int) schemas.UsageSample {
		var all []schemas.PodUsage
		for i := range pods {
			all = append(all, podUsage("shop", fmt.Sprint("p", i), container("c", point(uint64(round), 1, time.Second))))
		}
		return measured(uint64(round), all...)
	}
	for i := range pods {
		l.object(newPod("shop", fmt.Sprint("p", i), "node-a", nil), schemas.Applied)
	}
	l.sample(usage(1))
	r.catchUp()
	r.whole()
	w, err := r.pods.(rest.Watcher).Watch(t.Context(), &metainternalversion.ListOptions{ResourceVersion: resourceVersion(versionOf(r.service.watches.place()))})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for round := range 50 {
		l.sample(usage(round + 2))
		r.catchUp()
	}
	last := map[string]string{}
	events := 0
	for current := 0; current < pods; events++ {
		select {
		case event := <-w.ResultChan():
			last[keyOf(event.Object)] = text(event.Object)
		case <-time.After(10 * time.Second):
			t.Fatal("no event")
		}
		current = 0
		for _, has := range last {
			if strings.Contains(has, "{51 -9}") {
				current++
			}
		}
	}
	if events > pods+2*atOnce {
		t.Errorf("%d events of %d pods that changed 50 times", events, pods)
	}
}

// rebuilt makes the replica's storage anew, after its clock was set.
func rebuilt(r *replica) storage {
	options := r.service.cfg.Options
	settings := settings{now: r.service.now, maxAge: options.maxSampleAge()}
	r.nodes, r.pods = watchable(&nodeStorage{r.service, settings}, &podStorage{r.service, settings}, r.service.watches)
	return r.pods
}

// TestWatchManyWhileEverythingChanges is for the race detector: many who watch, at a server where all changes.
func TestWatchManyWhileEverythingChanges(t *testing.T) {
	l := newLogs(t)
	r := l.replica()
	r.service.now = func() time.Time { return epoch.Add(time.Second) }
	rebuilt(r)
	l.object(newNode("node-a", nil), schemas.Applied)
	r.catchUp()
	r.whole()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = r.service.watches.run(ctx, func() error { return nil }) }()
	var readers sync.WaitGroup
	for i := range 12 {
		readers.Go(func() {
			for ctx.Err() == nil {
				options := &metainternalversion.ListOptions{AllowWatchBookmarks: true}
				if i%2 == 0 {
					options.ResourceVersion = resourceVersion(versionOf(r.service.watches.place()))
				}
				w, err := r.pods.(rest.Watcher).Watch(ctx, options)
				if err != nil {
					continue // it is being read once more
				}
				n := 0
				for event := range w.ResultChan() {
					if o, ok := event.Object.(*sharedObject); ok {
						if err := o.CacheEncode(runtime.Identifier(fmt.Sprint(i%3)), func(o runtime.Object, w io.Writer) error {
							_, err := io.WriteString(w, text(o))
							return err
						}, io.Discard); err != nil {
							t.Error(err)
						}
					}
					if n++; n%97 == i { // some break off
						w.Stop()
						break
					}
				}
			}
		})
	}
	readers.Go(func() {
		for ctx.Err() == nil {
			if _, err := r.pods.List(ctx, &metainternalversion.ListOptions{}); err != nil {
				t.Error(err)
			}
			r.service.watches.tick()
		}
	})
	for round := range 60 {
		var all []schemas.PodUsage
		for i := range 20 {
			pod := newPod("shop", fmt.Sprint("p", i), "node-a", map[string]string{"round": fmt.Sprint(round % 5)})
			operation := schemas.Applied
			if (i+round)%7 == 0 {
				operation = schemas.Deleted
			}
			l.object(pod, operation)
			all = append(all, podUsage("shop", pod.Name, container("c", point(uint64(round), 1, time.Duration(i%5)*time.Second))))
		}
		l.sample(measured(uint64(round), all...))
		r.catchUp()
		if round%20 == 19 {
			r.catalog, r.readObjects = r.service.beginCatalog(), 0
			r.read(len(l.objects), 0)
			r.service.serveCatalog(r.catalog, stream.Position{LogPosition: stream.LogPosition{Sequence: uint64(r.readObjects)}})
		}
	}
	stop()
	readers.Wait()
}

// TestVersions: what a replica makes of a place, others understand who are not far from there.
func TestVersions(t *testing.T) {
	const far = 1<<(objectsBits-1) - 1
	for _, objects := range []uint64{0, 1, 5, far, 1 << objectsBits, 1<<objectsBits - 1, 1<<objectsBits + 1, 3<<objectsBits + 7, 1 << 40} {
		for _, difference := range []int64{0, 1, -1, 1000, -1000, far, -far} {
			near := int64(objects) + difference
			if near < 0 {
				continue
			}
			for _, part := range []bool{true, false} {
				place := view.Place{Usage: 1<<40 - 1, Objects: objects, Part: part}
				if got := placeOf(versionOf(place), view.Place{Objects: uint64(near)}); got != place {
					t.Errorf("%+v from near %d: %+v", place, near, got)
				}
			}
		}
	}
	if a, b := versionOf(view.Place{Usage: 7, Objects: 9, Part: true}), versionOf(view.Place{Usage: 7, Objects: 9}); a <= b || a >= versionOf(view.Place{Usage: 8}) {
		t.Errorf("%d, %d", a, b)
	}
}

// TestWatchSelectorWithSeveralTerms: selectors are those of lists.
func TestWatchSelectorWithSeveralTerms(t *testing.T) {
	s := start(t, small, enableWatch)
	selector := url.QueryEscape("app in (web, db),tier!=front")
	s.watch(t, group+"/pods?watch=true&labelSelector="+selector).expect("ADDED PodMetrics shop/db-0")
	if code, body := s.get(group + "/pods?watch=true&labelSelector=" + url.QueryEscape("app in (")); code != 400 {
		t.Errorf("%d %s", code, body)
	}
}
