package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clientfeatures "k8s.io/client-go/features"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

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
	config := &clientrest.Config{Host: s.url, BearerToken: "admin-token", TLSClientConfig: clientrest.TLSClientConfig{Insecure: true}, QPS: -1}
	own, err := metricsclient.NewForConfig(config) // what the test asks isn't counted
	if err != nil {
		t.Fatal(err)
	}
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper { counted.RoundTripper = next; return counted }
	client, err := metricsclient.NewForConfig(config)
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
		list, err := own.MetricsV1beta1().PodMetricses(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{})
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
