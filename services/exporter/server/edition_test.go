package server

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func TestAReloadIsNeverSeenHalfDone(t *testing.T) {
	const count, reloads = 100, 6
	w := newWorld(t)
	w.have(count)
	files := newConfigMap(t, map[string]string{"config.yaml": "metric_denylist: [kube_pod_info]\n"})
	w.start(func(o *Options) { o.ConfigFile = files.path("config.yaml") })
	w.ready()
	stopWriting := w.restarting(count)
	stopLooking := w.looking(whole(count, "kube_pod_info", "kube_pod_labels", "kube_pod_created", "kube_pod_owner"))
	for i := range reloads {
		denied := []string{"kube_pod_labels", "kube_pod_info"}[i%2]
		files.set(map[string]string{"config.yaml": "metric_denylist: [" + denied + "]\n"})
		w.served(i + 2)
		w.eventually("!" + denied + "{")
	}
	stopLooking()
	stopWriting()
	w.eventually("!kube_pod_info{", "# TYPE kube_pod_labels gauge")
	w.scrape()
	w.metric("headwater_exporter_config_reloads_total", `result="success"`, reloads)
	w.metric("headwater_exporter_config_last_reload_successful", "", 1)
	w.metric("headwater_exporter_building", "", 0)
	w.metric("headwater_stream_ready", `consumer="exporter-objects"`, 1)
	w.metric("headwater_stream_rebuilds_total", `consumer="exporter-objects"`, reloads+1)
	lintSelfMetrics(t, w.registry)
}

func TestAChangeBackToWhatIsServedBuildsNothing(t *testing.T) {
	w := newWorld(t)
	w.have(3)
	files := newConfigMap(t, map[string]string{"config.yaml": "resources: [pods]\n"})
	w.start(func(o *Options) { o.ConfigFile = files.path("config.yaml") })
	w.ready()
	files.set(map[string]string{"config.yaml": "# the same in other words\nresources: {pods: {}}\n"})
	w.metric("headwater_exporter_config_reloads_total", `result="success"`, 1)
	w.served(1)
}

func TestNATSIsAwayDuringAReloadAndANewerReloadReplacesIt(t *testing.T) {
	const count = 50
	nats := newServer(t)
	conn, err := stream.Connect(t.Context(), stream.ConnConfig{URL: nats.URL(), Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	w := newWorldOn(t, conn)
	w.have(count)
	path := filepath.Join(t.TempDir(), "config.yaml")
	write(t, path, "metric_denylist: [kube_pod_info]\n")
	w.start(func(o *Options) { o.ConfigFile = path })
	w.ready()
	stop := w.looking(whole(count, "kube_pod_info", "kube_pod_labels"))

	nats.Close()
	write(t, path, "metric_denylist: [kube_pod_labels]\n")
	w.metric("headwater_exporter_building", "", 1)
	write(t, path, "metric_denylist: [kube_pod_owner]\n")
	w.metric("headwater_exporter_editions_total", `result="superseded"`, 1)
	write(t, path, "metric_denylist: [kube_pod_info]\n") // as it is served: nothing is to be built any more
	w.metric("headwater_exporter_editions_total", `result="superseded"`, 2)
	w.metric("headwater_exporter_building", "", 0)
	write(t, path, "metric_denylist: [kube_pod_created]\n")
	w.metric("headwater_exporter_building", "", 1)
	w.metric("headwater_stream_ready", `consumer="exporter-objects"`, 1) // of the one that is served
	w.served(1)

	nats.begin()
	w.served(2)
	w.eventually("# TYPE kube_pod_info gauge", "!kube_pod_created{")
	stop()
	w.metric("headwater_exporter_editions_total", `result="superseded"`, 2)
}

func TestNATSIsKilledInTheMidstOfBuilds(t *testing.T) {
	const count = 300
	nats := newServer(t)
	conn, err := stream.Connect(t.Context(), stream.ConnConfig{URL: nats.URL(), Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	w := newWorldOn(t, conn)
	w.have(count)
	path := filepath.Join(t.TempDir(), "config.yaml")
	write(t, path, "metric_denylist: [kube_pod_info]\n")
	w.start(func(o *Options) { o.ConfigFile = path })
	w.ready()
	stop := w.looking(whole(count, "kube_pod_info", "kube_pod_labels"))
	for i := range 4 {
		denied := []string{"kube_pod_labels", "kube_pod_info"}[i%2]
		write(t, path, "metric_denylist: ["+denied+"]\n")
		w.metric("headwater_exporter_config_reloads_total", `result="success"`, float64(i+1))
		nats.Close()
		nats.begin()
		w.served(i + 2)
		w.eventually("!" + denied + "{")
	}
	stop()
}

func TestReloadsLeaveNothingBehind(t *testing.T) {
	const reloads = 50
	w := newWorld(t)
	w.have(20)
	path := filepath.Join(t.TempDir(), "config.yaml")
	write(t, path, "metric_denylist: [a]\n")
	w.start(func(o *Options) { o.ConfigFile = path })
	w.ready()
	reload := func(i int) {
		write(t, path, fmt.Sprintf("metric_denylist: [a%d]\n", i))
		w.served(i + 2)
	}
	reload(0)
	before := runtime.NumGoroutine() // those of NATS are in this process, too
	for i := range reloads {
		reload(i + 1)
	}
	testenv.Eventually(t, patience, func() error {
		http.DefaultClient.CloseIdleConnections()
		if after := runtime.NumGoroutine(); after > before+5 {
			return fmt.Errorf("%d goroutines, before %d reloads %d", after, reloads, before)
		}
		return nil
	})
}

func TestAnExporterThatEndsDuringABuild(t *testing.T) {
	nats := newServer(t)
	conn, err := stream.Connect(t.Context(), stream.ConnConfig{URL: nats.URL(), Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	w := newWorldOn(t, conn)
	w.have(10)
	path := filepath.Join(t.TempDir(), "config.yaml")
	write(t, path, "metric_denylist: [a]\n")
	options := NewOptions()
	options.ListenAddress, options.ConfigFile = "127.0.0.1:0", path
	w.registry = prometheus.NewRegistry()
	service, err := New(Config{Options: options, Conn: conn, Cluster: cluster, Log: testenv.Logger(t), Registry: w.registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	testenv.Eventually(t, patience, service.Ready)
	nats.Close()
	write(t, path, "metric_denylist: [b]\n")
	w.metric("headwater_exporter_building", "", 1)
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("it goes on")
	}
}
