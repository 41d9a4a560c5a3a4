package api

import (
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
)

// partItems is how many entries of a view are read at a time, by one goroutine, into one part of a list, which becomes one page. A
// part has fewer items where some of them have no metrics.
//
// JSON of several parts is compressed for who takes gzip without a look at its length, which isn't known before. One full part is
// more than gzipFrom, however little its items say. Only where most of what was asked for has no metrics, JSON that the library
// would send as it is may be compressed, too.
const partItems = 1024

// page is a part of an answer.
type page struct {
	content []byte
	packed  []byte // content as deflate blocks that end on a byte
}

// maker makes pages, one after the other: it has one to fill while the one before is being sent. It is for one goroutine.
type maker struct {
	items    *itemWriter
	pages    [2]page
	deflater *flate.Writer
}

// makers keeps the memory of makers: an answer leaves next to no garbage.
type makers struct{ pool sync.Pool }

func (m *makers) get(items *itemWriter) *maker {
	p, ok := m.pool.Get().(*maker)
	if !ok {
		p = new(maker)
	}
	p.items = items
	return p
}

func (m *makers) put(p *maker) { m.pool.Put(p) }

// pack compresses a page.
func (m *maker) pack(p *page) error {
	to := (*appender)(&p.packed)
	*to = (*to)[:0]
	if m.deflater == nil {
		deflater, err := flate.NewWriter(to, flate.BestSpeed)
		if err != nil {
			return err
		}
		m.deflater = deflater
	} else {
		m.deflater.Reset(to)
	}
	if _, err := m.deflater.Write(p.content); err != nil {
		return err
	}
	return m.deflater.Flush()
}

// appender is a slice that is written to.
type appender []byte

// Write implements io.Writer.
func (a *appender) Write(b []byte) (int, error) {
	*a = append(*a, b...)
	return len(b), nil
}

// workers is how many goroutines share work of so many parts. Half of the cores are left to other requests.
func workers(parts int) int { return min(parts, max(2, runtime.GOMAXPROCS(0)/2)) }

// share does work for each of n parts, by several goroutines.
func share(n int, work func(part int)) {
	if n < 4 {
		for part := range n {
			work(part)
		}
		return
	}
	var wait sync.WaitGroup
	stride := workers(n)
	for first := range stride {
		wait.Go(func() {
			for part := first; part < n; part += stride {
				work(part)
			}
		})
	}
	wait.Wait()
}

// inOrder fills a page for each of n parts, by several goroutines, and uses them in order, until that is an error. It is
// no further ahead of use than by two pages for each of them.
func (m *makers) inOrder(n int, items func() *itemWriter, fill filler, use func(*page) error) error {
	type filled struct {
		*page
		err error
	}
	var (
		stride  = workers(n)
		full    = make([]chan filled, stride)
		empty   = make([]chan *page, stride)
		stopped = make(chan struct{})
		wait    sync.WaitGroup
	)
	for first := range stride {
		full[first], empty[first] = make(chan filled, 2), make(chan *page, 2)
		wait.Go(func() {
			by := m.get(items())
			defer m.put(by)
			empty[first] <- &by.pages[0]
			empty[first] <- &by.pages[1]
			for part := first; part < n; part += stride {
				select {
				case p := <-empty[first]:
					err := fill(part, by, p)
					full[first] <- filled{p, err}
				case <-stopped:
					return
				}
			}
			<-stopped // the last pages are still in use
		})
	}
	defer wait.Wait()
	defer close(stopped)
	for part := range n {
		p := <-full[part%stride]
		if p.err != nil {
			return p.err
		}
		if err := use(p.page); err != nil {
			return err
		}
		empty[part%stride] <- p.page
	}
	return nil
}
