// Package filewatch tells when files may have changed, so that a service can follow its configuration while it runs.
//
// In: the paths of the files. Out: a token whenever one of them may be another than before. What is in the files, and whether
// that really is something else, is for who gets the token to find out: it says little, but it comes in all these cases:
// a file that is written, replaced or removed, that comes later or comes back, that is a link, or a link through a link, as in
// a mounted ConfigMap, and whose folder goes away and comes back.
package filewatch

import (
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Look is how often files should be looked at without having been told of a change: not all file systems tell, and none tells
// of folders that aren't there.
const Look = 10 * time.Second

const (
	// settleTime is how long files must have been left alone before there is a token: an editor writes in steps, and the
	// symbolic links of a ConfigMap are swapped one by one. Files that are written all the time get one after settleLimit.
	settleTime  = 100 * time.Millisecond
	settleLimit = 2 * time.Second
)

// Watch watches files until it is closed.
type Watch struct {
	look, settle, limit time.Duration
	log                 *slog.Logger
	changed             chan struct{}
	others              chan struct{} // gets a token when there are other folders
	stop, done          chan struct{}
	once                sync.Once

	mu      sync.Mutex
	folders []string // the files themselves may be replaced, be links, or not be there yet

	// Of the goroutine.
	notify  *fsnotify.Watcher // nil where there is nothing to watch, or it can't be done
	refused bool              // it can't be done everywhere, and that was said
}

// Start watches files, and looks at them at the given interval besides. The first token comes at once: who has read the files
// before may have missed a change.
func Start(look time.Duration, log *slog.Logger, paths ...string) *Watch {
	return start(look, settleTime, settleLimit, log, paths)
}

func start(look, settle, limit time.Duration, log *slog.Logger, paths []string) *Watch {
	w := &Watch{
		look: look, settle: settle, limit: limit, log: log, changed: make(chan struct{}, 1), others: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	w.Set(paths...)
	go w.run()
	return w
}

// Changed gets a token when a file may have changed. While nobody takes it there is one, however many changes there are.
func (w *Watch) Changed() <-chan struct{} { return w.changed }

// Set replaces the files that are watched. Where they are in other folders than before, a token comes.
func (w *Watch) Set(paths ...string) {
	var folders []string
	for _, path := range paths {
		folders = append(folders, filepath.Dir(path))
	}
	slices.Sort(folders)
	folders = slices.Compact(folders)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(folders, w.folders) {
		w.folders = folders
		signal(w.others)
	}
}

// Close ends the watch. No token comes after it.
func (w *Watch) Close() {
	w.once.Do(func() { close(w.stop) })
	<-w.done
}

func (w *Watch) run() {
	defer close(w.done)
	defer func() {
		if w.notify != nil {
			w.notify.Close()
		}
	}()
	look := time.NewTicker(w.look)
	defer look.Stop()
	settled := time.NewTimer(w.settle)
	settled.Stop()
	defer settled.Stop()
	var since time.Time // the first change that there was no token for; zero for none
	for {
		var events <-chan fsnotify.Event
		var lost <-chan error
		if w.notify != nil {
			events, lost = w.notify.Events, w.notify.Errors
		}
		select {
		case <-w.stop:
			return
		case <-events:
			if since.IsZero() {
				since = time.Now()
			}
			settled.Reset(min(w.settle, max(w.limit-time.Since(since), 0)))
			continue
		case <-lost: // events, perhaps
			settled.Reset(w.settle)
			continue
		case <-settled.C:
			since = time.Time{}
		case <-look.C:
		case <-w.others:
		}
		w.arm() // first, so that what changes while the files are read is told again
		signal(w.changed)
	}
}

// arm watches the folders, and no others. One that isn't there is tried again the next time.
func (w *Watch) arm() {
	w.mu.Lock()
	folders := w.folders
	w.mu.Unlock()
	if w.notify == nil {
		if len(folders) == 0 || w.refused {
			return
		}
		var err error
		if w.notify, err = fsnotify.NewWatcher(); err != nil {
			w.notify = nil
			w.refuse(err)
			return
		}
	}
	for _, folder := range w.notify.WatchList() {
		if !slices.Contains(folders, folder) {
			_ = w.notify.Remove(folder) // it may be gone
		}
	}
	for _, folder := range folders {
		if err := w.notify.Add(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.refuse(err)
		}
	}
}

// refuse says, once, that the files are not watched.
func (w *Watch) refuse(err error) {
	if !w.refused {
		w.refused = true
		w.log.Warn("can't watch the configuration files for changes, so they are looked at now and then", "every", w.look, "error", err)
	}
}

// signal leaves a token for whoever waits, now or later.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
