package api

import (
	"bytes"
	"io"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// shared is how many events' encodings are kept for others who watch the same: those who keep up find them here.
const shared = 4096

// encodings are the objects of the latest events, which all who watch share, so that each is encoded once. It may be used
// concurrently.
type encodings struct {
	mu      sync.Mutex
	objects map[changeOf]*sharedObject
	order   [shared]changeOf // the keys of objects, of which the oldest is next to go
	next    int
}

// changeOf names what is told of a change: its index in its era, and whether whoever is told is in the middle then, which the
// version says. In the next era, which begins with other indexes, the same one may be another change's, and somebody of the old one
// may still be about to tell his last.
type changeOf struct {
	era   *era
	index uint64
	part  bool
}

// object returns the object of a change, made by newObject where nobody has made it yet.
func (e *encodings) object(change changeOf, newObject func() runtime.Object) runtime.Object {
	e.mu.Lock()
	found := e.objects[change]
	e.mu.Unlock()
	if found != nil {
		return found
	}
	made := &sharedObject{object: newObject()}
	e.mu.Lock()
	defer e.mu.Unlock()
	if found := e.objects[change]; found != nil {
		return found // somebody else was faster
	}
	if e.objects == nil {
		e.objects = map[changeOf]*sharedObject{}
	}
	delete(e.objects, e.order[e.next])
	e.order[e.next] = change
	e.next = (e.next + 1) % shared
	e.objects[change] = made
	return made
}

// forget drops all.
func (e *encodings) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.objects)
}

// sharedObject is an object that is encoded once for each way in which somebody wants it. It implements
// runtime.CacheableObject, and metav1.ObjectMetaAccessor for those who only look.
type sharedObject struct {
	object runtime.Object // never changed

	mu      sync.Mutex
	encoded map[runtime.Identifier]*encoding
}

type encoding struct {
	once  sync.Once
	bytes []byte
	err   error
}

var _ runtime.CacheableObject = (*sharedObject)(nil)

// CacheEncode implements runtime.CacheableObject.
func (o *sharedObject) CacheEncode(id runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	o.mu.Lock()
	e := o.encoded[id]
	if e == nil {
		e = &encoding{}
		if o.encoded == nil {
			o.encoded = map[runtime.Identifier]*encoding{}
		}
		o.encoded[id] = e
	}
	o.mu.Unlock()
	e.once.Do(func() {
		var b bytes.Buffer
		e.err = encode(o.GetObject(), &b)
		e.bytes = b.Bytes()
	})
	if e.err != nil {
		return e.err
	}
	_, err := w.Write(e.bytes)
	return err
}

// GetObject implements runtime.CacheableObject. The copy is the caller's.
func (o *sharedObject) GetObject() runtime.Object { return o.object.DeepCopyObject() }

// GetObjectKind implements runtime.Object.
func (o *sharedObject) GetObjectKind() schema.ObjectKind { return o.object.GetObjectKind() }

// DeepCopyObject implements runtime.Object. Nothing of it changes, so that there is nothing to copy.
func (o *sharedObject) DeepCopyObject() runtime.Object { return o }

// GetObjectMeta implements metav1.ObjectMetaAccessor.
func (o *sharedObject) GetObjectMeta() metav1.Object {
	return o.GetObject().(metav1.ObjectMetaAccessor).GetObjectMeta()
}
