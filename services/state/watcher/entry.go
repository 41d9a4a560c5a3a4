package watcher

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// entry is what is left of an object as soon as it was decoded: the reflector never holds more.
type entry struct {
	key             string
	namespace, name string
	uid, rv         string
	kept            *kept // nil where the book has it already, or where it couldn't be encoded
}

// entry is an object to the reflector, which wants to know its name and its resource version, and nothing else.

func (e *entry) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }
func (e *entry) DeepCopyObject() runtime.Object   { copied := *e; return &copied }
func (e *entry) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: e.namespace, Name: e.name, ResourceVersion: e.rv}
}

// entries is a list of them, or a page of one.
type entries struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []runtime.Object
}

func (l *entries) DeepCopyObject() runtime.Object { copied := *l; return &copied }

// entriesOf makes entries of a list's items.
func entriesOf(list runtime.Object, entry func(runtime.Object) (*entry, error)) (*entries, error) {
	l, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	page := &entries{ListMeta: metav1.ListMeta{
		ResourceVersion: l.GetResourceVersion(), Continue: l.GetContinue(), RemainingItemCount: l.GetRemainingItemCount(),
	}}
	err = meta.EachListItem(list, func(obj runtime.Object) error {
		e, err := entry(obj)
		page.Items = append(page.Items, e)
		return err
	})
	return page, err
}
