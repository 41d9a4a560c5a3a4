package apiserver

import (
	"slices"
	"sort"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// watcher is one running watch, so that it can be ended from outside.
type watcher struct {
	// end carries the reason: a status to send before the end, or nil for none.
	end chan *metav1.Status
}

// addWatcher registers a watch, until the returned function is called.
func (s *Store) addWatcher(res *Resource) (*watcher, func()) {
	w := &watcher{end: make(chan *metav1.Status, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.byName[res.GR()]
	c.watchers[w] = struct{}{}
	return w, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(c.watchers, w)
	}
}

// EndWatches ends all running watches of a resource (nil: of all). A status is sent as an ERROR event before. It
// returns how many there were.
func (s *Store) EndWatches(res *Resource, status *metav1.Status) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, c := range s.byName {
		if res != nil && (c.res == nil || c.res.GR() != res.GR()) {
			continue
		}
		count += c.endWatches(status)
	}
	return count
}

// Watches is how many watches of a resource are running.
func (s *Store) Watches(res *Resource) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byName[res.GR()].watchers)
}

// Hide takes a resource out of service, as if the server had never known it, or puts it back.
func (s *Store) Hide(res *Resource, hidden bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byName[res.GR()].hidden = hidden
}

func (s *Store) isHidden(res *Resource) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byName[res.GR()].hidden
}

// after returns the events of a resource behind a version, the version up to which that is everything, and a channel
// that is closed when there are more. It says false when some of them are no longer kept.
func (s *Store) after(res *Resource, version uint64) ([]event, uint64, <-chan struct{}, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.byName[res.GR()]
	if version < c.trimmed {
		return nil, 0, nil, false
	}
	start := sort.Search(len(c.events), func(i int) bool { return c.events[i].version > version })
	// Appending never touches what is handed out here, and trimming copies.
	return slices.Clip(c.events[start:]), s.version, c.changed, true
}

// reach says whether a watch may start from a version, and the oldest that it could.
func (s *Store) reach(res *Resource, version uint64) (ok bool, floor uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.byName[res.GR()]
	return version >= c.floor, c.floor
}

// snapshotAt returns the items of a resource as they were at a version. It says false when that is no longer known.
func (s *Store) snapshotAt(res *Resource, version uint64) ([]*item, bool) {
	items, now := s.snapshotNow(res)
	if version >= now {
		return items, true
	}
	s.mu.RLock()
	c := s.byName[res.GR()]
	if version < c.floor {
		s.mu.RUnlock()
		return nil, false
	}
	start := sort.Search(len(c.events), func(i int) bool { return c.events[i].version > version })
	end := sort.Search(len(c.events), func(i int) bool { return c.events[i].version > now })
	undo := c.events[start:end]
	s.mu.RUnlock()
	if len(undo) == 0 {
		return items, true
	}
	// The first event of each key knows what was there before.
	before := map[string]*item{}
	for _, e := range slices.Backward(undo) {
		before[e.now.key] = e.old
	}
	then := make([]*item, 0, len(items))
	for _, it := range items {
		if _, changed := before[it.key]; !changed {
			then = append(then, it)
		}
	}
	for _, it := range before {
		if it != nil {
			then = append(then, it)
		}
	}
	slices.SortFunc(then, byKey)
	return then, true
}

// seen turns an event into what a watch with a filter sees: an object that comes into the filter is added, one that
// leaves it is deleted. It says false for an event that the watch doesn't see at all.
func (e event) seen(res *Resource, matches func(*item) bool) (watch.EventType, *item, bool, error) {
	isNow := e.Type != watch.Deleted && matches(e.now)
	was := e.old != nil && matches(e.old)
	switch {
	case isNow && was:
		return watch.Modified, e.now, true, nil
	case isNow:
		return watch.Added, e.now, true, nil
	case was && e.Type == watch.Deleted:
		return watch.Deleted, e.now, true, nil
	case was:
		last, err := e.old.at(res, e.version)
		return watch.Deleted, last, err == nil, err
	}
	return "", nil, false, nil
}
