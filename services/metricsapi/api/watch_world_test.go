package api

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-metrics/headwater/schemas"
)

// modelWorld makes events at random.
type modelWorld struct {
	*logs
	random *rand.Rand
	pods   map[string]*corev1.Pod
	nodes  map[string]*corev1.Node
	last   map[string]schemas.UsageSample
	uid    int
}

func (w *modelWorld) step() {
	switch random := w.random; random.IntN(8) {
	case 0:
		name := fmt.Sprint("node-", random.IntN(4))
		if node := w.nodes[name]; node != nil && random.IntN(4) == 0 {
			delete(w.nodes, name)
			w.object(node, schemas.Deleted)
			return
		}
		node := newNode(name, map[string]string{"color": []string{"red", "blue"}[random.IntN(2)]})
		node.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
		w.nodes[name] = node
		w.object(node, schemas.Applied)
	case 1, 2:
		name := fmt.Sprint("pod-", random.IntN(8))
		namespace := fmt.Sprint("ns-", random.IntN(2))
		key := namespace + "/" + name
		pod := w.pods[key]
		if pod != nil && random.IntN(3) == 0 {
			delete(w.pods, key)
			w.object(pod, schemas.Deleted)
			return
		}
		if pod == nil {
			w.uid++
			pod = newPod(namespace, name, fmt.Sprint("node-", random.IntN(4)), nil)
			pod.UID = types.UID(fmt.Sprint(w.uid))
			pod.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
			pod.Status.StartTime = &pod.CreationTimestamp
		} else {
			pod = pod.DeepCopy()
		}
		pod.Labels = map[string]string{"color": []string{"red", "blue"}[random.IntN(2)]}
		pod.Status.Phase = []corev1.PodPhase{corev1.PodRunning, corev1.PodRunning, corev1.PodRunning, corev1.PodSucceeded}[random.IntN(4)]
		w.pods[key] = pod
		w.object(pod, schemas.Applied)
	case 3:
		w.other()
	default:
		node := fmt.Sprint("node-", random.IntN(4))
		sample := schemas.UsageSample{Node: node, Time: time.Now().UnixNano(), Duration: 1}
		if last, ok := w.last[node]; ok && random.IntN(5) == 0 { // the kubelet repeats itself
			sample.Point, sample.Pods = last.Point, last.Pods
			w.sample(sample)
			return
		}
		if random.IntN(5) > 0 {
			p := w.point()
			sample.Point = &p
		}
		for _, key := range slices.Sorted(maps.Keys(w.pods)) {
			if p := w.pods[key]; p.Spec.NodeName == node && random.IntN(8) > 0 || random.IntN(30) == 0 {
				usage := schemas.PodUsage{Namespace: p.Namespace, Name: p.Name}
				for i := range 1 + random.IntN(2) {
					usage.Containers = append(usage.Containers, container(fmt.Sprint("c", i), w.point()))
				}
				sample.Pods = append(sample.Pods, usage)
			}
		}
		if random.IntN(2) == 0 {
			slices.Reverse(sample.Pods)
		}
		w.last[node] = sample
		w.sample(sample)
	}
}

func (w *modelWorld) point() schemas.Point {
	p := point(uint64(w.random.IntN(1e9)), 1e6, time.Duration(w.random.IntN(8))*time.Second)
	p.Time = time.Now().UnixNano()
	p.CPUTime, p.MemoryTime, p.Start = p.Time, p.Time, p.Time-int64(30*time.Minute)
	return p
}
