package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	clientfeatures "k8s.io/client-go/features"
	"k8s.io/client-go/tools/cache"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/pins"
)

// TestWatch: with --enable-watch, those who watch through the aggregation layer see what changes: kubectl, and informers with
// streaming lists and without. The autoscaler works as ever.
func TestWatch(t *testing.T) {
	w := shared
	p := w.watchable(t)
	w.apply(t, deployment("watched", "web", 3))
	w.running(t, "watched", 3)
	eventually(t, 30*time.Second, func() error { return w.answered(t, "watched", 3) })

	t.Run("Kubectl", w.kubectlWatches)
	original := clientfeatures.FeatureGates()
	defer clientfeatures.ReplaceFeatureGates(original)
	for _, streaming := range []bool{true, false} {
		clientfeatures.ReplaceFeatureGates(watchLists{original, streaming})
		t.Run(fmt.Sprintf("Informer,WatchList=%v", streaming), func(t *testing.T) { w.informerFollows(t, p, streaming) })
	}
	t.Run("HorizontalPodAutoscaler", func(t *testing.T) { w.autoscales(t, "scale-watched") })
}

// anotherAPI runs a further metricsapi on the world's streams, for the time of a test. It isn't registered.
func (w *world) anotherAPI(t *testing.T, name string, args ...string) (p *cluster.Process, port int) {
	t.Helper()
	var telemetry int
	if err := ports(&port, &telemetry); err != nil {
		t.Fatal(err)
	}
	p = cluster.NewProcess(t.TempDir(), cluster.Spec{Name: name, Path: binary("metricsapi"),
		Args: append([]string{"--nats-url=" + w.natsURL, "--cluster=e2e", "--max-sample-age=1m",
			"--kubeconfig=" + w.Kubeconfig, "--authentication-kubeconfig=" + w.Kubeconfig, "--authorization-kubeconfig=" + w.Kubeconfig,
			"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), fmt.Sprintf("--telemetry-address=127.0.0.1:%d", telemetry),
			"--cert-dir=" + t.TempDir()}, args...),
		Ready: cluster.HTTPReady(fmt.Sprintf("https://127.0.0.1:%d/readyz", port))})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", p.Name(), p.Tail(20))
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	start(t, p)
	return p, port
}

// watchable puts another metricsapi in the place of the world's, for the time of a test: one that can be watched.
func (w *world) watchable(t *testing.T) *cluster.Process {
	t.Helper()
	p, port := w.anotherAPI(t, "metricsapi-watch", "--enable-watch")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := w.RegisterAPIService(ctx, apiName, w.metricsPort)
		if err == nil {
			err = cluster.Eventually(ctx, 30*time.Second, func() error { return w.verbs(ctx, false) })
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err := w.RegisterAPIService(t.Context(), apiName, port); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() error { return w.verbs(t.Context(), true) })
	return p
}

// verbs tells whether discovery says that pods' metrics can be watched, or that they can't.
func (w *world) verbs(ctx context.Context, watch bool) error {
	raw, err := w.Client.Discovery().RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1").DoRaw(ctx)
	if err != nil {
		return err
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, resource := range list.APIResources {
		if slices.Contains(resource.Verbs, "watch") != watch {
			return fmt.Errorf("%s: %v", resource.Name, resource.Verbs)
		}
	}
	return nil
}

// answered tells whether a namespace has that many pods with metrics.
func (w *world) answered(t *testing.T, namespace string, pods int) error {
	out, err := w.Kubectl(t.Context(), "get", "podmetrics", "-n", namespace, "--no-headers", "--ignore-not-found")
	if err != nil {
		return err
	}
	if n := len(strings.Fields(out)) / 4; n != pods {
		return fmt.Errorf("%d of %d pods of %s have metrics:\n%s", n, pods, namespace, out)
	}
	return nil
}

// watching is a kubectl get -w, with the type of each event before its row.
type watching struct {
	*cluster.Process
	usage []string // the columns of usage
}

func (w *world) kubectlWatch(t *testing.T, name string, args ...string) watching {
	t.Helper()
	return watching{w.startKubectl(t, "kubectl", name, append([]string{"get", "podmetrics", "-n", "watched", "-w", "--output-watch-events"}, args...)...), []string{"CPU", "MEMORY"}}
}

// startKubectl runs a kubectl until the test ends.
func (w *world) startKubectl(t *testing.T, program, name string, args ...string) *cluster.Process {
	t.Helper()
	paths, err := pins.Build(t.Context(), os.Stderr, program)
	if err != nil {
		t.Fatal(err)
	}
	p := cluster.NewProcess(t.TempDir(), cluster.Spec{Name: name, Path: paths[program],
		Args: append([]string{"--kubeconfig=" + w.Kubeconfig, "--cache-dir=" + t.TempDir()}, args...)})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.Tail(40))
		}
		p.Kill()
	})
	return p
}

// events are the types of the events that it has printed, by pod, in order.
func (w watching) events() (map[string][]string, error) {
	raw, err := os.ReadFile(w.Log())
	if err != nil {
		return nil, err
	}
	events := map[string][]string{}
	columns := slices.Concat([]string{"EVENT", "NAME"}, w.usage, []string{"WINDOW"})
	lines := strings.Split(string(raw), "\n")
	for _, line := range lines[:len(lines)-1] {
		row := strings.Fields(line)
		if len(row) != len(columns) {
			return nil, fmt.Errorf("printed %q", line)
		}
		if row[0] == "EVENT" {
			if !slices.Equal(row, columns) {
				return nil, fmt.Errorf("the columns are %q", row)
			}
			continue
		}
		events[row[1]] = append(events[row[1]], row[0])
	}
	return events, nil
}

// has waits until for each pod certain events were printed in this order, among others.
func (w watching) has(t *testing.T, want map[string][]string) {
	t.Helper()
	eventually(t, 30*time.Second, func() error {
		if !w.Running() {
			return errors.New("kubectl ended")
		}
		events, err := w.events()
		if err != nil {
			return err
		}
		for pod, order := range want {
			left := order
			for _, event := range events[pod] {
				if len(left) > 0 && left[0] == event {
					left = left[1:]
				}
			}
			if len(left) > 0 {
				return fmt.Errorf("%s: %v were printed, want %v", pod, events[pod], order)
			}
		}
		for pod := range events {
			if _, ok := want[pod]; !ok {
				return fmt.Errorf("%s: %v were printed", pod, events[pod])
			}
		}
		return nil
	})
}

func (w *world) kubectlWatches(t *testing.T) {
	var pods []string
	for _, p := range w.Kubelets.Pods() {
		if p.Namespace == "watched" {
			pods = append(pods, p.Name)
		}
	}
	if len(pods) != 3 {
		t.Fatalf("%v run", pods)
	}
	all := w.kubectlWatch(t, "kubectl-w")
	only := w.kubectlWatch(t, "kubectl-watch-only", "--watch-only")
	blue := w.kubectlWatch(t, "kubectl-l", "-l", "color=blue")
	one := w.kubectlWatch(t, "kubectl-one", pods[0])
	want := func(events ...string) map[string][]string {
		m := map[string][]string{}
		for _, pod := range pods {
			m[pod] = events
		}
		return m
	}
	all.has(t, want("ADDED", "MODIFIED", "MODIFIED"))
	only.has(t, want("MODIFIED", "MODIFIED"))
	one.has(t, map[string][]string{pods[0]: {"ADDED", "MODIFIED"}})
	blue.has(t, map[string][]string{})

	if _, err := w.Kubectl(t.Context(), "label", "pod", "-n", "watched", pods[0], "color=blue"); err != nil {
		t.Fatal(err)
	}
	blue.has(t, map[string][]string{pods[0]: {"ADDED", "MODIFIED"}})
	if _, err := w.Kubectl(t.Context(), "label", "pod", "-n", "watched", pods[0], "color-"); err != nil {
		t.Fatal(err)
	}
	blue.has(t, map[string][]string{pods[0]: {"ADDED", "MODIFIED", "DELETED"}})
	if _, err := w.Kubectl(t.Context(), "delete", "pod", "-n", "watched", pods[1], "--wait=false"); err != nil {
		t.Fatal(err)
	}
	var successor string
	eventually(t, 30*time.Second, func() error {
		_, stays := w.Kubelets.Pod("watched", pods[1])
		for _, p := range w.Kubelets.Pods() {
			if p.Namespace == "watched" && !slices.Contains(pods, p.Name) {
				successor = p.Name
			}
		}
		if stays || successor == "" {
			return fmt.Errorf("%s runs: %v, and its successor is %q", pods[1], stays, successor)
		}
		return nil
	})
	more := want("ADDED", "MODIFIED")
	more[pods[1]] = []string{"ADDED", "DELETED"}
	more[successor] = []string{"ADDED", "MODIFIED"}
	all.has(t, more)
	more = want("MODIFIED")
	more[pods[1]] = []string{"DELETED"}
	more[successor] = []string{"ADDED", "MODIFIED"}
	only.has(t, more)
	events, err := only.events()
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		if slices.Contains(events[pod], "ADDED") {
			t.Errorf("--watch-only prints what there was: %v of %s", events[pod], pod)
		}
	}
}

// watchLists are client-go's feature gates with streaming lists on or off.
type watchLists struct {
	clientfeatures.Gates
	on bool
}

func (w watchLists) Enabled(feature clientfeatures.Feature) bool {
	if feature == clientfeatures.WatchListClient {
		return w.on
	}
	return w.Gates.Enabled(feature)
}

// informerFollows lets client-go's reflector keep the metrics of all pods, while pods come and go and the server is killed.
func (w *world) informerFollows(t *testing.T, server *cluster.Process, streaming bool) {
	client, err := dynamic.NewForConfig(w.REST)
	if err != nil {
		t.Fatal(err)
	}
	pods := client.Resource(schema.GroupVersionResource{Group: "metrics.k8s.io", Version: "v1beta1", Resource: "pods"})
	var lists, streams, watches atomic.Int64
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	expected := &unstructured.Unstructured{}
	expected.SetGroupVersionKind(schema.GroupVersionKind{Group: "metrics.k8s.io", Version: "v1beta1", Kind: "PodMetrics"})
	reflector := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			lists.Add(1)
			return pods.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
			if options.SendInitialEvents != nil && *options.SendInitialEvents {
				streams.Add(1)
			} else {
				watches.Add(1)
			}
			return pods.Watch(ctx, options)
		},
	}, client), expected, store, cache.ReflectorOptions{})
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); reflector.RunWithContext(ctx) }()
	defer func() { stop(); <-stopped }()

	labelsOf := func(o *unstructured.Unstructured) string { return fmt.Sprint(o.GetLabels()) }
	same := func() error {
		list, err := pods.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		want, got := map[string]string{}, map[string]string{}
		for i := range list.Items {
			want[list.Items[i].GetNamespace()+"/"+list.Items[i].GetName()] = labelsOf(&list.Items[i])
		}
		for _, object := range store.List() {
			item := object.(*unstructured.Unstructured)
			got[item.GetNamespace()+"/"+item.GetName()] = labelsOf(item)
			// What it has is as fresh as what is scraped.
			if stamp, _, _ := unstructured.NestedString(item.Object, "timestamp"); stamp != "" {
				at, err := time.Parse(time.RFC3339, stamp)
				if err != nil || time.Since(at) > 4*resolution+3*time.Second {
					return fmt.Errorf("%s is as of %s, %v", item.GetName(), stamp, err)
				}
			}
		}
		if len(want) == 0 || !maps.Equal(want, got) {
			return fmt.Errorf("the informer has %v, the list %v", got, want)
		}
		return nil
	}
	eventually(t, 30*time.Second, same)
	eventually(t, 10*time.Second, func() error { // what was listed is there a moment before it is watched
		if streams.Load()+watches.Load() == 0 {
			return errors.New("it doesn't watch")
		}
		return nil
	})
	if streaming && (streams.Load() != 1 || lists.Load() != 0) || !streaming && (streams.Load() != 0 || lists.Load() != 1 || watches.Load() != 1) {
		t.Errorf("%d lists, %d streaming lists, %d watches", lists.Load(), streams.Load(), watches.Load())
	}
	scale := func(replicas int) {
		if _, err := w.Kubectl(t.Context(), "scale", "deployment", "-n", "watched", "web", fmt.Sprint("--replicas=", replicas)); err != nil {
			t.Fatal(err)
		}
		w.running(t, "watched", replicas)
		eventually(t, 30*time.Second, func() error {
			if err := same(); err != nil {
				return err
			}
			n := 0
			for _, key := range store.ListKeys() {
				if strings.HasPrefix(key, "watched/") {
					n++
				}
			}
			if n != replicas {
				return fmt.Errorf("the informer has %d pods of %d", n, replicas)
			}
			return nil
		})
	}
	before := lists.Load() + streams.Load()
	scale(6)
	scale(2)
	if after := lists.Load() + streams.Load(); after != before {
		t.Errorf("it had to list %d times while pods came and went", after-before)
	}
	restart(t, server)
	t.Logf("after the server was killed, the informer was right within %v", eventually(t, 60*time.Second, same).Round(100*time.Millisecond))
	scale(3)
}
