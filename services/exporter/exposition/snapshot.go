package exposition

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Group is the families of one resource, or of the usage, as they are to be served.
type Group struct {
	Name     string
	Families []*Header
	// Pages are the rows of pages: each has one a family, nil where there are no lines. Row follows row within a family.
	Pages [][]*Page
}

// Snapshot is the content of a store at one moment. It never changes.
type Snapshot struct {
	number  uint64 // of those that were begun
	version uint64
	groups  []Group
	err     error
}

// Groups are the resources that have objects, in the order of the exposition.
func (n *Snapshot) Groups() []Group { return n.groups }

// Err is the first failure to read lines back that the store ever met: the memory was damaged. What is served lacks them.
func (n *Snapshot) Err() error { return n.err }

// Snapshot returns the content of the store as it is now: what changed since it was packed is packed first, by several
// goroutines. When nothing changed it is the previous one. Those who ask while one is being packed share the next.
func (s *Store) Snapshot() *Snapshot { return s.snapshotAfter(s.begun.Load()) }

// snapshotAfter returns a snapshot that was begun later than the given number of them.
func (s *Store) snapshotAfter(begun uint64) *Snapshot {
	s.packing.Lock()
	defer s.packing.Unlock()
	if s.last != nil && s.last.number > begun {
		return s.last
	}

	// dirty is a block that has to be packed, and where its pages then go.
	type dirty struct {
		block *block
		old   *base
		edits []edit
		row   *[]*Page
	}
	var todo []dirty
	number := s.begun.Add(1)
	s.mu.Lock()
	if s.last != nil && s.last.version == s.version {
		s.mu.Unlock()
		return s.last
	}
	next := &Snapshot{number: number, version: s.version, err: s.err}
	for _, t := range *s.tables.Load() {
		if len(t.objects) == 0 {
			continue
		}
		rows := make([][]*Page, len(t.blocks))
		for i, b := range t.blocks {
			rows[i] = b.base.pages
			if len(b.edits) > 0 {
				todo = append(todo, dirty{b, b.base, b.edits, &rows[i]})
			}
		}
		next.groups = append(next.groups, Group{Name: t.name, Families: t.headers, Pages: rows})
	}
	s.mu.Unlock()

	Parallel(len(todo), func(i int) {
		d := &todo[i]
		*d.row = s.pack(d.block, d.old, d.edits).pages
	})
	s.last = next
	return next
}

// Parallel calls do for 0 to n-1, by as many goroutines as there are processors.
func Parallel(n int, do func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	if workers <= 1 {
		for i := range n {
			do(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wg.Wait()
}
