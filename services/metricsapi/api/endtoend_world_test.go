package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
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
	if err := stream.Ensure(w.t.Context(), w.conn, stream.Streams{Cluster: "test", ObjectsMaxBytes: 64 << 20}); err != nil {
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

// run starts a metrics API server on the streams, waits until it is ready, and registers it with the cluster.
func (w *endToEnd) run(configure ...func(*Options)) (service *Service, stop func()) {
	w.t.Helper()
	service, stop = w.start(configure...)
	testenv.Eventually(w.t, 30*time.Second, service.Ready)
	if err := w.cluster.SetMetricsAPI("https://"+service.Addr().String(), nil); err != nil {
		w.t.Fatal(err)
	}
	return service, stop
}

// start starts a metrics API server on the streams.
func (w *endToEnd) start(configure ...func(*Options)) (service *Service, stop func()) {
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
