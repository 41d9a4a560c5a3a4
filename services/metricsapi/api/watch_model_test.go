package api

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// modelClient keeps what it is told. Its own goroutine reads the watch; the test looks at it when all is quiet.
type modelClient struct {
	t         testing.TB
	from      func(*replica) storage
	options   metainternalversion.ListOptions
	namespace string

	mu       sync.Mutex // guards all below but what only connect and disconnect change
	has      map[string]string
	version  string    // to go on from
	began    time.Time // when it connected
	exact    bool      // what it has is what its version says: it is told of nothing as new that it has, nor as changed that it hasn't
	strict   bool      // it has had everything once: neither is it told of the end of what it hasn't
	at       *replica
	watch    watch.Interface
	stop     context.CancelFunc
	done     chan struct{}
	initial  bool // it has not been told all that there was
	streamed bool // it has begun with an empty picture
	whole    bool // when it broke off, it had been told all that its version says
	failure  *metav1.Status
	relists  int
	// patience is after how many events it stops to read, in the middle of whatever is told; 0 for never.
	patience int
	// meanwhile is what happens at a replica while it makes a list, and tells whether anything does; nil for nothing.
	meanwhile func(*replica) bool
}

func (c *modelClient) context() (context.Context, context.CancelFunc) {
	return context.WithCancel(genericrequest.WithNamespace(context.Background(), c.namespace))
}

// list lists. Unless the test has asked for it, nothing happens meanwhile.
func (c *modelClient) list(r *replica) (map[string]string, string, error) {
	ctx, stop := c.context()
	defer stop()
	list, err := c.from(r).List(ctx, &metainternalversion.ListOptions{LabelSelector: c.options.LabelSelector})
	if err != nil {
		return nil, "", err
	}
	has := map[string]string{}
	err = eachItem(list, func(item runtime.Object) { has[keyOf(item)] = text(item) })
	accessor, _ := meta.ListAccessor(list)
	return has, accessor.GetResourceVersion(), err
}

// connect begins to watch at a replica: from its version, or from a list if it has none.
func (c *modelClient) connect(r *replica, streaming bool) {
	c.t.Helper()
	c.strict, c.streamed, c.exact = false, false, r == c.at && c.whole
	options := c.options
	options.Watch, options.AllowWatchBookmarks = true, true
	switch {
	case c.version != "":
		options.ResourceVersion = c.version
	case streaming:
		yes := true
		options.SendInitialEvents, options.ResourceVersionMatch = &yes, metav1.ResourceVersionMatchNotOlderThan
		c.has, c.initial, c.streamed, c.exact = map[string]string{}, true, true, false
		c.relists++
	default:
		var err error
		c.initial = false
		moved := false
		if c.meanwhile != nil {
			r.meanwhile(func() { moved = c.meanwhile(r) })
		}
		if c.has, c.version, err = c.list(r); err != nil {
			c.t.Fatal(err)
		}
		r.meanwhile(nil)
		options.ResourceVersion = c.version
		c.relists++
		c.exact = !moved && len(c.has) == c.known(r)
	}
	ctx, stop := c.context()
	w, err := c.from(r).(rest.Watcher).Watch(ctx, &options)
	if err != nil {
		c.t.Fatal(err)
	}
	c.began = time.Now()
	c.at, c.watch, c.stop, c.done, c.failure = r, w, stop, make(chan struct{}), nil
	go func() {
		defer close(c.done)
		for event := range w.ResultChan() {
			if !c.take(event) {
				return
			}
		}
	}()
}

// known is how many of what the client asks for those who watch at a replica are told of. A list knows at once that a sample
// has become too old, a watch within a second.
func (c *modelClient) known(r *replica) int {
	w, match := r.service.watches, matching(c.namespace, &c.options)
	w.mu.RLock()
	defer w.mu.RUnlock()
	if _, ok := c.from(r).(*watchedNodes); ok {
		return len(w.nodes.changes.Live(match))
	}
	return len(w.pods.changes.Live(match))
}

// settle waits until it has been told what there is. What is told later is of what has changed since then.
func (c *modelClient) settle() {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.strict = c.streamed && !c.initial
}

// take takes in an event, and returns false if that was the last one that it takes.
func (c *modelClient) take(event watch.Event) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.patience--
	if event.Type == watch.Error {
		c.failure = event.Object.(*metav1.Status)
		return true
	}
	accessor, err := meta.Accessor(event.Object)
	if err != nil {
		c.t.Error(err)
		return false
	}
	key := keyOf(event.Object)
	_, has := c.has[key]
	switch event.Type {
	case watch.Deleted:
		delete(c.has, key)
	case watch.Added, watch.Modified:
		c.has[key] = text(event.Object)
	}
	if event.Type != watch.Bookmark && has != (event.Type != watch.Added) && (c.strict || c.exact && event.Type != watch.Deleted) {
		c.t.Errorf("%s of %s, had it: %v, strict: %v", event.Type, key, has, c.strict)
	}
	if accessor.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "" {
		c.initial = false
	}
	if !c.initial { // before, a client has no picture to go on with
		c.version = accessor.GetResourceVersion()
	}
	return c.patience != 0
}

// lost tells whether it has to connect anew.
func (c *modelClient) lost() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watch == nil || c.failure != nil || stopped(c.done)
}

// disconnect breaks off; what is underway is lost.
func (c *modelClient) disconnect() {
	if c.watch != nil {
		whole := !stopped(c.done)
		c.stop()
		c.watch.Stop()
		<-c.done
		// In the version of an event, what came and went since the event before it may have been there.
		c.whole = whole && c.version == resourceVersion(versionOf(c.at.service.watches.place()))
		c.watch = nil
		if c.failure != nil {
			c.version = "" // as clients do when they are told to list again
		}
	}
}

// TestWatchModel lets clients follow two replicas that read the same streams, each at its own speed, while nodes and pods come
// and go, change their labels, begin and cease to have metrics, and lose their samples to age. Clients break off and go
// on at the other replica, from the version that they have, also from the middle of what they were told, and of lists to which
// things came while they were made. When all is quiet, each has what a list has.
func TestWatchModel(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) { runWatchModel(t, seed) })
	}
}

// TestWatchModelWithNodeSelector is TestWatchModel where nodes come to be selected, and cease to be, as their labels change.
func TestWatchModelWithNodeSelector(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			runWatchModel(t, seed, func(o *Options) { o.NodeSelector = "color=red" })
		})
	}
}

func runWatchModel(t *testing.T, seed uint64, configure ...func(*Options)) {
	random := rand.New(rand.NewPCG(seed, 5))
	l := newLogs(t)
	w := &modelWorld{logs: l, random: random, pods: map[string]*corev1.Pod{}, nodes: map[string]*corev1.Node{}, last: map[string]schemas.UsageSample{}}
	for range 100 {
		w.step()
	}
	ctx, stop := context.WithCancel(t.Context())
	replicas := []*replica{l.replica(configure...), l.replica(configure...)}
	for _, r := range replicas {
		r.catchUp()
		r.whole()
		go func() { _ = r.service.watches.run(ctx, r.service.viewsReady) }()
	}
	// Most of the time a replica has been there for longer than anybody reads, so that one can go on there from the middle.
	time.Sleep(window)
	for range 50 {
		w.step()
	}
	for _, r := range replicas {
		r.catchUp()
	}
	pods := func(r *replica) storage { return r.pods }
	red, err := labels.Parse("color=red")
	if err != nil {
		t.Fatal(err)
	}
	var clients []*modelClient
	defer func() {
		for _, c := range clients {
			c.disconnect()
		}
		stop()
		synctest.Wait()
	}()
	clients = []*modelClient{
		{t: t, from: pods}, {t: t, from: pods, namespace: "ns-1"},
		{t: t, from: pods, options: metainternalversion.ListOptions{LabelSelector: red}},
		{t: t, from: func(r *replica) storage { return r.nodes }},
		{t: t, from: pods, namespace: "ns-0", options: metainternalversion.ListOptions{LabelSelector: red}},
	}
	for _, c := range clients {
		c.meanwhile = func(r *replica) bool {
			objects, usage := random.IntN(4), random.IntN(4)
			r.read(objects, usage)
			return objects+usage > 0
		}
	}
	for round := range 30 {
		synctest.Wait()
		for _, c := range clients {
			if c.lost() || random.IntN(3) == 0 {
				c.disconnect()
				c.patience = max(0, random.IntN(12)-6)
				c.connect(replicas[random.IntN(2)], random.IntN(2) == 0)
				if random.IntN(2) == 0 {
					c.settle()
				}
			}
		}
		for range random.IntN(30) {
			w.step()
			for _, r := range replicas {
				r.read(random.IntN(3), random.IntN(3))
			}
			if random.IntN(3) == 0 {
				time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond) // the bubble's: in the middle of what is told
			}
		}
		if random.IntN(8) == 0 {
			for _, r := range replicas { // none is behind for that long: see lapse
				r.catchUp()
			}
			time.Sleep(50 * time.Second) // all samples become too old
		}
		if random.IntN(10) == 0 { // a log that had to be read once more: all list again
			r := replicas[random.IntN(2)]
			r.catchUp()
			r.catalog, r.readObjects = r.service.beginCatalog(), 0
			r.read(len(l.objects), 0)
			r.service.serveCatalog(r.catalog, stream.Position{LogPosition: stream.LogPosition{Sequence: uint64(r.readObjects)}})
		}
		if random.IntN(3) > 0 {
			continue
		}
		for _, r := range replicas {
			r.catchUp()
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for i, c := range clients {
			if c.lost() {
				continue
			}
			has := func() map[string]string {
				c.mu.Lock()
				defer c.mu.Unlock()
				return maps.Clone(c.has)
			}
			// A list knows at once that a sample has become too old, a watch within a second.
			var want map[string]string
			for attempt := 0; attempt < 3 && (attempt == 0 || !maps.Equal(has(), want)); attempt++ {
				var err error
				if want, _, err = c.list(c.at); err != nil {
					t.Fatal(err)
				}
				time.Sleep(1200 * time.Millisecond)
				synctest.Wait()
			}
			if !c.lost() && !maps.Equal(has(), want) {
				t.Fatalf("seed %d, round %d, client %d:\n has %v\nwant %v", seed, round, i, has(), want)
			}
			c.mu.Lock()
			if c.version == "" {
				t.Errorf("seed %d, client %d: no version", seed, i)
			}
			c.strict = time.Since(c.began) > 2*settlingWatch
			c.mu.Unlock()
		}
	}
	relists := 0
	for _, c := range clients {
		relists += c.relists
	}
	if relists > 5*12 {
		t.Errorf("seed %d: %d lists, so that going on was hardly tested", seed, relists)
	}
}

func stopped(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// eachItem calls f with each item of a list.
func eachItem(list runtime.Object, f func(runtime.Object)) error {
	return meta.EachListItem(list, func(item runtime.Object) error {
		f(item)
		return nil
	})
}
