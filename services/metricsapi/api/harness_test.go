package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// fakeReplay stands for a replay in the tests that are about what is served and not about streams: the test applies
// events to the sinks itself and says when they are whole.
type fakeReplay struct {
	waiting    string
	heard      atomic.Int64
	silence    atomic.Pointer[stream.Silence]
	rebuilding atomic.Bool
}

func (*fakeReplay) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (f *fakeReplay) Ready() error                { return errors.New(f.waiting) }
func (f *fakeReplay) Position() stream.Position {
	p := stream.Position{Rebuilding: f.rebuilding.Load()}
	if heard := f.heard.Load(); heard != 0 {
		p.Heard = time.Unix(0, heard)
	}
	if silence := f.silence.Load(); silence != nil {
		p.Silence = *silence
	}
	return p
}

// served is a metrics API server that runs, and what it is fed by.
type served struct {
	t        testing.TB
	service  *Service
	kube     *kubeAPI
	registry *prometheus.Registry
	url      string
	encoders map[string]*objects.Encoder

	objects, usage *fakeReplay
	catalog        stream.Sink
	samples        stream.Sink
	sequence       uint64
	stop           context.CancelFunc
	stopped        chan error
}

// newServed makes a server that does not run yet.
func newServed(t testing.TB, configure ...func(*Config)) *served {
	t.Helper()
	s := &served{
		t: t, kube: newKubeAPI(t), registry: prometheus.NewRegistry(), encoders: map[string]*objects.Encoder{},
		objects: &fakeReplay{waiting: "the objects are being replayed"}, usage: &fakeReplay{waiting: "the usage is being replayed"},
		stopped: make(chan error, 1),
	}
	options := NewOptions()
	options.SecureServing.BindAddress = net.IPv4(127, 0, 0, 1)
	options.SecureServing.BindPort = 0
	options.SecureServing.ServerCert.CertDirectory, options.SecureServing.ServerCert.PairName = "", ""
	options.Kubeconfig = s.kube.kubeconfig(t)
	options.Authentication.CacheTTL = 0
	config := Config{Options: options, Cluster: "test", Version: "v1.2.3-dirty", Log: testenv.Logger(t), Registry: s.registry, Gatherer: s.registry}
	for _, c := range configure {
		c(&config)
	}
	if err := config.complete(); err != nil {
		t.Fatal(err)
	}
	s.service = newService(config)
	s.service.now = func() time.Time { return epoch.Add(time.Second) }
	s.service.objectsReplay, s.service.usageReplay = s.objects, s.usage
	s.catalog, s.samples = s.service.beginCatalog(), s.service.beginUsage()
	for _, resource := range []string{"pods", "nodes"} {
		kind, _ := objects.ByResource(resource)
		encoder, err := objects.NewEncoder(kind)
		if err != nil {
			t.Fatal(err)
		}
		s.encoders[resource] = encoder
	}
	return s
}

// run starts the server and waits until it answers.
func (s *served) run() *served {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.stopped <- s.service.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-s.stopped; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	testenv.Eventually(s.t, 10*time.Second, func() error {
		if err := s.service.starting.Load(); err != nil {
			return *err
		}
		response, err := s.client(nil).Get("https://" + s.service.Addr().String() + "/livez")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(response.Body)
			return fmt.Errorf("/livez: %s %s", response.Status, body)
		}
		return nil
	})
	s.url = "https://" + s.service.Addr().String()
	return s
}

// start makes a server, feeds it and runs it, whole.
func start(t testing.TB, feed func(*served), configure ...func(*Config)) *served {
	t.Helper()
	s := newServed(t, configure...)
	if feed != nil {
		feed(s)
	}
	s.whole()
	return s.run()
}

// whole makes what was fed the views that serve.
func (s *served) whole() {
	s.service.serveCatalog(s.catalog, stream.Position{})
	s.service.serveUsage(s.samples, stream.Position{})
}

// apply feeds a Node or a Pod, encoded as on the wire.
func (s *served) apply(object runtime.Object) { s.t.Helper(); s.change(object, schemas.Applied) }

// remove feeds its deletion.
func (s *served) remove(object runtime.Object) { s.t.Helper(); s.change(object, schemas.Deleted) }

func (s *served) change(object runtime.Object, operation schemas.Operation) {
	s.t.Helper()
	resource := "pods"
	if _, ok := object.(*corev1.Node); ok {
		resource = "nodes"
	}
	change := s.toChange(resource, object, operation)
	subject := schemas.ObjectSubject{Cluster: "test", Resource: resource, Namespace: change.Namespace, Name: change.Name}
	s.event(s.catalog, subject.String(), change.Marshal())
}

func (s *served) toChange(resource string, object runtime.Object, operation schemas.Operation) schemas.ObjectChange {
	s.t.Helper()
	change, err := s.encoders[resource].Change(object, operation, epoch)
	if err != nil {
		s.t.Fatal(err)
	}
	return change
}

// sample feeds a usage sample, encoded as on the wire.
func (s *served) sample(sample schemas.UsageSample) {
	s.t.Helper()
	s.event(s.samples, schemas.UsageSubject{Cluster: "test", Node: sample.Node}.String(), sample.Marshal())
}

func (s *served) event(sink stream.Sink, subject string, data []byte) {
	s.t.Helper()
	s.sequence++
	if err := sink.Apply(stream.Event{Sequence: s.sequence, Subject: subject, Data: data}); err != nil {
		s.t.Fatalf("%s: %v", subject, err)
	}
	clear(data) // the sink may keep nothing of it
}

// event is a sample as it comes from the stream.
func event(sample schemas.UsageSample) stream.Event {
	return stream.Event{Sequence: 1, Subject: schemas.UsageSubject{Cluster: "test", Node: sample.Node}.String(), Data: sample.Marshal()}
}

// client is an HTTP client with a client certificate, or none.
func (s *served) client(certificate *tls.Certificate) *http.Client {
	config := &tls.Config{InsecureSkipVerify: true}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// metrics is a client of k8s.io/metrics, with a content type.
func (s *served) metrics(contentType string) metricsclient.Interface {
	s.t.Helper()
	client, err := metricsclient.NewForConfig(&rest.Config{
		Host: s.url, BearerToken: "admin-token", TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1,
		ContentConfig: rest.ContentConfig{ContentType: contentType, AcceptContentTypes: contentType},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return client
}

type header [2]string

// get asks for a path as the admin and returns the status code and the body.
func (s *served) get(path string, headers ...header) (int, string) {
	s.t.Helper()
	return s.do(http.MethodGet, path, headers...)
}

// request is a request of the admin.
func (s *served) request(method, path string) *http.Request {
	s.t.Helper()
	request, err := http.NewRequest(method, s.url+path, bytes.NewReader(nil))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer admin-token")
	return request
}

func (s *served) do(method, path string, headers ...header) (int, string) {
	s.t.Helper()
	request := s.request(method, path)
	for _, h := range headers {
		request.Header.Set(h[0], h[1])
	}
	response, err := s.client(nil).Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// epoch is when the tests' samples are taken; the server's clock is a second later, and stands still.
var epoch = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func at(offset time.Duration) int64 { return epoch.Add(offset).UnixNano() }

func newNode(name string, labels map[string]string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, CreationTimestamp: metav1.NewTime(epoch.Add(-time.Hour))}}
}

// newPod is a pod that has been running for half an hour.
func newPod(namespace, name, node string, labels map[string]string) *corev1.Pod {
	created := metav1.NewTime(epoch.Add(-30 * time.Minute))
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name), Labels: labels, CreationTimestamp: created},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &created},
	}
}

// point is a point of a container that has been running for half an hour.
func point(rate, memory uint64, window time.Duration) schemas.Point {
	return schemas.Point{Time: at(-2 * time.Second), CPUTime: at(-2 * time.Second), MemoryTime: at(-2 * time.Second),
		Start: at(-30*time.Minute + time.Second), CPU: 100e9, Memory: memory, Rate: rate, Window: int64(window)}
}

func container(name string, p schemas.Point) schemas.ContainerUsage {
	return schemas.ContainerUsage{Name: name, Point: p}
}

func podUsage(namespace, name string, containers ...schemas.ContainerUsage) schemas.PodUsage {
	return schemas.PodUsage{Namespace: namespace, Name: name, Containers: containers}
}

func nodeSample(node string, p *schemas.Point, pods ...schemas.PodUsage) schemas.UsageSample {
	return schemas.UsageSample{Node: node, Time: at(0), Duration: 1e6, Point: p, Pods: pods}
}
