package watcher

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// encoding is a watch whose objects are encoded as they come: out come entries. (watch.Filter would do, but for ever
// hold a goroutine whose reader has gone.)
type encoding struct {
	from       watch.Interface
	entry      func(runtime.Object) (*entry, error)
	unreadable func(error) // told of an object that can't be made an entry
	out        chan watch.Event
	done       chan struct{}
	once       sync.Once
}

func newEncoding(from watch.Interface, entry func(runtime.Object) (*entry, error), unreadable func(error)) *encoding {
	e := &encoding{from: from, entry: entry, unreadable: unreadable, out: make(chan watch.Event), done: make(chan struct{})}
	go e.run()
	return e
}

func (e *encoding) run() {
	defer close(e.out)
	for event := range e.from.ResultChan() {
		switch event.Type {
		case watch.Added, watch.Modified, watch.Deleted:
			entry, err := e.entry(event.Object)
			if err != nil {
				e.unreadable(err)
				continue
			}
			event.Object = entry
		}
		select {
		case e.out <- event:
		case <-e.done:
			return
		}
	}
}

// Stop ends the watch.
func (e *encoding) Stop() {
	e.once.Do(func() {
		close(e.done)
		e.from.Stop()
	})
}

// ResultChan gives the events.
func (e *encoding) ResultChan() <-chan watch.Event { return e.out }
