package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// configMap is a folder of files as the kubelet mounts a ConfigMap: links through a link that is replaced as a whole.
type configMap struct {
	testing.TB
	dir  string
	sets int
}

func newConfigMap(t testing.TB, files map[string]string) *configMap {
	t.Helper()
	c := &configMap{TB: t, dir: t.TempDir()}
	c.set(files)
	for name := range files {
		if err := os.Symlink(filepath.Join("..data", name), c.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *configMap) path(name string) string { return filepath.Join(c.dir, name) }

// set replaces the content.
func (c *configMap) set(files map[string]string) {
	c.Helper()
	c.sets++
	version := fmt.Sprintf("..%d", c.sets)
	if err := os.Mkdir(c.path(version), 0o755); err != nil {
		c.Fatal(err)
	}
	for name, text := range files {
		write(c, filepath.Join(c.dir, version, name), text)
	}
	if err := errors.Join(os.Symlink(version, c.path("..new")), os.Rename(c.path("..new"), c.path("..data"))); err != nil {
		c.Fatal(err)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// have writes count pods with a container each.
func (w *world) have(count int) {
	w.Helper()
	for i := range count {
		change := changeOf(w, counting(i, 0), schemas.Applied)
		w.append(subjectOf(&change), change.Marshal())
	}
	if err := w.log.Flush(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// counting is a pod whose container was restarted so many times.
func counting(i, restarts int) *corev1.Pod {
	p := pod(fmt.Sprint("p-", i), fmt.Sprint(i), "node")
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", RestartCount: int32(restarts), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	return p
}

// served waits until so many editions have been put in service.
func (w *world) served(count int) {
	w.Helper()
	w.metric("headwater_exporter_editions_total", `result="served"`, float64(count))
}

// looking scrapes again and again, and gives each text to check, until the returned function is called; that gives the
// first error. An answer that is not 200 is one.
func (w *world) looking(check func(text string) error) (stop func()) {
	w.Helper()
	ended, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			response, body := w.get("/metrics", "Accept", acceptText)
			err := check(string(body))
			if response.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", response.Status, body)
			}
			if err != nil {
				done <- fmt.Errorf("scrape %d: %w", n, err)
				return
			}
			select {
			case <-ended:
				done <- nil
				return
			default:
			}
		}
	}()
	return func() {
		w.Helper()
		close(ended)
		if err := <-done; err != nil {
			w.Error(err)
		}
	}
}

var restarts = regexp.MustCompile(`(?m)^kube_pod_container_status_restarts_total\{namespace="shop",pod="(p-\d+)".*\} (\d+)$`)

// whole checks that a text has of each of some families all pods or none, and all containers' restarts, none less than
// before.
func whole(count int, families ...string) func(string) error {
	last := map[string]int{}
	return func(text string) error {
		found := restarts.FindAllStringSubmatch(text, -1)
		if len(found) != count {
			return fmt.Errorf("%d of %d pods", len(found), count)
		}
		for _, m := range found {
			n, _ := strconv.Atoi(m[2])
			if n < last[m[1]] {
				return fmt.Errorf("%s went back from %d to %d restarts", m[1], last[m[1]], n)
			}
			last[m[1]] = n
		}
		for _, f := range families {
			if n := strings.Count("\n"+text, "\n"+f+"{"); n != 0 && n != count {
				return fmt.Errorf("%s of %d of %d pods", f, n, count)
			}
		}
		return nil
	}
}

// restarting restarts containers in the order of the pods until the returned function is called, which waits until the exporter
// has read it all.
func (w *world) restarting(count int) (stop func()) {
	ended := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := count; ; i++ {
			select {
			case <-ended:
				return
			default:
			}
			change := changeOf(w, counting(i%count, i/count), schemas.Applied)
			if _, err := w.log.Append(subjectOf(&change), change.Marshal()); err != nil {
				w.Error(err)
				return
			}
			if i%50 == 0 {
				if err := w.log.Flush(w.Context()); err != nil {
					w.Error(err)
					return
				}
			}
		}
	})
	return func() {
		w.Helper()
		close(ended)
		writer.Wait()
		if err := w.log.Flush(w.Context()); err != nil {
			w.Fatal(err)
		}
		testenv.Eventually(w, patience, func() error {
			if p := w.service.position(); p.Sequence != w.log.Acked().Sequence {
				return fmt.Errorf("at %d of %d", p.Sequence, w.log.Acked().Sequence)
			}
			return nil
		})
	}
}

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

// server is NATS that can be away for a time.
type server struct {
	testing.TB
	config embedded.Config
	*embedded.Server
}

func newServer(t testing.TB) *server {
	s := &server{TB: t, config: embedded.Config{Dir: t.TempDir(), Address: "127.0.0.1:0", Log: testenv.Logger(t)}}
	s.begin()
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	s.config.Address = u.Host
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *server) begin() {
	s.Helper()
	testenv.Eventually(s, patience, func() error {
		started, err := embedded.Start(s.config)
		if err == nil {
			s.Server = started // else the one before, which is closed
		}
		return err
	})
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

func TestABadFileChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.have(2)
	files := newConfigMap(t, map[string]string{"config.yaml": "metric_denylist: [kube_pod_info]\n"})
	path := files.path("config.yaml")
	w.start(func(o *Options) { o.ConfigFile = path })
	w.ready()
	for i, bad := range []string{"metric_denylist: [kube_pod_labels]\nmetric_denyliste: []\n", "metric_denylist: ['(']\n", "shard: 7\n", "\x00"} {
		files.set(map[string]string{"config.yaml": bad})
		w.metric("headwater_exporter_config_reloads_total", `result="failure"`, float64(i+1))
		w.metric("headwater_exporter_config_last_reload_successful", "", 0)
		w.metric("kube_state_metrics_last_config_reload_successful", fmt.Sprintf(`filename=%q,type="config"`, path), 0)
		w.eventually("!kube_pod_info{", "# TYPE kube_pod_labels gauge")
	}
	// What isn't a file is not waited for.
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	w.metric("headwater_exporter_config_reloads_total", `result="failure"`, 5)
	w.served(1)
	write(t, path+".new", "metric_denylist: [kube_pod_labels]\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	w.served(2)
	w.metric("headwater_exporter_config_last_reload_successful", "", 1)
	w.metric("kube_state_metrics_last_config_reload_successful", `type="config"`, 1)
	w.eventually("!kube_pod_labels{", "# TYPE kube_pod_info gauge")
	// md5's first six bytes, as kube-state-metrics has them.
	w.metric("kube_state_metrics_config_hash", `type="config"`, (&file{data: []byte("metric_denylist: [kube_pod_labels]\n")}).hash())
}

func TestTheHashIsThatOfKubeStateMetrics(t *testing.T) {
	if got := (&file{data: []byte("hello")}).hash(); got != 83271534788957 { // 5d 41 40 2a bc 4b, the last one highest
		t.Errorf("%.0f", got)
	}
}

func TestAFileThatGoesAwayAndComesBack(t *testing.T) {
	w := newWorld(t)
	w.have(2)
	folder := filepath.Join(t.TempDir(), "folder")
	path := filepath.Join(folder, "config.yaml")
	service := w.make(func(o *Options) { o.ConfigFile, o.ContinueWithoutConfig = path, true })
	service.lookTime = 20 * time.Millisecond // nobody tells of a folder that isn't there
	w.run(service)
	w.ready()
	w.eventually("# TYPE kube_pod_info gauge")
	come := func() {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, "metric_denylist: [kube_pod_info]\n")
	}
	come()
	w.served(2)
	w.eventually("!kube_pod_info{")
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	w.metric("headwater_exporter_config_last_reload_successful", "", 0)
	w.eventually("!kube_pod_info{")
	come()
	w.metric("headwater_exporter_config_last_reload_successful", "", 1)
	w.served(2)
}

func TestFilesAtTheStart(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "config.yaml")
	begin := func(change func(*Options)) error {
		options := NewOptions()
		options.ConfigFile = path
		change(options)
		_, err := New(Config{Options: options, Conn: new(stream.Conn), Cluster: cluster})
		return err
	}
	if err := begin(func(*Options) {}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--config") {
		t.Error(err)
	}
	if err := begin(func(o *Options) { o.ContinueWithoutConfig = true }); err != nil {
		t.Error(err)
	}
	write(t, path, "resources:\n- widgets\n")
	if err := begin(func(o *Options) { o.ContinueWithoutConfig = true }); err == nil || !strings.Contains(err.Error(), path+":2: resources: ") {
		t.Error(err)
	}
	write(t, path, "custom_resource_state_config_file: "+filepath.Join(folder, "custom.yaml")+"\n")
	if err := begin(func(*Options) {}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--custom-resource-state-config-file") {
		t.Error(err)
	}
	if err := begin(func(o *Options) { o.Custom.ContinueWithoutFile = true }); err != nil {
		t.Error(err)
	}
	write(t, path, "port: 1\ntelemetry_port: 2\n")
	options := NewOptions()
	options.ConfigFile = path
	s, err := New(Config{Options: options, Conn: new(stream.Conn), Cluster: cluster})
	if err != nil || s.Options().ListenAddress != ":1" || s.Options().TelemetryAddress != ":2" || options.ListenAddress != ":8080" {
		t.Errorf("%v", err)
	}
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

// still is a replay that does nothing.
type still struct{}

func (still) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (still) Ready() error                  { return nil }
func (still) Position() stream.Position     { return stream.Position{} }

func TestTheNewViewIsServedWhenItIsAsFarAsTheOldOne(t *testing.T) {
	options := NewOptions()
	in, err := readInputs(options)
	if err != nil {
		t.Fatal(err)
	}
	with, err := in.settings(cluster, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newEditions(Config{}, testenv.Logger(t))
	s.metrics = newMetrics(nil, testenv.Logger(t), nil)
	begin := func() *edition {
		e := &edition{settings: with, editions: s, replay: still{}, cancel: func() {}}
		s.building = e
		return e
	}
	log := stream.LogPosition{Log: time.Unix(1, 0)}
	at := func(sequence uint64) stream.Position {
		p := stream.Position{LogPosition: log}
		p.Sequence = sequence
		return p
	}
	apply := func(sink stream.Sink, sequence uint64) {
		if err := sink.Apply(stream.Event{Sequence: sequence, Subject: "unwanted"}); err != nil {
			t.Error(err)
		}
	}
	old := begin()
	oldView := old.beginView()
	old.wholeView(oldView, at(5))
	for n := uint64(6); n <= 10; n++ {
		apply(oldView, n)
	}
	next := begin()
	view := next.beginView()
	next.wholeView(view, at(8))
	applied := newDone()
	go func() { apply(oldView, 11); applied.close() }()
	apply(view, 9)
	if s.serving.Load() != old {
		t.Fatal("an older view is served")
	}
	if applied.closed() {
		t.Fatal("the old view went on")
	}
	apply(view, 10)
	if s.serving.Load() != next {
		t.Fatal("the new view is not served")
	}
	applied.wait(t)

	// One that is given up while it catches up lets the old one go on.
	third := begin()
	view = third.beginView()
	apply(next.view.Load(), 11)
	third.wholeView(view, at(10))
	applied = newDone()
	go func() { apply(next.view.Load(), 12); applied.close() }()
	s.abandon()
	third.letGo() // as its goroutine does
	applied.wait(t)
	apply(view, 11)
	if s.serving.Load() != next || s.building != nil {
		t.Error("what was given up is served")
	}

	// Of another log, it is served at once.
	fourth := begin()
	log.Log = time.Unix(2, 0)
	fourth.wholeView(fourth.beginView(), at(1))
	if s.serving.Load() != fourth {
		t.Error("a view of another log waits")
	}
}

// done is closed when something has happened.
type done chan struct{}

func newDone() done { return make(done) }

func (d done) close() { close(d) }

func (d done) closed() bool {
	select {
	case <-d:
		return true
	default:
		return false
	}
}

func (d done) wait(t *testing.T) {
	t.Helper()
	select {
	case <-d:
	case <-time.After(patience):
		t.Fatal("it waits for ever")
	}
}

func TestAChangeThatNeedsTheUsageWaitsForIt(t *testing.T) {
	w := &world{TB: t, conn: testenv.Conn(t)}
	streams := stream.Streams{Cluster: cluster, ObjectsMaxBytes: 256 << 20}
	if err := stream.EnsureLog(t.Context(), w.conn, streams); err != nil {
		t.Fatal(err)
	}
	w.openLog()
	w.have(3)
	path := filepath.Join(t.TempDir(), "config.yaml")
	write(t, path, "metric_allowlist: [^kube_pod_info$]\n") // it has no usage, so that isn't waited for
	w.start(func(o *Options) { o.ConfigFile = path })
	w.ready()
	stop := w.looking(func(text string) error {
		if n := len(uids(text)); n != 3 {
			return fmt.Errorf("%d pods", n)
		}
		if strings.Contains(text, "kube_pod_status_phase") && !strings.Contains(text, "node_cpu_usage_seconds_total") {
			return errors.New("the usage is missing")
		}
		return nil
	})
	write(t, path, "\n")
	w.metric("headwater_exporter_config_reloads_total", `result="success"`, 1)
	write(t, path, "metric_denylist: [kube_pod_labels]\n")
	w.metric("headwater_exporter_config_reloads_total", `result="success"`, 2)
	w.served(1)
	usage, err := stream.NewUsagePublisher(stream.UsagePublisherConfig{Conn: w.conn, Cluster: cluster, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(usage.Close)
	w.usage = usage
	if err := stream.EnsureUsage(t.Context(), w.conn, streams); err != nil {
		t.Fatal(err)
	}
	w.report(schemas.UsageSample{Node: "node", Time: time.Now().UnixNano(), Point: &schemas.Point{CPU: 1}})
	w.served(2)
	w.eventually("# TYPE kube_pod_status_phase gauge", "!kube_pod_labels{", "# TYPE node_cpu_usage_seconds_total counter")
	stop()
}
