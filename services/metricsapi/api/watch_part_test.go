package api

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/schemas"
)

// partWorld is one node with two pods, and two replicas that read of them.
type partWorld struct {
	*logs
	a, b *replica
	node *corev1.Node
	pods map[string]*corev1.Pod
}

func newPartWorld(t *testing.T, labels map[string]string, configure ...func(*Options)) *partWorld {
	l := newLogs(t)
	w := &partWorld{logs: l, a: l.replica(configure...), b: l.replica(configure...), node: newNode("node-a", labels), pods: map[string]*corev1.Pod{}}
	w.node.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
	l.object(w.node, schemas.Applied)
	for _, name := range []string{"web-0", "web-1"} {
		pod := newPod("shop", name, "node-a", nil)
		pod.CreationTimestamp, pod.Status.StartTime = w.node.CreationTimestamp, nil
		w.pods["shop/"+name] = pod
		l.object(pod, schemas.Applied)
	}
	return w
}

// measure appends a sample of the node and of these pods.
func (w *partWorld) measure(pods ...string) {
	rate := schemas.Point{Time: time.Now().UnixNano(), Rate: 1, Memory: 1, Window: 1e9}
	sample := schemas.UsageSample{Node: "node-a", Time: rate.Time, Point: &rate}
	for _, key := range pods {
		sample.Pods = append(sample.Pods, podUsage("shop", strings.TrimPrefix(key, "shop/"), container("main", rate)))
	}
	w.sample(sample)
}

// age makes the replicas' orders older than anybody's reading, and lets a pod come and go afterwards.
func (w *partWorld) age() {
	time.Sleep(window)
	node, pod := newNode("node-z", w.node.Labels), newPod("shop", "aside", "node-z", nil)
	if len(node.Labels) > 0 {
		node.Labels = map[string]string{"pool": "blue"}
	}
	node.CreationTimestamp, pod.CreationTimestamp, pod.Status.StartTime = w.node.CreationTimestamp, w.node.CreationTimestamp, nil
	w.object(node, schemas.Applied)
	w.object(pod, schemas.Applied)
	rate := schemas.Point{Time: time.Now().UnixNano(), Rate: 1, Memory: 1, Window: 1e9}
	w.sample(schemas.UsageSample{Node: "node-z", Time: rate.Time, Point: &rate, Pods: []schemas.PodUsage{podUsage("shop", "aside", container("main", rate))}})
	w.sample(schemas.UsageSample{Node: "node-z", Time: rate.Time, Point: &rate})
	w.a.catchUp()
	w.b.catchUp()
}

// quiet waits until all who watch have been told.
func quiet() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// goesOn lets somebody take the first of the events that a replica has by read, and go on at the other one.
func (w *partWorld) goesOn(read func()) (c *modelClient, got string) {
	w.t.Helper()
	c = &modelClient{t: w.t, from: func(r *replica) storage { return r.pods }, patience: 1}
	c.connect(w.a, false)
	before := maps.Clone(c.has)
	read()
	quiet()
	c.disconnect()
	for key := range c.has {
		if _, had := before[key]; !had {
			got = key
		}
	}
	if got == "" || len(c.has) != len(before)+1 {
		w.t.Fatalf("has %v", slices.Collect(maps.Keys(c.has)))
	}
	c.patience = 0
	c.connect(w.b, false)
	quiet()
	return c, got
}

// TestWatchGoesOnFromAPartOfASample: somebody has a pod from a part of a sample, and goes on at a replica that reads of the pod's
// end before that sample, so that there it didn't come back. He is told that it is gone, though it was there not long before.
func TestWatchGoesOnFromAPartOfASample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPartWorld(t, nil)
		w.measure("web-0", "web-1")
		for _, r := range []*replica{w.a, w.b} {
			r.catchUp()
			r.whole()
		}
		w.age()
		w.measure()
		w.a.catchUp()
		w.b.catchUp()
		quiet()
		c, got := w.goesOn(func() {
			w.measure("web-0", "web-1")
			w.a.catchUp()
		})
		defer c.disconnect()
		w.object(w.pods[got], schemas.Deleted)
		w.b.read(1, 0)
		w.b.catchUp()
		quiet()
		w.sameAsList(c)
	})
}

// TestWatchGoesOnFromAPartOfASelection: somebody has a pod from a part of what came with a node's labels, and goes on at a replica
// where the node comes to be selected after a sample that lacks the pod.
func TestWatchGoesOnFromAPartOfASelection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPartWorld(t, map[string]string{"pool": "green"}, func(o *Options) { o.NodeSelector = "pool=blue" })
		for _, r := range []*replica{w.a, w.b} {
			r.catchUp()
			r.whole()
		}
		w.age()
		w.measure("web-0", "web-1")
		w.a.catchUp()
		w.b.catchUp()
		c, got := w.goesOn(func() {
			w.node.Labels = map[string]string{"pool": "blue"}
			w.object(w.node, schemas.Applied)
			w.a.catchUp()
		})
		defer c.disconnect()
		delete(w.pods, got)
		w.measure(slices.Sorted(maps.Keys(w.pods))...)
		w.b.read(0, 1)
		w.b.catchUp()
		quiet()
		w.sameAsList(c)
	})
}

// sameAsList fails if somebody at the second replica doesn't have what its list has.
func (w *partWorld) sameAsList(c *modelClient) {
	w.t.Helper()
	want, _, err := c.list(w.b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || len(want) != 1 || !maps.Equal(c.has, want) {
		w.t.Errorf("%v: has %v, want %v", err, c.has, want)
	}
}
