package cluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
	"k8s.io/client-go/util/workqueue"
)

// player is the loop that stands for a scheduler and all kubelets: what flows in is every change of a pod, what flows out
// is the next step of that pod's life, one at a time.
type player struct {
	*Kubelets
	pods  listers.PodLister
	queue workqueue.TypedRateLimitingInterface[cache.ObjectName]
}

// players is how many pods are stepped at once.
const players = 4

// playPods begins to play pods and returns when all that exist are known.
func (k *Kubelets) playPods(ctx, background context.Context) error {
	factory := informers.NewSharedInformerFactory(k.client, 0)
	informer := factory.Core().V1().Pods().Informer()
	p := &player{
		Kubelets: k,
		pods:     factory.Core().V1().Pods().Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](20*time.Millisecond, 2*time.Second)),
	}
	enqueue := func(object any) {
		if name, err := cache.DeletionHandlingObjectToName(object); err == nil {
			p.queue.Add(name)
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, object any) { enqueue(object) },
		DeleteFunc: enqueue,
	}); err != nil {
		return fmt.Errorf("couldn't watch pods: %w", err)
	}
	k.running.Go(func() {
		<-background.Done()
		p.queue.ShutDown()
		factory.Shutdown()
	})
	factory.Start(background.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return fmt.Errorf("gave up waiting for the list of pods: %w", ctx.Err())
	}
	for range players {
		k.running.Go(func() {
			for p.one(background) {
			}
		})
	}
	return nil
}

// one takes a pod from the queue and steps it. It returns false when there is nothing more to do.
func (p *player) one(ctx context.Context) bool {
	name, shutdown := p.queue.Get()
	if shutdown {
		return false
	}
	defer p.queue.Done(name)
	err := p.step(ctx, name)
	switch {
	case err == nil, apierrors.IsNotFound(err):
		p.queue.Forget(name)
	case ctx.Err() != nil:
	default:
		// A conflict says that the cache is behind; everything else is worth a line.
		if !apierrors.IsConflict(err) {
			p.log("couldn't play pod %s: %v", name, err)
		}
		p.queue.AddRateLimited(name)
	}
	return true
}

// step does the one thing that the pod needs next. Its result comes back as a change, and then the next thing is done.
func (p *player) step(ctx context.Context, name cache.ObjectName) error {
	key := podKey{name.Namespace, name.Name}
	pod, err := p.pods.Pods(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		p.truth.end(key, "", time.Now())
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case pod.DeletionTimestamp != nil:
		p.truth.end(key, string(pod.UID), time.Now())
		return p.remove(ctx, pod)
	case pod.Spec.NodeName == "":
		return p.bind(ctx, pod)
	case !p.mine(pod):
		return nil
	case pod.Status.Phase == corev1.PodPending && len(pod.Status.ContainerStatuses) == 0:
		return p.begin(ctx, pod)
	case pod.Status.Phase == corev1.PodRunning:
		p.truth.run(truthOf(pod), time.Now())
	default:
		p.truth.end(key, string(pod.UID), time.Now())
	}
	return nil
}

// mine says whether the pod is bound to a played node.
func (k *Kubelets) mine(pod *corev1.Pod) bool {
	return len(k.named([]string{pod.Spec.NodeName})) > 0
}

// remove completes a deletion. A pod with finalizers stays until they are gone.
func (p *player) remove(ctx context.Context, pod *corev1.Pod) error {
	now := int64(0)
	return p.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now,
		Preconditions:      &metav1.Preconditions{UID: &pod.UID},
	})
}

// bind gives the pod to the next node that it fits. One that fits none, or waits for a gate, stays pending.
func (p *player) bind(ctx context.Context, pod *corev1.Pod) error {
	if len(pod.Spec.SchedulingGates) > 0 {
		return nil
	}
	first := int(p.next.Add(1) - 1)
	for i := range p.nodes {
		n := p.nodes[(first+i)%len(p.nodes)]
		object, err := p.client.CoreV1().Nodes().Get(ctx, n.name, getOptions)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if !fits(pod, n, object.Labels) {
			continue
		}
		return p.client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: n.name},
		}, metav1.CreateOptions{})
	}
	return nil
}

// begin reports the pod as running and ready.
func (p *player) begin(ctx context.Context, pod *corev1.Pod) error {
	pod = pod.DeepCopy()
	now := metav1.Now()
	number := p.podIPs.Add(1)
	ip := fmt.Sprintf("10.244.%d.%d", number/250%250, number%250+2)
	status := &pod.Status
	status.Phase = corev1.PodRunning
	status.ObservedGeneration = pod.Generation
	status.StartTime = &now
	status.HostIP, status.HostIPs = "127.0.0.1", []corev1.HostIP{{IP: "127.0.0.1"}}
	status.PodIP, status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	for _, kind := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		setCondition(status, kind, corev1.ConditionTrue, now)
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		container := running(pod, c, 0, now)
		if !restartable(c) {
			container.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				Reason: "Completed", StartedAt: now, FinishedAt: now, ContainerID: container.ContainerID,
			}}
			container.Started = new(bool)
		}
		status.InitContainerStatuses = append(status.InitContainerStatuses, container)
	}
	for i := range pod.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, running(pod, &pod.Spec.Containers[i], 0, now))
	}
	_, err := p.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

// restartable says whether an init container is a sidecar, which keeps running.
func restartable(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// running returns the status of a container that has just started. Its ids are made from the pod, the container and the
// number of restarts, so that a restart has new ones.
func running(pod *corev1.Pod, c *corev1.Container, restarts int32, now metav1.Time) corev1.ContainerStatus {
	started := true
	return corev1.ContainerStatus{
		Name:         c.Name,
		Image:        c.Image,
		ImageID:      fmt.Sprintf("%s@sha256:%x", c.Image, sha256.Sum256([]byte(c.Image))),
		ContainerID:  fmt.Sprintf("containerd://%x", sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", pod.UID, c.Name, restarts))),
		RestartCount: restarts,
		Ready:        true,
		Started:      &started,
		State:        corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		Resources:    c.Resources.DeepCopy(),
	}
}

// setCondition sets a condition of a pod.
func setCondition(status *corev1.PodStatus, kind corev1.PodConditionType, value corev1.ConditionStatus, now metav1.Time) {
	for i := range status.Conditions {
		if c := &status.Conditions[i]; c.Type == kind {
			if c.Status != value {
				c.Status, c.LastTransitionTime = value, now
			}
			return
		}
	}
	status.Conditions = append(status.Conditions, corev1.PodCondition{Type: kind, Status: value, LastTransitionTime: now})
}

// truthOf returns what the kubelet of a running pod measures: its running containers, from their start on.
func truthOf(pod *corev1.Pod) *podTruth {
	t := &podTruth{podKey: podKey{pod.Namespace, pod.Name}, uid: string(pod.UID), node: pod.Spec.NodeName, labels: pod.Labels}
	if pod.Status.StartTime != nil {
		t.cpu.at = pod.Status.StartTime.Time
	}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, c := range list {
			if c.State.Running != nil {
				started := c.State.Running.StartedAt.Time
				t.containers = append(t.containers, &containerTruth{name: c.Name, started: started, cpu: meter{at: started}})
			}
		}
	}
	return t
}

// UpdatePodStatus changes the status of a pod, for what the play does not do by itself: a container that waits, a pod
// that is not ready. What the status then says of running containers becomes the truth.
func (k *Kubelets) UpdatePodStatus(ctx context.Context, namespace, name string, change func(*corev1.Pod) error) error {
	pods := k.client.CoreV1().Pods(namespace)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		pod, err := pods.Get(ctx, name, getOptions)
		if err != nil {
			return err
		}
		if err := change(pod); err != nil {
			return err
		}
		_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("couldn't update the status of pod %s/%s: %w", namespace, name, err)
	}
	return nil
}

// Restart plays a container that crashed and was started again: its counters begin at zero, its restart count grows.
func (k *Kubelets) Restart(ctx context.Context, namespace, name, container string) error {
	return k.UpdatePodStatus(ctx, namespace, name, func(pod *corev1.Pod) error {
		for i := range pod.Status.ContainerStatuses {
			old := pod.Status.ContainerStatuses[i]
			if old.Name != container {
				continue
			}
			if old.State.Running == nil {
				return errors.New("the container doesn't run")
			}
			// The API keeps whole seconds, and a restart must be seen to be later than the start.
			now := metav1.NewTime(later(time.Now(), old.State.Running.StartedAt.Add(time.Second)))
			for j := range pod.Spec.Containers {
				if c := &pod.Spec.Containers[j]; c.Name == container {
					pod.Status.ContainerStatuses[i] = running(pod, c, old.RestartCount+1, now)
				}
			}
			pod.Status.ContainerStatuses[i].LastTerminationState = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: 137, Reason: "OOMKilled", StartedAt: old.State.Running.StartedAt, FinishedAt: now, ContainerID: old.ContainerID,
			}}
			return nil
		}
		return fmt.Errorf("the pod has no container %q", container)
	})
}

// Complete plays a pod whose containers all ended, with the given exit code: it has succeeded if that is zero, else
// failed.
func (k *Kubelets) Complete(ctx context.Context, namespace, name string, code int32) error {
	return k.UpdatePodStatus(ctx, namespace, name, func(pod *corev1.Pod) error {
		now := metav1.Now()
		pod.Status.Phase = corev1.PodSucceeded
		reason := "Completed"
		if code != 0 {
			pod.Status.Phase, reason = corev1.PodFailed, "Error"
		}
		setCondition(&pod.Status, corev1.PodReady, corev1.ConditionFalse, now)
		setCondition(&pod.Status, corev1.ContainersReady, corev1.ConditionFalse, now)
		for i := range pod.Status.ContainerStatuses {
			c := &pod.Status.ContainerStatuses[i]
			ended := &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, FinishedAt: now, ContainerID: c.ContainerID}
			if c.State.Running != nil {
				ended.StartedAt = c.State.Running.StartedAt
			}
			c.Ready, c.Started = false, new(bool)
			c.State = corev1.ContainerState{Terminated: ended}
		}
		return nil
	})
}
