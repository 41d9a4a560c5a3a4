package view

import (
	"runtime"
	"sync"
	"weak"
)

// Labels is an immutable label set that all objects with the same labels share: the pods of a ReplicaSet hold one map
// between them, and a selector is evaluated once for all of them. Equal sets of one Interner are equal pointers as long
// as anybody holds them.
//
// It has the methods of labels.Labels of k8s.io/apimachinery, so that a selector matches it without a copy.
type Labels struct{ set map[string]string }

// Has tells whether the label exists.
func (l *Labels) Has(label string) bool {
	_, ok := l.set[label]
	return ok
}

// Get returns the label's value, "" where there is none.
func (l *Labels) Get(label string) string { return l.set[label] }

// Lookup returns the label's value and whether the label exists.
func (l *Labels) Lookup(label string) (string, bool) {
	value, ok := l.set[label]
	return value, ok
}

// Map returns the labels themselves, nil where there are none. They are shared: nobody may modify them.
func (l *Labels) Map() map[string]string { return l.set }

// Len is the number of labels.
func (l *Labels) Len() int { return len(l.set) }

// none is what every object without labels has.
var none = &Labels{}

// Interner finds the one Labels of a label set by its encoded form, without decoding it again. It keeps alive only what
// is in use. The zero value is ready; its methods may be called concurrently.
type Interner struct {
	mu   sync.RWMutex
	sets map[string]weak.Pointer[Labels] // by encoded form
}

// Intern returns the Labels of the set whose encoded form is encoded, which decode turns into a map if nobody holds that
// set now. Two encodings of one set yield two Labels: correct, but not shared. It keeps no reference to encoded.
func (in *Interner) Intern(encoded []byte, decode func([]byte) (map[string]string, error)) (*Labels, error) {
	if len(encoded) == 0 {
		return none, nil
	}
	in.mu.RLock()
	found := in.sets[string(encoded)].Value()
	in.mu.RUnlock()
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
	in.mu.Lock()
	defer in.mu.Unlock()
	if found := in.sets[string(encoded)].Value(); found != nil {
		return found, nil // somebody else was faster
	}
	labels, key := &Labels{set: set}, string(encoded)
	if in.sets == nil {
		in.sets = make(map[string]weak.Pointer[Labels])
	}
	in.sets[key] = weak.Make(labels)
	runtime.AddCleanup(labels, in.forget, key)
	return labels, nil
}

// forget runs after the last holder of the Labels of key is gone.
func (in *Interner) forget(key string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.sets[key].Value() == nil { // else the set has come back meanwhile
		delete(in.sets, key)
	}
}

// Len is the number of distinct label sets in use.
func (in *Interner) Len() int {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return len(in.sets)
}
