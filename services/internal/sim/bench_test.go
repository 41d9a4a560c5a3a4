package sim_test

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/headwater-metrics/headwater/services/internal/sim"
)

// sizes of clusters, in nodes of 30 pods.
var sizes = []int{100, 1000}

func benchCluster(b *testing.B, nodes int) *sim.Cluster {
	b.Helper()
	c, err := sim.New(sim.Options{Nodes: nodes, PodsPerNode: 30, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkStart is from nothing to a cluster that serves, and the memory that it then takes.
func BenchmarkStart(b *testing.B) {
	for _, nodes := range sizes {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			var heap uint64
			for b.Loop() {
				c := benchCluster(b, nodes)
				b.StopTimer()
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				heap = m.HeapAlloc
				c.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(heap)/(1<<20), "heap-MB")
		})
	}
}

// BenchmarkScrape is one scrape of every node, over connections that are open already, with gzip as clients have it.
func BenchmarkScrape(b *testing.B) {
	c := benchCluster(b, 100)
	defer c.Close()
	nodes, err := client(b, c).CoreV1().Nodes().List(b.Context(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	httpClient := scraper(c)
	defer httpClient.CloseIdleConnections()
	var size int64
	round := func() {
		var group sync.WaitGroup
		for i := range nodes.Items {
			group.Go(func() {
				request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, sim.KubeletURL(&nodes.Items[i])+"/metrics/resource", nil)
				if err != nil {
					b.Error(err)
					return
				}
				request.Header.Set("Authorization", "Bearer "+c.Token())
				response, err := httpClient.Do(request)
				if err != nil {
					b.Error(err)
					return
				}
				n, err := io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if err != nil {
					b.Error(err)
				}
				if i == 0 {
					size = n
				}
			})
		}
		group.Wait()
	}
	round()
	for b.Loop() {
		round()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(nodes.Items)), "us/scrape")
	b.ReportMetric(float64(size), "bytes/scrape")
}

// BenchmarkInformer is a streaming list of all pods in protobuf, decoded by an informer of client-go.
func BenchmarkInformer(b *testing.B) {
	for _, nodes := range sizes {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			c := benchCluster(b, nodes)
			defer c.Close()
			for b.Loop() {
				stop := make(chan struct{})
				factory := informers.NewSharedInformerFactory(client(b, c), 0)
				pods := factory.Core().V1().Pods().Informer()
				factory.Start(stop)
				for !pods.HasSynced() {
					cache.WaitForCacheSync(stop, pods.HasSynced)
				}
				if n := len(pods.GetStore().ListKeys()); n < nodes*30 {
					b.Fatalf("%d pods", n)
				}
				close(stop)
				factory.Shutdown()
			}
		})
	}
}

// BenchmarkList is all pods, as bytes.
func BenchmarkList(b *testing.B) {
	c := benchCluster(b, 1000)
	defer c.Close()
	for name, accept := range map[string]string{"protobuf": "application/vnd.kubernetes.protobuf", "json": "application/json"} {
		for _, encoding := range []string{"identity", "gzip"} {
			b.Run(name+"/"+encoding, func(b *testing.B) {
				httpClient := scraper(c)
				httpClient.Timeout = time.Minute
				defer httpClient.CloseIdleConnections()
				var size int64
				for b.Loop() {
					request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, c.URL()+"/api/v1/pods", nil)
					if err != nil {
						b.Fatal(err)
					}
					request.Header.Set("Authorization", "Bearer "+c.Token())
					request.Header.Set("Accept", accept)
					request.Header.Set("Accept-Encoding", encoding)
					response, err := httpClient.Do(request)
					if err != nil {
						b.Fatal(err)
					}
					if size, err = io.Copy(io.Discard, response.Body); err != nil {
						b.Fatal(err)
					}
					response.Body.Close()
				}
				b.ReportMetric(float64(size)/(1<<20), "MB")
			})
		}
	}
}
