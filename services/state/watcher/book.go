package watcher

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// appender is what the book needs of the log's writer; *stream.Appender is one.
type appender interface {
	// Append takes an event and tells its sequence, without waiting.
	Append(subject string, payload []byte) (sequence uint64, err error)
	// Next is the sequence of the next event.
	Next() uint64
}

// book is what is known of every object: what the log says and what the API server says. It lives as long as its term.
//
// First the log is replayed into it (Apply). Then lead gives it the log's writer, and from there on it writes whatever
// the kinds' feeds tell (replace, observe, vanish) and the log doesn't have.
type book struct {
	cluster string
	metrics *metrics
	logger  *slog.Logger
	now     func() time.Time

	// mu orders everything, the appending of events too: the log's order is that in which mu was held.
	mu      sync.Mutex
	shelves map[shelfKey]*shelf
	custom  func(group string) bool // custom resources of the group may be wanted; nil for none
	pace    Pace
	chunks  []*chunk
	log     appender // nil until lead
	ended   bool     // nothing is written any more
	limit   int      // bytes that a message may have
	queue   []*record
	next    int // queue[next:] waits to be written
	paced   pacing
	bytes   int // of what the log says

	stuck chan struct{} // gets a token when the queue can't be written for want of room
	moved chan struct{} // gets a token when a kind has synced, or the queue is empty
}

type shelfKey struct{ group, resource string }

// shelf has the objects of one kind.
type shelf struct {
	kind    objects.Kind
	name    string        // of the kind, in metrics and logs
	wanted  bool          // the kind is watched; what else the log has is deleted
	held    bool          // it isn't known yet whether the kind is wanted: what the log has stays
	pace    time.Duration // least time between two states of an object; 0 for none
	synced  bool          // seen is the whole truth
	packer  packer        // of its messages
	records map[string]*record
	open    []*chunk // chunks that may have room
}

// record has one object: namespace and name, whatever the UID.
type record struct {
	shelf    *shelf
	key      string
	logged   *kept  // what the log says; nil: nothing, or that it is gone
	seen     *kept  // what the API server says; nil: that it is gone, once the shelf is synced
	sequence uint64 // of logged
	chunk    *chunk // where the snapshot has it; nil without logged
	slot     uint16
	queued   bool
	waiting  bool // in the pacing
}

// newBook makes a book for the kinds that are watched, each with its pace.
func newBook(cluster string, kinds []objects.Kind, pace Pace, m *metrics, logger *slog.Logger) *book {
	b := &book{
		cluster: cluster, pace: pace, metrics: m, logger: logger, now: time.Now, limit: 1 << 20,
		shelves: map[shelfKey]*shelf{}, stuck: make(chan struct{}, 1), moved: make(chan struct{}, 1),
	}
	for _, kind := range kinds {
		b.shelves[shelfKey{kind.Group, kind.Resource}] = &shelf{kind: kind, name: kind.Name(), wanted: true, pace: pace[kind.Resource], records: map[string]*record{}}
	}
	return b
}

// keyOf is a record's key on its shelf. It is no part of any message.
func keyOf(namespace, name string) string {
	if namespace == "" {
		return strings.Clone(name)
	}
	return namespace + "/" + name
}

// Apply takes an event of the log: the book says what the log says.
func (b *book) Apply(e stream.Event) error {
	m := message(e.Data)
	h, err := m.head()
	if err != nil {
		return err
	}
	if h.operation != schemas.Applied && h.operation != schemas.Deleted {
		return fmt.Errorf("%w: operation %d", schemas.ErrMalformed, h.operation)
	}
	key := keyOf(h.namespace, h.name)
	s := b.shelf(h)
	if h.operation == schemas.Deleted {
		b.mu.Lock()
		defer b.mu.Unlock()
		if r := s.records[key]; r != nil {
			b.displace(r, r.logged.len())
			delete(s.records, key)
		}
		return nil
	}
	k := s.packer.pack(m, h)
	b.mu.Lock()
	defer b.mu.Unlock()
	r := s.records[key]
	if r == nil {
		r = &record{shelf: s, key: key}
		s.records[key] = r
	}
	grown := k.len() - r.logged.len()
	r.logged, r.sequence = k, e.Sequence
	b.place(r, grown)
	return nil
}

// shelf is the shelf of a message's kind; one that isn't watched gets one too.
func (b *book) shelf(h header) *shelf {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := shelfKey{h.group, h.resource}
	s := b.shelves[k]
	if s == nil {
		k = shelfKey{strings.Clone(h.group), strings.Clone(h.resource)} // not a part of the message
		s = b.newShelf(objects.Kind{Group: k.group, Resource: k.resource, Custom: objects.IsCustom(k.group, k.resource)})
	}
	return s
}

// newShelf puts up a kind's shelf. The caller holds mu.
func (b *book) newShelf(kind objects.Kind) *shelf {
	s := &shelf{kind: kind, name: kind.Name(), records: map[string]*record{}}
	b.shelves[shelfKey{kind.Group, kind.Resource}] = s
	return s
}

// lead makes the book write: to log, messages of at most limit bytes. Objects of kinds that are watched no more are
// deleted at once; those of custom resources that may still be wanted are held.
func (b *book) lead(log appender, limit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log, b.limit = log, limit
	for _, s := range b.shelves {
		if s.wanted || len(s.records) == 0 {
			continue
		}
		if s.kind.Custom && b.custom != nil && b.custom(s.kind.Group) {
			s.held = true
			continue
		}
		s.synced = true
		b.logger.Warn("the log has objects of a kind that isn't watched any more, deleting them there", "group", s.kind.Group, "resource", s.kind.Resource, "objects", len(s.records))
		b.enqueueAll(s)
	}
	b.drain()
}

// holds tells whether the book knows this very state of an object, so that it need not be encoded again.
func (b *book) holds(s *shelf, key, uid, rv string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := s.records[key]
	if r == nil {
		return false
	}
	known := r.seen
	if !s.synced {
		known = r.logged
	}
	if known == nil {
		return false
	}
	h := known.head()
	return h.uid == uid && h.rv == rv && h.version == s.kind.Version && h.kind == s.kind.Kind
}

// observe takes a state of an object from the API server. A nil one is one that holds was true for.
func (b *book) observe(s *shelf, key string, k *kept) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.see(s, key, k)
	b.drain()
}

// see is observe without writing. The caller holds mu.
func (b *book) see(s *shelf, key string, k *kept) {
	r := s.records[key]
	switch {
	case k == nil && r != nil && !s.synced:
		r.seen = r.logged
		return
	case k == nil:
		return
	case r == nil:
		r = &record{shelf: s, key: key}
		s.records[key] = r
	}
	b.supersede(r, k)
	if r.seen = k; k.same(r.logged) {
		r.seen = r.logged // the log's own message: nothing is kept twice
	}
	b.enqueue(r)
}

// supersede counts the state that k takes the place of before it was written, if there is one. The caller holds mu.
func (b *book) supersede(r *record, k *kept) {
	if r.seen == nil || r.seen.same(r.logged) || r.seen.same(k) {
		return
	}
	reason := "behind"
	if r.waiting && !r.queued {
		reason = "paced"
	}
	b.metrics.leftOut.WithLabelValues(r.shelf.name, reason).Inc()
}

// vanish takes the deletion of an object from the API server.
func (b *book) vanish(s *shelf, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := s.records[key]; r != nil {
		b.supersede(r, nil)
		r.seen = nil
		b.enqueue(r)
		b.drain()
	}
}

// replace takes the whole list of a kind. An entry without a state is one that holds was true for, or that couldn't be
// encoded: what is known of it stays.
func (b *book) replace(s *shelf, entries []*entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	listed := make(map[string]bool, len(entries))
	for _, e := range entries {
		listed[e.key] = true
		b.see(s, e.key, e.kept)
	}
	first := !s.synced
	s.synced = true
	vanished := 0
	for _, key := range slices.Sorted(maps.Keys(s.records)) { // neighbours are alike: they pack well, here and at readers
		r := s.records[key]
		if !listed[key] {
			b.supersede(r, nil)
			r.seen = nil
			vanished++
		}
		// What was seen before the shelf was synced could not be compared with the log yet.
		if !listed[key] || first {
			b.enqueue(r)
		}
	}
	b.logger.Debug("listed", "resource", s.name, "objects", len(entries), "vanished", vanished)
	b.drain()
	signal(b.moved)
}

// subject is an object's subject.
func (b *book) subject(r *record) string {
	k := r.logged
	if k == nil {
		k = r.seen
	}
	h := k.head()
	return schemas.ObjectSubject{Cluster: b.cluster, Group: h.group, Resource: h.resource, Namespace: h.namespace, Name: h.name}.String()
}

// counts tells how many objects the log has, by resource, and how many bytes they take.
func (b *book) counts() (objects map[string]int, bytes, queued, paced int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	objects = map[string]int{}
	for _, s := range b.shelves {
		if s.wanted || len(s.records) > 0 || !s.kind.Custom {
			objects[s.name] += len(s.records)
		}
	}
	return objects, b.bytes, len(b.queue) - b.next, b.paced.len()
}

// unsynced lists the watched kinds that were not listed yet, and tells how many are watched.
func (b *book) unsynced() (names []string, watched int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.shelves {
		if !s.wanted {
			continue
		}
		watched++
		if !s.synced {
			names = append(names, s.name)
		}
	}
	slices.SortFunc(names, cmp.Compare)
	return names, watched
}

// signal leaves a token for whoever waits, now or later.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// leading tells whether the book writes.
func (b *book) leading() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log != nil && !b.ended
}

// end makes the book write no more, whatever its feeds still tell.
func (b *book) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
}

// idle tells whether nothing waits to be written but what is paced.
func (b *book) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next == len(b.queue)
}
