package watcher

import (
	"sync"

	"k8s.io/apimachinery/pkg/watch"
)

// encoding is a watch whose objects are encoded as they come: out come entries. (watch.Filter would do, but for ever
// hold a goroutine whose reader has gone.)
type encoding struct {
	from watch.Interface
	feed *feed
	out  chan watch.Event
	done chan struct{}
	once sync.Once
}

func newEncoding(from watch.Interface, f *feed) *encoding {
	e := &encoding{from: from, feed: f, out: make(chan watch.Event), done: make(chan struct{})}
	go e.run()
	return e
}

func (e *encoding) run() {
	defer close(e.out)
	for event := range e.from.ResultChan() {
		switch event.Type {
		case watch.Added, watch.Modified, watch.Deleted:
			entry, err := e.feed.entry(event.Object)
			if err != nil {
				e.feed.log.Error("a watch event can't be read", "resource", e.feed.kind.Resource, "error", err)
				e.feed.metrics.leftOut.WithLabelValues(e.feed.kind.Resource, "unreadable").Inc()
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
