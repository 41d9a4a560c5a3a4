package scraper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// kubelet is one node's, with one pod of one container that uses half a core, as its counters say. It can be bent.
type kubelet struct {
	name     string
	server   *httptest.Server
	path     string
	bent     atomic.Pointer[http.HandlerFunc]
	requests atomic.Int64
}

// clockStart is when all counters were 0.
var clockStart = time.Now().Add(-time.Hour)

func runKubelet(t testing.TB, name string) *kubelet {
	k := &kubelet{name: name, path: metricsPath}
	k.server, _ = newKubelet(t, k.serve)
	return k
}

func (k *kubelet) serve(w http.ResponseWriter, r *http.Request) {
	k.requests.Add(1)
	if bent := k.bent.Load(); bent != nil {
		(*bent)(w, r)
		return
	}
	if r.URL.Path != k.path || r.Header.Get("Authorization") != "Bearer "+token {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	io.WriteString(w, k.body())
}

func (k *kubelet) body() string {
	now := time.Now().Truncate(time.Millisecond)
	used := now.Sub(clockStart).Seconds() / 2
	at := now.UnixMilli()
	return fmt.Sprintf("node_cpu_usage_seconds_total %v %d\nnode_memory_working_set_bytes 1e9 %d\n"+
		"container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"p\"} %v %d\n"+
		"container_memory_working_set_bytes{container=\"c\",namespace=\"ns\",pod=\"p\"} 1e6 %d\n"+
		"container_start_time_seconds{container=\"c\",namespace=\"ns\",pod=\"p\"} %d\n",
		used, at, at, used, at, at, clockStart.Unix()+int64(len(k.name)))
}

func (k *kubelet) bend(h http.HandlerFunc) {
	if h == nil {
		k.bent.Store(nil)
		return
	}
	k.bent.Store(&h)
}

func (k *kubelet) node() *corev1.Node {
	_, portText, _ := strings.Cut(k.server.Listener.Addr().String(), ":")
	port, _ := strconv.Atoi(portText)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: k.name, UID: "uid", ResourceVersion: "1", Labels: map[string]string{"pool": "a"}, Annotations: map[string]string{}}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "nowhere.invalid"}, {Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(port)
	if k.path != metricsPath {
		n.Annotations[pathAnnotation] = k.path
	}
	return n
}

const clusterName = "test"

// world is NATS with the log, written by nobody but the test.
type world struct {
	t        testing.TB
	conn     *stream.Conn
	log      *stream.Appender
	encoder  *objects.Encoder
	registry *prometheus.Registry
	config   Config
}

func newWorld(t testing.TB, conn *stream.Conn) *world {
	t.Helper()
	if err := stream.EnsureLog(t.Context(), conn, stream.Streams{Cluster: clusterName, ObjectsMaxBytes: 1 << 26}); err != nil {
		t.Fatal(err)
	}
	log, err := stream.NewAppender(stream.AppenderConfig{Conn: conn, Cluster: clusterName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	testenv.FirstSnapshot(t, conn, clusterName, log)
	kind, _ := objects.ByResource("nodes")
	encoder, err := objects.NewEncoder(kind)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, conn: conn, log: log, encoder: encoder}
	_, w.config = newKubelet(t, nil) // all test servers have the same certificate
	w.config.Conn = conn
	w.config.Streams = stream.Streams{Cluster: clusterName}
	w.config.MetricResolution = time.Second
	w.config.KubeletUseNodeStatusPort = true
	w.config.KubeletPreferredAddressTypes = []string{"ExternalIP", "InternalIP"}
	w.config.Log = testenv.Logger(t)
	return w
}

// put writes a Node's state to the log, or its deletion.
func (w *world) put(op schemas.Operation, nodes ...*corev1.Node) {
	w.t.Helper()
	for _, n := range nodes {
		change, err := w.encoder.Change(n, op, time.Now())
		if err != nil {
			w.t.Fatal(err)
		}
		subject := schemas.ObjectSubject{Cluster: clusterName, Resource: "nodes", Name: n.Name}
		if _, err := w.log.Append(subject.String(), change.Marshal()); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.log.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// run starts an ingester; stop ends it and returns when it has ended.
func (w *world) run() (s *Service, stop func()) {
	w.t.Helper()
	w.registry = prometheus.NewRegistry()
	w.config.Registry = w.registry
	s, err := New(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			w.t.Errorf("Run returned %v", err)
		}
	}
	w.t.Cleanup(stop)
	testenv.Eventually(w.t, 10*time.Second, s.Ready)
	return s, stop
}

// last returns the node's newest sample; nil where there is none.
func (w *world) last(node string) *schemas.UsageSample {
	w.t.Helper()
	data, err := stream.LastUsage(w.t.Context(), w.conn, clusterName, node)
	if errors.Is(err, stream.ErrNoMessage) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	s := new(schemas.UsageSample)
	if err := s.Unmarshal(data); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// next waits for a sample of the node that is newer than the one given, and returns it.
func (w *world) next(node string, than *schemas.UsageSample) (s *schemas.UsageSample) {
	w.t.Helper()
	testenv.Eventually(w.t, 10*time.Second, func() error {
		if s = w.last(node); s == nil || than != nil && s.Time <= than.Time {
			return fmt.Errorf("no new sample of %s", node)
		}
		return nil
	})
	return s
}

func (w *world) scrapes(r result) int { return w.counted("headwater_ingest_scrapes_total", string(r)) }

// counted is a counter with one label.
func (w *world) counted(name, label string) int {
	n := 0.0
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				n = m.GetCounter().GetValue()
			}
		}
	}
	return int(n)
}

// halfACore checks that a sample has the rate that its kubelet's counters have.
func halfACore(t testing.TB, s *schemas.UsageSample, window time.Duration) {
	t.Helper()
	for _, p := range []*schemas.Point{s.Point, point(s)} {
		if p == nil || !p.HasRate() || p.Rate < 499e6 || p.Rate > 501e6 {
			t.Errorf("%s: not half a core: %+v", s.Node, p)
		} else if p.Window < int64(window) {
			t.Errorf("%s: the window is %v, want at least %v", s.Node, time.Duration(p.Window), window)
		}
	}
}

func TestFromNodesToSamples(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	w.config.NodeSelector = "pool in (a,b)"
	first, second, special, other := runKubelet(t, "first.example"), runKubelet(t, "second"), runKubelet(t, "special"), runKubelet(t, "other")
	special.path = "/nodes/special/metrics/resource"
	elsewhere := other.node()
	elsewhere.Labels["pool"] = "c"
	w.put(schemas.Applied, first.node(), special.node(), elsewhere)
	_, stop := w.run()

	began := time.Now()
	a := w.next("first.example", nil)
	if a.Node != "first.example" || a.Duration <= 0 || time.Duration(a.Duration) > 5*time.Second || a.Time < began.Add(-5*time.Second).UnixNano() {
		t.Errorf("%+v", a)
	}
	if p := point(a); p == nil || p.Window != 0 || p.Memory != 1e6 || p.Start == 0 || p.Time != p.CPUTime {
		t.Errorf("first point: %+v", p)
	}
	halfACore(t, w.next("first.example", a), 0)
	w.next("special", nil)

	// Nodes come, change and go.
	w.put(schemas.Applied, second.node())
	w.next("second", nil)
	elsewhere.Labels["pool"] = "b"
	w.put(schemas.Applied, elsewhere)
	w.next("other", nil)
	w.put(schemas.Deleted, first.node())
	lost := special.node()
	lost.Status.Addresses = nil
	w.put(schemas.Applied, lost)
	testenv.Eventually(t, 10*time.Second, func() error {
		before := first.requests.Load()
		w.next("second", w.next("second", nil)) // two scrapes of another node
		if n := first.requests.Load() - before; n > 0 {
			return fmt.Errorf("%d requests to a deleted node", n)
		}
		if w.scrapes(resultAddress) == 0 {
			return errors.New("the node without an address isn't counted")
		}
		return nil
	})
	if problems, err := testutil.GatherAndLint(w.registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	stop()
}

// Whatever one kubelet does costs it that scrape and nobody else anything: its last sample stands, its failure has a
// reason, and the first good scrape yields a rate over the whole time.
func TestBadKubelets(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	w.config.KubeletMaxBodyBytes = 1 << 20
	w.config.KubeletRequestTimeout = 300 * time.Millisecond
	tests := map[string]struct {
		bent http.HandlerFunc
		want result
	}{
		"hang":      {hang, resultTimeout},
		"reset":     {hijacked(reset), resultRead},
		"500":       {status(500, "internal error"), resultStatus},
		"html":      {status(200, "<!DOCTYPE html>\n<title>Sign in</title>\n"), resultDecode},
		"large":     {large, resultTooLarge},
		"labelless": {status(200, nodes+"container_cpu_usage_seconds_total 1 1000\n"), resultLabels},
		"empty":     {status(200, "scrape_error 1\n"), resultEmpty},
	}
	got := w.reports()
	good := runKubelet(t, "good")
	w.put(schemas.Applied, good.node())
	bad, before := map[string]*kubelet{}, map[string]*schemas.UsageSample{}
	for name := range tests {
		bad[name] = runKubelet(t, "bad-"+name)
		w.put(schemas.Applied, bad[name].node())
	}
	_, stop := w.run()
	for name, k := range bad {
		before[name] = w.next(k.name, w.next(k.name, nil))
	}
	for name, test := range tests {
		bad[name].bend(test.bent)
	}
	bent := time.Now()
	for name, test := range tests {
		got.wait(t, bad[name].name, func(r schemas.ScrapeReport) error {
			if r.Failures < 2 || r.Result != string(test.want) || w.scrapes(test.want) < 2 {
				return fmt.Errorf("want 2 failures and more as %s, %d are counted", test.want, w.scrapes(test.want))
			}
			return nil
		})
	}
	for name, k := range bad {
		stands := w.last(k.name)
		if stands.Time < before[name].Time || stands.Time > bent.UnixNano() || point(stands) == nil {
			t.Errorf("%s: the sample from before doesn't stand: %+v", name, stands)
		}
		before[name] = stands
	}
	g := w.next(good.name, nil)
	halfACore(t, w.next(good.name, g), 0)
	for _, k := range bad {
		k.bend(nil)
	}
	for name, k := range bad {
		after := w.next(k.name, before[name])
		for after.Time < bent.UnixNano() { // it was on its way when the kubelet was bent
			after = w.next(k.name, after)
		}
		halfACore(t, after, 1900*time.Millisecond)
	}
	stop()
}

// An ingester that starts knows what the one before it knew: its first samples have rates.
func TestRestart(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	k := runKubelet(t, "node-1")
	w.put(schemas.Applied, k.node())
	_, stop := w.run()
	w.next(k.name, nil)
	stop()
	before := w.last(k.name)
	_, stop = w.run()
	after := w.next(k.name, before)
	halfACore(t, after, 0)
	if want := after.Pods[0].Containers[0].Point.Time - before.Pods[0].Containers[0].Point.Time; after.Pods[0].Containers[0].Point.Window != want {
		t.Errorf("the rate is measured over %v, want %v", time.Duration(after.Pods[0].Containers[0].Point.Window), time.Duration(want))
	}
	stop()
}

// While NATS is away kubelets are scraped on; when it is back the newest samples are there.
func TestNATSAway(t *testing.T) {
	config := embedded.Config{Dir: t.TempDir(), Address: "127.0.0.1:0", Log: testenv.Logger(t)}
	server, err := embedded.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	config.Address = strings.TrimPrefix(server.URL(), "nats://")
	conn := testenv.Connect(t, stream.ConnConfig{URL: server.URL(), Name: t.Name(), Log: testenv.Logger(t)})
	w := newWorld(t, conn)
	k := runKubelet(t, "node-1")
	w.put(schemas.Applied, k.node())
	_, stop := w.run()
	before := w.next(k.name, nil)

	server.Close()
	requests := k.requests.Load()
	testenv.Eventually(t, 10*time.Second, func() error {
		if n := k.requests.Load() - requests; n < 3 {
			return fmt.Errorf("%d scrapes while NATS is away", n)
		}
		return nil
	})
	back := time.Now()
	if server, err = embedded.Start(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	after := w.next(k.name, before)
	halfACore(t, after, 0)
	if age := back.Sub(time.Unix(0, after.Time)); age > 3*time.Second {
		t.Errorf("the first sample that came after NATS was back was %v old", age)
	}
	stop()
}

// NATS may lose its disk: the usage stream is created again, and samples go on.
func TestStreamLost(t *testing.T) {
	url := testenv.NATS(t)
	conn := testenv.Connect(t, url)
	w := newWorld(t, conn)
	k := runKubelet(t, "node-1")
	w.put(schemas.Applied, k.node())
	_, stop := w.run()
	before := w.next(k.name, nil)
	nc, err := nats.Connect(url.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("$JS.API.STREAM.DELETE.K8S_"+clusterName+"_USAGE", nil, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	halfACore(t, w.next(k.name, before), 0)
	stop()
}

func TestReadyTellsWhatIsMissing(t *testing.T) {
	conn := testenv.Connect(t, stream.ConnConfig{URL: "nats://127.0.0.1:1", Log: testenv.Logger(t)})
	_, c := newKubelet(t, nil)
	c.Conn, c.Streams.Cluster, c.Log = conn, clusterName, testenv.Logger(t)
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "NATS") {
		t.Error(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
