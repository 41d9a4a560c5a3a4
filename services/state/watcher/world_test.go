package watcher_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/sim/apiserver"
	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

const (
	cluster  = "test"
	token    = "the-token-of-the-test"
	patience = 30 * time.Second
)

// world is an API server over HTTPS and a NATS server, both of which can go away and come back.
type world struct {
	t     testing.TB
	store *apiserver.Store
	users *identity.Registry
	api   *apiserver.Server
	nats  *natsServer
	conn  *stream.Conn
	front *front

	wanted []customKind // custom resources that truth tells of
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, store: apiserver.NewStore(10_000), users: identity.NewRegistry()}
	w.users.Add(token, identity.User{Name: "state", Groups: []string{identity.Masters}})
	w.api = apiserver.NewServer(apiserver.Config{Store: w.store, Users: w.users, Bookmarks: 50 * time.Millisecond, Log: testenv.Logger(t)})
	w.nats = &natsServer{t: t, cfg: embedded.Config{Dir: t.TempDir(), Address: testenv.Address(t), Log: testenv.Logger(t)}}
	w.nats.start()
	t.Cleanup(w.nats.stop)
	w.conn = w.connect()
	w.front = w.newFront()
	return w
}

// connect opens a connection to NATS, closed at the end.
func (w *world) connect() *stream.Conn {
	w.t.Helper()
	c, err := stream.Connect(w.t.Context(), stream.ConnConfig{URL: w.nats.url, Name: w.t.Name(), Log: testenv.Logger(w.t)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// natsServer is a server that can be stopped and started again with its files, at the same address.
type natsServer struct {
	t   testing.TB
	cfg embedded.Config
	url string

	mu     sync.Mutex
	server *embedded.Server
}

func (n *natsServer) start() {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	var err error
	if n.server, err = embedded.Start(n.cfg); err != nil {
		n.t.Fatal(err)
	}
	n.url = n.server.URL()
	n.cfg.Address = n.url[len("nats://"):]
}

func (n *natsServer) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil {
		n.server.Close()
		n.server = nil
	}
}

// front is an HTTPS address of the API server.
type front struct {
	w       *world
	cert    tls.Certificate
	address string
	server  *http.Server
}

// newFront opens one more address, closed at the end.
func (w *world) newFront() *front {
	w.t.Helper()
	authority, err := identity.NewAuthority("test")
	if err != nil {
		w.t.Fatal(err)
	}
	pair, err := authority.Issue(identity.Subject{CommonName: "kube-apiserver", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		w.t.Fatal(err)
	}
	f := &front{w: w, address: testenv.Address(w.t), cert: pair.TLS}
	f.open()
	w.t.Cleanup(f.close)
	return f
}

func (f *front) open() {
	f.w.t.Helper()
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		f.w.t.Fatal(err)
	}
	f.address = l.Addr().String()
	f.server = &http.Server{Handler: f.w.api, TLSConfig: &tls.Config{Certificates: []tls.Certificate{f.cert}}, ReadHeaderTimeout: patience}
	go f.server.ServeTLS(l, "", "")
}

func (f *front) close() { f.server.Close() }

// rest is how to reach it.
func (f *front) rest() *rest.Config {
	return &rest.Config{Host: "https://" + f.address, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
}

// run is a running state service.
type run struct {
	*watcher.Service
	t        testing.TB
	registry *prometheus.Registry
	cancel   context.CancelFunc
	done     chan error
	once     sync.Once
}

// start runs a service, until stop or the end of the test.
func (w *world) start(change ...func(*watcher.Config)) *run {
	w.t.Helper()
	r := &run{t: w.t, registry: prometheus.NewRegistry(), done: make(chan error, 1)}
	cfg := watcher.DefaultConfig()
	cfg.Conn, cfg.Rest, cfg.Log, cfg.Registry = w.conn, w.front.rest(), testenv.Logger(w.t), r.registry
	cfg.Streams = stream.Streams{Cluster: cluster, ObjectsMaxBytes: 256 << 20}
	cfg.RetryFirst, cfg.RetryLast = 20*time.Millisecond, 200*time.Millisecond
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if r.Service, err = watcher.New(cfg); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- r.Run(ctx) }()
	w.t.Cleanup(r.stop)
	return r
}

func (r *run) stop() {
	r.once.Do(func() {
		r.cancel()
		select {
		case err := <-r.done:
			if !errors.Is(err, context.Canceled) {
				r.t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			r.t.Error("Run doesn't end")
		}
	})
}

func (r *run) isReady() {
	r.t.Helper()
	testenv.Eventually(r.t, patience, r.Ready)
}

// metric adds up the series of a metric that have these labels.
func (r *run) metric(name string, labels ...string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.Metric {
			if hasLabels(m, labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func hasLabels(m *dto.Metric, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		if !slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] }) {
			return false
		}
	}
	return true
}

// state is what the log, or the API server, says of an object.
type state struct{ UID, ResourceVersion, Version string }

// truth is what the API server has, by the objects' subjects.
func (w *world) truth() map[string]state {
	w.t.Helper()
	all := map[string]state{}
	for _, res := range apiserver.Resources() {
		kind, ok := objects.ByGVK(res.GVK())
		if !ok {
			continue
		}
		err := w.store.Each(res, "", func(obj runtime.Object) bool {
			m := obj.(metav1.Object)
			subject := schemas.ObjectSubject{Cluster: cluster, Group: kind.Group, Resource: kind.Resource, Namespace: m.GetNamespace(), Name: m.GetName()}
			all[subject.String()] = state{string(m.GetUID()), m.GetResourceVersion(), kind.Version}
			return true
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	for _, kind := range w.wanted {
		w.customTruth(kind, all)
	}
	return all
}

// view is what a consumer has made of the log.
type view struct {
	mu       sync.Mutex
	states   map[string]state
	dropped  map[string][]string
	snapshot int      // objects that came from a snapshot
	events   int      // that came from the log
	wrong    []string // what must never be in a log
}

func (v *view) Apply(e stream.Event) error {
	var c schemas.ObjectChange
	if err := c.Unmarshal(e.Data); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	before, existed := v.states[e.Subject]
	now := state{c.UID, c.ResourceVersion, c.APIVersion}
	if e.Snapshot {
		v.snapshot++
	} else {
		v.events++
		switch { // where the log overlaps a snapshot, an object may go back and come forward again
		case v.snapshot > 0:
		case c.Operation == schemas.Deleted && !existed:
			v.wrong = append(v.wrong, fmt.Sprintf("%d: %s is deleted, but wasn't there", e.Sequence, e.Subject))
		case c.Operation == schemas.Applied && before == now:
			v.wrong = append(v.wrong, fmt.Sprintf("%d: %s says %v again", e.Sequence, e.Subject, now))
		case c.Operation == schemas.Applied && existed && before.UID != now.UID:
			v.wrong = append(v.wrong, fmt.Sprintf("%d: %s is another object without a deletion", e.Sequence, e.Subject))
		}
	}
	if c.Operation == schemas.Deleted {
		delete(v.states, e.Subject)
		return nil
	}
	v.states[e.Subject] = now
	v.dropped[e.Subject] = c.Dropped
	return nil
}

// read replays the log once.
func (w *world) read() (*view, stream.Position) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	var whole *view
	position, err := stream.ReplayOnce(ctx, stream.ReplayConfig{
		Conn: w.conn, Cluster: cluster, Name: "test", Log: testenv.Logger(w.t),
		Begin: func() stream.Sink { return &view{states: map[string]state{}, dropped: map[string][]string{}} },
		Whole: func(s stream.Sink, _ stream.Position) { whole = s.(*view) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return whole, position
}

// last is the log's last sequence.
func (w *world) last() uint64 {
	w.t.Helper()
	_, p := w.read()
	return p.Sequence
}

// isTrue waits until the log says what the API server says, but for the subjects that ignore names.
func (w *world) isTrue(ignore ...func(subject string) bool) *view {
	w.t.Helper()
	var v *view
	testenv.Eventually(w.t, patience, func() error {
		want := w.truth()
		v, _ = w.read()
		for _, f := range ignore {
			maps.DeleteFunc(want, func(subject string, _ state) bool { return f(subject) })
			maps.DeleteFunc(v.states, func(subject string, _ state) bool { return f(subject) })
		}
		if diff := cmp.Diff(want, v.states); diff != "" {
			return fmt.Errorf("the log differs from the API server (-api +log):\n%s", diff)
		}
		return nil
	})
	for _, wrong := range v.wrong {
		w.t.Error(wrong)
	}
	return v
}

// follow watches the log from its first event on, as a consumer that never stops, until the test ends.
func (w *world) follow() *view {
	w.t.Helper()
	v := &view{states: map[string]state{}, dropped: map[string][]string{}}
	replay, err := stream.NewReplay(stream.ReplayConfig{
		Conn: w.conn, Cluster: cluster, Name: "follower", Log: testenv.Logger(w.t), Begin: func() stream.Sink { return v },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = replay.Run(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
	return v
}

// Objects of the world.

func node(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }

func pod(namespace, name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec:   corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "secret"}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning}}
}

func secret(namespace, name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{"password": []byte("secret")}}
}

func (w *world) put(all ...runtime.Object) {
	w.t.Helper()
	for _, obj := range all {
		if _, err := w.store.Put(obj); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) remove(resource, namespace, name string) {
	w.t.Helper()
	if _, err := w.store.Delete(w.resource(resource), namespace, name, ""); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) resource(name string) *apiserver.Resource {
	w.t.Helper()
	for _, res := range apiserver.Resources() {
		if kind, ok := objects.ByGVK(res.GVK()); ok && kind.Resource == name {
			return res
		}
	}
	w.t.Fatalf("the API server has no %s", name)
	return nil
}

// touch changes an object.
func (w *world) touch(resource, namespace, name string) {
	w.t.Helper()
	_, err := w.store.Update(w.resource(resource), namespace, name, func(obj runtime.Object) (runtime.Object, error) {
		m := obj.(metav1.Object)
		labels := maps.Clone(m.GetLabels())
		if labels == nil {
			labels = map[string]string{}
		}
		labels["touched"] = fmt.Sprint(len(labels["touched"])) + m.GetResourceVersion()
		m.SetLabels(labels)
		return obj, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// populate puts some objects of several kinds.
func (w *world) populate(pods int) {
	w.t.Helper()
	w.put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, node("n"), node("m.example.com"))
	for i := range pods {
		w.put(pod([]string{"a", "b"}[i%2], fmt.Sprint("p", i)))
	}
	w.put(secret("a", "s"), secret("b", "s"))
}
