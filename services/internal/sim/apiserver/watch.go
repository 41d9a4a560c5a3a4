package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// flushFrom is how many bytes of a watch are collected before they are sent, while there are more events.
const flushFrom = 64 << 10

// watchOptions is what the query of a watch says.
type watchOptions struct {
	sel       selection
	version   uint64
	initial   bool // send what there is first
	endOfList bool // mark the end of it with a bookmark
	bookmarks bool
	timeout   time.Duration
}

func (s *Server) watchOptions(q request, query url.Values) (watchOptions, error) {
	var o watchOptions
	var err error
	if o.sel, err = newSelection(q.res, q.namespace, q.name, query); err != nil {
		return o, err
	}
	if o.version, err = parseVersion(query.Get("resourceVersion")); err != nil {
		return o, err
	}
	seconds, err := parseNumber("timeoutSeconds", query.Get("timeoutSeconds"))
	if err != nil {
		return o, err
	}
	o.timeout = time.Duration(seconds) * time.Second
	if o.timeout == 0 {
		o.timeout = time.Hour
	}
	o.bookmarks = isTrue(query.Get("allowWatchBookmarks"))
	send, given := query["sendInitialEvents"]
	o.initial = o.version == 0
	if given {
		invalid := func(message string) error {
			err := errors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "ListOptions"}, "", nil)
			err.ErrStatus.Message = fmt.Sprintf("ListOptions.meta.k8s.io %q is invalid: %s", "", message)
			return err
		}
		if !s.watchList.Load() {
			return o, invalid("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
		}
		if query.Get("resourceVersionMatch") != string(metav1.ResourceVersionMatchNotOlderThan) {
			return o, invalid("resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
		}
		o.initial = isTrue(send[0])
		o.endOfList = o.initial
	}
	return o, nil
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request, q request, query url.Values) {
	f, ok := s.accept(w, r)
	if !ok {
		return
	}
	o, err := s.watchOptions(q, query)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	now := s.store.Version()
	if o.version > now {
		s.fail(w, r, tooLarge(o.version, now))
		return
	}
	if o.version == 0 && !o.initial {
		o.version = now
	}
	running, done := s.store.addWatcher(q.res)
	defer done()
	contentType := f.mediaType
	if f.protobuf() {
		contentType += ";stream=watch"
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	out := &stream{w: w, control: http.NewResponseController(w), format: f, res: q.res}
	if err := out.control.Flush(); err != nil {
		return
	}
	if err := s.follow(r, out, o, running); err != nil {
		s.log.Debug("a watch ended", "resource", q.res.Name, "error", err)
	}
}

// follow sends what there is, if that is asked for, and then every event, until somebody ends it.
func (s *Server) follow(r *http.Request, out *stream, o watchOptions, running *watcher) error {
	position := o.version
	if o.initial {
		var items []*item
		items, position = s.store.snapshotNow(out.res)
		for _, it := range o.sel.filter(items) {
			if err := out.send(watch.Added, it); err != nil {
				return err
			}
		}
		if o.endOfList && o.bookmarks {
			if err := out.bookmark(position, true); err != nil {
				return err
			}
		}
	} else if ok, floor := s.store.reach(out.res, position); !ok {
		return out.gone(position, floor)
	}
	timeout := time.NewTimer(o.timeout)
	defer timeout.Stop()
	bookmark := time.NewTicker(s.bookmarks)
	defer bookmark.Stop()
	for {
		events, version, changed, ok := s.store.after(out.res, position)
		if !ok {
			_, floor := s.store.reach(out.res, position)
			return out.gone(position, floor)
		}
		for _, e := range events {
			kind, it, seen, err := e.seen(out.res, o.sel.matches)
			if err != nil {
				return err
			}
			if seen {
				if err := out.send(kind, it); err != nil {
					return err
				}
			}
		}
		position = version
		if err := out.flush(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-bookmark.C:
			if o.bookmarks {
				if err := out.bookmark(position, false); err != nil {
					return err
				}
			}
		case status := <-running.end:
			if status != nil {
				return out.fail(status)
			}
			return nil
		case <-timeout.C:
			return nil
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
}

// stream writes the frames of a watch.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	format  format
	res     *Resource
	buffer  []byte
	columns bool // a Table's columns were sent
}

func (o *stream) send(kind watch.EventType, it *item) error {
	switch {
	case o.format.protobuf() && o.format.shape == partial:
		o.buffer = appendWatchFrame(o.buffer, string(kind), "meta.k8s.io/v1", "PartialObjectMetadata", it.metadata())
	case o.format.protobuf():
		o.buffer = appendWatchFrame(o.buffer, string(kind), o.res.APIVersion(), o.res.Kind, it.raw)
	default:
		obj, err := shaped(o.format, o.res, it)
		if err != nil {
			return err
		}
		if t, ok := obj.(*metav1.Table); ok {
			if o.columns {
				t.ColumnDefinitions = nil
			}
			o.columns = true
		}
		body, err := json.Marshal(obj)
		if err != nil {
			return fmt.Errorf("couldn't encode %s: %w", it.key, err)
		}
		o.appendJSON(string(kind), body)
	}
	if len(o.buffer) >= flushFrom {
		return o.flush()
	}
	return nil
}

// bookmark sends an object that has nothing but a version; the one that ends a streaming list says so.
func (o *stream) bookmark(version uint64, endOfList bool) error {
	obj, err := o.res.newObject()
	if err != nil {
		return err
	}
	accessor, ok := obj.(metav1.Object)
	if !ok {
		return fmt.Errorf("couldn't make a bookmark: a %s has no metadata", o.res.Kind)
	}
	if endOfList {
		accessor.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	it, err := newItem(obj, version)
	if err != nil {
		return err
	}
	if err := o.send(watch.Bookmark, it); err != nil {
		return err
	}
	return o.flush()
}

func (o *stream) gone(position, floor uint64) error {
	status := errors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", position, floor)).Status()
	return o.fail(&status)
}

// fail sends an ERROR event.
func (o *stream) fail(status *metav1.Status) error {
	status = status.DeepCopy()
	if o.format.protobuf() {
		raw, err := status.Marshal()
		if err != nil {
			return fmt.Errorf("couldn't encode a status: %w", err)
		}
		o.buffer = appendWatchFrame(o.buffer, string(watch.Error), "v1", "Status", raw)
	} else {
		status.Kind, status.APIVersion = "Status", "v1"
		body, err := json.Marshal(status)
		if err != nil {
			return fmt.Errorf("couldn't encode a status: %w", err)
		}
		o.appendJSON(string(watch.Error), body)
	}
	return o.flush()
}

func (o *stream) appendJSON(kind string, body []byte) {
	o.buffer = append(append(append(o.buffer, `{"type":"`...), kind...), `","object":`...)
	o.buffer = append(append(o.buffer, body...), "}\n"...)
}

func (o *stream) flush() error {
	if len(o.buffer) == 0 {
		return nil
	}
	if _, err := o.w.Write(o.buffer); err != nil {
		return err
	}
	o.buffer = o.buffer[:0]
	return o.control.Flush()
}
