package sim_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// requests notes the queries that an API server gets for a path.
type requests struct {
	mu      sync.Mutex
	queries []url.Values
}

func note(c *sim.Cluster, path string) *requests {
	seen := &requests{}
	c.BendAPI(func(r *http.Request) bool {
		if r.URL.Path == path {
			seen.mu.Lock()
			defer seen.mu.Unlock()
			seen.queries = append(seen.queries, r.URL.Query())
		}
		return false
	}, nil)
	return seen
}

func (r *requests) count(matches func(url.Values) bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, query := range r.queries {
		if matches(query) {
			n++
		}
	}
	return n
}

func isWatchList(q url.Values) bool { return q.Get("sendInitialEvents") == "true" }
func isList(q url.Values) bool      { return q.Get("watch") == "" }

// podInformer runs an informer of all pods, that speaks protobuf, until the test ends.
func podInformer(t *testing.T, c *sim.Cluster) cache.SharedIndexInformer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	factory := informers.NewSharedInformerFactory(client(t, c), 0)
	pods := factory.Core().V1().Pods().Informer()
	factory.Start(ctx.Done())
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
	})
	if !cache.WaitForCacheSync(ctx.Done(), pods.HasSynced) {
		t.Fatal("the informer didn't sync")
	}
	return pods
}

// versions are the pods that somebody has, by name, with their resource versions.
func versions(pods []*corev1.Pod) map[string]string {
	found := map[string]string{}
	for _, pod := range pods {
		found[pod.Namespace+"/"+pod.Name] = string(pod.UID) + "@" + pod.ResourceVersion
	}
	return found
}

func truthOf(t *testing.T, c *sim.Cluster) map[string]string {
	t.Helper()
	list, err := client(t, c).CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return versions(pods)
}

// same waits until an informer has exactly the pods that the API server has.
func same(t *testing.T, c *sim.Cluster, pods cache.SharedIndexInformer) {
	t.Helper()
	testenv.Eventually(t, soon, func() error {
		var cached []*corev1.Pod
		for _, obj := range pods.GetStore().List() {
			cached = append(cached, obj.(*corev1.Pod))
		}
		if got, want := versions(cached), truthOf(t, c); !maps.Equal(got, want) {
			return fmt.Errorf("the informer has %d pods, the API server %d, or other versions", len(got), len(want))
		}
		return nil
	})
}

func TestInformerByStreamingList(t *testing.T) {
	c := testenv.Sim(t, sim.Options{PodsPerNode: 20})
	seen := note(c, "/api/v1/pods")
	pods := podInformer(t, c)
	if seen.count(isWatchList) != 1 || seen.count(isList) != 0 {
		t.Errorf("%d streaming lists and %d lists, want one and none", seen.count(isWatchList), seen.count(isList))
	}
	same(t, c, pods)

	pod := runningPod(t, c, 2)
	if _, err := c.RecreatePod(pod.Namespace, pod.Name); err != nil {
		t.Fatal(err)
	}
	other := runningPod(t, c, 1)
	if err := c.DeletePod(other.Namespace, other.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "put"}}); err != nil {
		t.Fatal(err)
	}
	same(t, c, pods)
}

func TestInformerOfAnOlderServer(t *testing.T) {
	c := testenv.Sim(t, sim.Options{})
	c.OfferWatchList(false)
	seen := note(c, "/api/v1/pods")
	pods := podInformer(t, c)
	if seen.count(isList) == 0 {
		t.Error("the informer didn't fall back to a list")
	}
	same(t, c, pods)
}

// An informer comes through everything that may happen to its watch.
func TestInformerSurvives(t *testing.T) {
	// A port that nobody else is given while the API server is away.
	c := testenv.Sim(t, sim.Options{Address: testenv.Address(t)})
	for name, trouble := range map[string]func(t *testing.T){
		"watches expire": func(t *testing.T) {
			if n, err := c.ExpireWatches("pods"); n == 0 || err != nil {
				t.Errorf("%d watches ended, %v", n, err)
			}
		},
		"watches drop": func(t *testing.T) {
			if n, err := c.DropWatches("pods"); n == 0 || err != nil {
				t.Errorf("%d watches ended, %v", n, err)
			}
		},
		"server away": func(t *testing.T) {
			if err := c.APIDown(); err != nil {
				t.Error(err)
			}
			if err := c.DeletePod("shop", "evicted"); err != nil && !errors.IsNotFound(err) {
				t.Error(err)
			}
			c.Compact()
			if err := c.APIUp(t.Context()); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			pods := podInformer(t, c)
			testenv.Eventually(t, soon, func() error {
				if c.Watches("pods") == 0 {
					return fmt.Errorf("no watch is running")
				}
				return nil
			})
			trouble(t)
			if _, err := c.Put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "after", Labels: map[string]string{"trouble": "x"}}}); err != nil {
				t.Fatal(err)
			}
			same(t, c, pods)
		})
	}
}

// A watch from a version sees every change after it, once and in order; one from before a compaction is told so.
func TestWatchFromVersion(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Bare: true})
	api := client(t, c).CoreV1().ConfigMaps("default")
	list, err := api.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, label string) {
		if _, err := c.Put(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"color": label}}}); err != nil {
			t.Fatal(err)
		}
	}
	put("a", "red")
	put("b", "blue")
	put("a", "blue")
	put("b", "red")
	if err := c.Delete(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	check := func(options metav1.ListOptions, want ...string) {
		t.Helper()
		options.ResourceVersion = list.ResourceVersion
		w, err := api.Watch(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		last := ""
		for _, wanted := range want {
			select {
			case e := <-w.ResultChan():
				obj, ok := e.Object.(*corev1.ConfigMap)
				if !ok {
					t.Fatalf("got %v", e)
				}
				if got := fmt.Sprint(e.Type, " ", obj.Name, " ", obj.Labels["color"]); got != wanted {
					t.Errorf("got %q, want %q", got, wanted)
				}
				if obj.ResourceVersion <= last {
					t.Errorf("version %s after %s", obj.ResourceVersion, last)
				}
				last = obj.ResourceVersion
			case <-time.After(soon):
				t.Fatalf("no event, want %q", wanted)
			}
		}
	}
	check(metav1.ListOptions{}, "ADDED a red", "ADDED b blue", "MODIFIED a blue", "MODIFIED b red", "DELETED a blue")
	// With a selector, what leaves it is deleted.
	check(metav1.ListOptions{LabelSelector: "color=red"}, "ADDED a red", "DELETED a red", "ADDED b red")
	check(metav1.ListOptions{FieldSelector: "metadata.name=b"}, "ADDED b blue", "MODIFIED b red")

	c.Compact()
	w, err := api.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := <-w.ResultChan(); e.Type != watch.Error || !errors.IsResourceExpired(errors.FromObject(e.Object)) {
		t.Errorf("watch from a compacted version: %v", e)
	}
}

func TestBookmarks(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Bare: true, Bookmarks: 20 * time.Millisecond})
	api := client(t, c).CoreV1()
	w, err := api.Pods("").Watch(t.Context(), metav1.ListOptions{ResourceVersion: fmt.Sprint(c.Store().Version()), AllowWatchBookmarks: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	// A change of another resource moves the bookmark of this one.
	put, err := c.Put(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(soon)
	for {
		select {
		case e := <-w.ResultChan():
			if e.Type != watch.Bookmark {
				t.Fatalf("got %v", e)
			}
			if e.Object.(*corev1.Pod).ResourceVersion == put.(*corev1.ConfigMap).ResourceVersion {
				return
			}
		case <-deadline:
			t.Fatal("no bookmark of the newest version")
		}
	}
}

// Pages of one list show one moment, whatever happens between them.
func TestPagesAreOneMoment(t *testing.T) {
	c := testenv.Sim(t, sim.Options{PodsPerNode: 20, Churn: 500})
	api := client(t, c).CoreV1().Pods("")
	first, err := api.List(t.Context(), metav1.ListOptions{Limit: 7})
	if err != nil {
		t.Fatal(err)
	}
	if first.RemainingItemCount == nil || int(*first.RemainingItemCount) < 40 {
		t.Errorf("remaining: %v", first.RemainingItemCount)
	}
	var paged []*corev1.Pod
	for page := first; ; {
		for i := range page.Items {
			paged = append(paged, &page.Items[i])
		}
		if page.ResourceVersion != first.ResourceVersion {
			t.Fatalf("a page shows version %s, the first one %s", page.ResourceVersion, first.ResourceVersion)
		}
		if page.Continue == "" {
			break
		}
		if page, err = api.List(t.Context(), metav1.ListOptions{Limit: 7, Continue: page.Continue}); err != nil {
			t.Fatal(err)
		}
	}
	exact, err := api.List(t.Context(), metav1.ListOptions{ResourceVersion: first.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if err != nil {
		t.Fatal(err)
	}
	var whole []*corev1.Pod
	for i := range exact.Items {
		whole = append(whole, &exact.Items[i])
	}
	if !maps.Equal(versions(paged), versions(whole)) || len(paged) != len(whole) {
		t.Errorf("%d pods in pages, %d at that version", len(paged), len(whole))
	}
	c.Compact()
	_, err = api.List(t.Context(), metav1.ListOptions{Limit: 7, Continue: first.Continue})
	if !errors.IsResourceExpired(err) {
		t.Errorf("continuing after a compaction: %v", err)
	}
	if _, err := api.List(t.Context(), metav1.ListOptions{ResourceVersion: "9223372036854775807"}); !errors.IsTimeout(err) {
		t.Errorf("a version of the future: %v", err)
	}
}

func TestSelectors(t *testing.T) {
	c := testenv.Sim(t, sim.Options{PodsPerNode: 10})
	api := client(t, c).CoreV1().Pods("")
	all, err := api.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	some := runningPod(t, c, 1)
	selector := labels.Set{"app.kubernetes.io/name": some.Labels["app.kubernetes.io/name"]}.String()
	for _, test := range []struct {
		options metav1.ListOptions
		matches func(corev1.Pod) bool
	}{
		{metav1.ListOptions{FieldSelector: "spec.nodeName=node-0002"}, func(p corev1.Pod) bool { return p.Spec.NodeName == "node-0002" }},
		{metav1.ListOptions{FieldSelector: "status.phase=Running"}, func(p corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning }},
		{metav1.ListOptions{FieldSelector: "status.phase!=Running"}, func(p corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning }},
		{metav1.ListOptions{FieldSelector: "spec.restartPolicy=Never"}, func(p corev1.Pod) bool { return p.Spec.RestartPolicy == corev1.RestartPolicyNever }},
		{metav1.ListOptions{FieldSelector: "metadata.name=" + some.Name}, func(p corev1.Pod) bool { return p.Name == some.Name }},
		{metav1.ListOptions{FieldSelector: "metadata.namespace=shop"}, func(p corev1.Pod) bool { return p.Namespace == "shop" }},
		{metav1.ListOptions{LabelSelector: selector}, func(p corev1.Pod) bool {
			return p.Labels["app.kubernetes.io/name"] == some.Labels["app.kubernetes.io/name"]
		}},
		{metav1.ListOptions{LabelSelector: "pod-template-hash"}, func(p corev1.Pod) bool { return p.Labels["pod-template-hash"] != "" }},
	} {
		got, err := api.List(t.Context(), test.options)
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, pod := range all.Items {
			if test.matches(pod) {
				want++
			}
		}
		if len(got.Items) != want || want == 0 {
			t.Errorf("%+v: %d pods, want %d", test.options, len(got.Items), want)
		}
	}
	if _, err := api.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.color=red"}); !errors.IsBadRequest(err) {
		t.Errorf("an unknown field: %v", err)
	}
}
