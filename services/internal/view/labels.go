package view

import (
	"hash/maphash"
	"runtime"
	"slices"
	"strings"
	"sync"
	"weak"
)

// Label is one label of a set.
type Label struct{ Key, Value string }

// Labels is an immutable label set that all objects with the same labels share: the pods of a ReplicaSet hold one set
// between them, and a selector is evaluated once for all of them. Equal sets of one Interner are equal pointers as long
// as anybody holds them.
//
// It has the methods of labels.Labels of k8s.io/apimachinery, so that a selector matches it without a copy.
type Labels struct{ sorted []Label } // by key, in which order answers have them

func newLabels(set map[string]string) *Labels {
	l := roomFor(len(set))
	for key, value := range set {
		l.sorted = append(l.sorted, Label{key, value})
	}
	slices.SortFunc(l.sorted, func(a, b Label) int { return strings.Compare(a.Key, b.Key) })
	return l
}

// roomFor returns an empty set with room for n labels: in one piece for as many as are usual. Many small ones, each of which
// is to be noticed when it is gone, would cost the runtime much.
func roomFor(n int) *Labels {
	switch {
	case n <= 4:
		l := new(struct {
			Labels
			room [4]Label
		})
		l.sorted = l.room[:0]
		return &l.Labels
	case n <= 8:
		l := new(struct {
			Labels
			room [8]Label
		})
		l.sorted = l.room[:0]
		return &l.Labels
	default:
		return &Labels{sorted: make([]Label, 0, n)}
	}
}

// Has tells whether the label exists.
func (l *Labels) Has(label string) bool {
	_, ok := l.Lookup(label)
	return ok
}

// Get returns the label's value, "" where there is none.
func (l *Labels) Get(label string) string {
	value, _ := l.Lookup(label)
	return value
}

// Lookup returns the label's value and whether the label exists.
func (l *Labels) Lookup(label string) (string, bool) {
	if len(l.sorted) > 16 {
		if i, ok := slices.BinarySearchFunc(l.sorted, label, func(l Label, key string) int { return strings.Compare(l.Key, key) }); ok {
			return l.sorted[i].Value, true
		}
		return "", false
	}
	for i := range l.sorted { // few: to look at them all is faster
		if l.sorted[i].Key == label {
			return l.sorted[i].Value, true
		}
	}
	return "", false
}

// Sorted returns the labels by key. They are shared: nobody may modify them.
func (l *Labels) Sorted() []Label { return l.sorted }

// Map returns the labels as a map that is the caller's, nil where there are none.
func (l *Labels) Map() map[string]string {
	if len(l.sorted) == 0 {
		return nil
	}
	set := make(map[string]string, len(l.sorted))
	for _, label := range l.sorted {
		set[label.Key] = label.Value
	}
	return set
}

// Len is the number of labels.
func (l *Labels) Len() int { return len(l.sorted) }

// none is what every object without labels has.
var none = &Labels{}

// Interner finds the one Labels of a label set by its encoded form, without decoding it again. It keeps alive only what
// is in use. The zero value is ready; its methods may be called concurrently.
type Interner struct {
	once sync.Once
	seed maphash.Seed
	// shards are by hash of the encoded form, so that the workers of a replay don't wait for each other. They are on their own:
	// label sets hold on to them (see forget), and would else hold, for ever, what the Interner is a part of and holds them.
	shards *[64]shard
}

type shard struct {
	mu   sync.RWMutex
	sets map[string]weak.Pointer[Labels] // by encoded form
}

// Intern returns the Labels of the set whose encoded form is encoded, which decode turns into a map if nobody holds that
// set now. Two encodings of one set yield two Labels: correct, but not shared. It keeps no reference to encoded.
func (in *Interner) Intern(encoded []byte, decode func([]byte) (map[string]string, error)) (*Labels, error) {
	if len(encoded) == 0 {
		return none, nil
	}
	in.begin()
	s := &in.shards[maphash.Bytes(in.seed, encoded)%uint64(len(in.shards))]
	s.mu.RLock()
	found := s.sets[string(encoded)].Value()
	s.mu.RUnlock()
	if found != nil {
		return found, nil
	}
	set, err := decode(encoded)
	if err != nil {
		return nil, err
	}
	if len(set) == 0 {
		return none, nil
	}
	labels, key := newLabels(set), string(encoded)
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.sets[key].Value(); found != nil {
		return found, nil // somebody else was faster
	}
	if s.sets == nil {
		s.sets = make(map[string]weak.Pointer[Labels])
	}
	s.sets[key] = weak.Make(labels)
	runtime.AddCleanup(labels, s.forget, key)
	return labels, nil
}

// forget runs after the last holder of the Labels of key is gone.
func (s *shard) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sets[key].Value() == nil { // else the set has come back meanwhile
		delete(s.sets, key)
	}
}

// begin makes the zero value usable.
func (in *Interner) begin() {
	in.once.Do(func() { in.seed, in.shards = maphash.MakeSeed(), new([64]shard) })
}

// Len is the number of distinct label sets in use.
func (in *Interner) Len() (n int) {
	in.begin()
	for i := range in.shards {
		s := &in.shards[i]
		s.mu.RLock()
		n += len(s.sets)
		s.mu.RUnlock()
	}
	return n
}
