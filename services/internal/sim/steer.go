package sim

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/headwater-metrics/headwater/services/internal/sim/apiserver"
	"github.com/headwater-metrics/headwater/services/internal/sim/fault"
)

// Put creates an object or replaces it, and returns it as kept. A pod whose node is known, and whose status says that
// containers run, is reported by its kubelet; the node has to be there first.
func (c *Cluster) Put(obj runtime.Object) (runtime.Object, error) { return c.store.Put(obj) }

// Delete deletes an object; of the given one only kind, namespace, name and, if set, UID count.
func (c *Cluster) Delete(obj runtime.Object) error {
	res, err := c.resourceOf(obj)
	if err != nil {
		return err
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("couldn't read an object's metadata: %w", err)
	}
	_, err = c.store.Delete(res, accessor.GetNamespace(), accessor.GetName(), accessor.GetUID())
	return err
}

// Pod returns a copy of a pod.
func (c *Cluster) Pod(namespace, name string) (*corev1.Pod, error) {
	obj, err := c.store.Get(podsResource, namespace, name)
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Pod), nil
}

// UpdatePod changes a pod.
func (c *Cluster) UpdatePod(namespace, name string, change func(pod *corev1.Pod)) error {
	_, err := c.store.Update(podsResource, namespace, name, func(obj runtime.Object) (runtime.Object, error) {
		change(obj.(*corev1.Pod))
		return obj, nil
	})
	return err
}

// DeletePod deletes a pod. Nothing replaces it.
func (c *Cluster) DeletePod(namespace, name string) error {
	_, err := c.store.Delete(podsResource, namespace, name, "")
	return err
}

// RecreatePod deletes a pod and makes another one of the same name at the same place, with a new UID and containers that
// start now. It returns the new one.
func (c *Cluster) RecreatePod(namespace, name string) (*corev1.Pod, error) {
	c.controlling.Lock() // or the controller of its StatefulSet might make it first
	defer c.controlling.Unlock()
	pod, err := c.Pod(namespace, name)
	if err != nil {
		return nil, err
	}
	if err := c.DeletePod(namespace, name); err != nil {
		return nil, err
	}
	at := place{node: pod.Spec.NodeName, hostIP: pod.Status.HostIP}
	c.mu.Lock()
	at.podIP = c.nextIP()
	pod.UID, pod.ResourceVersion, pod.CreationTimestamp = c.build.uid(), "", c.now()
	c.build.start(pod, pod.CreationTimestamp.Time, at)
	c.mu.Unlock()
	made, err := c.store.Create(pod)
	if err != nil {
		return nil, err
	}
	return made.(*corev1.Pod), nil
}

// RestartContainer lets a pod's container crash and start again: its counters start from zero, within a second.
func (c *Cluster) RestartContainer(namespace, podName, container string) error {
	found := false
	err := c.UpdatePod(namespace, podName, func(pod *corev1.Pod) {
		for i, status := range pod.Status.ContainerStatuses {
			if status.Name == container {
				found = true
				restart(pod, i, c.opts.Now())
			}
		}
	})
	if err == nil && !found {
		return fmt.Errorf("couldn't restart a container of %s/%s: it has none named %q", namespace, podName, container)
	}
	return err
}

// SetUsage fixes what a running container uses from now on: CPU in millicores, memory in bytes. Its counter goes on from
// where it is.
func (c *Cluster) SetUsage(namespace, pod, container string, millicores, bytes float64) error {
	return c.farm.SetUsage(namespace, pod, container, millicores/1000, bytes)
}

// AddNode makes one more node, with a Lease and without pods, and returns its name.
func (c *Cluster) AddNode() (string, error) {
	c.mu.Lock()
	build := c.build
	c.mu.Unlock()
	node, err := c.newNode(build, c.opts.Now())
	if err != nil {
		return "", err
	}
	if _, err := c.store.Create(node); err != nil {
		return "", err
	}
	_, err = c.store.Create(build.nodeLease(node))
	return node.Name, err
}

// RemoveNode deletes a node with its Lease and its pods, and closes its kubelet.
func (c *Cluster) RemoveNode(name string) error {
	if _, err := c.store.Delete(nodesResource, "", name, ""); err != nil {
		return err
	}
	c.mu.Lock()
	for i, at := range c.places {
		if at.node == name {
			c.places = append(c.places[:i:i], c.places[i+1:]...)
			break
		}
	}
	c.mu.Unlock()
	c.farm.Unlisten(name)
	var pods []*corev1.Pod
	err := c.store.Each(podsResource, "", func(obj runtime.Object) bool {
		if pod := obj.(*corev1.Pod); pod.Spec.NodeName == name {
			pods = append(pods, pod)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if err := ignoreNotFound(c.Delete(pod)); err != nil {
			return err
		}
	}
	_, err = c.store.Delete(leasesResource, "kube-node-lease", name, "")
	return ignoreNotFound(err)
}

// BendKubelet puts a fault in the way of all requests to a node's kubelet, until mend is called.
func (c *Cluster) BendKubelet(node string, with fault.Fault) (mend func(), err error) {
	return c.farm.Bend(node, with)
}

// KubeletDown closes a node's kubelet and its connections: clients are refused, until KubeletUp.
func (c *Cluster) KubeletDown(node string) error { return c.farm.Down(node) }

// KubeletUp opens a node's kubelet again, at the same address.
func (c *Cluster) KubeletUp(node string) error { return c.farm.Up(node) }

// KubeletRequests is how many requests a node's kubelet has got.
func (c *Cluster) KubeletRequests(node string) int64 { return c.farm.Requests(node) }

// BendAPI puts a fault in the way of the requests to the API server that applies says true for, until mend is called.
func (c *Cluster) BendAPI(applies func(*http.Request) bool, with fault.Fault) (mend func()) {
	return c.api.Bend(applies, with)
}

// SlowAPI answers every request to the API server late, until mend is called.
func (c *Cluster) SlowAPI(delay time.Duration) (mend func()) {
	return c.BendAPI(func(*http.Request) bool { return true }, fault.Late(delay))
}

// APIDown closes the API server's port and its connections: clients are refused, until APIUp.
func (c *Cluster) APIDown() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listener == nil {
		return nil
	}
	listener := c.listener
	c.listener = nil
	old := c.http
	c.http = c.newHTTP()
	err := old.Close()
	listener.Close() // if Serve hasn't taken it yet; else it is closed already
	return err
}

// APIUp opens the API server's port again, at the same address, as soon as nobody else has it.
func (c *Cluster) APIUp(ctx context.Context) error {
	for {
		c.mu.Lock()
		var err error
		switch {
		case c.closed:
			err = net.ErrClosed
		case c.listener == nil:
			err = c.listen(c.address)
		}
		c.mu.Unlock()
		if err == nil || err == net.ErrClosed {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Compact forgets the history of all resources: a watch from an older version is answered 410 Gone.
func (c *Cluster) Compact() { c.store.Compact() }

// DropWatches ends the running watches of a resource ("" is all), without a word. It returns how many there were.
func (c *Cluster) DropWatches(resource string) (int, error) {
	return c.endWatches(resource, nil)
}

// ExpireWatches ends the running watches of a resource ("" is all) with 410 Gone. It returns how many there were.
func (c *Cluster) ExpireWatches(resource string) (int, error) {
	status := errors.NewResourceExpired("the watch was ended by the simulation").Status()
	return c.endWatches(resource, &status)
}

func (c *Cluster) endWatches(resource string, status *metav1.Status) (int, error) {
	if resource == "" {
		return c.store.EndWatches(nil, status), nil
	}
	res := byName(resource)
	if res == nil {
		return 0, unknown(resource)
	}
	return c.store.EndWatches(res, status), nil
}

// Watches is how many watches of a resource are running.
func (c *Cluster) Watches(resource string) int {
	if res := byName(resource); res != nil {
		return c.store.Watches(res)
	}
	return 0
}

// Forbid takes the given verbs (none: all) on a resource away from everybody, the administrator included: requests get
// 403, and access reviews say no. Of "pods", or "nodes" and "metrics" of other groups, the name has the group behind it:
// "deployments.apps".
func (c *Cluster) Forbid(resource string, verbs ...string) { c.users.Forbid(resource, verbs...) }

// Permit ends Forbid.
func (c *Cluster) Permit(resource string) { c.users.Permit(resource) }

// Hide takes a resource, by its plural name, out of service, as if this server's version didn't have it: requests get 404.
func (c *Cluster) Hide(resource string, hidden bool) error {
	res := byName(resource)
	if res == nil {
		return unknown(resource)
	}
	c.store.Hide(res, hidden)
	return nil
}

// OfferWatchList says whether streaming lists are served, as by default, or refused as by an older server.
func (c *Cluster) OfferWatchList(offered bool) { c.api.OfferWatchList(offered) }

func unknown(resource string) error {
	return fmt.Errorf("couldn't find the resource %q: it has to be the plural name of one that is simulated", resource)
}

func (c *Cluster) resourceOf(obj runtime.Object) (*apiserver.Resource, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		return nil, fmt.Errorf("couldn't find the kind of a %T: %w", obj, err)
	}
	for _, res := range c.store.Resources() {
		if res.GVK() == kinds[0] {
			return res, nil
		}
	}
	return nil, fmt.Errorf("couldn't find a resource for %s: it isn't simulated", kinds[0])
}
