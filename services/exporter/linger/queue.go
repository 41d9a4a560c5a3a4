package linger

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
)

// Object is an object in a view.
type Object struct {
	Table     int    // of the exposition.Store
	Resource  string // as in the resource label of other families: "pods", "foos.stable.example.com"
	Namespace string // "" for objects in none
	Name      string
	UID       string
}

// Key is the object's key in its table.
func (o *Object) Key() string { return o.Namespace + "/" + o.Name }

// Queue holds the deleted objects of one view until they are due. Its methods may be called concurrently, those of one
// object in the order of its events.
type Queue struct {
	linger time.Duration
	remove func(Object)
	header *exposition.Header

	length atomic.Int64 // of the heap; changed under mu

	// mu guards what follows. It is held while remove is called, so that Put returns when nothing of the name can be
	// removed any more.
	mu      sync.Mutex
	waiting byDue
	places  map[place]*item
	group   *exposition.Group // as rendered last; nil where something has changed since
}

// place is where an object is in the exposition. A later object of the name has the same.
type place struct {
	table           int
	namespace, name string
}

type item struct {
	Object
	deleted, due time.Time
	index        int // in the heap
}

// New makes the queue of a view. Objects are kept for linger, 0 for not at all. remove takes one out of the view; it must
// leave alone an object of the name that has another UID, and must not call the queue.
func New(linger time.Duration, remove func(Object)) *Queue {
	return &Queue{linger: linger, remove: remove, places: map[place]*item{}, header: exposition.NewHeader(collector.Family{
		Name: "headwater_deleted_object_timestamp_seconds", Type: collector.Gauge,
		Help: "When the deletion of an object was observed whose series are still shown, in Unix seconds.",
	})}
}

// Len is how many deleted objects are still in the view.
func (q *Queue) Len() int { return int(q.length.Load()) }

// Delete takes the deletion of an object: it is removed when it is due, at once where that has passed. deleted is the time
// of the event; one that lies ahead of now counts as now, because a clock that is wrong must not make an object stay. It
// also removes what else has become due, so that the queue does not grow where nobody scrapes.
func (q *Queue) Delete(o Object, deleted, now time.Time) {
	if q.linger <= 0 {
		q.remove(o)
		return
	}
	if deleted.After(now) {
		deleted = now
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire(now)
	due := deleted.Add(q.linger)
	if due.Before(now) {
		q.remove(o)
		return
	}
	q.forget(o.place())
	i := &item{Object: o, deleted: deleted, due: due}
	q.places[o.place()] = i
	heap.Push(&q.waiting, i)
	q.changed()
}

// Put tells that an object exists under a name, before it is put into the view: one that was deleted no longer waits.
func (q *Queue) Put(table int, namespace, name string) {
	if q.length.Load() == 0 { // usually; events of one name come one after the other, so none is being added for it
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.forget(place{table, namespace, name})
}

// Expire removes the objects that are due, and returns how many there were. Call it before every snapshot of the view.
func (q *Queue) Expire(now time.Time) int {
	if q.length.Load() == 0 {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.expire(now)
}

func (q *Queue) expire(now time.Time) (n int) {
	for ; len(q.waiting) > 0 && !q.waiting[0].due.After(now); n++ {
		i := heap.Pop(&q.waiting).(*item)
		delete(q.places, i.place())
		q.remove(i.Object)
		q.changed() // now Put may pass
	}
	return n
}

// forget takes what waits under a name out of the queue, without removing it from the view.
func (q *Queue) forget(p place) {
	if i, ok := q.places[p]; ok {
		heap.Remove(&q.waiting, i.index)
		delete(q.places, p)
		q.changed()
	}
}

func (q *Queue) changed() {
	q.length.Store(int64(len(q.waiting)))
	q.group = nil
}

func (o *Object) place() place { return place{o.Table, o.Namespace, o.Name} }

// Group names the deleted objects that are still in the view; false where there is none.
func (q *Queue) Group() (exposition.Group, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return exposition.Group{}, false
	}
	if q.group != nil {
		return *q.group, true
	}
	items := slices.Clone(q.waiting)
	slices.SortFunc(items, func(a, b *item) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID), cmp.Compare(a.Table, b.Table))
	})
	items = slices.CompactFunc(items, func(a, b *item) bool {
		return a.Resource == b.Resource && a.Namespace == b.Namespace && a.Name == b.Name && a.UID == b.UID
	})
	var text []byte
	for _, i := range items {
		text = append(append(text, q.header.Family.Name...), '{')
		for j, label := range [...]struct{ name, value string }{{"resource", i.Resource}, {"namespace", i.Namespace}, {"name", i.Name}, {"uid", i.UID}} {
			if j > 0 {
				text = append(text, ',')
			}
			text = append(append(text, label.name...), '=', '"')
			text = append(collector.AppendEscaped(text, label.value), '"')
		}
		text = append(text, '}', ' ')
		text = collector.AppendFloat(text, float64(i.deleted.UnixMilli())/1000)
		text = append(text, '\n')
	}
	q.group = &exposition.Group{Name: "deleted", Families: []*exposition.Header{q.header}, Pages: [][]*exposition.Page{{exposition.Pack(text)}}}
	return *q.group, true
}

// byDue is a heap of items, the one that is due first in front.
type byDue []*item

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h byDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *byDue) Push(x any) {
	i := x.(*item)
	i.index = len(*h)
	*h = append(*h, i)
}
func (h *byDue) Pop() any {
	last := len(*h) - 1
	i := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return i
}
