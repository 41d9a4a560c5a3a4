package events

import (
	"hash/maphash"

	"github.com/headwater-metrics/headwater/schemas"
)

// key is a resource, namespace and name, hashed: it takes less memory than the text. Among a million objects two share one
// with a chance of 1 in 40 million.
type key uint64

// entry is what the book holds of a pod or job.
type entry struct {
	uid      uint64 // hash
	sequence uint64 // of the event that it is known from; 0 where that was in an earlier epoch
	runs     *node  // a pod's containers of which a run has ended; nil for none
	fold     uint32 // the newest fold that has presented it
	ended    bool   // the pod or job is over, and was counted
}

// slack is how much later than its creation an object's first event may be observed, in seconds, with the clocks of two
// machines and the API's whole seconds.
const slack = 10

// Kinds are the resources of whose objects every event must be presented, whatever is exported: group and resource.
func Kinds() [][2]string { return [][2]string{{"", "namespaces"}, {"", "pods"}, {"batch", "jobs"}} }

// Apply presents an event. The events of one log come in its order, those of a snapshot before them, in any order and
// concurrently; of the objects of Kinds, all must come, of others those that are to be counted. An error says that the
// object can't be read; the event counts as a change of an object then, and as nothing else.
func (f *Fold) Apply(sequence uint64, snapshot bool, change *schemas.ObjectChange) error {
	kind := kindOf(change)
	if snapshot && (f.quick || kind == nil) {
		return nil
	}
	t := f.feed.totals
	var err error
	var s *sighting
	if kind != nil && change.Operation == schemas.Applied && f.needs(sequence, kind, change) {
		s = sightings.Get().(*sighting)
		defer sightings.Put(s)
		err = kind.read(change.Object, s)
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if !f.log.Equal(t.log) {
		return err // the book is of another log by now
	}
	if kind != nil && err == nil {
		f.enter(sequence, kind, change, s)
	}
	t.newest = max(t.newest, change.Time)
	if !snapshot {
		f.feed.position = max(f.feed.position, sequence)
		if sequence > t.position {
			t.position = sequence
			t.note(change)
		}
	}
	return err
}

// needs tells whether the object of an event must be read. It saves decoding only: enter decides.
func (f *Fold) needs(sequence uint64, kind *kind, change *schemas.ObjectChange) bool {
	t := f.feed.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	if !f.log.Equal(t.log) {
		return false
	}
	e, known := t.book[t.keyOf(kind, change)]
	return !t.stale(sequence, e, known)
}

// stale tells whether the book holds an event already, or a later one of its object; e is the object's entry, if known.
func (t *Totals) stale(sequence uint64, e entry, known bool) bool {
	return t.settled && sequence <= t.position || known && sequence <= e.sequence
}

// enter takes an event into the book and counts what it tells. s is nil for a deletion, and where needs said no. It is
// called under the mutex.
func (f *Fold) enter(sequence uint64, kind *kind, change *schemas.ObjectChange, s *sighting) {
	t := f.feed.totals
	k, uid := t.keyOf(kind, change), t.hash(change.UID)
	old, known := t.book[k]
	if change.Operation == schemas.Deleted {
		// A build that is behind may have brought back what another one has seen go, so this is done even where it is stale.
		if known && sequence > old.sequence && (change.UID == "" || uid == old.uid) {
			delete(t.book, k)
		}
		return
	}
	if t.stale(sequence, old, known) {
		if known && old.fold < f.id {
			old.fold = f.id
			t.book[k] = old
		}
		return
	}
	if s == nil {
		return // it was stale a moment ago: another build knew the object, and has seen it go
	}
	// An event that another build has presented, or that lies before the counting, brings the book up to date and counts
	// nothing.
	counts := t.started && sequence > t.position && t.scope.shard(change.UID) && t.scope.node(s.node)
	e := old
	if !known || e.uid != uid {
		// It is new, and all that it tells has happened since. But it is an old one where the API server has given its kind
		// only now, and may be where the book is incomplete: one that was deleted within the gap and is presented with a state
		// from before.
		since := t.began
		if !t.settled {
			since = t.since
		}
		counts = counts && s.created >= since/1e9-slack
		e = entry{uid: uid}
		t.counts.appear(kind, change.Namespace)
	}
	orderly := t.settled && sequence > t.position
	e.sequence, e.fold = sequence, max(e.fold, f.id)
	kind.advance(t, &e, s, orderly, func(family family, a, b string, n uint64) {
		if counts {
			t.counts.add(row{family, change.Namespace, a, b}, n)
		}
	})
	t.book[k] = e
}

// note counts an event as the change of an object. It is called under the mutex, once for each event of the log.
func (t *Totals) note(change *schemas.ObjectChange) {
	if change.Group == "" && change.Resource == "namespaces" {
		if change.Operation == schemas.Deleted {
			t.counts.leave(change.Name, change.Time)
		} else {
			t.counts.stay(change.Name)
		}
	}
	// A log that is written anew tells again what was there, which is no change.
	if !t.started || t.whole != t.epoch ||
		!t.scope.resource(change.Group, change.Resource) || !t.scope.namespace(change.Namespace) || !t.scope.shard(change.UID) {
		return
	}
	operation := "applied"
	if change.Operation == schemas.Deleted {
		operation = "deleted"
	}
	t.counts.add(row{objectChanges, "", t.counts.resource(change.Group, change.Resource), operation}, 1)
}

func (t *Totals) keyOf(kind *kind, change *schemas.ObjectChange) key {
	var h maphash.Hash
	h.SetSeed(t.seed)
	h.WriteByte(byte(kind.first))
	h.WriteString(change.Namespace)
	h.WriteByte('/')
	h.WriteString(change.Name)
	return key(h.Sum64())
}

func (t *Totals) hash(text string) uint64 { return maphash.String(t.seed, text) }

// node is a link in the list of a pod's containers, which is short.
type node struct {
	run
	next *node
}

// find returns how far a container has come, by the hash of its name; the zero run where no run of it has ended.
func (e *entry) find(name uint64) run {
	for n := e.runs; n != nil; n = n.next {
		if n.name == name {
			return n.run
		}
	}
	return run{name: name}
}

// keptRuns is how many containers of a pod are remembered at most beyond those that it has now.
const keptRuns = 64

// keep notes how far a container has come. Of a pod that has that many containers now, it forgets those that it has not
// met for long.
func (e *entry) keep(r run, containers int) {
	e.runs = &node{run: r, next: e.runs}
	length := 1
	for n := e.runs; n.next != nil; {
		if n.next.name == r.name || length >= containers+keptRuns {
			n.next = n.next.next
			continue
		}
		n = n.next
		length++
	}
}
