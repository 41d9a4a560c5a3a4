package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/headwater-metrics/headwater/schemas"
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

// TestWatchFromAnOldList: of what the list had, however young it was, changes are told as such; only what it hadn't is added.
func TestWatchFromAnOldList(t *testing.T) {
	var since atomic.Int64
	s := start(t, small, enableWatch)
	s.service.now = func() time.Time { return epoch.Add(time.Second + time.Duration(since.Load())) }
	usage := func(rate uint64, names ...string) {
		var pods []schemas.PodUsage
		for _, name := range names {
			pods = append(pods, podUsage("shop", name, container("main", point(rate, 1, time.Second))))
		}
		s.sample(measured(rate, pods...))
	}
	for _, name := range []string{"young", "goner", "again"} { // they come into being while the server runs
		s.apply(newPod("shop", name, "node-a", nil))
	}
	usage(1, "young", "goner", "again", "web-1")
	path := group + "/namespaces/shop/pods"
	version := s.version(path)
	since.Store(int64(11 * time.Second))
	s.remove(newPod("shop", "goner", "node-a", nil))
	s.remove(newPod("shop", "again", "node-a", nil))
	usage(2, "young", "web-1")
	for _, name := range []string{"born", "again"} {
		s.apply(newPod("shop", name, "node-a", nil))
	}
	usage(3, "young", "web-1", "again", "born")
	for _, bookmarks := range []string{"", "&allowWatchBookmarks=true"} {
		s.watch(t, path+"?watch=true&resourceVersion="+version+bookmarks).expect(
			"MODIFIED PodMetrics shop/young\nMODIFIED PodMetrics shop/web-1\nMODIFIED PodMetrics shop/again\nADDED PodMetrics shop/born\nDELETED PodMetrics shop/goner")
	}
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

// TestWatchSelectorWithSeveralTerms: selectors are those of lists.
func TestWatchSelectorWithSeveralTerms(t *testing.T) {
	s := start(t, small, enableWatch)
	selector := url.QueryEscape("app in (web, db),tier!=front")
	s.watch(t, group+"/pods?watch=true&labelSelector="+selector).expect("ADDED PodMetrics shop/db-0")
	if code, body := s.get(group + "/pods?watch=true&labelSelector=" + url.QueryEscape("app in (")); code != 400 {
		t.Errorf("%d %s", code, body)
	}
}
