package kubelet

import (
	"fmt"
	"log/slog"
	"math"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
)

// The integral of a curve is what summing it up in small steps gives.
func TestIntegral(t *testing.T) {
	for _, c := range []curve{
		{base: 0.25}, {base: 0.1, swing: 0.03, period: 300, phase: 1}, {base: 2, swing: 2, period: 50, phase: 4},
	} {
		for _, window := range [][2]float64{{0, 10}, {1e6, 1e6 + 15}, {-500, 123.456}} {
			const steps = 100_000
			sum, width := 0.0, (window[1]-window[0])/steps
			for i := range steps {
				sum += c.at(window[0]+(float64(i)+0.5)*width) * width
			}
			if got := c.integral(window[0], window[1]); math.Abs(got-sum) > 1e-6 {
				t.Errorf("%+v over %v: %v, want %v", c, window, got, sum)
			}
		}
	}
}

// A sum never loses what a member had counted, and never counts it twice.
func TestSumKeepsWhatEnded(t *testing.T) {
	var s sum
	s.own = newMeter(0, curve{base: 1}, curve{})
	for i := range 10 {
		c := &container{meter: newMeter(float64(i*100), curve{base: 2}, curve{base: 5})}
		s.members = []*container{c}
		s.members = nil
		s.end(c.meter, float64(i*100+50))
	}
	// Each of ten members ran for 50 s at 2 cores; the first ones are folded by now.
	if got, want := s.total(10_000), 10_000+10*100.0; got != want {
		t.Errorf("total %v, want %v", got, want)
	}
	if got, want := s.total(925), 925+9*100+50.0; got != want {
		t.Errorf("in the middle of the last one: %v, want %v", got, want)
	}
}

func TestDrawIsEven(t *testing.T) {
	var mean float64
	const n = 10_000
	for i := range n {
		v := draw(1, fmt.Sprint("pod-", i), 3)
		if v < 0 || v >= 1 {
			t.Fatalf("drew %v", v)
		}
		mean += v / n
	}
	if math.Abs(mean-0.5) > 0.02 {
		t.Errorf("the mean is %v", mean)
	}
	if draw(1, "a", 0) != draw(1, "a", 0) || draw(1, "a", 0) == draw(2, "a", 0) || draw(1, "a", 0) == draw(1, "a", 1) {
		t.Error("a draw doesn't depend on its arguments alone, or not on all of them")
	}
}

func newTestFarm(t testing.TB, pods int) *Farm {
	t.Helper()
	ca, err := identity.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFarm(Config{CA: ca, Users: identity.NewRegistry(), Epoch: time.Now().Truncate(time.Second), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	f.SetNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Hour))}})
	for i := range pods {
		f.SetPod(testPod(i, 1+i%3/2))
	}
	return f
}

func testPod(i, containers int) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("some-deployment-5d4f8c7b9-%05d", i), UID: types.UID(fmt.Sprint(i))}}
	pod.Spec.NodeName, pod.Status.Phase = "node", corev1.PodRunning
	for j := range containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name:  []string{"main", "sidecar"}[j],
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Now().Add(-time.Minute))}},
		})
	}
	return pod
}

// A pod that moves, ends or changes its identity takes its series along.
func TestFarmFollowsPods(t *testing.T) {
	f := newTestFarm(t, 0)
	running := func() int {
		n := 0
		for _, pod := range f.Truth().Pods() {
			n += len(pod.Containers)
		}
		return n
	}
	check := func(what string, want int) {
		t.Helper()
		if got := running(); got != want {
			t.Errorf("%s: %d containers run, want %d", what, got, want)
		}
	}
	pod := testPod(0, 2)
	f.SetPod(pod)
	check("started", 2)
	f.SetPod(pod)
	check("told twice", 2)
	ended := pod.DeepCopy()
	ended.Status.ContainerStatuses[1].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	f.SetPod(ended)
	check("one container ended", 1)
	ended.Status.Phase = corev1.PodSucceeded
	f.SetPod(ended)
	check("the pod ended", 0)
	f.SetPod(pod)
	check("started again", 2)
	f.DeletePod(pod.Namespace, pod.Name, "another")
	check("another one was deleted", 2)
	moved := pod.DeepCopy()
	moved.UID, moved.Spec.NodeName = "another", "unknown"
	f.SetPod(moved)
	check("moved to a node that isn't there", 0)
	f.SetPod(pod)
	f.DeleteNode("node")
	check("the node is gone", 0)
	f.DeletePod(pod.Namespace, pod.Name, pod.UID)
	if err := f.SetUsage(pod.Namespace, pod.Name, "main", 1, 1); err == nil {
		t.Error("the usage of a pod that is gone can be set")
	}
}

// BenchmarkRender is the body of one node with 30 pods, 40 containers.
func BenchmarkRender(b *testing.B) {
	f := newTestFarm(b, 30)
	n := f.nodes["node"]
	var body []byte
	b.ReportAllocs()
	for b.Loop() {
		body = f.resourceMetrics(body[:0], n)
	}
	b.SetBytes(int64(len(body)))
}
