package sim

import (
	"context"
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headwater-metrics/headwater/services/internal/sim/kubelet"
)

// leaseTicks is in how many steps a LeaseInterval is done, so that the nodes' renewals are spread over it.
const leaseTicks = 50

// renewLeases renews every node's Lease once in an interval.
func (c *Cluster) renewLeases(ctx context.Context) {
	ticker := time.NewTicker(max(c.opts.LeaseInterval/leaseTicks, time.Millisecond))
	defer ticker.Stop()
	for tick := 0; ; tick++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		c.mu.Lock()
		var due []string
		for i := tick % leaseTicks; i < len(c.places); i += leaseTicks {
			due = append(due, c.places[i].node)
		}
		c.mu.Unlock()
		for _, name := range due {
			_, err := c.store.Update(leasesResource, "kube-node-lease", name, func(obj runtime.Object) (runtime.Object, error) {
				at := metav1.NowMicro()
				obj.(*coordinationv1.Lease).Spec.RenewTime = &at
				return obj, nil
			})
			if ignoreNotFound(err) != nil {
				c.log.Warn("couldn't renew a simulated node's lease", "node", name, "error", err)
			}
		}
	}
}

// churn lets something happen to a random pod, so many times a second: a container restarts, readiness goes or comes
// back, the pod is replaced by another one of its owner, or made anew under its name.
func (c *Cluster) churn(ctx context.Context) {
	ticker := time.NewTicker(max(time.Duration(float64(time.Second)/c.opts.Churn), 100*time.Microsecond))
	defer ticker.Stop()
	rng := rand.New(rand.NewPCG(c.opts.Seed, 2))
	var pods []kubelet.Pod
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// What is picked from may be out of date by some deletions; those are no harm.
		if i%1000 == 0 {
			pods = c.Truth().Pods()
		}
		if len(pods) == 0 {
			continue
		}
		pod := pods[rng.IntN(len(pods))]
		if err := c.happen(rng, pod); ignoreNotFound(err) != nil {
			c.log.Warn("simulated churn failed", "namespace", pod.Namespace, "pod", pod.Name, "error", err)
		}
	}
}

func (c *Cluster) happen(rng *rand.Rand, pod kubelet.Pod) error {
	switch rng.IntN(10) {
	case 0:
		_, err := c.RecreatePod(pod.Namespace, pod.Name)
		return err
	case 1:
		return c.replacePod(pod.Namespace, pod.Name)
	case 2, 3:
		return c.RestartContainer(pod.Namespace, pod.Name, pod.Containers[rng.IntN(len(pod.Containers))])
	default:
		return c.UpdatePod(pod.Namespace, pod.Name, func(pod *corev1.Pod) { flipReady(pod, c.now()) })
	}
}

// replacePod deletes a pod and lets its owner's controller make another one.
func (c *Cluster) replacePod(namespace, name string) error {
	pod, err := c.Pod(namespace, name)
	if err != nil {
		return err
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return nil
	}
	c.controlling.Lock()
	defer c.controlling.Unlock()
	if err := c.Delete(pod); err != nil {
		return err
	}
	return c.reconcileOwner(pod, owner.Kind, owner.Name, false)
}

func flipReady(pod *corev1.Pod, at metav1.Time) {
	for i := range pod.Status.Conditions {
		condition := &pod.Status.Conditions[i]
		if condition.Type != corev1.PodReady && condition.Type != corev1.ContainersReady {
			continue
		}
		condition.LastTransitionTime = at
		if condition.Status == corev1.ConditionTrue {
			condition.Status, condition.Reason = corev1.ConditionFalse, "ContainersNotReady"
		} else {
			condition.Status, condition.Reason = corev1.ConditionTrue, ""
		}
	}
	for i := range pod.Status.ContainerStatuses {
		pod.Status.ContainerStatuses[i].Ready = !pod.Status.ContainerStatuses[i].Ready
	}
}
