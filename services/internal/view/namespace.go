package view

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// namespace is one namespace's part of Objects. Until somebody first reads in order, only the map is kept: a replay puts
// objects in any order and many of them more than once, and sorting once in the end is far cheaper.
type namespace[T any] struct {
	name   string
	labels func(*T) *Labels // nil: no groups

	mu      sync.RWMutex // guards all below
	objects map[string]*Entry[T]
	settled bool                    // whether the two below are kept
	order   []*Entry[T]             // by name
	groups  map[*Labels][]*Entry[T] // the objects of each label set, by name; no empty ones
	having  map[Label][]*Labels     // the label sets of groups that have a label; nil until somebody selects by one
}

// many is how many label sets a namespace has for which it is worthwhile to keep which of them have a label.
const many = 64

// put makes value the state of the object and tells whether the object is new.
func (n *namespace[T]) put(name string, value T) bool {
	entry := &Entry[T]{Namespace: n.name, Name: name, Value: value}
	n.mu.Lock()
	defer n.mu.Unlock()
	previous, existed := n.objects[name]
	n.objects[name] = entry
	if !n.settled {
		return !existed
	}
	n.order = insert(n.order, entry)
	if n.groups != nil {
		labels := n.labelsOf(entry)
		if existed {
			if before := n.labelsOf(previous); before != labels {
				n.ungroup(before, name)
			}
		}
		n.group(labels, entry)
	}
	return !existed
}

// remove forgets the object and tells whether it was there.
func (n *namespace[T]) remove(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	entry, existed := n.objects[name]
	if !existed {
		return false
	}
	delete(n.objects, name)
	if n.settled {
		n.order = remove(n.order, name)
		if n.groups != nil {
			n.ungroup(n.labelsOf(entry), name)
		}
	}
	return true
}

func (n *namespace[T]) get(name string) (*Entry[T], bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	entry, ok := n.objects[name]
	return entry, ok
}

// appendTo appends all objects, by name.
func (n *namespace[T]) appendTo(result []*Entry[T]) []*Entry[T] {
	n.rlockSettled(false)
	defer n.mu.RUnlock()
	return append(result, n.order...)
}

// appendMatching appends the objects whose labels match, by name. Every set that matches has the labels of having.
func (n *namespace[T]) appendMatching(result []*Entry[T], match func(*Labels) bool, having []Label) []*Entry[T] {
	if n.labels == nil {
		return result
	}
	n.rlockSettled(len(having) > 0)
	defer n.mu.RUnlock()
	chosen := make(map[*Labels]bool)
	matching := 0
	choose := func(labels *Labels) {
		if match(labels) {
			chosen[labels] = true
			matching += len(n.groups[labels])
		}
	}
	if candidates, known := n.candidates(having); known {
		for _, labels := range candidates {
			choose(labels)
		}
	} else {
		for labels := range n.groups {
			choose(labels)
		}
	}
	result = slices.Grow(result, matching)
	if matching > len(n.order)/8 { // many: picking them out of the order is cheaper than sorting them
		for _, entry := range n.order {
			if chosen[n.labelsOf(entry)] {
				result = append(result, entry)
			}
		}
		return result
	}
	start := len(result)
	for labels := range chosen {
		result = append(result, n.groups[labels]...)
	}
	if len(chosen) > 1 {
		slices.SortFunc(result[start:], func(a, b *Entry[T]) int { return strings.Compare(a.Name, b.Name) })
	}
	return result
}

// candidates returns the label sets that have one of the labels, the one that the fewest have; false if that isn't known.
func (n *namespace[T]) candidates(having []Label) (fewest []*Labels, known bool) {
	if n.having == nil {
		return nil, false
	}
	for i, label := range having {
		if sets := n.having[label]; i == 0 || len(sets) < len(fewest) {
			fewest = sets
		}
	}
	return fewest, len(having) > 0
}

// settle sorts the objects and groups them, once.
func (n *namespace[T]) settle() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.settled {
		return
	}
	n.settled = true
	n.order = make([]*Entry[T], 0, len(n.objects))
	for _, entry := range n.objects {
		n.order = append(n.order, entry)
	}
	slices.SortFunc(n.order, func(a, b *Entry[T]) int { return strings.Compare(a.Name, b.Name) })
	if n.labels == nil {
		return
	}
	n.groups = make(map[*Labels][]*Entry[T])
	for _, entry := range n.order {
		labels := n.labelsOf(entry)
		n.groups[labels] = append(n.groups[labels], entry)
	}
}

// index finds out which label sets have which labels, once, if there are many.
func (n *namespace[T]) index() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.having != nil || len(n.groups) < many {
		return
	}
	n.having = make(map[Label][]*Labels)
	for labels := range n.groups {
		n.enter(labels)
	}
}

// rlockSettled takes the read lock with order and groups in place, and with having where that is asked for and worthwhile.
func (n *namespace[T]) rlockSettled(having bool) {
	n.mu.RLock()
	if !n.settled {
		n.mu.RUnlock()
		n.settle()
		n.mu.RLock() // once settled, always settled
	}
	if having && n.having == nil && len(n.groups) >= many {
		n.mu.RUnlock()
		n.index()
		n.mu.RLock() // and the same
	}
}

func (n *namespace[T]) labelsOf(entry *Entry[T]) *Labels {
	if labels := n.labels(&entry.Value); labels != nil {
		return labels
	}
	return none
}

func (n *namespace[T]) group(labels *Labels, entry *Entry[T]) {
	group, existed := n.groups[labels]
	n.groups[labels] = insert(group, entry)
	if !existed && n.having != nil {
		n.enter(labels)
	}
}

func (n *namespace[T]) ungroup(labels *Labels, name string) {
	if group := remove(n.groups[labels], name); len(group) > 0 {
		n.groups[labels] = group
		return
	}
	delete(n.groups, labels)
	if n.having == nil {
		return
	}
	for _, label := range labels.sorted {
		if sets := slices.DeleteFunc(n.having[label], func(l *Labels) bool { return l == labels }); len(sets) > 0 {
			n.having[label] = sets
		} else {
			delete(n.having, label)
		}
	}
}

// enter puts a label set under each of its labels.
func (n *namespace[T]) enter(labels *Labels) {
	for _, label := range labels.sorted {
		n.having[label] = append(n.having[label], labels)
	}
}

// insert puts entry into its place in sorted, in place of one of the same name if there is one.
func insert[T any](sorted []*Entry[T], entry *Entry[T]) []*Entry[T] {
	i, found := search(sorted, entry.Name)
	if found {
		sorted[i] = entry
		return sorted
	}
	return slices.Insert(sorted, i, entry)
}

// remove takes the entry of that name out of sorted.
func remove[T any](sorted []*Entry[T], name string) []*Entry[T] {
	if i, found := search(sorted, name); found {
		return slices.Delete(sorted, i, i+1)
	}
	return sorted
}

func search[T any](sorted []*Entry[T], name string) (int, bool) {
	return slices.BinarySearchFunc(sorted, name, func(e *Entry[T], name string) int { return cmp.Compare(e.Name, name) })
}
