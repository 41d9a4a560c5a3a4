package apiserver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
)

// Store holds all objects and the recent history of each resource. It may be used concurrently.
type Store struct {
	// OnChange, if set before the store is used, is called with every change, in order, while the store is locked:
	// it must not call the store and not keep or change the object.
	OnChange func(Change)

	window int

	// mu orders all changes: the version, the items and the events move together.
	mu      sync.RWMutex
	version uint64
	byName  map[schema.GroupResource]*collection
	byKind  map[schema.GroupKind]*collection
}

// Change is one change of one object: as it is now, or, deleted, as it was last.
type Change struct {
	Resource *Resource
	Type     watch.EventType
	Object   runtime.Object
}

// collection is all objects of one resource, guarded by Store.mu.
type collection struct {
	res *Resource
	// defined: a custom resource. rows are its versions that are served, of which res is the stored one.
	defined bool
	rows    []*Resource
	items   map[string]*item
	// sorted is items by key, nil when it has to be made anew. A slice that was handed out never changes.
	sorted []*item
	// events is the history; older ones are dropped.
	events []event
	// trimmed is the version of the last event dropped: a watcher that has seen it goes on.
	trimmed uint64
	// floor is the oldest version that a new watch may start from.
	floor uint64
	// changed is closed at the next event.
	changed chan struct{}
	// watchers can be ended from outside.
	watchers map[*watcher]struct{}
	hidden   bool
}

// event is one change: old is nil for an addition; now is, for a deletion, the last state under the deletion's version.
type event struct {
	Type     watch.EventType
	version  uint64
	now, old *item
}

// NewStore makes an empty store that keeps at least window events of each resource.
func NewStore(window int) *Store {
	s := &Store{window: window, byName: map[schema.GroupResource]*collection{}, byKind: map[schema.GroupKind]*collection{}}
	for _, res := range append(slices.Clone(resources), definitions) {
		c := &collection{res: res, items: map[string]*item{}, changed: make(chan struct{}), watchers: map[*watcher]struct{}{}}
		s.byName[res.GR()] = c
		s.byKind[res.GVK().GroupKind()] = c
	}
	return s
}

// Load puts objects that were there before anybody could watch: each gets the next version, no event is kept. The
// store takes the objects over.
func (s *Store) Load(objects ...runtime.Object) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, obj := range objects {
		c, typed, err := s.collectionOf(obj)
		if err != nil {
			return err
		}
		s.version++
		it, err := newItem(typed, s.version)
		if err != nil {
			return err
		}
		c.items[it.key], c.sorted = it, nil
		s.notify(c, watch.Added, obj)
	}
	return nil
}

// Open raises the version to at least the given one and lets watches start only from there.
func (s *Store) Open(version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = max(s.version, version)
	s.compact()
}

// Version is the version of the last change of all.
func (s *Store) Version() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.version
}

// Compact forgets the history: watches from an older version, and pages of older lists, are answered 410 Gone. Watches
// that run go on.
func (s *Store) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compact()
}

func (s *Store) compact() {
	for _, c := range s.byName {
		if n := len(c.events); n > 0 {
			c.trimmed, c.events = c.events[n-1].version, nil
		}
		c.floor = s.version
	}
}

// Get returns a copy of an object.
func (s *Store) Get(res *Resource, namespace, name string) (runtime.Object, error) {
	it, err := s.item(res, namespace, name)
	if err != nil {
		return nil, err
	}
	return it.decodeWithKind(res)
}

func (s *Store) item(res *Resource, namespace, name string) (*item, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	it, ok := s.byName[res.GR()].items[keyOf(namespace, name)]
	if !ok {
		return nil, errors.NewNotFound(res.GR(), name)
	}
	return it, nil
}

// Put creates an object or replaces it, whatever its resourceVersion says, and returns it as kept. A UID and a creation
// time are given where missing: the ones of the object that is replaced, else new ones.
func (s *Store) Put(obj runtime.Object) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, typed, err := s.collectionOf(obj.DeepCopyObject())
	if err != nil {
		return nil, err
	}
	accessor, err := meta.Accessor(typed)
	if err != nil {
		return nil, fmt.Errorf("couldn't read an object's metadata: %w", err)
	}
	return s.write(c, c.items[keyOf(accessor.GetNamespace(), accessor.GetName())], typed)
}

// Create adds an object that must not exist yet, and returns it as kept.
func (s *Store) Create(obj runtime.Object) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, typed, err := s.collectionOf(obj.DeepCopyObject())
	if err != nil {
		return nil, err
	}
	accessor, err := meta.Accessor(typed)
	if err != nil {
		return nil, fmt.Errorf("couldn't read an object's metadata: %w", err)
	}
	if accessor.GetName() == "" && accessor.GetGenerateName() != "" {
		accessor.SetName(accessor.GetGenerateName() + strings.ReplaceAll(string(uuid.NewUUID()), "-", "")[:5])
	}
	if _, ok := c.items[keyOf(accessor.GetNamespace(), accessor.GetName())]; ok {
		return nil, errors.NewAlreadyExists(c.res.GR(), accessor.GetName())
	}
	return s.write(c, nil, typed)
}

// Update hands a copy of an object to change, which edits it or returns another one, and keeps the result. A result
// with a resourceVersion other than the current one is a conflict; an empty one is unconditional.
func (s *Store) Update(res *Resource, namespace, name string, change func(obj runtime.Object) (runtime.Object, error)) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.byName[res.GR()]
	old, ok := c.items[keyOf(namespace, name)]
	if !ok {
		return nil, errors.NewNotFound(res.GR(), name)
	}
	current, err := old.decodeWithKind(res)
	if err != nil {
		return nil, err
	}
	changed, err := change(current)
	if err != nil {
		return nil, err
	}
	_, typed, err := s.collectionOf(changed)
	if err != nil {
		return nil, err
	}
	accessor, err := meta.Accessor(typed)
	if err != nil {
		return nil, fmt.Errorf("couldn't read an object's metadata: %w", err)
	}
	if version := accessor.GetResourceVersion(); version != "" && version != strconv.FormatUint(old.version, 10) {
		return nil, errors.NewConflict(res.GR(), name, fmt.Errorf("the object has been modified; please apply your changes to the latest version and try again"))
	}
	if uid := accessor.GetUID(); uid != "" && string(uid) != old.uid {
		return nil, errors.NewConflict(res.GR(), name, fmt.Errorf("the object's UID is %s, not %s", old.uid, uid))
	}
	accessor.SetNamespace(namespace)
	accessor.SetName(name)
	return s.write(c, old, typed)
}

// Delete removes an object and returns its last state. A uid that isn't empty must be the object's.
func (s *Store) Delete(res *Resource, namespace, name string, uid types.UID) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.byName[res.GR()]
	old, ok := c.items[keyOf(namespace, name)]
	if !ok {
		return nil, errors.NewNotFound(res.GR(), name)
	}
	if uid != "" && string(uid) != old.uid {
		return nil, errors.NewConflict(res.GR(), name, fmt.Errorf("the object's UID is %s, not %s", old.uid, uid))
	}
	last, err := old.at(res, s.version+1)
	if err != nil {
		return nil, err
	}
	obj, err := last.decodeWithKind(res)
	if err != nil {
		return nil, err
	}
	s.version++
	delete(c.items, old.key)
	c.sorted = nil
	s.record(c, event{Type: watch.Deleted, version: s.version, now: last, old: old})
	s.notify(c, watch.Deleted, obj)
	if custom, ok := obj.(*Custom); ok && c.res == definitions {
		return obj, s.undefine(custom)
	}
	return obj, nil
}

// Each calls f with a copy of every object of a resource, in one namespace or ("") in all, in the order of their names,
// until f returns false.
func (s *Store) Each(res *Resource, namespace string, f func(obj runtime.Object) bool) error {
	for _, it := range s.snapshot(res, namespace) {
		obj, err := it.decodeWithKind(res)
		if err != nil {
			return err
		}
		if !f(obj) {
			return nil
		}
	}
	return nil
}

// OwnedBy returns copies of the objects of a resource in a namespace whose controlling owner has the UID, by name.
func (s *Store) OwnedBy(res *Resource, namespace string, owner types.UID) ([]runtime.Object, error) {
	var found []*item
	s.mu.RLock()
	for _, it := range s.byName[res.GR()].items {
		if it.owner == string(owner) && it.namespace() == namespace {
			found = append(found, it)
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(found, byKey)
	owned := make([]runtime.Object, 0, len(found))
	for _, it := range found {
		obj, err := it.decodeWithKind(res)
		if err != nil {
			return nil, err
		}
		owned = append(owned, obj)
	}
	return owned, nil
}

// Len is the number of objects of a resource.
func (s *Store) Len(res *Resource) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byName[res.GR()].items)
}

// snapshot returns the items of a resource at one moment, sorted by key. The slice must not be changed.
func (s *Store) snapshot(res *Resource, namespace string) []*item {
	items, _ := s.snapshotNow(res)
	return within(items, namespace)
}

func (s *Store) snapshotNow(res *Resource) ([]*item, uint64) {
	s.mu.RLock()
	c := s.byName[res.GR()]
	sorted, version := c.sorted, s.version
	s.mu.RUnlock()
	if sorted != nil {
		return sorted, version
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.sorted == nil {
		c.sorted = make([]*item, 0, len(c.items))
		for _, it := range c.items {
			c.sorted = append(c.sorted, it)
		}
		slices.SortFunc(c.sorted, byKey)
	}
	return c.sorted, s.version
}

func byKey(a, b *item) int { return strings.Compare(a.key, b.key) }

// within cuts the part of a namespace out of sorted items.
func within(items []*item, namespace string) []*item {
	if namespace == "" {
		return items
	}
	prefix := namespace + "/"
	start, _ := slices.BinarySearchFunc(items, prefix, func(it *item, key string) int { return strings.Compare(it.key, key) })
	end := start
	for end < len(items) && strings.HasPrefix(items[end].key, prefix) {
		end++
	}
	return items[start:end]
}
