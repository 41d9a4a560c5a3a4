package sim

import (
	"cmp"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// createPod puts a pod on the next node.
func (c *Cluster) createPod(make func(b *builder, at place) *corev1.Pod) error {
	pod := c.builder(func(b *builder) runtime.Object { return make(b, c.schedule("")) })
	_, err := c.store.Create(pod)
	return err
}

// builder lends out the builder of running clusters, with c.mu held.
func (c *Cluster) builder(use func(b *builder) runtime.Object) runtime.Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	return use(c.build)
}

// schedule gives a place for a pod, on a certain node or the next one that takes pods. The caller holds mu.
func (c *Cluster) schedule(node string) place {
	for range c.places {
		at := c.places[c.nextPod%len(c.places)]
		at.podIP = c.nextIP()
		if node == "" && c.takesPods(at.node) || at.node == node {
			return at
		}
	}
	if node == "" {
		return place{}
	}
	return place{node: node, hostIP: "127.0.0.1", podIP: c.nextIP()}
}

func (c *Cluster) takesPods(node string) bool {
	obj, err := c.store.Get(nodesResource, "", node)
	return err == nil && !obj.(*corev1.Node).Spec.Unschedulable
}

// nextIP draws the address of a new pod. The caller holds mu.
func (c *Cluster) nextIP() string {
	c.nextPod++
	return fmt.Sprintf("10.%d.%d.%d", 192+c.nextPod/64516%60, c.nextPod/254%254, c.nextPod%254+1)
}

// admit completes what is created over the wire: a pod gets a node and runs, a workload its defaults.
func (c *Cluster) admit(obj runtime.Object) {
	switch obj := obj.(type) {
	case *corev1.Pod:
		if obj.Status.Phase != "" || len(obj.Spec.SchedulingGates) > 0 {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		at := c.schedule(obj.Spec.NodeName)
		obj.Spec.NodeName = at.node
		c.build.start(obj, c.opts.Now(), at)
	case *corev1.Service:
		c.mu.Lock()
		defer c.mu.Unlock()
		obj.Spec.Type = cmp.Or(obj.Spec.Type, corev1.ServiceTypeClusterIP)
		if obj.Spec.ClusterIP == "" && obj.Spec.Type != corev1.ServiceTypeExternalName {
			c.nextPod++
			obj.Spec.ClusterIP = fmt.Sprintf("10.97.%d.%d", c.nextPod/250%250, c.nextPod%250+1)
		}
	case *appsv1.Deployment:
		defaultTo(&obj.Spec.Replicas)
	case *appsv1.ReplicaSet:
		defaultTo(&obj.Spec.Replicas)
	case *appsv1.StatefulSet:
		defaultTo(&obj.Spec.Replicas)
	case *corev1.ReplicationController:
		defaultTo(&obj.Spec.Replicas)
	case *batchv1.Job:
		defaultTo(&obj.Spec.Parallelism)
		defaultTo(&obj.Spec.Completions)
	case *autoscalingv2.HorizontalPodAutoscaler:
		defaultTo(&obj.Spec.MinReplicas)
	case *corev1.Namespace:
		obj.Status.Phase = corev1.NamespaceActive
	}
}

func defaultTo(replicas **int32) {
	if *replicas == nil {
		*replicas = ptr[int32](1)
	}
}
