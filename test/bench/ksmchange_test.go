package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// podStatus is what has to be known of a pod to change its status.
type podStatus struct {
	namespace, name        string
	ready, containersReady int // where these conditions are
	off                    bool
}

// learn asks the API server which pods run, in pages: there are many.
func (s *scale) learn(ctx context.Context) error {
	options := metav1.ListOptions{Limit: 5000, FieldSelector: "status.phase=" + string(corev1.PodRunning)}
	for {
		list, err := s.client.CoreV1().Pods("").List(ctx, options)
		if err != nil {
			return fmt.Errorf("couldn't ask which pods run: %w", err)
		}
		for i := range list.Items {
			pod := &list.Items[i]
			where := func(kind corev1.PodConditionType) int {
				return slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
			}
			status := podStatus{namespace: pod.Namespace, name: pod.Name, ready: where(corev1.PodReady), containersReady: where(corev1.ContainersReady)}
			if status.ready >= 0 && status.containersReady >= 0 && len(pod.Status.ContainerStatuses) > 0 {
				s.all = append(s.all, status)
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			break
		}
	}
	s.pods = len(s.all)
	if s.pods == 0 {
		return fmt.Errorf("couldn't find running pods")
	}
	// In any order: changes are spread over all namespaces and nodes, the same way every time.
	rand.New(rand.NewPCG(1, 1)).Shuffle(s.pods, func(i, j int) { s.all[i], s.all[j] = s.all[j], s.all[i] })
	return nil
}

// change lets a number of pods become ready or unready, so many a second at most, as their kubelets would say it.
func (s *scale) change(ctx context.Context, n int, perSecond float64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan *podStatus)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for pod := range work {
				if err := s.flip(ctx, pod); err != nil {
					cancel(err)
				}
			}
		})
	}
	for begin, i := time.Now(), 0; i < n && ctx.Err() == nil; i++ {
		if err := pause(ctx, time.Until(begin.Add(time.Duration(float64(i)/perSecond*float64(time.Second))))); err != nil {
			break
		}
		work <- &s.all[s.next%len(s.all)]
		s.next++
	}
	close(work)
	group.Wait()
	return context.Cause(ctx)
}

func (s *scale) flip(ctx context.Context, pod *podStatus) error {
	pod.off = !pod.off
	value := map[bool]string{true: "False", false: "True"}[pod.off]
	at := time.Now().UTC().Format(time.RFC3339)
	patch := fmt.Sprintf(`[{"op":"replace","path":"/status/conditions/%[1]d/status","value":%[3]q},{"op":"replace","path":"/status/conditions/%[1]d/lastTransitionTime","value":%[4]q},
		{"op":"replace","path":"/status/conditions/%[2]d/status","value":%[3]q},{"op":"replace","path":"/status/conditions/%[2]d/lastTransitionTime","value":%[4]q},
		{"op":"replace","path":"/status/containerStatuses/0/ready","value":%[5]t}]`, pod.ready, pod.containersReady, value, at, !pod.off)
	if _, err := s.client.CoreV1().Pods(pod.namespace).Patch(ctx, pod.name, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("couldn't change the status of %s/%s: %w", pod.namespace, pod.name, err)
	}
	return nil
}
