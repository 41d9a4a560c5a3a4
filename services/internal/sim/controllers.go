package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/headwater-metrics/headwater/services/internal/sim/apiserver"
)

// byName finds a row of the API server's table.
func byName(name string) *apiserver.Resource {
	for _, res := range apiserver.Resources() {
		if res.Name == name {
			return res
		}
	}
	return nil
}

// The rows that controllers work on.
var (
	podsResource         = byName("pods")
	nodesResource        = byName("nodes")
	deploymentsResource  = byName("deployments")
	replicaSetsResource  = byName("replicasets")
	statefulSetsResource = byName("statefulsets")
	daemonSetsResource   = byName("daemonsets")
	leasesResource       = byName("leases")
)

// control answers changes that came over the wire, as the controllers of a real cluster would: what was scaled gets its
// pods, a deleted pod is replaced, what belonged to something deleted goes with it.
func (c *Cluster) control(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.queue.wake:
		}
		for _, change := range c.queue.take() {
			if err := c.react(change); err != nil && !errors.IsNotFound(err) && !errors.IsConflict(err) {
				c.log.Warn("a simulated controller failed", "resource", change.Resource.Name, "error", err)
			}
		}
	}
}

func (c *Cluster) react(change apiserver.Change) error {
	c.controlling.Lock()
	defer c.controlling.Unlock()
	gone := change.Type == watch.Deleted
	if gone {
		if err := c.collect(change); err != nil {
			return err
		}
	}
	switch obj := change.Object.(type) {
	case *appsv1.Deployment:
		if !gone {
			return c.reconcileDeployment(obj.Namespace, obj.Name)
		}
	case *appsv1.ReplicaSet:
		return c.reconcileOwner(obj, "ReplicaSet", obj.Name, gone)
	case *appsv1.StatefulSet:
		if !gone {
			return c.reconcileStatefulSet(obj.Namespace, obj.Name)
		}
	case *batchv1.Job:
		if !gone {
			return c.runJob(obj)
		}
	case *corev1.Pod:
		if owner := metav1.GetControllerOf(obj); gone && owner != nil {
			return c.reconcileOwner(obj, owner.Kind, owner.Name, false)
		}
	}
	return nil
}

// reconcileOwner looks at the workload with a kind and a name in an object's namespace, or, of a deleted ReplicaSet, at
// its Deployment.
func (c *Cluster) reconcileOwner(obj metav1.Object, kind, name string, gone bool) error {
	switch {
	case kind == "ReplicaSet" && !gone:
		return c.reconcileReplicaSet(obj.GetNamespace(), name)
	case kind == "ReplicaSet":
		if owner := metav1.GetControllerOf(obj); owner != nil && owner.Kind == "Deployment" {
			return c.reconcileDeployment(obj.GetNamespace(), owner.Name)
		}
	case kind == "StatefulSet":
		return c.reconcileStatefulSet(obj.GetNamespace(), name)
	case kind == "DaemonSet":
		return c.reconcileDaemonSet(obj.GetNamespace(), name)
	}
	return nil
}

// collect deletes what belongs to a deleted object, as the garbage collector and the namespace controller do.
func (c *Cluster) collect(change apiserver.Change) error {
	owner, ok := change.Object.(metav1.Object)
	if !ok {
		return nil
	}
	_, isNamespace := change.Object.(*corev1.Namespace)
	_, isNode := change.Object.(*corev1.Node)
	for _, res := range c.store.Resources() {
		var found []runtime.Object
		var err error
		switch {
		case isNamespace && res.Namespaced:
			err = c.store.Each(res, owner.GetName(), func(obj runtime.Object) bool { found = append(found, obj); return true })
		case isNode && res == podsResource:
			err = c.store.Each(res, "", func(obj runtime.Object) bool {
				if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName == owner.GetName() {
					found = append(found, obj)
				}
				return true
			})
		case !isNamespace && !isNode && owner.GetNamespace() != "" && res.Namespaced:
			found, err = c.store.OwnedBy(res, owner.GetNamespace(), owner.GetUID())
		}
		if err != nil {
			return err
		}
		for _, obj := range found {
			accessor, ok := obj.(metav1.Object)
			if !ok {
				continue
			}
			deleted, err := c.store.Delete(res, accessor.GetNamespace(), accessor.GetName(), accessor.GetUID())
			if errors.IsNotFound(err) || errors.IsConflict(err) {
				continue
			}
			if err != nil {
				return err
			}
			c.queue.wrote(apiserver.Change{Resource: res, Type: watch.Deleted, Object: deleted})
		}
	}
	return nil
}

// reconcileDeployment gives a Deployment one ReplicaSet of its template, with its replicas; all others go to 0.
func (c *Cluster) reconcileDeployment(namespace, name string) error {
	obj, err := c.store.Get(deploymentsResource, namespace, name)
	if err != nil {
		return err
	}
	deployment := obj.(*appsv1.Deployment)
	owned, err := c.store.OwnedBy(replicaSetsResource, namespace, deployment.UID)
	if err != nil {
		return err
	}
	var current *appsv1.ReplicaSet
	newest := 0
	for _, obj := range owned {
		set := obj.(*appsv1.ReplicaSet)
		revision, _ := strconv.Atoi(set.Annotations["deployment.kubernetes.io/revision"])
		if sameTemplate(set, deployment) && (current == nil || revision >= newest) {
			current = set
		}
		newest = max(newest, revision)
	}
	for _, obj := range owned {
		if set := obj.(*appsv1.ReplicaSet); set != current {
			if err := c.scaleReplicaSet(set, 0); err != nil {
				return err
			}
		}
	}
	if current == nil {
		current = c.builder(func(b *builder) runtime.Object {
			return b.replicaSet(deployment, templateHash(&deployment.Spec.Template), newest+1, c.opts.Now())
		}).(*appsv1.ReplicaSet)
		if _, err := c.store.Create(current); err != nil && !errors.IsAlreadyExists(err) {
			return err
		}
	}
	if err := c.scaleReplicaSet(current, wanted(deployment.Spec.Replicas)); err != nil {
		return err
	}
	_, err = c.store.Update(deploymentsResource, namespace, name, func(obj runtime.Object) (runtime.Object, error) {
		deployment := obj.(*appsv1.Deployment)
		setDeploymentStatus(deployment, wanted(deployment.Spec.Replicas), c.opts.Now())
		return deployment, nil
	})
	return err
}

func (c *Cluster) scaleReplicaSet(set *appsv1.ReplicaSet, replicas int32) error {
	_, err := c.store.Update(replicaSetsResource, set.Namespace, set.Name, func(obj runtime.Object) (runtime.Object, error) {
		set := obj.(*appsv1.ReplicaSet)
		if wanted(set.Spec.Replicas) != replicas {
			set.Spec.Replicas = &replicas
			set.Generation++
		}
		return set, nil
	})
	if err != nil {
		return err
	}
	return c.reconcileReplicaSet(set.Namespace, set.Name)
}

// reconcileReplicaSet makes or deletes pods until a ReplicaSet has as many as it wants.
func (c *Cluster) reconcileReplicaSet(namespace, name string) error {
	obj, err := c.store.Get(replicaSetsResource, namespace, name)
	if err != nil {
		return err
	}
	set := obj.(*appsv1.ReplicaSet)
	owned, err := c.store.OwnedBy(podsResource, namespace, set.UID)
	if err != nil {
		return err
	}
	want := int(wanted(set.Spec.Replicas))
	for i := len(owned); i < want; i++ {
		if err := c.createPod(func(b *builder, at place) *corev1.Pod {
			return b.pod(&set.Spec.Template, ownedBy("apps/v1", "ReplicaSet", set), namespace, name+"-"+b.suffix(5), c.opts.Now(), at)
		}); err != nil {
			return err
		}
	}
	for _, obj := range owned[min(want, len(owned)):] {
		pod := obj.(*corev1.Pod)
		if err := ignoreNotFound(c.Delete(pod)); err != nil {
			return err
		}
	}
	_, err = c.store.Update(replicaSetsResource, namespace, name, func(obj runtime.Object) (runtime.Object, error) {
		set := obj.(*appsv1.ReplicaSet)
		setReplicaSetStatus(set, wanted(set.Spec.Replicas))
		return set, nil
	})
	return err
}

// reconcileStatefulSet gives a StatefulSet the pods with the ordinals 0 to its replicas.
func (c *Cluster) reconcileStatefulSet(namespace, name string) error {
	obj, err := c.store.Get(statefulSetsResource, namespace, name)
	if err != nil {
		return err
	}
	set := obj.(*appsv1.StatefulSet)
	owned, err := c.store.OwnedBy(podsResource, namespace, set.UID)
	if err != nil {
		return err
	}
	missing := map[int]bool{}
	for i := range int(wanted(set.Spec.Replicas)) {
		missing[i] = true
	}
	for _, obj := range owned {
		pod := obj.(*corev1.Pod)
		ordinal, _ := strconv.Atoi(pod.Name[strings.LastIndexByte(pod.Name, '-')+1:])
		if missing[ordinal] {
			delete(missing, ordinal)
			continue
		}
		if err := ignoreNotFound(c.Delete(pod)); err != nil {
			return err
		}
	}
	for i := range int(wanted(set.Spec.Replicas)) {
		if !missing[i] {
			continue
		}
		if err := c.createPod(func(b *builder, at place) *corev1.Pod { return b.statefulPod(set, i, c.opts.Now(), at) }); err != nil {
			return err
		}
	}
	_, err = c.store.Update(statefulSetsResource, namespace, name, func(obj runtime.Object) (runtime.Object, error) {
		set := obj.(*appsv1.StatefulSet)
		setStatefulSetStatus(set, wanted(set.Spec.Replicas), "")
		return set, nil
	})
	return err
}

// reconcileDaemonSet gives every node a DaemonSet's pod.
func (c *Cluster) reconcileDaemonSet(namespace, name string) error {
	obj, err := c.store.Get(daemonSetsResource, namespace, name)
	if err != nil {
		return err
	}
	set := obj.(*appsv1.DaemonSet)
	owned, err := c.store.OwnedBy(podsResource, namespace, set.UID)
	if err != nil {
		return err
	}
	c.mu.Lock()
	places := slices.Clone(c.places)
	c.mu.Unlock()
	for _, at := range places {
		if slices.ContainsFunc(owned, func(obj runtime.Object) bool { return obj.(*corev1.Pod).Spec.NodeName == at.node }) {
			continue
		}
		pod := c.builder(func(b *builder) runtime.Object {
			at.podIP = c.nextIP()
			return b.daemonPod(set, b.suffix(5), c.opts.Now(), at)
		})
		if _, err := c.store.Create(pod); err != nil {
			return err
		}
	}
	_, err = c.store.Update(daemonSetsResource, namespace, name, func(obj runtime.Object) (runtime.Object, error) {
		set := obj.(*appsv1.DaemonSet)
		setDaemonSetStatus(set, int32(len(places)))
		return set, nil
	})
	return err
}

// runJob starts the pods of a new Job. They run for ever.
func (c *Cluster) runJob(job *batchv1.Job) error {
	owned, err := c.store.OwnedBy(podsResource, job.Namespace, job.UID)
	if err != nil || len(owned) > 0 || job.Status.CompletionTime != nil {
		return err
	}
	for range wanted(job.Spec.Parallelism) {
		if err := c.createPod(func(b *builder, at place) *corev1.Pod {
			return b.pod(&job.Spec.Template, ownedBy("batch/v1", "Job", job), job.Namespace, job.Name+"-"+b.suffix(5), c.opts.Now(), at)
		}); err != nil {
			return err
		}
	}
	_, err = c.store.Update(byName("jobs"), job.Namespace, job.Name, func(obj runtime.Object) (runtime.Object, error) {
		job := obj.(*batchv1.Job)
		job.Status.Active, job.Status.StartTime = wanted(job.Spec.Parallelism), ptr(c.now())
		return job, nil
	})
	return err
}

func sameTemplate(set *appsv1.ReplicaSet, deployment *appsv1.Deployment) bool {
	template := set.Spec.Template.DeepCopy()
	delete(template.Labels, "pod-template-hash")
	return equality.Semantic.DeepEqual(template, &deployment.Spec.Template)
}

func templateHash(template *corev1.PodTemplateSpec) string {
	h := fnv.New32a()
	text, err := json.Marshal(template)
	if err != nil {
		return "0"
	}
	h.Write(text)
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

func ignoreNotFound(err error) error {
	if errors.IsNotFound(err) {
		return nil
	}
	return err
}
