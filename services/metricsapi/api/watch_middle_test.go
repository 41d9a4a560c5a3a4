package api

import (
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// meanwhile makes something happen in the middle of a replica's next list of pods: after its version was taken, before it is read.
func (r *replica) meanwhile(happen func()) { r.source.happen = happen }

// interrupted is a source that lets something happen when it is asked for the views.
type interrupted struct {
	source
	happen func()
}

func (i *interrupted) views() (*catalog, view.UsageReader, error) {
	if happen := i.happen; happen != nil {
		i.happen = nil
		happen()
	}
	return i.source.views()
}

// TestWatchFromAListThatIsNewerThanItsVersion: a list has a pod that came while it was made. Whoever watches from there, at a replica
// where the pod came when its usage had ended, is told that it is gone.
func TestWatchFromAListThatIsNewerThanItsVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPartWorld(t, nil)
		w.measure("shop/web-0", "shop/web-1")
		for _, r := range []*replica{w.a, w.b} {
			r.catchUp()
			r.whole()
		}
		c := &modelClient{t: t, from: func(r *replica) storage { return r.pods }}
		w.a.meanwhile(func() {
			pod := w.pods["shop/web-0"].DeepCopy()
			pod.Name = "web-2"
			w.object(pod, schemas.Applied)
			w.measure("shop/web-0", "shop/web-1", "shop/web-2")
			w.a.catchUp()
		})
		var err error
		if c.has, c.version, err = c.list(w.a); err != nil || len(c.has) != 3 {
			t.Fatalf("%v: has %v", err, c.has)
		}
		w.measure("shop/web-0")
		w.b.read(0, 2)
		w.b.catchUp()
		c.connect(w.b, false)
		defer c.disconnect()
		quiet()
		w.sameAsList(c)
	})
}

// TestExactListIsNoNewer: a list of exactly a version is not of a later moment.
func TestExactListIsNoNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPartWorld(t, nil)
		w.measure("shop/web-0")
		w.a.catchUp()
		w.a.whole()
		options := &metainternalversion.ListOptions{ResourceVersion: resourceVersion(versionOf(w.a.service.watches.place())), ResourceVersionMatch: metav1.ResourceVersionMatchExact}
		if _, err := w.a.pods.List(t.Context(), options); err != nil {
			t.Error(err)
		}
		w.a.meanwhile(func() {
			w.measure("shop/web-1")
			w.a.catchUp()
		})
		if list, err := w.a.pods.List(t.Context(), options); !apierrors.IsResourceExpired(err) {
			t.Errorf("%v, %v", list, err)
		}
	})
}

// TestWatchGoesOnFromTheMiddle: somebody breaks off in the middle of what he is told, before he hears that a pod has other labels,
// because it changed again behind. Another replica tells him, or lets him list again if it didn't see the first change.
func TestWatchGoesOnFromTheMiddle(t *testing.T) {
	red, err := labels.Parse("color=red")
	if err != nil {
		t.Fatal(err)
	}
	for _, young := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newPartWorld(t, nil)
			paint := func(key, color string) {
				w.pods[key] = w.pods[key].DeepCopy()
				w.pods[key].Labels = map[string]string{"color": color}
				w.object(w.pods[key], schemas.Applied)
			}
			paint("shop/web-0", "red")
			paint("shop/web-1", "red")
			for _, r := range []*replica{w.a, w.b} {
				r.catchUp()
				r.whole()
			}
			time.Sleep(window)
			w.measure("shop/web-0", "shop/web-1")
			w.a.catchUp()
			w.b.catchUp()
			c := &modelClient{t: t, from: func(r *replica) storage { return r.pods }, options: metainternalversion.ListOptions{LabelSelector: red}, patience: 3}
			c.connect(w.a, false)
			quiet()
			w.measure("shop/web-0", "shop/web-1")
			w.a.catchUp()
			quiet()
			paint("shop/web-0", "blue")
			w.measure("shop/web-1", "shop/web-0")
			w.a.catchUp()
			quiet()
			c.disconnect()
			c.patience = 0
			if len(c.has) != 2 {
				t.Fatalf("has %v", c.has)
			}
			w.b.read(3, 1)
			if young {
				w.b.catalog, w.b.readObjects = w.b.service.beginCatalog(), 0
				w.b.read(len(w.objects), 0)
				w.b.whole()
			}
			c.connect(w.b, false)
			w.b.catchUp()
			quiet()
			if lost := c.lost(); lost != young || lost && c.failure.Reason != metav1.StatusReasonExpired {
				t.Errorf("young %v: %+v", young, c.failure)
			}
			if young {
				c.disconnect()
				c.connect(w.b, false)
				quiet()
			}
			w.sameAsList(c)
			c.disconnect()
		})
	}
}

// TestWatchBeginsInTheEraOfItsVersion: what was found out of a version in one era says nothing in the next one, of other streams.
func TestWatchBeginsInTheEraOfItsVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPartWorld(t, nil)
		for range 10 {
			w.measure("shop/web-0")
		}
		w.a.catchUp()
		w.a.whole()
		watches := w.a.service.watches
		version := versionOf(watches.place())
		place, era, err := watches.await(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		begin := func() error {
			s := &watcher[podReading]{watches: watches, of: &watches.pods, era: era, cursor: view.Cursor{Match: func(view.Key, *view.Labels) bool { return true }}}
			return s.begin(nil, version, place)
		}
		if err := begin(); err != nil {
			t.Error(err)
		}
		w.usage, w.a.readUsage, w.a.usage = nil, 0, w.a.service.beginUsage()
		w.measure()
		w.a.catchUp()
		w.a.service.serveUsage(w.a.usage, stream.Position{LogPosition: stream.LogPosition{Sequence: 1}})
		if err := begin(); err != errAnotherEra {
			t.Errorf("a place in another stream is taken: %v", err)
		}
		c := &modelClient{t: t, from: func(r *replica) storage { return r.pods }, version: resourceVersion(version), has: map[string]string{}}
		c.connect(w.a, false)
		quiet()
		if c.failure == nil || c.failure.Reason != metav1.StatusReasonExpired {
			t.Errorf("%+v", c.failure)
		}
		c.disconnect()
	})
}

// TestWatchFromAListOfAStreamThatIsReadOnceMore: such a list may have what was long ago, and there is no watching on from it.
func TestWatchFromAListOfAStreamThatIsReadOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPartWorld(t, nil)
		w.measure("shop/web-0")
		w.measure("shop/web-1")
		w.a.catchUp()
		w.a.whole()
		w.a.readUsage = 0
		w.a.read(0, 1)
		c := &modelClient{t: t, from: func(r *replica) storage { return r.pods }}
		var err error
		if c.has, c.version, err = c.list(w.a); err != nil || c.has["shop/web-0"] == "" {
			t.Fatalf("%v: %v", err, c.has)
		}
		w.a.catchUp()
		w.a.service.serveUsage(w.a.usage, stream.Position{LogPosition: stream.LogPosition{Sequence: 2}})
		c.connect(w.a, false)
		quiet()
		if c.failure == nil || c.failure.Reason != metav1.StatusReasonExpired {
			t.Errorf("%+v, has %v", c.failure, c.has)
		}
		c.disconnect()
		c.connect(w.a, false) // from another list
		quiet()
		want, _, err := c.list(w.a)
		if err != nil || len(want) != 1 || len(c.has) != 1 || c.has["shop/web-1"] == "" || c.failure != nil {
			t.Errorf("%v: has %v, want %v; %+v", err, c.has, want, c.failure)
		}
		c.disconnect()
	})
}

// TestWatchOfTwoStreamsThatAreNoMore: versions of before are refused at once where both streams were recreated, whichever is whole first.
func TestWatchOfTwoStreamsThatAreNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPartWorld(t, nil)
		for range 5 {
			w.measure("web-0")
			w.other()
		}
		w.a.catchUp()
		w.a.whole()
		version := resourceVersion(versionOf(w.a.service.watches.place()))
		w.usage, w.a.readUsage = nil, 0
		w.measure("web-0")
		w.a.read(0, 1)
		w.objects, w.a.readObjects, w.a.catalog = w.objects[:2], 0, w.a.service.beginCatalog()
		w.a.read(2, 0)
		w.a.whole()
		c := &modelClient{t: t, from: func(r *replica) storage { return r.pods }, version: version, has: map[string]string{}}
		began := time.Now()
		c.connect(w.a, false)
		<-c.done
		if c.failure == nil || c.failure.Reason != metav1.StatusReasonExpired || time.Since(began) > 0 {
			t.Errorf("%+v after %v", c.failure, time.Since(began))
		}
		c.disconnect()
	})
}

// TestWatchOfWhatIsForgotten: answers whose usage is forgotten have ended, if time had not yet ended them.
func TestWatchOfWhatIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPartWorld(t, nil)
		w.measure("shop/web-0", "shop/web-1")
		w.a.catchUp()
		w.a.whole()
		pods := func(r *replica) storage { return r.pods }
		c, streamed := &modelClient{t: t, from: pods}, &modelClient{t: t, from: pods}
		c.connect(w.a, false)
		time.Sleep(forget + time.Second)
		w.a.service.forgetUsage(time.Now().Add(-forget).UnixNano())
		streamed.connect(w.a, true)
		quiet()
		for _, c := range []*modelClient{c, streamed} {
			if len(c.has) > 0 || c.failure != nil {
				t.Errorf("has %v, %+v", c.has, c.failure)
			}
			c.disconnect()
		}
	})
}

// TestWatchOfWhatLapsedElsewhere: somebody who was away for minutes is told of what time had ended where he goes on, before all that
// he had read was read there.
func TestWatchOfWhatLapsedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPartWorld(t, nil)
		w.measure("shop/web-0")
		for _, r := range []*replica{w.a, w.b} {
			r.catchUp()
			r.whole()
		}
		c := &modelClient{t: t, from: func(r *replica) storage { return r.pods }}
		time.Sleep(40 * time.Second)
		w.other()
		w.a.catchUp()
		c.connect(w.a, false)
		quiet()
		c.disconnect()
		if len(c.has) != 1 {
			t.Fatalf("has %v", c.has)
		}
		time.Sleep(10 * time.Second)
		w.b.service.watches.tick(time.Now())
		w.b.catchUp()
		time.Sleep(3 * time.Minute)
		c.connect(w.b, false)
		quiet()
		if len(c.has) > 0 || c.failure != nil {
			t.Errorf("has %v, %+v", c.has, c.failure)
		}
		c.disconnect()
	})
}

// TestWatchGoesOnFromTheMiddleWhenAllHasMovedOn: a replica that has been there for long lets somebody go on from the middle, though
// nothing is left of where he was: each answer has changed since, so often that the order was swept.
func TestWatchGoesOnFromTheMiddleWhenAllHasMovedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPartWorld(t, nil)
		w.measure("web-0", "web-1")
		for _, r := range []*replica{w.a, w.b} {
			r.catchUp()
			r.whole()
		}
		time.Sleep(window)
		w.measure("web-0", "web-1")
		w.a.catchUp()
		w.b.catchUp()
		c := &modelClient{t: t, from: func(r *replica) storage { return r.pods }, patience: 1}
		c.connect(w.a, false)
		for range 1200 {
			time.Sleep(100 * time.Millisecond)
			w.measure("web-0", "web-1")
			w.a.catchUp()
			w.b.catchUp()
		}
		quiet()
		c.disconnect()
		c.patience = 0
		c.connect(w.b, false)
		defer c.disconnect()
		quiet()
		if c.lost() || len(c.has) != 2 {
			t.Errorf("%+v, has %v", c.failure, c.has)
		}
		w.measure("web-0")
		w.b.catchUp()
		quiet()
		w.sameAsList(c)
	})
}
