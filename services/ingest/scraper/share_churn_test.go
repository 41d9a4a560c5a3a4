package scraper

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// Nodes that come and go, each under a name of its own, leave nothing behind.
func TestNodesThatComeAndGo(t *testing.T) {
	const rounds = 4
	cfg := testenv.NATS(t)
	w := newWorld(t, testenv.Connect(t, cfg))
	r := newRecorder(t, w, 1)
	i := w.start(cfg, "a", nil)
	i.ready(t)
	r.settled(10*time.Second, "a")
	before := runtime.NumGoroutine()
	lasting := r.nodes[0]
	for round := range rounds {
		var nodes []*corev1.Node
		for n := range shareNodes {
			node := lasting.DeepCopy()
			node.Name = fmt.Sprintf("node-%d", (round+1)*shareNodes+n)
			node.Annotations[pathAnnotation] = "/" + node.Name + "/metrics"
			nodes = append(nodes, node)
		}
		w.put(schemas.Applied, nodes...)
		from := time.Now()
		testenv.Eventually(t, 10*time.Second, func() error {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, n := range nodes {
				if len(r.asked[n.Name]) == 0 {
					return fmt.Errorf("%s was not scraped in %v", n.Name, time.Since(from))
				}
			}
			return nil
		})
		w.put(schemas.Deleted, nodes...)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		s := i.schedule.Load()
		s.mu.Lock()
		timelines, fresh := len(s.timelines), s.fresh
		s.mu.Unlock()
		i.share.mu.Lock()
		targets := len(i.share.targets)
		i.share.mu.Unlock()
		if timelines != 1 || fresh != 0 || targets != 1 {
			return fmt.Errorf("%d timelines, %d of them fresh, %d targets; want those of the one node that stays", timelines, fresh, targets)
		}
		if n := i.publisher.Waiting(); n > 1 {
			return fmt.Errorf("messages of %d nodes wait", n)
		}
		// A connection to the test's server costs that one a goroutine.
		if n := runtime.NumGoroutine(); n > before+idlePerHost+5 {
			return fmt.Errorf("%d goroutines, %d before", n, before)
		}
		return nil
	})
}
