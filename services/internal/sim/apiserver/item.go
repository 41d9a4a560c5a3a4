package apiserver

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// item is one version of one object. It never changes once made, so readers need no lock.
type item struct {
	// key is "namespace/name", or "name" for cluster-scoped objects; items are sorted by it, as etcd sorts its keys.
	key     string
	version uint64
	// raw is the object in protobuf, without the envelope; its first field is the metadata.
	raw    []byte
	labels map[string]string
	// uid is the object's own, owner the one of its controlling owner.
	uid, owner string
	// node and phase are a pod's spec.nodeName and status.phase.
	node, phase string
}

func keyOf(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

func (it *item) namespace() string {
	namespace, _, ok := strings.Cut(it.key, "/")
	if !ok {
		return ""
	}
	return namespace
}

func (it *item) name() string {
	return it.key[strings.IndexByte(it.key, '/')+1:]
}

// newItem encodes an object under a version. The object's resourceVersion is set, and its kind cleared: what is kept
// has no kind, as in the API's lists.
func newItem(obj object, version uint64) (*item, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("couldn't read an object's metadata: %w", err)
	}
	accessor.SetResourceVersion(strconv.FormatUint(version, 10))
	raw, err := obj.Marshal()
	if err != nil {
		return nil, fmt.Errorf("couldn't encode %s: %w", keyOf(accessor.GetNamespace(), accessor.GetName()), err)
	}
	it := &item{
		key:     keyOf(accessor.GetNamespace(), accessor.GetName()),
		version: version,
		raw:     raw,
		labels:  accessor.GetLabels(),
		uid:     string(accessor.GetUID()),
	}
	if owner := metav1.GetControllerOfNoCopy(accessor); owner != nil {
		it.owner = string(owner.UID)
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		it.node, it.phase = pod.Spec.NodeName, string(pod.Status.Phase)
	}
	return it, nil
}

// itemOf encodes an object as it is, for the answer to a write.
func itemOf(obj runtime.Object) (*item, error) {
	typed, ok := obj.(object)
	if !ok {
		return nil, fmt.Errorf("couldn't encode a %T: the type has no protobuf encoding", obj)
	}
	raw, err := typed.Marshal()
	if err != nil {
		return nil, fmt.Errorf("couldn't encode a %T: %w", obj, err)
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("couldn't read an object's metadata: %w", err)
	}
	return &item{key: keyOf(accessor.GetNamespace(), accessor.GetName()), raw: raw}, nil
}

// decode gives a new typed object.
func (it *item) decode(res *Resource) (object, error) {
	obj, err := res.newObject()
	if err != nil {
		return nil, err
	}
	if err := obj.Unmarshal(it.raw); err != nil {
		return nil, fmt.Errorf("couldn't decode %s %s: %w", res.Name, it.key, err)
	}
	return obj, nil
}

// decodeWithKind is decode, with apiVersion and kind set as single objects carry them.
func (it *item) decodeWithKind(res *Resource) (runtime.Object, error) {
	obj, err := it.decode(res)
	if err != nil {
		return nil, err
	}
	obj.GetObjectKind().SetGroupVersionKind(res.GVK())
	return obj, nil
}

// metadata gives the object's metadata alone, still encoded as it stands in raw: field 1 with its length.
func (it *item) metadata() []byte {
	if len(it.raw) == 0 || it.raw[0] != 0x0a {
		return nil
	}
	length, n := uvarint(it.raw[1:])
	return it.raw[:1+n+int(length)]
}

// partial gives the object's metadata as a PartialObjectMetadata.
func (it *item) partial() (*metav1.PartialObjectMetadata, error) {
	var partial metav1.PartialObjectMetadata
	if err := partial.Unmarshal(it.metadata()); err != nil {
		return nil, fmt.Errorf("couldn't decode the metadata of %s: %w", it.key, err)
	}
	partial.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"))
	return &partial, nil
}

// at gives the same object under another version, for the events of objects that are gone.
func (it *item) at(res *Resource, version uint64) (*item, error) {
	obj, err := it.decode(res)
	if err != nil {
		return nil, err
	}
	return newItem(obj, version)
}
