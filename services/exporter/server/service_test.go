package server

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func pod(name, uid, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + uid), Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "secret"}}}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

func TestNothingIsAnsweredBeforeBothViewsAreWhole(t *testing.T) {
	w := &world{TB: t, conn: testenv.Conn(t)}
	w.start(nil)
	for _, path := range []string{"/metrics", "/readyz"} {
		response, body := w.get(path)
		if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "the objects are not known yet") {
			t.Errorf("%s: %s, %s", path, response.Status, body)
		}
	}
	for _, path := range []string{"/livez", "/healthz", "/"} {
		if response, body := w.get(path); response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %s", path, response.Status, body)
		}
	}
	if response, _ := w.get("/else"); response.StatusCode != http.StatusNotFound {
		t.Errorf("/else: %s", response.Status)
	}

	streams := stream.Streams{Cluster: cluster, ObjectsMaxBytes: 256 << 20}
	if err := stream.EnsureLog(t.Context(), w.conn, streams); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, func() error {
		response, body := w.get("/metrics")
		if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "exporter-objects waits for the first snapshot") {
			return fmt.Errorf("%s, %s", response.Status, body)
		}
		return nil
	})
	w.openLog()
	testenv.Eventually(t, patience, func() error {
		response, body := w.get("/metrics")
		if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "the usage is not known yet: exporter-usage waits for the stream") {
			return fmt.Errorf("%s, %s", response.Status, body)
		}
		return nil
	})
	if err := stream.EnsureUsage(t.Context(), w.conn, streams); err != nil {
		t.Fatal(err)
	}
	w.ready()
	if text := w.scrape(); text != "" {
		t.Errorf("a cluster without objects has %q", text)
	}
	if n, err := w.selfMetric("headwater_exporter_scrapes_refused_total", ""); err != nil || n < 2 {
		t.Errorf("%v refused scrapes were counted, error %v", n, err)
	}
}

func TestObjectsComeChangeAndGo(t *testing.T) {
	w := newWorld(t)
	a := pod("a", "1", "node-1")
	w.put(a, specimen.Namespace(3), specimen.Node(7), specimen.Deployment(5), specimen.ReplicaSet(5))
	w.start(nil)
	w.eventually(
		"# TYPE kube_pod_info gauge",
		"# TYPE kube_pod_init_container_status_waiting gauge", // no pod has one
		"# TYPE kube_pod_container_status_restarts_total counter",
		`kube_pod_status_phase{namespace="shop",pod="a",uid="uid-1",phase="Running"} 1`,
		`kube_namespace_status_phase{namespace="team-03",phase="Active"} 1`,
		`kube_node_role{node="`+specimen.NodeName(7)+`",role="worker"} 1`,
		`kube_deployment_spec_strategy_rollingupdate_max_surge{namespace="team-05",deployment="service-5"} 2`,
		`kube_replicaset_owner{namespace="team-05",replicaset="service-5-5f000005",owner_kind="Deployment",owner_name="service-5",owner_is_controller="true"} 1`,
	)
	if text := w.scrape(); strings.Contains(text, "secret") {
		t.Error("an environment variable's value is exported")
	}
	a.Status.Phase = corev1.PodSucceeded
	b := pod("b", "2", "node-2")
	w.put(a, b)
	w.eventually(
		`kube_pod_status_phase{namespace="shop",pod="a",uid="uid-1",phase="Running"} 0`,
		`kube_pod_status_phase{namespace="shop",pod="b",uid="uid-2",phase="Running"} 1`,
	)
	// Deleted, and created again under the same name.
	w.drop(a)
	w.put(pod("a", "3", ""))
	w.drop(b)
	w.eventually(
		`kube_pod_status_phase{namespace="shop",pod="a",uid="uid-3",phase="Running"} 1`,
		`!kube_pod_info{namespace="shop",pod="a",uid="uid-1"`, `!kube_pod_info{namespace="shop",pod="b"`,
	)
	w.drop(specimen.Namespace(3))
	w.eventually("!# TYPE kube_namespace_created", "# TYPE kube_pod_info gauge")

	w.scrape()
	w.metric("headwater_exporter_objects", `resource="pods"`, 1)
	w.metric("headwater_exporter_objects", `resource="namespaces"`, 0)
	w.metric("headwater_exporter_events_total", `result="removed"`, 3)
	lintSelfMetrics(t, w.registry)
}

func TestUsage(t *testing.T) {
	w := newWorld(t)
	at := time.Now().Add(-time.Second).Truncate(time.Millisecond)
	sample := schemas.UsageSample{Node: "node-1", Time: at.UnixNano(), Point: &schemas.Point{CPU: 4710169000, Memory: 1 << 30, Time: at.UnixNano(), CPUTime: at.UnixNano(), MemoryTime: at.UnixNano()}}
	sample.Pods = []schemas.PodUsage{{Namespace: "shop", Name: "a", Containers: []schemas.ContainerUsage{{Name: "main", Point: *sample.Point}}}}
	old := schemas.UsageSample{Node: "node-2", Time: at.Add(-time.Hour).UnixNano(), Point: sample.Point}
	w.report(sample, old)
	w.start(nil)
	ms := fmt.Sprint(at.UnixMilli())
	w.eventually(
		"# TYPE container_cpu_usage_seconds_total counter",
		`container_cpu_usage_seconds_total{container="main",namespace="shop",pod="a",node="node-1"} 4.710169 `+ms,
		`container_memory_working_set_bytes{container="main",namespace="shop",pod="a",node="node-1"} 1.073741824e+09 `+ms,
		`node_cpu_usage_seconds_total{node="node-1"} 4.710169 `+ms,
		`!node_cpu_usage_seconds_total{node="node-2"`,
		`!pod_cpu_usage_seconds_total{`,
	)
	if _, body := w.get("/metrics", "Accept", acceptOpenMetrics); !strings.Contains(string(body), "\n# TYPE node_cpu_usage_seconds counter\nnode_cpu_usage_seconds_total{node=\"node-1\"} 4.710169 "+ms[:len(ms)-3]+".") && at.UnixMilli()%1000 != 0 {
		t.Errorf("OpenMetrics has no time in seconds:\n%s", body)
	}
	w.scrape()
	w.metric("headwater_exporter_usage_nodes", "", 2)
	w.metric("headwater_exporter_usage_pods", "", 1)

	// A newer sample, without the pod.
	sample.Time, sample.Pods, sample.Point.CPU = at.Add(time.Second).UnixNano(), nil, 5e9
	w.report(sample)
	w.eventually(`node_cpu_usage_seconds_total{node="node-1"} 5 `+ms, "!container_cpu_usage_seconds_total{")
}

func TestUsageCanBeOff(t *testing.T) {
	w := &world{TB: t, conn: testenv.Conn(t)}
	if err := stream.EnsureLog(t.Context(), w.conn, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 256 << 20}); err != nil {
		t.Fatal(err)
	}
	w.openLog()
	w.start(func(o *Options) { o.Usage = false })
	w.ready()
}

func TestFiltersOfFlagsAndRequests(t *testing.T) {
	w := newWorld(t)
	elsewhere := pod("c", "3", "")
	elsewhere.Namespace = "bank"
	w.put(pod("a", "1", ""), elsewhere, specimen.Node(1), specimen.Deployment(1))
	w.report(schemas.UsageSample{Node: "n", Time: time.Now().UnixNano(), Point: &schemas.Point{CPU: 1}})
	w.start(func(o *Options) {
		o.Collector.Resources = []string{"pods", "nodes"}
		o.Collector.Deny = []string{"^kube_pod_(?!info|labels)"}
		o.Collector.Labels = map[string][]string{"pods": {"app"}}
		o.Collector.NamespacesDenylist = []string{"bank"}
	})
	w.eventually(
		`kube_pod_labels{namespace="shop",pod="a",uid="uid-1",label_app="a"} 1`, "# TYPE kube_node_info gauge", "# TYPE node_cpu_usage_seconds_total counter",
		"!kube_pod_status_phase", "!# TYPE kube_pod_status_phase", "!kube_deployment", "!# TYPE kube_deployment", `!kube_pod_info{namespace="bank"`,
	)
	for query, want := range map[string]string{
		"?resources=nodes":                       "kube_node_info",
		"?resources=pods,nodes":                  "kube_node_info kube_pod_info",
		"?exclude_resources=pods,usage":          "kube_node_info",
		"?resources=pods&exclude_resources=pods": "",
		"?resources=usage":                       "node_cpu_usage_seconds_total",
		"?resources=widgets":                     "",
		"?resources=pods&resources=usage":        "kube_pod_info node_cpu_usage_seconds_total",
		"?resources=":                            "",
		"?resources=%zz":                         "kube_node_info kube_pod_info node_cpu_usage_seconds_total", // as in kube-state-metrics
		"?resources=%zz&exclude_resources=usage": "kube_node_info kube_pod_info",
	} {
		_, body := w.get("/metrics" + query)
		var got []string
		for _, name := range []string{"kube_node_info", "kube_pod_info", "node_cpu_usage_seconds_total"} {
			if strings.Contains(string(body), "# TYPE "+name+" ") {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	if _, body := w.get("/"); !strings.Contains(string(body), "resources=usage") || !strings.Contains(string(body), "at event 4") {
		t.Errorf("the landing page: %s", body)
	}
	w.metric("headwater_exporter_events_total", `result="unwanted"`, 2)
}

func TestBadEventsAreCountedAndChangeNothingElse(t *testing.T) {
	w := newWorld(t)
	w.put(pod("before", "1", ""))
	w.start(nil)
	w.ready()

	subject := func(name string) string {
		return schemas.ObjectSubject{Cluster: cluster, Resource: "pods", Namespace: "shop", Name: name}.String()
	}
	good := changeOf(t, pod("x", "9", ""), schemas.Applied)
	w.append(subject("garbage"), []byte{0xc1, 1, 2, 3})
	w.append(subject("empty"), nil)
	truncated := good.Marshal()
	w.append(subject("truncated"), truncated[:len(truncated)/2])
	unknown := wire.AppendUint(wire.AppendArrayLen(nil, 13), 77)
	w.append(subject("future"), append(unknown, truncated[2:]...))
	wrong := good
	wrong.Object = wire.AppendString(wire.AppendString(wire.AppendMapLen(nil, 1), "spec"), "not a map")
	w.append(subject("wrong-type"), wrong.Marshal())
	w.append(schemas.ObjectSubject{Cluster: cluster, Resource: "nodes", Name: "x"}.String(), good.Marshal())
	stranger := good // its object is called x
	stranger.Name = "stranger"
	w.append(subject("stranger"), stranger.Marshal())

	nameless := pod("no-uid", "", "")
	nameless.UID = ""
	w.put(nameless)
	w.drop(pod("never-seen", "5", ""))
	w.put(pod("again", "6", ""))
	w.drop(pod("again", "5", ""))
	w.put(pod("after", "7", ""))

	w.eventually(
		`kube_pod_status_phase{namespace="shop",pod="before",uid="uid-1",phase="Running"} 1`,
		`kube_pod_status_phase{namespace="shop",pod="no-uid",uid="",phase="Running"} 1`,
		`kube_pod_status_phase{namespace="shop",pod="again",uid="uid-6",phase="Running"} 1`,
		`kube_pod_status_phase{namespace="shop",pod="after",uid="uid-7",phase="Running"} 1`,
	)
	w.metric("headwater_exporter_objects", `resource="pods"`, 4)
	w.metric("headwater_stream_skipped_total", `reason="malformed"`, 6)
	w.metric("headwater_stream_skipped_total", `reason="version"`, 1)
	w.metric("headwater_exporter_odd_events_total", `reason="no_uid"`, 1)
	w.metric("headwater_exporter_odd_events_total", `reason="unknown_deletion"`, 1)
	w.metric("headwater_exporter_odd_events_total", `reason="older_deletion"`, 1)
}

func TestANewLogIsReadBesideTheOldView(t *testing.T) {
	const count = 300
	w := newWorld(t)
	for i := range count {
		change := changeOf(t, pod(fmt.Sprint("old-", i), fmt.Sprint(i), ""), schemas.Applied)
		w.append(subjectOf(&change), change.Marshal())
	}
	if err := w.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.start(nil)
	w.ready()

	// From now on every scrape must show all old pods, or new ones only.
	stop, scraped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			response, body := w.get("/metrics", "Accept", acceptText)
			old, fresh := strings.Count(string(body), "\nkube_pod_info{namespace=\"shop\",pod=\"old-"), strings.Count(string(body), "\nkube_pod_info{namespace=\"shop\",pod=\"new-")
			if response.StatusCode != http.StatusOK || old != count && old != 0 || old != 0 && fresh != 0 {
				scraped <- fmt.Errorf("%s: %d old pods, %d new ones", response.Status, old, fresh)
				return
			}
			select {
			case <-stop:
				scraped <- nil
				return
			default:
			}
		}
	}()
	w.log.Close()
	if err := stream.Recreate(t.Context(), w.conn, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 256 << 20}); err != nil {
		t.Fatal(err)
	}
	w.openLog()
	for i := range count {
		change := changeOf(t, pod(fmt.Sprint("new-", i), fmt.Sprint(i), ""), schemas.Applied)
		w.append(subjectOf(&change), change.Marshal())
	}
	if err := w.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.metric("headwater_exporter_objects", `resource="pods"`, count)
	w.eventually("!kube_pod_info{namespace=\"shop\",pod=\"old-", `kube_pod_status_phase{namespace="shop",pod="new-299",uid="uid-299",phase="Running"} 1`)
	close(stop)
	if err := <-scraped; err != nil {
		t.Error(err)
	}
}

func TestAPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	options := NewOptions()
	options.ListenAddress = taken.Addr().String()
	service, err := New(Config{Options: options, Conn: testenv.Conn(t), Cluster: cluster})
	if err != nil {
		t.Fatal(err)
	}
	err = service.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "couldn't listen on "+taken.Addr().String()) || !strings.Contains(err.Error(), "--listen-address") {
		t.Errorf("%v", err)
	}
}
