package view

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Entry is one object of a view. It never changes: an update of the object is another Entry.
type Entry[T any] struct {
	Namespace string // "" for cluster-scoped objects
	Name      string
	Value     T
}

// ObjectsReader is the read-only face of Objects.
type ObjectsReader[T any] interface {
	// Get returns the object, or false.
	Get(namespace, name string) (*Entry[T], bool)
	// List returns the objects of one namespace, sorted by name. The slice is the caller's.
	List(namespace string) []*Entry[T]
	// All returns the objects of all namespaces, sorted by namespace and name. The slice is the caller's.
	All() []*Entry[T]
	// Select returns the objects of one namespace whose labels match, sorted by name. The predicate is asked once for
	// each distinct label set, not for each object; where the caller says which labels every set has that matches, only
	// for those that have them, which are found at once. Nothing matches in a view without a labels function.
	Select(namespace string, match func(*Labels) bool, having ...Label) []*Entry[T]
	// SelectAll is Select over all namespaces, sorted by namespace and name.
	SelectAll(match func(*Labels) bool, having ...Label) []*Entry[T]
	// Len is the number of objects.
	Len() int
	// Position is the sequence of the log up to which the view is.
	Position() uint64
}

// Objects holds the latest value of every object of one resource: by key, in sorted order, and by label set within its
// namespace. NewObjects makes one.
type Objects[T any] struct {
	position
	labels func(*T) *Labels // nil: no index by label set
	count  atomic.Int64

	mu         sync.RWMutex // guards the map and the slice; each namespace has its own lock
	namespaces map[string]*namespace[T]
	order      []*namespace[T] // sorted by name; nil when a namespace has been added since
}

var _ ObjectsReader[int] = (*Objects[int])(nil)

// NewObjects makes an empty view. The labels function, where there is one, says which label set Select finds a value
// under; it must give the same answer each time and may return nil for a value without labels.
func NewObjects[T any](labels func(*T) *Labels) *Objects[T] {
	return &Objects[T]{labels: labels, namespaces: make(map[string]*namespace[T])}
}

// Apply makes value the state of the object.
func (o *Objects[T]) Apply(namespace, name string, value T) {
	if o.namespace(namespace, true).put(name, value) {
		o.count.Add(1)
	}
}

// Delete forgets the object; one that isn't there is no error, because a log may delete what a snapshot no longer has.
func (o *Objects[T]) Delete(namespace, name string) {
	if n := o.namespace(namespace, false); n != nil && n.remove(name) {
		o.count.Add(-1)
	}
}

// Settle sorts what arrived in no order. A replay calls it when the view is whole, so that no reader has to pay for it.
func (o *Objects[T]) Settle() {
	var wait sync.WaitGroup
	for _, n := range o.sorted() {
		wait.Go(n.settle)
	}
	wait.Wait()
}

// Get implements ObjectsReader.
func (o *Objects[T]) Get(namespace, name string) (*Entry[T], bool) {
	n := o.namespace(namespace, false)
	if n == nil {
		return nil, false
	}
	return n.get(name)
}

// List implements ObjectsReader.
func (o *Objects[T]) List(namespace string) []*Entry[T] {
	if n := o.namespace(namespace, false); n != nil {
		return n.appendTo(nil)
	}
	return nil
}

// All implements ObjectsReader.
func (o *Objects[T]) All() []*Entry[T] {
	result := make([]*Entry[T], 0, o.Len())
	for _, n := range o.sorted() {
		result = n.appendTo(result)
	}
	return result
}

// Select implements ObjectsReader.
func (o *Objects[T]) Select(namespace string, match func(*Labels) bool, having ...Label) []*Entry[T] {
	if n := o.namespace(namespace, false); n != nil {
		return n.appendMatching(nil, match, having)
	}
	return nil
}

// SelectAll implements ObjectsReader.
func (o *Objects[T]) SelectAll(match func(*Labels) bool, having ...Label) []*Entry[T] {
	var result []*Entry[T]
	for _, n := range o.sorted() {
		result = n.appendMatching(result, match, having)
	}
	return result
}

// Len implements ObjectsReader.
func (o *Objects[T]) Len() int { return int(o.count.Load()) }

// namespace returns the namespace's table, nil where there is none and it is not to be created. A namespace that has
// become empty stays: its few bytes are cheaper than the care that removing it beside writers would need.
func (o *Objects[T]) namespace(name string, create bool) *namespace[T] {
	o.mu.RLock()
	n := o.namespaces[name]
	o.mu.RUnlock()
	if n != nil || !create {
		return n
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if n = o.namespaces[name]; n == nil {
		n = &namespace[T]{name: strings.Clone(name), labels: o.labels, objects: make(map[string]*Entry[T])}
		o.namespaces[n.name] = n
		o.order = nil
	}
	return n
}

// sorted returns the namespaces by name. The slice is shared and never changed.
func (o *Objects[T]) sorted() []*namespace[T] {
	o.mu.RLock()
	order := o.order
	o.mu.RUnlock()
	if order != nil {
		return order
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.order == nil {
		order = make([]*namespace[T], 0, len(o.namespaces))
		for _, n := range o.namespaces {
			order = append(order, n)
		}
		slices.SortFunc(order, func(a, b *namespace[T]) int { return strings.Compare(a.name, b.name) })
		o.order = order
	}
	return o.order
}
