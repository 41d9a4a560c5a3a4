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

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
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
	// timeout is what ingesters have for a scrape, where config doesn't say it: more than a machine that stands still for some
	// seconds takes, so that no scrape fails that wasn't made to.
	timeout time.Duration
}

// make makes an ingester.
func (w *world) make(c Config) *Service {
	w.t.Helper()
	s, err := New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	if c.KubeletRequestTimeout == 0 {
		s.cfg.KubeletRequestTimeout = w.timeout
	}
	return s
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
	w := &world{t: t, conn: conn, log: log, encoder: encoder, timeout: time.Minute}
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
	s = w.make(w.config)
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
	s, err := w.newest(node)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// newest is last where NATS may be away.
func (w *world) newest(node string) (*schemas.UsageSample, error) {
	data, err := stream.LastUsage(w.t.Context(), w.conn, clusterName, node)
	if errors.Is(err, stream.ErrNoMessage) {
		return nil, nil
	}
	s := new(schemas.UsageSample)
	if err == nil {
		err = s.Unmarshal(data)
	}
	return s, err
}

// next waits for a sample of the node that is newer than the one given, and returns it.
func (w *world) next(node string, than *schemas.UsageSample) (s *schemas.UsageSample) {
	w.t.Helper()
	testenv.Eventually(w.t, 10*time.Second, func() error {
		var err error
		if s, err = w.newest(node); err != nil {
			return err
		}
		if s == nil || than != nil && s.Time <= than.Time {
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
