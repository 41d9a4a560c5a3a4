package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

// endToEnd is the whole path: a simulated API server before the service, and NATS behind it. The test plays state and ingest.
type endToEnd struct {
	t         *testing.T
	cluster   *sim.Cluster
	conn      *stream.Conn
	log       *stream.Appender
	samples   *stream.UsagePublisher
	encoders  map[string]*objects.Encoder
	client    metricsclient.Interface // through the simulated API server's aggregation layer
	published time.Time
}

func newEndToEnd(t *testing.T, conn *stream.Conn) *endToEnd {
	w := &endToEnd{
		t: t, cluster: testenv.Sim(t, sim.Options{Nodes: 3, PodsPerNode: 10}), conn: conn,
		encoders: map[string]*objects.Encoder{},
	}
	w.begin()
	var err error
	for _, resource := range []string{"pods", "nodes", "namespaces"} {
		kind, _ := objects.ByResource(resource)
		if w.encoders[resource], err = objects.NewEncoder(kind); err != nil {
			t.Fatal(err)
		}
	}
	if w.client, err = metricsclient.NewForConfig(w.cluster.RESTConfig()); err != nil {
		t.Fatal(err)
	}
	return w
}

// begin makes the streams, and their writers.
func (w *endToEnd) begin() {
	w.t.Helper()
	if err := stream.Ensure(w.t.Context(), w.conn, stream.Streams{Cluster: "test"}); err != nil {
		w.t.Fatal(err)
	}
	var err error
	if w.log, err = stream.NewAppender(stream.AppenderConfig{Conn: w.conn, Cluster: "test"}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.log.Close)
	testenv.FirstSnapshot(w.t, w.conn, "test", w.log)
	if w.samples, err = stream.NewUsagePublisher(stream.UsagePublisherConfig{Conn: w.conn, Cluster: "test"}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.samples.Close)
}

func (w *endToEnd) append(resource string, object runtime.Object, operation schemas.Operation) {
	w.t.Helper()
	change, err := w.encoders[resource].Change(object, operation, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	subject := schemas.ObjectSubject{Cluster: "test", Resource: resource, Namespace: change.Namespace, Name: change.Name}
	if _, err := w.log.Append(subject.String(), change.Marshal()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *endToEnd) flush() {
	w.t.Helper()
	if err := errors.Join(w.log.Flush(w.t.Context()), w.samples.Flush(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

// publish writes what there is: every node, pod and namespace of the cluster, and a sample of each node in which every
// container uses as many millicores as round says.
func (w *endToEnd) publish(round uint64) (running int) {
	w.t.Helper()
	client, err := kubernetes.NewForConfig(w.cluster.RESTConfig())
	if err != nil {
		w.t.Fatal(err)
	}
	pods, err1 := client.CoreV1().Pods("").List(w.t.Context(), metav1.ListOptions{})
	nodes, err2 := client.CoreV1().Nodes().List(w.t.Context(), metav1.ListOptions{})
	namespaces, err3 := client.CoreV1().Namespaces().List(w.t.Context(), metav1.ListOptions{})
	if err := errors.Join(err1, err2, err3); err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	w.published = now
	reading := func(created metav1.Time) schemas.Point {
		return schemas.Point{Time: now.UnixNano(), Start: created.UnixNano(), CPU: 1e9, Memory: round << 20, Rate: round * 1e6, Window: 15e9}
	}
	samples := map[string]*schemas.UsageSample{}
	for i := range nodes.Items {
		w.append("nodes", &nodes.Items[i], schemas.Applied)
		p := reading(nodes.Items[i].CreationTimestamp)
		samples[nodes.Items[i].Name] = &schemas.UsageSample{Node: nodes.Items[i].Name, Time: now.UnixNano(), Point: &p}
	}
	for i := range namespaces.Items {
		w.append("namespaces", &namespaces.Items[i], schemas.Applied)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		w.append("pods", pod, schemas.Applied)
		if pod.Status.Phase != corev1.PodRunning {
			continue
		}
		running++
		usage := schemas.PodUsage{Namespace: pod.Namespace, Name: pod.Name}
		for _, status := range pod.Status.ContainerStatuses {
			started := pod.CreationTimestamp
			if status.State.Running != nil {
				started = status.State.Running.StartedAt
			}
			usage.Containers = append(usage.Containers, schemas.ContainerUsage{Name: status.Name, Point: reading(started)})
		}
		samples[pod.Spec.NodeName].Pods = append(samples[pod.Spec.NodeName].Pods, usage)
	}
	for _, sample := range samples {
		if err := w.samples.Publish(schemas.UsageSubject{Cluster: "test", Node: sample.Node}.String(), sample.Marshal()); err != nil {
			w.t.Fatal(err)
		}
	}
	w.flush()
	return running
}

// run starts a metrics API server on the streams and registers it with the cluster.
func (w *endToEnd) run(configure ...func(*Options)) (service *Service, stop func()) {
	w.t.Helper()
	options := NewOptions()
	options.SecureServing.BindAddress, options.SecureServing.BindPort = net.IPv4(127, 0, 0, 1), 0
	options.SecureServing.ServerCert.CertDirectory, options.SecureServing.ServerCert.PairName = "", ""
	options.Kubeconfig = filepath.Join(w.t.TempDir(), "kubeconfig")
	if err := w.cluster.WriteKubeconfig(options.Kubeconfig); err != nil {
		w.t.Fatal(err)
	}
	for _, c := range configure {
		c(options)
	}
	service, err := New(Config{Options: options, Conn: w.conn, Cluster: "test", Log: testenv.Logger(w.t), Registry: prometheus.NewRegistry()})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
	testenv.Eventually(w.t, 30*time.Second, service.Ready)
	if err := w.cluster.SetMetricsAPI("https://"+service.Addr().String(), nil); err != nil {
		w.t.Fatal(err)
	}
	return service, stop
}

// pods reads all pods as kubectl top pod -A does, and checks that every container uses as many millicores as round says.
func (w *endToEnd) pods(round int64) ([]v1beta1.PodMetrics, error) {
	list, err := w.client.MetricsV1beta1().PodMetricses("").List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, item := range list.Items {
		for _, c := range item.Containers {
			if c.Usage.Cpu().MilliValue() != round || c.Usage.Memory().Value() != round<<20 {
				return nil, fmt.Errorf("%s/%s uses %v, want %d millicores and MiB", item.Namespace, item.Name, c.Usage, round)
			}
		}
	}
	return list.Items, nil
}

func TestOverNATSBehindTheAggregationLayer(t *testing.T) {
	w := newEndToEnd(t, testenv.Conn(t))
	running := w.publish(7)
	_, stop := w.run()
	items, err := w.pods(7)
	if err != nil || len(items) != running || running < 30 {
		t.Fatalf("%d pods of %d, %v", len(items), running, err)
	}
	nodes, err := w.client.MetricsV1beta1().NodeMetricses().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 3 || nodes.Items[0].Labels["kubernetes.io/hostname"] != nodes.Items[0].Name {
		t.Fatalf("%+v, %v", nodes.Items, err)
	}

	// As the autoscaler asks.
	first := items[0]
	some, err := w.client.MetricsV1beta1().PodMetricses(first.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(metav1.SetAsLabelSelector(first.Labels))})
	if err != nil || len(some.Items) == 0 || some.Items[0].Timestamp.Unix() != w.published.Unix() {
		t.Errorf("by label: %+v, %v", some, err)
	}

	// What changes is seen without asking for it.
	w.publish(8)
	testenv.Eventually(t, 10*time.Second, func() error { _, err := w.pods(8); return err })
	w.append("pods", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: first.Namespace, Name: first.Name}}, schemas.Deleted)
	w.flush()
	testenv.Eventually(t, 10*time.Second, func() error {
		items, err := w.pods(8)
		if err == nil && len(items) != running-1 {
			return fmt.Errorf("%d pods, want %d", len(items), running-1)
		}
		return err
	})
	before, err := w.pods(8)
	if err != nil {
		t.Fatal(err)
	}

	// A restart: the whole answer at once, with nothing published meanwhile.
	stop()
	began := time.Now()
	_, stop = w.run()
	defer stop()
	after, err := w.pods(8)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the first complete answer after a restart took %v", time.Since(began))
	for _, list := range [][]v1beta1.PodMetrics{before, after} {
		for i := range list {
			list[i].CreationTimestamp = metav1.Time{}
		}
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("after the restart (-before +after):\n%s", diff)
	}
}

// TestStreamsThatDoNotExistYet: the service waits for its writers, says so, and goes on when they have come.
func TestStreamsThatDoNotExistYet(t *testing.T) {
	cluster := testenv.Sim(t, sim.Options{Bare: true})
	conn := testenv.Conn(t)
	options := NewOptions()
	options.SecureServing.BindAddress, options.SecureServing.BindPort = net.IPv4(127, 0, 0, 1), 0
	options.SecureServing.ServerCert.CertDirectory, options.SecureServing.ServerCert.PairName = "", ""
	options.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := cluster.WriteKubeconfig(options.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	service, err := New(Config{Options: options, Conn: conn, Cluster: "test", Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	testenv.Eventually(t, 10*time.Second, func() error {
		if err := service.starting.Load(); err != nil {
			return *err
		}
		return nil
	})
	if err := service.Ready(); err == nil {
		t.Error("ready without streams")
	}
	if err := stream.Ensure(t.Context(), conn, stream.Streams{Cluster: "test"}); err != nil {
		t.Fatal(err)
	}
	log, err := stream.NewAppender(stream.AppenderConfig{Conn: conn, Cluster: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	testenv.FirstSnapshot(t, conn, "test", log)
	testenv.Eventually(t, 20*time.Second, service.Ready)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestNATSGoesAwayAndComesBack: what is known is served as long as it is true, then the service says that it knows
// nothing, and it recovers by itself.
func TestNATSGoesAwayAndComesBack(t *testing.T) {
	config := embedded.Config{Dir: t.TempDir(), Address: "127.0.0.1:0", Log: testenv.Logger(t)}
	nats, err := embedded.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	config.Address = strings.TrimPrefix(nats.URL(), "nats://")
	conn, err := stream.Connect(t.Context(), stream.ConnConfig{URL: nats.URL(), Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	w := newEndToEnd(t, conn)
	running := w.publish(7)
	service, stop := w.run(func(o *Options) { o.Resolution, o.MaxSampleAge = time.Second, 2*time.Second })
	defer stop()

	// Silence that is only for want of news is none.
	began := time.Now()
	testenv.Eventually(t, 20*time.Second, func() error {
		if heard := service.usageReplay.Position().Heard; heard.Before(began.Add(3 * time.Second)) {
			return fmt.Errorf("last heard %v after the beginning", heard.Sub(began))
		}
		return nil
	})
	if err := service.Ready(); err != nil {
		t.Errorf("nothing happens: %v", err)
	}

	w.publish(8)
	testenv.Eventually(t, 10*time.Second, func() error { _, err := w.pods(8); return err })
	nats.Close()
	if items, err := w.pods(8); err != nil || len(items) != running {
		t.Errorf("right after NATS went away: %d pods, %v", len(items), err)
	}
	testenv.Eventually(t, 20*time.Second, func() error {
		if service.Ready() == nil {
			return errors.New("still ready")
		}
		return nil
	})
	if nats, err = embedded.Start(config); err != nil {
		t.Fatal(err)
	}
	defer nats.Close()
	testenv.Eventually(t, 30*time.Second, service.Ready)
	testenv.Eventually(t, 30*time.Second, func() error {
		w.publish(9)
		items, err := w.pods(9)
		if err == nil && len(items) != running {
			err = fmt.Errorf("%d pods, want %d", len(items), running)
		}
		return err
	})
}

// TestWatchFromTheFirstSampleOn: a stream of usage that is empty when it is whole begins with sequence 1, at a first start and when
// NATS has lost its disk.
func TestWatchFromTheFirstSampleOn(t *testing.T) {
	config := embedded.Config{Dir: t.TempDir(), Address: "127.0.0.1:0", Log: testenv.Logger(t)}
	nats, err := embedded.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	config.Address = strings.TrimPrefix(nats.URL(), "nats://")
	conn, err := stream.Connect(t.Context(), stream.ConnConfig{URL: nats.URL(), Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	w := newEndToEnd(t, conn)
	service, stop := w.run(func(o *Options) { o.EnableWatch = true })
	defer stop()

	nodes := w.client.MetricsV1beta1().NodeMetricses()
	begin := func() watch.Interface {
		t.Helper()
		w.append("nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "early"}}, schemas.Applied)
		w.flush()
		testenv.Eventually(t, 30*time.Second, func() error {
			if at := service.watches.place(); !service.watches.following() || at != (view.Place{Objects: 1}) {
				return fmt.Errorf("the new streams are not followed yet, but what is read up to %+v", at)
			}
			return nil
		})
		list, err := nodes.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		watching, err := nodes.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if err != nil {
			t.Fatal(err)
		}
		return watching
	}
	told := func(watching watch.Interface, round uint64) {
		t.Helper()
		w.publish(round)
		want := resource.NewMilliQuantity(int64(round), resource.DecimalSI)
		patience := time.After(20 * time.Second)
		for done := map[string]bool{}; len(done) < 3; {
			select {
			case event, open := <-watching.ResultChan():
				node, ok := event.Object.(*v1beta1.NodeMetrics)
				if !open || !ok {
					t.Fatalf("round %d: open %v, %v %+v", round, open, event.Type, event.Object)
				}
				if node.Usage.Cpu().Cmp(*want) == 0 {
					done[node.Name] = true
				}
			case <-patience:
				t.Fatalf("round %d: only told of %v", round, done)
			}
		}
	}
	first := begin()
	defer first.Stop()
	told(first, 7)
	told(first, 8)
	known, err := nodes.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}

	nats.Close()
	w.log.Close()
	w.samples.Close()
	if err := os.RemoveAll(config.Dir); err != nil {
		t.Fatal(err)
	}
	if nats, err = embedded.Start(config); err != nil {
		t.Fatal(err)
	}
	defer nats.Close()
	w.begin()
	second := begin()
	defer second.Stop()
	time.AfterFunc(time.Minute, first.Stop) // it has ended long before
	for event := range first.ResultChan() {
		if status, ok := event.Object.(*metav1.Status); ok && event.Type == watch.Error && status.Reason != metav1.StatusReasonExpired {
			t.Errorf("who watched before is told %+v", status)
		}
	}
	stale, err := nodes.Watch(t.Context(), metav1.ListOptions{ResourceVersion: known.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer stale.Stop()
	if event := <-stale.ResultChan(); event.Type != watch.Error || event.Object.(*metav1.Status).Reason != metav1.StatusReasonExpired {
		t.Errorf("from a version of what is no more: %+v", event)
	}
	told(second, 9)
	told(second, 10)
}
