package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
	wireobjects "github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

const cluster = "test"

const patience = 30 * time.Second

// world is NATS, the writers of its streams, and an exporter.
type world struct {
	testing.TB
	conn     *stream.Conn
	log      *stream.Appender
	usage    *stream.UsagePublisher
	service  *Service
	registry *prometheus.Registry
	base     string // the exporter's URL
}

// newWorld starts NATS with empty streams.
func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOn(t, testenv.Conn(t))
}

func newWorldOn(t testing.TB, conn *stream.Conn) *world {
	t.Helper()
	w := &world{TB: t, conn: conn}
	if err := stream.Ensure(t.Context(), w.conn, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 256 << 20}); err != nil {
		t.Fatal(err)
	}
	w.openLog()
	var err error
	if w.usage, err = stream.NewUsagePublisher(stream.UsagePublisherConfig{Conn: w.conn, Cluster: cluster, Log: testenv.Logger(t)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.usage.Close)
	return w
}

func (w *world) openLog() {
	w.Helper()
	var err error
	if w.log, err = stream.NewAppender(stream.AppenderConfig{Conn: w.conn, Cluster: cluster, Log: testenv.Logger(w)}); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(w.log.Close)
	testenv.FirstSnapshot(w, w.conn, cluster, w.log)
}

// start starts an exporter that reads the world's streams.
func (w *world) start(configure func(*Options)) {
	w.Helper()
	w.run(w.make(configure))
}

// make makes the exporter.
func (w *world) make(configure func(*Options)) *Service {
	w.Helper()
	options := NewOptions()
	options.ListenAddress = "127.0.0.1:0"
	if configure != nil {
		configure(options)
	}
	w.registry = prometheus.NewRegistry()
	service, err := New(Config{Options: options, Conn: w.conn, Cluster: cluster, Log: testenv.Logger(w), Registry: w.registry})
	if err != nil {
		w.Fatal(err)
	}
	return service
}

func (w *world) run(service *Service) {
	w.Helper()
	w.service = service
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	w.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Errorf("Run: %v", err)
		}
	})
	testenv.Eventually(w, patience, func() error {
		if service.Addr() == nil {
			return errors.New("it does not listen")
		}
		return nil
	})
	w.base = "http://" + service.Addr().String()
}

// put writes objects into the log, drop their deletion.
func (w *world) put(objects ...runtime.Object)  { w.Helper(); w.write(schemas.Applied, objects) }
func (w *world) drop(objects ...runtime.Object) { w.Helper(); w.write(schemas.Deleted, objects) }

func (w *world) write(operation schemas.Operation, objects []runtime.Object) {
	w.Helper()
	for _, o := range objects {
		change := changeOf(w, o, operation)
		w.append(subjectOf(&change), change.Marshal())
	}
	if err := w.log.Flush(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func (w *world) append(subject string, payload []byte) {
	w.Helper()
	if _, err := w.log.AppendWait(w.Context(), subject, payload); err != nil {
		w.Fatal(err)
	}
}

func changeOf(t testing.TB, o runtime.Object, operation schemas.Operation) schemas.ObjectChange {
	t.Helper()
	resources := map[string]string{"*v1.Pod": "pods", "*v1.Node": "nodes", "*v1.Namespace": "namespaces", "*v1.Deployment": "deployments", "*v1.ReplicaSet": "replicasets", "*v1.ConfigMap": "configmaps", "*v1.StatefulSet": "statefulsets"}
	kind, ok := wireobjects.ByResource(resources[fmt.Sprintf("%T", o)])
	if !ok {
		t.Fatalf("no resource for a %T", o)
	}
	encoder, err := wireobjects.NewEncoder(kind)
	if err != nil {
		t.Fatal(err)
	}
	change, err := encoder.Change(o, operation, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return change
}

func subjectOf(c *schemas.ObjectChange) string {
	return schemas.ObjectSubject{Cluster: cluster, Group: c.Group, Resource: c.Resource, Namespace: c.Namespace, Name: c.Name}.String()
}

// report publishes usage samples.
func (w *world) report(samples ...schemas.UsageSample) {
	w.Helper()
	for _, s := range samples {
		if err := w.usage.Publish(schemas.UsageSubject{Cluster: cluster, Node: s.Node}.String(), s.Marshal()); err != nil {
			w.Fatal(err)
		}
	}
	if err := w.usage.Flush(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// get asks the exporter; header is name, value...
func (w *world) get(path string, header ...string) (*http.Response, []byte) {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, w.base+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.Fatal(err)
	}
	return response, body
}

const (
	acceptOpenMetrics = "application/openmetrics-text;version=1.0.0"
	acceptText        = "text/plain;version=0.0.4"
)

// scrape gets /metrics in all four forms, checks that they are valid and say the same, and returns the text.
func (w *world) scrape() string {
	w.Helper()
	var texts [2]string
	for i, accept := range []string{acceptText, acceptOpenMetrics} {
		response, plain := w.get("/metrics", "Accept", accept)
		if response.StatusCode != http.StatusOK || response.ContentLength != int64(len(plain)) {
			w.Fatalf("%s, %d bytes announced, %d came: %.200s", response.Status, response.ContentLength, len(plain), plain)
		}
		check := strict.Text
		if i == 1 {
			check = strict.OpenMetrics
		}
		if _, err := check(plain); err != nil {
			w.Fatalf("%s: %v", accept, err)
		}
		// Some of it is the time when NATS was last heard: the two answers are of one moment if the plain one is the same before and after.
		testenv.Eventually(w, patience, func() error {
			_, before := w.get("/metrics", "Accept", accept)
			unpacked := w.unpack(accept)
			if _, after := w.get("/metrics", "Accept", accept); !bytes.Equal(before, after) {
				return errors.New("the answer changes all the time")
			}
			if !bytes.Equal(before, unpacked) {
				w.Fatalf("%s: the gzip answer differs from the plain one", accept)
			}
			return nil
		})
		texts[i] = string(plain)
	}
	return texts[0]
}

// unpack gets /metrics with gzip.
func (w *world) unpack(accept string) []byte {
	w.Helper()
	response, packed := w.get("/metrics", "Accept", accept, "Accept-Encoding", "gzip")
	if got := response.Header.Get("Content-Encoding"); got != "gzip" {
		w.Fatalf("Content-Encoding %q", got)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		w.Fatal(err)
	}
	unpacked, err := io.ReadAll(z)
	if err != nil {
		w.Fatal(err)
	}
	return unpacked
}

// eventually scrapes until the text has all wanted lines, and none that begins with an unwanted text (marked by a leading
// "!").
func (w *world) eventually(wants ...string) {
	w.Helper()
	testenv.Eventually(w, patience, func() error {
		response, body := w.get("/metrics", "Accept", acceptText)
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", response.Status, body)
		}
		text := "\n" + string(body)
		for _, want := range wants {
			if unwanted, ok := strings.CutPrefix(want, "!"); ok {
				if strings.Contains(text, "\n"+unwanted) {
					return fmt.Errorf("it has %s", unwanted)
				}
			} else if !strings.Contains(text, "\n"+want+"\n") {
				return fmt.Errorf("it lacks %s", want)
			}
		}
		return nil
	})
}

// ready waits until /readyz says so.
func (w *world) ready() {
	w.Helper()
	testenv.Eventually(w, patience, func() error {
		if response, body := w.get("/readyz"); response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", response.Status, body)
		}
		return nil
	})
}

// metric waits until a self-metric has a value. Labels are name="value" as Prometheus writes them.
func (w *world) metric(name, labels string, want float64) {
	w.Helper()
	testenv.Eventually(w, patience, func() error {
		got, err := w.selfMetric(name, labels)
		if err == nil && got != want {
			err = fmt.Errorf("%s{%s} is %v, want %v", name, labels, got, want)
		}
		return err
	})
}

func (w *world) selfMetric(name, labels string) (float64, error) {
	families, err := w.registry.Gather()
	if err != nil {
		return 0, err
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			all := ""
			for _, l := range m.GetLabel() {
				all += fmt.Sprintf("%s=%q,", l.GetName(), l.GetValue())
			}
			if f.GetName() == name && strings.Contains(all, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue(), nil
			}
		}
	}
	return 0, fmt.Errorf("there is no %s{%s}", name, labels)
}

func lintSelfMetrics(t testing.TB, registry *prometheus.Registry) {
	t.Helper()
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "headwater_exporter_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
