package apiserver

import (
	"bytes"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// write keeps an object in place of old (nil: a new one). An object that did not change is not written.
func (s *Store) write(c *collection, old *item, typed object) (runtime.Object, error) {
	accessor, err := meta.Accessor(typed)
	if err != nil {
		return nil, fmt.Errorf("couldn't read an object's metadata: %w", err)
	}
	if accessor.GetName() == "" {
		return nil, errors.NewBadRequest("the object has no name")
	}
	if c.res.Namespaced == (accessor.GetNamespace() == "") {
		return nil, errors.NewBadRequest(fmt.Sprintf("the object's namespace is %q, which doesn't fit %s", accessor.GetNamespace(), c.res.Name))
	}
	typed.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if old != nil && accessor.GetUID() == "" {
		accessor.SetUID(types.UID(old.uid))
	}
	if accessor.GetUID() == "" {
		accessor.SetUID(uuid.NewUUID())
	}
	if created := accessor.GetCreationTimestamp(); created.IsZero() {
		created = metav1.Now().Rfc3339Copy()
		if old != nil {
			partial, err := old.partial()
			if err != nil {
				return nil, err
			}
			created = partial.CreationTimestamp
		}
		accessor.SetCreationTimestamp(created)
	}
	if c.res == definitions {
		establish(typed)
	}
	kind := watch.Added
	if old != nil {
		same, err := newItem(typed, old.version)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(same.raw, old.raw) {
			return same.decodeWithKind(c.res)
		}
		kind = watch.Modified
	}
	it, err := newItem(typed, s.version+1)
	if err != nil {
		return nil, err
	}
	s.version++
	c.items[it.key], c.sorted = it, nil
	s.record(c, event{Type: kind, version: s.version, now: it, old: old})
	s.notify(c, kind, typed)
	if c.res == definitions {
		s.define(typed)
	}
	typed.GetObjectKind().SetGroupVersionKind(c.res.GVK())
	// The labels are shared with the item, which readers hold without a lock.
	return typed.DeepCopyObject(), nil
}

func (s *Store) record(c *collection, e event) {
	if len(c.events) >= 2*s.window {
		cut := len(c.events) - s.window
		c.trimmed = c.events[cut-1].version
		c.floor = max(c.floor, c.trimmed)
		c.events = slices.Clone(c.events[cut:])
	}
	c.events = append(c.events, e)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (s *Store) notify(c *collection, kind watch.EventType, obj runtime.Object) {
	if s.OnChange != nil {
		s.OnChange(Change{Resource: c.res, Type: kind, Object: obj})
	}
}

// collectionOf finds where a typed object belongs.
func (s *Store) collectionOf(obj runtime.Object) (*collection, object, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't find the kind of a %T: %w", obj, err)
	}
	typed, ok := obj.(object)
	if !ok {
		return nil, nil, fmt.Errorf("couldn't keep a %T: the type has no protobuf encoding", obj)
	}
	c, ok := s.byKind[kinds[0].GroupKind()]
	if !ok || !c.defined && c.res.Version != kinds[0].Version {
		return nil, nil, errors.NewBadRequest(fmt.Sprintf("%s isn't served", kinds[0]))
	}
	return c, typed, nil
}
