package api

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	v1 "k8s.io/metrics/pkg/apis/metrics/v1"
	metricsv1 "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// TestTypedClientOfVersion1 does with the typed client of v1 all that it can do: get, list, watch, and follow by an informer.
func TestTypedClientOfVersion1(t *testing.T) {
	for _, contentType := range []string{jsonType, protobuf} {
		t.Run(contentType, func(t *testing.T) {
			s := start(t, small, enableWatch)
			client := s.metrics(contentType).MetricsV1()
			getAndList(t, client)
			watchVersion1(t, s, client)
			informVersion1(t, s, client)
		})
	}
}

// getAndList: what is listed is what is got, and what isn't there is not found.
func getAndList(t *testing.T, client metricsv1.MetricsV1Interface) {
	nodes, err := client.NodeMetricses().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 2 {
		t.Fatalf("%d nodes: %v", len(nodes.Items), err)
	}
	for _, listed := range nodes.Items {
		got, err := client.NodeMetricses().Get(t.Context(), listed.Name, metav1.GetOptions{})
		if err != nil || cmp.Diff(listed.Usage, got.Usage) != "" || got.Timestamp != listed.Timestamp || got.Window != listed.Window {
			t.Errorf("node %s: %v, and listed %v: %v", listed.Name, got, listed, err)
		}
	}
	pods, err := client.PodMetricses(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.namespace=shop"})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("%d pods: %v", len(pods.Items), err)
	}
	for _, listed := range pods.Items {
		got, err := client.PodMetricses(listed.Namespace).Get(t.Context(), listed.Name, metav1.GetOptions{})
		if err != nil || cmp.Diff(listed.Containers, got.Containers) != "" || got.Timestamp != listed.Timestamp || got.Window != listed.Window {
			t.Errorf("pod %s: %v, and listed %v: %v", listed.Name, got, listed, err)
		}
	}
	if _, err := client.PodMetricses("shop").Get(t.Context(), "unseen", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a pod without metrics: %v", err)
	}
	if _, err := client.NodeMetricses().Get(t.Context(), "nothing", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a node that isn't there: %v", err)
	}
}

// watchVersion1 watches from a list on: a pod comes, is measured again and goes.
func watchVersion1(t *testing.T, s *served, client metricsv1.MetricsV1Interface) {
	list, err := client.PodMetricses("shop").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	watching, err := client.PodMetricses("shop").Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()
	pod := newPod("shop", "watched", "node-a", nil)
	for round, step := range []struct {
		want watch.EventType
		do   func()
	}{
		{watch.Added, func() {
			s.apply(pod)
			s.sample(measured(1, podUsage("shop", "watched", container("c", point(5e8, 1<<20, time.Second)))))
		}},
		{watch.Modified, func() {
			s.sample(measured(2, podUsage("shop", "watched", container("c", point(6e8, 1<<20, time.Second)))))
		}},
		{watch.Deleted, func() { s.remove(pod) }},
	} {
		step.do()
		for {
			event := nextEvent(t, watching)
			item, ok := event.Object.(*v1.PodMetrics)
			if !ok {
				t.Fatalf("round %d: %v", round, event)
			}
			if item.Name != pod.Name { // the sample left the others out
				continue
			}
			if event.Type != step.want || len(item.Containers) != 1 {
				t.Errorf("round %d: %s of %v, want %s", round, event.Type, item, step.want)
			}
			break
		}
	}
}

func nextEvent(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case event, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch ended")
		}
		return event
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
	}
	return watch.Event{}
}

// informVersion1 lets an informer of client-go, as whoever writes a controller has it, follow the pods.
func informVersion1(t *testing.T, s *served, client metricsv1.MetricsV1Interface) {
	pods := client.PodMetricses("bank")
	informer := cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return pods.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return pods.Watch(ctx, options)
		},
	}, &v1.PodMetrics{}, 0, cache.Indexers{})
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); informer.RunWithContext(ctx) }()
	defer func() { stop(); <-stopped }()

	holds := func(want ...string) {
		t.Helper()
		testenv.Eventually(t, 20*time.Second, func() error {
			got := map[string]string{}
			for _, object := range informer.GetStore().List() {
				item := object.(*v1.PodMetrics)
				got[item.Name] = fmt.Sprint(item.Name, " ", item.Labels["round"])
			}
			for _, each := range want {
				var name, round string
				if _, err := fmt.Sscan(each, &name, &round); err != nil {
					return err
				}
				if got[name] != each {
					return fmt.Errorf("%s is %q, want %q", name, got[name], each)
				}
			}
			if !informer.HasSynced() || len(got) != len(want) {
				return fmt.Errorf("the informer has %v, want %v", got, want)
			}
			return nil
		})
	}
	for _, round := range []string{"1", "2"} {
		s.apply(newPod("bank", "teller", "node-a", map[string]string{"round": round}))
		s.sample(measured(3, podUsage("bank", "teller", container("c", point(1, 1, time.Second)))))
		s.apply(newPod("bank", "ledger", "node-b", map[string]string{"round": round}))
		holds("teller "+round, "ledger "+round)
	}
	s.remove(newPod("bank", "teller", "node-a", nil))
	holds("ledger 2")
}
