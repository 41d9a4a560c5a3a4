package api

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/metrics/pkg/apis/metrics"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// logs are the two streams in a test: what replicas read, each at its own speed. The test has one goroutine.
type logs struct {
	t              testing.TB
	objects, usage []stream.Event
	encoders       map[string]*objects.Encoder
}

func newLogs(t testing.TB) *logs {
	l := &logs{t: t, encoders: map[string]*objects.Encoder{}}
	for _, resource := range []string{"pods", "nodes"} {
		kind, _ := objects.ByResource(resource)
		encoder, err := objects.NewEncoder(kind)
		if err != nil {
			t.Fatal(err)
		}
		l.encoders[resource] = encoder
	}
	return l
}

// object appends an object change.
func (l *logs) object(object runtime.Object, operation schemas.Operation) {
	l.t.Helper()
	resource := "pods"
	if _, ok := object.(*corev1.Node); ok {
		resource = "nodes"
	}
	change, err := l.encoders[resource].Change(object, operation, time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	subject := schemas.ObjectSubject{Cluster: "test", Resource: resource, Namespace: change.Namespace, Name: change.Name}
	l.objects = append(l.objects, stream.Event{Sequence: uint64(len(l.objects) + 1), Subject: subject.String(), Data: change.Marshal()})
}

// other appends a change of an object that nobody here cares for.
func (l *logs) other() {
	subject := schemas.ObjectSubject{Cluster: "test", Resource: "secrets", Namespace: "a", Name: "b"}
	l.objects = append(l.objects, stream.Event{Sequence: uint64(len(l.objects) + 1), Subject: subject.String()})
}

// sample appends a usage sample.
func (l *logs) sample(sample schemas.UsageSample) {
	subject := schemas.UsageSubject{Cluster: "test", Node: sample.Node}
	l.usage = append(l.usage, stream.Event{Sequence: uint64(len(l.usage) + 1), Subject: subject.String(), Data: sample.Marshal()})
}

// replica is a metrics API that watches, without a server around it.
type replica struct {
	*logs
	service        *Service
	pods           storage
	nodes          storage
	catalog, usage stream.Sink
	readObjects    int // how many of the objects' events it has read
	readUsage      int
}

func (l *logs) replica() *replica {
	options := NewOptions()
	options.EnableWatch = true
	s := newService(Config{Options: options, Cluster: "test", Log: testenv.Logger(l.t)})
	s.objectsReplay, s.usageReplay = &fakeReplay{waiting: "being replayed"}, &fakeReplay{waiting: "being replayed"}
	r := &replica{logs: l, service: s, catalog: s.beginCatalog(), usage: s.beginUsage()}
	settings := settings{now: s.now, maxAge: options.maxSampleAge()}
	r.nodes, r.pods = watchable(&nodeStorage{s, settings}, &podStorage{s, settings}, s.watches)
	return r
}

// whole makes what was read the views that serve.
func (r *replica) whole() {
	r.service.serveCatalog(r.catalog, stream.Position{LogPosition: stream.LogPosition{Sequence: uint64(r.readObjects)}})
	r.service.serveUsage(r.usage, stream.Position{LogPosition: stream.LogPosition{Sequence: uint64(r.readUsage)}})
}

// read reads some of what is new.
func (r *replica) read(objects, usage int) {
	r.t.Helper()
	apply := func(sink stream.Sink, e stream.Event) {
		e.Data = bytes.Clone(e.Data)
		if err := sink.Apply(e); err != nil {
			r.t.Fatal(err)
		}
		clear(e.Data)
	}
	for ; objects > 0 && r.readObjects < len(r.logs.objects); objects-- {
		apply(r.catalog, r.logs.objects[r.readObjects])
		r.readObjects++
	}
	for ; usage > 0 && r.readUsage < len(r.logs.usage); usage-- {
		apply(r.usage, r.logs.usage[r.readUsage])
		r.readUsage++
	}
}

// catchUp reads all.
func (r *replica) catchUp() { r.read(len(r.logs.objects), len(r.logs.usage)) }

// text is what the test looks at of an item.
func text(object runtime.Object) string {
	switch item := object.(type) {
	case *sharedObject:
		return text(item.object)
	case *metrics.PodMetrics:
		return fmt.Sprint(item.Labels, item.Timestamp.UnixNano(), item.Window, len(item.Containers), item.Containers)
	case *metrics.NodeMetrics:
		return fmt.Sprint(item.Labels, item.Timestamp.UnixNano(), item.Window, item.Usage.Cpu())
	}
	return fmt.Sprintf("%T", object)
}

func keyOf(object runtime.Object) string {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return err.Error()
	}
	return accessor.GetNamespace() + "/" + accessor.GetName()
}

// modelClient keeps what it is told. Its own goroutine reads the watch; the test looks at it when all is quiet.
type modelClient struct {
	t         testing.TB
	from      func(*replica) storage
	options   metainternalversion.ListOptions
	namespace string

	mu      sync.Mutex // guards all below but what only connect and disconnect change
	has     map[string]string
	version string    // to go on from
	began   time.Time // when it connected
	strict  bool      // it has had everything once: no type of event may be wrong
	at      *replica
	watch   watch.Interface
	stop    context.CancelFunc
	done    chan struct{}
	initial bool // it has not been told all that there was
	failure *metav1.Status
	relists int
	// patience is after how many events it stops to read, in the middle of whatever is told; 0 for never.
	patience int
}

func (c *modelClient) context() (context.Context, context.CancelFunc) {
	return context.WithCancel(genericrequest.WithNamespace(context.Background(), c.namespace))
}

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
	options := c.options
	options.Watch, options.AllowWatchBookmarks = true, true
	switch {
	case c.version != "":
		options.ResourceVersion = c.version
	case streaming:
		yes := true
		options.SendInitialEvents, options.ResourceVersionMatch = &yes, metav1.ResourceVersionMatchNotOlderThan
		c.has, c.initial = map[string]string{}, true
		c.relists++
	default:
		var err error
		c.initial = false
		if c.has, c.version, err = c.list(r); err != nil {
			c.t.Fatal(err)
		}
		options.ResourceVersion = c.version
		c.relists++
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
	if c.strict && event.Type != watch.Bookmark && has != (event.Type != watch.Added) {
		c.t.Errorf("%s of %s, had it: %v", event.Type, key, has)
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
		c.stop()
		c.watch.Stop()
		<-c.done
		c.watch = nil
		if c.failure != nil {
			c.version = "" // as clients do when they are told to list again
		}
	}
}

// TestWatchModel lets clients follow two replicas that read the same streams, each at its own speed, while nodes and pods come
// and go, change their labels, begin and cease to have metrics, and lose their samples to age. Clients break off and go
// on at the other replica, from the version that they have. When all is quiet, each has what a list has.
func TestWatchModel(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) { runWatchModel(t, seed) })
	}
}

func runWatchModel(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 5))
	l := newLogs(t)
	w := &modelWorld{logs: l, random: random, pods: map[string]*corev1.Pod{}, nodes: map[string]*corev1.Node{}, last: map[string]schemas.UsageSample{}}
	for range 100 {
		w.step()
	}
	ctx, stop := context.WithCancel(t.Context())
	replicas := []*replica{l.replica(), l.replica()}
	for _, r := range replicas {
		r.catchUp()
		r.whole()
		go func() { _ = r.service.watches.run(ctx, r.service.viewsReady) }()
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
	for round := range 30 {
		synctest.Wait()
		for _, c := range clients {
			if c.lost() || random.IntN(3) == 0 {
				c.disconnect()
				c.strict = false
				c.patience = max(0, random.IntN(12)-6)
				c.connect(replicas[random.IntN(2)], random.IntN(2) == 0)
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
			// Whoever is still being told of what was before then doesn't go on from there: see view.Cursor.
			time.Sleep(time.Second)
			synctest.Wait()
			for _, c := range clients {
				if c.watch != nil && stopped(c.done) {
					c.disconnect()
					c.version = ""
				}
			}
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

// modelWorld makes events at random.
type modelWorld struct {
	*logs
	random *rand.Rand
	pods   map[string]*corev1.Pod
	nodes  map[string]*corev1.Node
	last   map[string]schemas.UsageSample
	uid    int
}

func (w *modelWorld) step() {
	switch random := w.random; random.IntN(8) {
	case 0:
		name := fmt.Sprint("node-", random.IntN(4))
		if node := w.nodes[name]; node != nil && random.IntN(4) == 0 {
			delete(w.nodes, name)
			w.object(node, schemas.Deleted)
			return
		}
		node := newNode(name, map[string]string{"color": []string{"red", "blue"}[random.IntN(2)]})
		node.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
		w.nodes[name] = node
		w.object(node, schemas.Applied)
	case 1, 2:
		name := fmt.Sprint("pod-", random.IntN(8))
		namespace := fmt.Sprint("ns-", random.IntN(2))
		key := namespace + "/" + name
		pod := w.pods[key]
		if pod != nil && random.IntN(3) == 0 {
			delete(w.pods, key)
			w.object(pod, schemas.Deleted)
			return
		}
		if pod == nil {
			w.uid++
			pod = newPod(namespace, name, fmt.Sprint("node-", random.IntN(4)), nil)
			pod.UID = types.UID(fmt.Sprint(w.uid))
			pod.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
			pod.Status.StartTime = &pod.CreationTimestamp
		} else {
			pod = pod.DeepCopy()
		}
		pod.Labels = map[string]string{"color": []string{"red", "blue"}[random.IntN(2)]}
		pod.Status.Phase = []corev1.PodPhase{corev1.PodRunning, corev1.PodRunning, corev1.PodRunning, corev1.PodSucceeded}[random.IntN(4)]
		w.pods[key] = pod
		w.object(pod, schemas.Applied)
	case 3:
		w.other()
	default:
		node := fmt.Sprint("node-", random.IntN(4))
		sample := schemas.UsageSample{Node: node, Time: time.Now().UnixNano(), Duration: 1}
		if last, ok := w.last[node]; ok && random.IntN(5) == 0 { // the kubelet repeats itself
			sample.Point, sample.Pods = last.Point, last.Pods
			w.sample(sample)
			return
		}
		if random.IntN(5) > 0 {
			p := w.point()
			sample.Point = &p
		}
		for _, key := range slices.Sorted(maps.Keys(w.pods)) {
			if p := w.pods[key]; p.Spec.NodeName == node && random.IntN(8) > 0 || random.IntN(30) == 0 {
				usage := schemas.PodUsage{Namespace: p.Namespace, Name: p.Name}
				for i := range 1 + random.IntN(2) {
					usage.Containers = append(usage.Containers, container(fmt.Sprint("c", i), w.point()))
				}
				sample.Pods = append(sample.Pods, usage)
			}
		}
		if random.IntN(2) == 0 {
			slices.Reverse(sample.Pods)
		}
		w.last[node] = sample
		w.sample(sample)
	}
}

func (w *modelWorld) point() schemas.Point {
	p := point(uint64(w.random.IntN(1e9)), 1e6, time.Duration(w.random.IntN(8))*time.Second)
	p.Time = time.Now().UnixNano()
	p.CPUTime, p.MemoryTime, p.Start = p.Time, p.Time, p.Time-int64(30*time.Minute)
	return p
}

// eachItem calls f with each item of a list.
func eachItem(list runtime.Object, f func(runtime.Object)) error {
	return meta.EachListItem(list, func(item runtime.Object) error {
		f(item)
		return nil
	})
}

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
