package api

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/metrics/pkg/apis/metrics"
)

// TestEncodingsAreOfTheirEra: indexes begin anew with each era, and who has a change of the one before may still tell it.
func TestEncodingsAreOfTheirEra(t *testing.T) {
	var cache encodings
	before, after := newEra(), newEra()
	named := func(name string) func() runtime.Object {
		return func() runtime.Object { return &metrics.PodMetrics{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	}
	name := func(o runtime.Object) string { return o.(*sharedObject).object.(*metrics.PodMetrics).Name }
	first := cache.object(changeOf{before, 7}, named("first"))
	if again := cache.object(changeOf{before, 7}, named("again")); again != first {
		t.Errorf("a change has two objects, %s and %s", name(first), name(again))
	}
	cache.forget()
	cache.object(changeOf{before, 7}, named("late"))
	if got := name(cache.object(changeOf{after, 7}, named("new"))); got != "new" {
		t.Errorf("a change of the next era is told as %q", got)
	}
	for i := range 3 * shared {
		cache.object(changeOf{after, uint64(i)}, named(fmt.Sprint(i)))
	}
	if len(cache.objects) > shared {
		t.Errorf("%d objects are kept, want at most %d", len(cache.objects), shared)
	}
}
