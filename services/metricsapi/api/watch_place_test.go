package api

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// TestWatchTooFarBehind: what happened since a version is known for five minutes at least, then clients have to list.
func TestWatchTooFarBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogs(t)
		ctx, stop := context.WithCancel(t.Context())
		r := l.replica()
		node := newNode("n", nil)
		node.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
		pod := newPod("ns", "p", "n", nil)
		pod.CreationTimestamp, pod.Status.StartTime = node.CreationTimestamp, &node.CreationTimestamp
		l.object(node, schemas.Applied)
		l.object(pod, schemas.Applied)
		feed := func() {
			p := point(1, 2, time.Second)
			p.Time = time.Now().UnixNano()
			l.sample(schemas.UsageSample{Node: "n", Time: p.Time, Point: &p, Pods: []schemas.PodUsage{podUsage("ns", "p", container("c", p))}})
		}
		feed()
		r.catchUp()
		r.whole()
		go func() { _ = r.service.watches.run(ctx, r.service.viewsReady) }()
		c := &modelClient{t: t, from: func(r *replica) storage { return r.pods }}
		c.connect(r, false)
		c.disconnect()
		version := c.version
		again := func(want string) {
			t.Helper()
			c.version = version
			c.connect(r, false)
			time.Sleep(time.Second)
			synctest.Wait()
			got := "on"
			if c.failure != nil {
				got = string(c.failure.Reason)
				if !strings.Contains(c.failure.Message, "too old resource version: "+version) {
					t.Error(c.failure.Message)
				}
			}
			if got != want {
				t.Errorf("after %v: %s, want %s", time.Since(time.Unix(0, 0)), got, want)
			}
			c.disconnect()
		}
		l.object(pod, schemas.Deleted)
		r.catchUp()
		for range 28 { // 4:40
			time.Sleep(10 * time.Second)
			feed()
			r.catchUp()
		}
		again("on")
		if len(c.has) != 0 {
			t.Errorf("has %v", c.has)
		}
		for range 3 {
			time.Sleep(10 * time.Second)
			feed()
			r.catchUp()
		}
		again(string(metav1.StatusReasonExpired))
		if c.version != "" {
			t.Error("a client that was told to list again goes on")
		}
		stop()
		synctest.Wait()
	})
}

// TestWatchAhead: a version that another replica gave is waited for, for three seconds.
func TestWatchAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogs(t)
		r := l.replica()
		l.object(newNode("n", nil), schemas.Applied)
		r.catchUp()
		r.whole()
		for range 3 {
			l.other()
		}
		ahead := resourceVersion(versionOf(r.service.watches.place()) + 3)
		list := func() error {
			_, err := r.nodes.List(t.Context(), &metainternalversion.ListOptions{ResourceVersion: ahead, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
			return err
		}
		began := time.Now()
		err := list()
		if !apierrors.IsTimeout(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) || time.Since(began).Round(time.Second) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := r.nodes.Get(t.Context(), "n", &metav1.GetOptions{ResourceVersion: ahead}); !apierrors.IsTimeout(err) {
			t.Error(err)
		}
		c := &modelClient{t: t, from: func(r *replica) storage { return r.nodes }, version: ahead, has: map[string]string{}}
		c.connect(r, false)
		<-c.done
		if c.failure == nil || c.failure.Code != 504 {
			t.Errorf("%+v", c.failure)
		}
		c.disconnect()
		go func() {
			time.Sleep(2 * time.Second)
			r.catchUp()
		}()
		began = time.Now()
		if err := list(); err != nil || time.Since(began).Round(time.Second) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		synctest.Wait()
	})
}

// TestWatchOfStreamsThatAreNoMore: when a stream was recreated, its numbers begin anew; versions of before say nothing.
func TestWatchOfStreamsThatAreNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogs(t)
		r := l.replica()
		l.object(newNode("n", nil), schemas.Applied)
		for range 100 {
			l.other()
			l.sample(schemas.UsageSample{Node: "n", Time: time.Now().UnixNano()})
		}
		r.catchUp()
		r.whole()
		nodes := func(r *replica) storage { return r.nodes }
		c, other := &modelClient{t: t, from: nodes}, &modelClient{t: t, from: nodes}
		c.connect(r, false)
		other.connect(r, false)
		other.disconnect()

		// The usage: the same view goes on, and gets numbers that it had.
		l.usage, r.readUsage = nil, 0
		l.sample(schemas.UsageSample{Node: "n", Time: time.Now().UnixNano()})
		r.catchUp()
		<-c.done
		if c.failure == nil || c.failure.Reason != metav1.StatusReasonExpired {
			t.Errorf("%+v", c.failure)
		}
		if _, err := r.nodes.(rest.Watcher).Watch(t.Context(), &metainternalversion.ListOptions{}); err != nil {
			t.Error(err)
		}
		r.service.serveUsage(r.usage, stream.Position{LogPosition: stream.LogPosition{Sequence: 1}})
		began := time.Now()
		version := other.version
		other.connect(r, false)
		<-other.done
		if other.failure == nil || other.failure.Reason != metav1.StatusReasonExpired || time.Since(began) > 0 {
			t.Errorf("usage: %+v after %v", other.failure, time.Since(began))
		}

		// The objects: another catalog.
		l.objects, r.readObjects, r.catalog = nil, 0, r.service.beginCatalog()
		l.object(newNode("n", nil), schemas.Applied)
		r.catchUp()
		r.service.serveCatalog(r.catalog, stream.Position{LogPosition: stream.LogPosition{Sequence: 1}})
		other.version = version
		other.connect(r, false)
		<-other.done
		if other.failure == nil || other.failure.Reason != metav1.StatusReasonExpired {
			t.Errorf("objects: %+v", other.failure)
		}
		c.disconnect()
		other.disconnect()
		other.connect(r, false)
		other.disconnect()
		if other.version == "" || other.relists != 2 {
			t.Errorf("version %q, %d lists", other.version, other.relists)
		}
		synctest.Wait()
	})
}

// TestWatchBookmarks: about once a minute, whoever wants them is told how far he is, though nothing of his changed.
func TestWatchBookmarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogs(t)
		r := l.replica()
		l.object(newNode("n", nil), schemas.Applied)
		r.catchUp()
		r.whole()
		for _, wanted := range []bool{true, false} {
			ctx, stop := context.WithTimeout(t.Context(), 200*time.Second)
			began := time.Now()
			w, err := r.nodes.(rest.Watcher).Watch(ctx, &metainternalversion.ListOptions{
				AllowWatchBookmarks: wanted, ResourceVersion: resourceVersion(versionOf(r.service.watches.place())),
			})
			if err != nil {
				t.Fatal(err)
			}
			var at []time.Duration
			for event := range w.ResultChan() {
				item := event.Object.(*metrics.NodeMetrics)
				if event.Type != watch.Bookmark || item.ResourceVersion != resourceVersion(versionOf(r.service.watches.place())) || len(item.Annotations) > 0 {
					t.Errorf("%s %+v", event.Type, item)
				}
				at = append(at, time.Since(began).Round(time.Second))
				l.other() // so that the version of the next one is another
				r.catchUp()
			}
			stop()
			if !wanted && len(at) > 0 || wanted && (len(at) < 4 || at[0] < 54*time.Second || at[0] > 66*time.Second || !slices.Contains(at, 198*time.Second)) {
				t.Errorf("wanted %v: bookmarks at %v", wanted, at)
			}
		}
		synctest.Wait()
	})
}

// TestWatchWithoutAMark: whoever is told what there is and didn't ask for a bookmark at its end gets none, though he takes others.
// Over HTTP the library asks for it in the name of those who say nothing.
func TestWatchWithoutAMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLogs(t).replica()
		r.whole()
		yes := true
		for _, asked := range []*bool{nil, &yes} {
			ctx, stop := context.WithTimeout(t.Context(), 100*time.Second)
			w, err := r.nodes.(rest.Watcher).Watch(ctx, &metainternalversion.ListOptions{AllowWatchBookmarks: true, SendInitialEvents: asked})
			if err != nil {
				t.Fatal(err)
			}
			var marks, others int
			for event := range w.ResultChan() {
				if event.Object.(*metrics.NodeMetrics).Annotations[metav1.InitialEventsAnnotationKey] == "true" {
					marks++
				} else {
					others++
				}
			}
			stop()
			if want := map[bool]int{true: 1}[asked != nil]; marks != want || others == 0 {
				t.Errorf("asked %v: %d marks, %d other bookmarks", asked != nil, marks, others)
			}
		}
		synctest.Wait()
	})
}
