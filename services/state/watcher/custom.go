package watcher

import (
	"slices"
	"strings"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// of tells whether a shelf is that of some version of a custom resource.
func (k shelfKey) of(group, plural string) bool {
	return k.group == group && k.plural() == plural
}

// plural is the resource's name at the API server.
func (k shelfKey) plural() string {
	plural, _, _ := strings.Cut(k.resource, ".")
	return plural
}

// definition is the name of the CustomResourceDefinition.
func (k shelfKey) definition() string { return k.plural() + "." + k.group }

// want makes a custom resource watched, or watched as another version. What the log has of it is compared with the first
// list of its new feed, and stays until then.
func (b *book) want(kind objects.Kind) *shelf {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.shelves[shelfKey{kind.Group, kind.Resource}]
	if s == nil {
		s = b.newShelf(kind)
	}
	s.kind, s.wanted, s.held, s.synced = kind, true, false, false
	for _, r := range s.records {
		if r.seen == nil {
			// Its deletion waits to be written. If it were while the first list is under way, what that finds to be in the
			// log, and brings without a state, would not be there any more: the list says what is gone.
			r.seen = r.logged
		}
	}
	s.pace = b.pace[shelfKey{kind.Group, kind.Resource}.definition()]
	return s
}

// drop makes a custom resource watched no more, deletes its objects, and tells how many there were. Its feed must have
// ended.
func (b *book) drop(key shelfKey) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.shelves[key]
	if s == nil {
		return 0
	}
	s.wanted, s.held, s.synced = false, false, true
	n := len(s.records)
	for _, r := range s.records {
		b.supersede(r, nil)
		r.seen = nil
		b.enqueue(r)
	}
	b.drain()
	signal(b.moved)
	return n
}

// held lists the custom resources of which it isn't known yet whether they are wanted.
func (b *book) held() []shelfKey {
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []shelfKey
	for key, s := range b.shelves {
		if s.held {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b shelfKey) int {
		return strings.Compare(a.group+" "+a.resource, b.group+" "+b.resource)
	})
	return keys
}
