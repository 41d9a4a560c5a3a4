package api

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/headwater-metrics/headwater/services/internal/view"
)

// TestEncodingsAreOfTheirEra: indexes begin anew with each era, and who has a change of the one before may still tell it.
func TestEncodingsAreOfTheirEra(t *testing.T) {
	var cache encodings
	before, after := newEra(), newEra()
	named := func(name string) func() runtime.Object {
		return func() runtime.Object { return &metrics.PodMetrics{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	}
	name := func(o runtime.Object) string { return o.(*sharedObject).object.(*metrics.PodMetrics).Name }
	first := cache.object(changeOf{era: before, index: 7}, named("first"))
	if again := cache.object(changeOf{era: before, index: 7}, named("again")); again != first {
		t.Errorf("a change has two objects, %s and %s", name(first), name(again))
	}
	if amid := cache.object(changeOf{era: before, index: 7, part: true}, named("amid")); amid == first {
		t.Error("who is in the middle is told the version of who is not")
	}
	cache.forget()
	cache.object(changeOf{era: before, index: 7}, named("late"))
	if got := name(cache.object(changeOf{era: after, index: 7}, named("new"))); got != "new" {
		t.Errorf("a change of the next era is told as %q", got)
	}
	for i := range 3 * shared {
		cache.object(changeOf{era: after, index: uint64(i)}, named(fmt.Sprint(i)))
	}
	if len(cache.objects) > shared {
		t.Errorf("%d objects are kept, want at most %d", len(cache.objects), shared)
	}
}

// TestSharedObjectsAreOfTheirVersion: who is in the middle of what he is told, and who is not, share no object: its version says so.
func TestSharedObjectsAreOfTheirVersion(t *testing.T) {
	r := newLogs(t).replica()
	r.whole()
	watches := r.service.watches
	watches.nodes.watchers.Add(2)
	s := &watcher[nodeReading]{watches: watches, of: &watches.nodes, era: watches.era, results: make(chan watch.Event, 1),
		object: func(_ nodeReading, _ *view.Labels, version uint64, _ time.Time) runtime.Object {
			return &metrics.NodeMetrics{ObjectMeta: metav1.ObjectMeta{ResourceVersion: resourceVersion(version)}}
		}}
	for _, place := range []view.Place{{Usage: 5, Objects: 5}, {Usage: 5, Objects: 5, Part: true}} {
		if err := s.tell(t.Context(), view.Change[nodeReading]{Type: view.Modified, Index: 7, At: place}, true); err != nil {
			t.Fatal(err)
		}
		if got := (<-s.results).Object.(*sharedObject).object.(*metrics.NodeMetrics).ResourceVersion; got != resourceVersion(versionOf(place)) {
			t.Errorf("%+v is told as %s", place, got)
		}
	}
}
