package watcher_test

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apitypes "k8s.io/apimachinery/pkg/types"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

// BenchmarkSync lists pods over HTTPS into an empty log, then again into one that has them, and tells what a pod takes
// in memory.
func BenchmarkSync(b *testing.B) {
	const pods = 20_000
	text, err := os.ReadFile("../../internal/objects/testdata/pod.json")
	if err != nil {
		b.Fatal(err)
	}
	var template corev1.Pod
	if err := json.Unmarshal(text, &template); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		w := newWorld(b)
		for i := range pods {
			p := template.DeepCopy()
			p.Namespace, p.Name = fmt.Sprint("ns-", i%50), fmt.Sprint("checkout-7d9c6b8f5d-", i)
			p.UID = apitypes.UID(fmt.Sprintf("0c6e7a3e-5b1f-4a53-9d0b-%012d", i))
			if err := w.store.Load(p); err != nil {
				b.Fatal(err)
			}
		}
		heap := heapInUse()
		only := func(c *watcher.Config) { c.Resources = []string{"pods"} }
		begin := time.Now()
		s := w.start(only)
		s.isReady()
		b.ReportMetric(pods/time.Since(begin).Seconds(), "first-objects/s")
		testenv.Eventually(b, patience, func() error {
			if s.metric("headwater_state_snapshots_total", "result", "ok") == 0 {
				return fmt.Errorf("no snapshot")
			}
			return nil
		})
		b.ReportMetric(float64(heapInUse()-heap)/pods, "heap-B/object")
		b.ReportMetric(s.metric("headwater_state_object_bytes")/pods, "encoded-B/object")
		s.stop()
		begin = time.Now()
		s = w.start(only)
		s.isReady()
		b.ReportMetric(pods/time.Since(begin).Seconds(), "again-objects/s")
		s.stop()
	}
	b.ReportMetric(0, "ns/op")
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkDiscovery is from the start to readiness with 200 custom resources of 10 objects each: all wanted, and none.
func BenchmarkDiscovery(b *testing.B) {
	for name, pattern := range map[string]string{"wanted": "*." + stable, "unwanted": "*." + other} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			w.put(node("n"))
			for i := range 200 {
				kind := customKind{stable, "v1", fmt.Sprintf("kind%ds", i), ""}
				w.define(stable, kind.plural, "v1")
				for n := range 10 {
					w.put(custom(kind, "a", fmt.Sprint("x", n)))
				}
			}
			for b.Loop() {
				s := w.start(watching(pattern), nodesOnly)
				s.isReady()
				b.StopTimer()
				s.stop()
				b.StartTimer()
			}
		})
	}
}
