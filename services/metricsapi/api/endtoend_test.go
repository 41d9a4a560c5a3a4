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
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/internal/view"
)

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
	if err := stream.Ensure(t.Context(), conn, stream.Streams{Cluster: "test", ObjectsMaxBytes: 64 << 20}); err != nil {
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
	config := embedded.Config{Dir: t.TempDir(), Address: testenv.Address(t), Log: testenv.Logger(t)}
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
	config := embedded.Config{Dir: t.TempDir(), Address: testenv.Address(t), Log: testenv.Logger(t)}
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
