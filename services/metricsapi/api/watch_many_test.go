package api

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// TestWatchSlowReader: one who doesn't read on gets less and newer, and costs nothing.
func TestWatchSlowReader(t *testing.T) {
	l := newLogs(t)
	r := l.replica()
	r.service.now = func() time.Time { return epoch.Add(time.Second) }
	r.pods = rebuilt(r)
	l.object(newNode("node-a", nil), schemas.Applied)
	const pods = 500
	usage := func(round int) schemas.UsageSample {
		var all []schemas.PodUsage
		for i := range pods {
			all = append(all, podUsage("shop", fmt.Sprint("p", i), container("c", point(uint64(round), 1, time.Second))))
		}
		return measured(uint64(round), all...)
	}
	for i := range pods {
		l.object(newPod("shop", fmt.Sprint("p", i), "node-a", nil), schemas.Applied)
	}
	l.sample(usage(1))
	r.catchUp()
	r.whole()
	w, err := r.pods.(rest.Watcher).Watch(t.Context(), &metainternalversion.ListOptions{ResourceVersion: resourceVersion(versionOf(r.service.watches.place()))})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for round := range 50 {
		l.sample(usage(round + 2))
		r.catchUp()
	}
	last := map[string]string{}
	events := 0
	for current := 0; current < pods; events++ {
		select {
		case event := <-w.ResultChan():
			last[keyOf(event.Object)] = text(event.Object)
		case <-time.After(10 * time.Second):
			t.Fatal("no event")
		}
		current = 0
		for _, has := range last {
			if strings.Contains(has, "{51 -9}") {
				current++
			}
		}
	}
	if events > pods+2*atOnce {
		t.Errorf("%d events of %d pods that changed 50 times", events, pods)
	}
}

// rebuilt makes the replica's storage anew, after its clock was set.
func rebuilt(r *replica) storage {
	options := r.service.cfg.Options
	settings := settings{now: r.service.now, maxAge: options.maxSampleAge()}
	r.nodes, r.pods = watchable(&nodeStorage{r.service, settings}, &podStorage{r.service, settings}, r.service.watches)
	return r.pods
}

// TestWatchManyWhileEverythingChanges is for the race detector: many who watch, at a server where all changes.
func TestWatchManyWhileEverythingChanges(t *testing.T) {
	l := newLogs(t)
	r := l.replica()
	r.service.now = func() time.Time { return epoch.Add(time.Second) }
	rebuilt(r)
	l.object(newNode("node-a", nil), schemas.Applied)
	r.catchUp()
	r.whole()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = r.service.watches.run(ctx, func() error { return nil }) }()
	var readers sync.WaitGroup
	for i := range 12 {
		readers.Go(func() {
			for ctx.Err() == nil {
				options := &metainternalversion.ListOptions{AllowWatchBookmarks: true}
				if i%2 == 0 {
					options.ResourceVersion = resourceVersion(versionOf(r.service.watches.place()))
				}
				w, err := r.pods.(rest.Watcher).Watch(ctx, options)
				if err != nil {
					continue // it is being read once more
				}
				n := 0
				for event := range w.ResultChan() {
					if o, ok := event.Object.(*sharedObject); ok {
						if err := o.CacheEncode(runtime.Identifier(fmt.Sprint(i%3)), func(o runtime.Object, w io.Writer) error {
							_, err := io.WriteString(w, text(o))
							return err
						}, io.Discard); err != nil {
							t.Error(err)
						}
					}
					if n++; n%97 == i { // some break off
						w.Stop()
						break
					}
				}
			}
		})
	}
	readers.Go(func() {
		for ctx.Err() == nil {
			if _, err := r.pods.List(ctx, &metainternalversion.ListOptions{}); err != nil {
				t.Error(err)
			}
			r.service.watches.tick(r.service.now())
		}
	})
	for round := range 60 {
		var all []schemas.PodUsage
		for i := range 20 {
			pod := newPod("shop", fmt.Sprint("p", i), "node-a", map[string]string{"round": fmt.Sprint(round % 5)})
			operation := schemas.Applied
			if (i+round)%7 == 0 {
				operation = schemas.Deleted
			}
			l.object(pod, operation)
			all = append(all, podUsage("shop", pod.Name, container("c", point(uint64(round), 1, time.Duration(i%5)*time.Second))))
		}
		l.sample(measured(uint64(round), all...))
		r.catchUp()
		if round%20 == 19 {
			r.catalog, r.readObjects = r.service.beginCatalog(), 0
			r.read(len(l.objects), 0)
			r.service.serveCatalog(r.catalog, stream.Position{LogPosition: stream.LogPosition{Sequence: uint64(r.readObjects)}})
		}
	}
	stop()
	readers.Wait()
}
