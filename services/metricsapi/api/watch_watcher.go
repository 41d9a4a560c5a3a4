package api

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/headwater-metrics/headwater/services/internal/view"
)

const (
	// atOnce is how many changes are taken out under one lock, and how many events may wait to be sent: the library sends on
	// what it has when no more are waiting. Both are what somebody holds who doesn't read on.
	atOnce = 64
	// settlingWatch is how long a watch that goes on from a version is told of everything that its client may have: as long as
	// this replica may be behind the one that the client comes from, and more.
	settlingWatch = 10 * time.Second
	// pace is how often a watch that has everything looks for more, at most: samples come by the hundred a second.
	pace = 100 * time.Millisecond
	// bookmarkEvery is how often somebody is told how far he is, though nothing of his changed; give or take a tenth.
	bookmarkEvery = time.Minute
	// farewell is how long before a watch's time is over it gets its last bookmark.
	farewell = 2 * time.Second
)

// watcher is one watch. It implements watch.Interface.
type watcher[T any] struct {
	watches *watches
	of      *watched[T]
	object  func(reading T, labels *view.Labels, version uint64, now time.Time) runtime.Object
	empty   func(metav1.ObjectMeta) runtime.Object

	era       *era
	began     time.Time
	cursor    view.Cursor
	lapsed    []view.Change[T] // what is to be told first
	initial   []*view.Item[T]  // what is to be told then
	endMark   bool             // a bookmark is to say that the initial ones have been told
	bookmarks bool             // others are wanted, too
	due       *time.Timer      // for the next one
	isDue     bool
	results   chan watch.Event
	stop      context.CancelFunc
}

// startWatch begins a watch:
//
//	resourceVersion "" or "0"     what there is, as added; then what changes
//	resourceVersion, any other    what changed since, and what changes
//	sendInitialEvents=true        what there is, not older than the version; a bookmark that says so; then what changes
//	sendInitialEvents=false       with "" or "0", only what changes from now on
//
// What can't be told is an event of type ERROR, as from the API server.
func startWatch[T any](ctx context.Context, w *watches, of *watched[T], options *metainternalversion.ListOptions, match func(view.Key, *view.Labels) bool,
	object func(T, *view.Labels, uint64, time.Time) runtime.Object, empty func(metav1.ObjectMeta) runtime.Object) (watch.Interface, error) {
	version, err := parseVersion(options.ResourceVersion)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	s := &watcher[T]{
		watches: w, of: of, object: object, empty: empty, cursor: view.Cursor{Match: match},
		bookmarks: options.AllowWatchBookmarks, results: make(chan watch.Event, atOnce), stop: stop,
	}
	for err = errAnotherEra; err == errAnotherEra; { // which may have begun between the two
		var place view.Place
		if place, s.era, err = w.await(ctx, version); err == nil {
			err = s.begin(options.SendInitialEvents, version, place)
		}
	}
	if err != nil {
		stop()
		return w.failed(err), nil
	}
	of.watchers.Add(1)
	go s.run(ctx)
	return s, nil
}

// errAnotherEra: what was true of a version may not be so any more.
var errAnotherEra = errors.New("another era has begun")

// begin takes the place from which on a watch is told what changes, and what it is to be told before. An error that is
// errAnotherEra says that it may be tried again.
//
// Who comes from the middle of what he was told, by another replica, may have things as they were before his place, and is to
// list again where the order here isn't so much older than that place as his reading may have taken.
func (s *watcher[T]) begin(sendInitial *bool, version uint64, place view.Place) error {
	w := s.watches
	w.mu.RLock()
	defer w.mu.RUnlock()
	if s.era != w.era {
		return errAnotherEra
	}
	s.began = time.Now()
	changes := s.of.changes
	s.cursor.Index, s.cursor.At = changes.Last(), w.place()
	switch {
	case sendInitial != nil && *sendInitial, sendInitial == nil && version == 0:
		s.initial = changes.Live(s.cursor.Match)
		s.endMark = sendInitial != nil && s.bookmarks
	case version != 0:
		index, ok := changes.Seek(place)
		when := changes.When(index)
		if !ok || place.Part && when.Sub(changes.Began()) < window {
			return expiredVersion(version, w.place())
		}
		s.cursor.Index, s.cursor.At, s.cursor.Since, s.cursor.Loose = index, place, place, true
		s.lapsed = changes.Lapsed(&s.cursor, place, when.Add(-lapse))
	}
	return nil
}

// ResultChan implements watch.Interface.
func (s *watcher[T]) ResultChan() <-chan watch.Event { return s.results }

// Stop implements watch.Interface.
func (s *watcher[T]) Stop() { s.stop() }

// run tells until the client goes, its time is over, or the era ends.
func (s *watcher[T]) run(ctx context.Context) {
	defer close(s.results)
	defer s.stop()
	defer func() {
		if s.of.watchers.Add(-1) <= 1 {
			s.of.cache.forget()
		}
	}()
	s.due = time.NewTimer(untilBookmark(ctx))
	defer s.due.Stop()
	err := s.tellInitial(ctx)
	if err == nil {
		err = s.tellChanges(ctx)
	}
	if err != errOver {
		s.watches.metrics.refused(err)
		select {
		case s.results <- watch.Event{Type: watch.Error, Object: statusOf(err)}:
		case <-ctx.Done():
		}
	}
}

// errOver: there is nobody to tell any more, or nothing to say.
var errOver = errors.New("the watch is over")

// tellInitial tells what is told before the changes. An error is why the watch ends.
func (s *watcher[T]) tellInitial(ctx context.Context) error {
	for _, change := range s.lapsed {
		if err := s.tell(ctx, change, false); err != nil {
			return err
		}
	}
	s.lapsed = nil
	batch := make([]view.Change[T], 0, atOnce)
	for len(s.initial) > 0 {
		n := min(atOnce, len(s.initial))
		batch = batch[:0]
		s.watches.mu.RLock()
		if s.era != s.watches.era { // they are of what was followed before
			s.watches.mu.RUnlock()
			return s.era.reason()
		}
		for _, item := range s.initial[:n] {
			if change, ok := s.of.changes.Read(item, s.cursor.Match); ok {
				batch = append(batch, change)
			}
		}
		s.watches.mu.RUnlock()
		s.initial = s.initial[n:]
		for _, change := range batch {
			if err := s.tell(ctx, change, false); err != nil {
				return err
			}
		}
	}
	s.initial = nil
	if s.endMark {
		return s.bookmark(ctx, map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return nil
}

// tellChanges tells what changes. The error is why the watch ends.
func (s *watcher[T]) tellChanges(ctx context.Context) error {
	batch := make([]view.Change[T], 0, atOnce)
	pause := time.NewTimer(pace)
	defer pause.Stop()
	for {
		changed := s.watches.next()
		var done bool
		var err error
		if batch, done, err = s.next(batch[:0]); err != nil {
			return err
		}
		for _, change := range batch {
			if err := s.tell(ctx, change, true); err != nil {
				return err
			}
		}
		clear(batch) // it keeps nothing alive while it waits
		if s.isDue {
			if s.bookmarks {
				if err := s.bookmark(ctx, nil); err != nil {
					return err
				}
			}
			s.isDue = false
			s.due.Reset(untilBookmark(ctx))
		}
		if !done {
			select {
			case <-s.due.C:
				s.isDue = true
			case <-ctx.Done():
				return errOver
			default:
			}
			continue
		}
		if err := wait(ctx, s, changed); err != nil {
			return err
		}
		pause.Reset(pace)
		if err := wait(ctx, s, pause.C); err != nil {
			return err
		}
	}
}

// wait returns when there is something to receive, or when a bookmark is due. An error is why the watch ends.
func wait[T, E any](ctx context.Context, s *watcher[T], what <-chan E) error {
	select {
	case <-what:
	case <-s.due.C:
		s.isDue = true
	case <-s.era.ended:
		return s.era.reason()
	case <-ctx.Done():
		return errOver
	}
	return nil
}

// next takes out what changed, and returns true when nothing is left. An error is why the watch ends.
func (s *watcher[T]) next(batch []view.Change[T]) (_ []view.Change[T], done bool, err error) {
	w := s.watches
	w.mu.RLock()
	defer w.mu.RUnlock()
	if s.era != w.era {
		return batch, false, s.era.reason()
	}
	if !s.of.changes.Reaches(&s.cursor) {
		return batch, false, expiredVersion(versionOf(s.cursor.At), w.place())
	}
	if time.Since(s.began) > settlingWatch {
		s.cursor.Settle()
	}
	batch, done = s.of.changes.Next(&s.cursor, batch)
	if done {
		s.cursor.Arrive(w.place())
	}
	return batch, done, nil
}

// tell sends one change.
func (s *watcher[T]) tell(ctx context.Context, change view.Change[T], share bool) error {
	object := func() runtime.Object {
		return s.object(change.State, change.Labels, versionOf(change.At), s.watches.now())
	}
	event := watch.Event{Type: eventTypes[change.Type]}
	if share && change.Type != view.Removed && s.of.watchers.Load() > 1 {
		event.Object = s.of.cache.object(changeOf{s.era, change.Index, change.At.Part}, object)
	} else {
		event.Object = object()
	}
	return s.send(ctx, event)
}

var eventTypes = [...]watch.EventType{view.Added: watch.Added, view.Modified: watch.Modified, view.Removed: watch.Deleted}

// bookmark tells how far the reader is.
func (s *watcher[T]) bookmark(ctx context.Context, annotations map[string]string) error {
	meta := metav1.ObjectMeta{ResourceVersion: resourceVersion(versionOf(s.cursor.At)), Annotations: annotations}
	return s.send(ctx, watch.Event{Type: watch.Bookmark, Object: s.empty(meta)})
}

// send waits until the client takes the event. An error is why the watch ends.
func (s *watcher[T]) send(ctx context.Context, event watch.Event) error {
	select {
	case s.results <- event:
		s.of.events[event.Type].Inc()
		return nil
	case <-s.era.ended:
		return s.era.reason()
	case <-ctx.Done():
		return errOver
	}
}

// untilBookmark is how long it is until the next bookmark.
func untilBookmark(ctx context.Context) time.Duration {
	wait := bookmarkEvery*9/10 + rand.N(bookmarkEvery/5)
	if deadline, ok := ctx.Deadline(); ok {
		if last := time.Until(deadline) - farewell; last > 0 {
			wait = min(wait, last)
		}
	}
	return wait
}

// failed is a watch that only tells why it can't begin.
func (w *watches) failed(err error) watch.Interface {
	w.metrics.refused(err)
	results := make(chan watch.Event, 1)
	results <- watch.Event{Type: watch.Error, Object: statusOf(err)}
	close(results)
	return watch.NewProxyWatcher(results)
}

func statusOf(err error) *metav1.Status {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		s := status.Status()
		return &s
	}
	s := apierrors.NewInternalError(err).Status()
	return &s
}
