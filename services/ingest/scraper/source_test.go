package scraper

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/debugpage"
	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
	simkubelet "github.com/headwater-metrics/headwater/services/internal/sim/kubelet"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// stoppedClock is the time of simulated kubelets: it goes on when it is told to.
type stoppedClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *stoppedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *stoppedClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// reader scrapes the nodes of a simulated cluster from one source, without publishing.
type reader struct {
	*Service
	cluster *sim.Cluster
	clock   *stoppedClock
	lines   map[string]*timeline
}

func newReader(t testing.TB, c *sim.Cluster, clock *stoppedClock, source string) *reader {
	t.Helper()
	config := DefaultConfig()
	config.Conn = testenv.Conn(t)
	config.Streams.Cluster = clusterName
	config.Rest = c.RESTConfig()
	config.Source = source
	config.Log = testenv.Logger(t)
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return &reader{s, c, clock, map[string]*timeline{}}
}

// url is where a node's kubelet has its metrics.
func (r *reader) url(t testing.TB, node string) *url.URL {
	t.Helper()
	client, err := kubernetes.NewForConfig(r.cluster.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	object, err := client.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(sim.KubeletURL(object) + metricsPath)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (r *reader) read(t testing.TB, node string) *schemas.UsageSample {
	t.Helper()
	line := r.lines[node]
	if line == nil {
		line = &timeline{node: node}
		r.lines[node] = line
	}
	u := r.url(t, node)
	more, err := r.more(t.Context(), &Target{Node: node, URL: u})
	if err != nil {
		t.Fatal(err)
	}
	defer more.release()
	var s schemas.UsageSample
	err = r.kubelets.get(t.Context(), u, func(body []byte) error {
		m, err := r.sample(line, body, more, r.clock.Now())
		if err != nil {
			return err
		}
		return s.Unmarshal(m.payload)
	})
	if err != nil {
		t.Fatal(err)
	}
	return &s
}

// Both sources say the same of CPU time, memory and rates, whatever pods go through; and the summary's figures are those of
// the same moment.
func TestSourcesAgree(t *testing.T) {
	clock := &stoppedClock{now: time.Now().Truncate(time.Millisecond)}
	c := testenv.Sim(t, sim.Options{Nodes: 2, PodsPerNode: 12, Now: clock.Now})
	truth := c.Truth()
	node := truth.Nodes()[0]
	pod := func(name string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
		p.Spec = corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}, Volumes: []corev1.Volume{
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-" + name}}},
		}}
		p.Status.Phase = corev1.PodRunning
		for _, c := range p.Spec.Containers {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(clock.Now().Add(-time.Hour))}}})
		}
		return p
	}
	for _, name := range []string{"restarts", "recreated", "goes"} {
		if _, err := c.Put(pod(name)); err != nil {
			t.Fatal(err)
		}
	}
	plain, rich := newReader(t, c, clock, SourceResource), newReader(t, c, clock, SourceSummary)
	uids := map[string]bool{}
	rates := 0
	for step := range 12 {
		switch step {
		case 3:
			if err := c.RestartContainer("ns", "restarts", "a"); err != nil {
				t.Fatal(err)
			}
		case 5:
			if _, err := c.RecreatePod("ns", "recreated"); err != nil {
				t.Fatal(err)
			}
		case 7:
			if err := c.DeletePod("ns", "goes"); err != nil {
				t.Fatal(err)
			}
			if err := c.SetUsage("ns", "restarts", "b", 0, 1<<30); err != nil {
				t.Fatal(err)
			}
		}
		clock.advance(time.Duration(3+4*step%13) * 1001 * time.Millisecond)
		for _, node := range truth.Nodes() {
			want, got := plain.read(t, node), rich.read(t, node)
			holdToTruth(t, truth, got, uids)
			for _, s := range []*schemas.UsageSample{want, got} {
				s.Duration, s.Extra = 0, nil
				strip(s.Point)
				for i := range s.Pods {
					p := &s.Pods[i]
					p.UID, p.Extra = "", nil
					strip(p.Point)
					for j := range p.Containers {
						c := &p.Containers[j]
						c.Extra = nil
						strip(&c.Point)
						if c.Point.HasRate() {
							rates++
						}
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("step %d, %s, resource and summary: %s", step, node, diff)
			}
		}
	}
	if rates < 500 {
		t.Errorf("only %d rates were compared", rates)
	}
	if n := len(uids); n < 28 {
		t.Errorf("%d UIDs were seen", n)
	}
}

// strip leaves of a point's extras those that the resource endpoint has too.
func strip(p *schemas.Point) {
	if p != nil && p.Extra != nil {
		p.Extra = &schemas.Extra{SwapUsage: p.Extra.SwapUsage, SwapLimit: p.Extra.SwapLimit}
	}
}

// holdToTruth holds what the summary adds to the truth at the times that the sample says.
func holdToTruth(t *testing.T, truth simkubelet.Truth, s *schemas.UsageSample, uids map[string]bool) {
	t.Helper()
	same := func(what string, got, want any) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s: %s", what, diff)
		}
	}
	is := func(v uint64) schemas.Optional { return schemas.Optional{Value: v, Valid: true} }
	extra := func(what string, m simkubelet.Meter, p *schemas.Point) {
		f := m.Figures(time.Unix(0, p.MemoryTime))
		same(what, p.Extra, &schemas.Extra{SwapUsage: is(f.Swap), SwapLimit: p.Extra.SwapLimit, RSS: is(f.RSS), Usage: is(f.Usage),
			PageFaults: is(f.PageFaults), MajorPageFaults: is(f.MajorPageFaults), Pressure: &schemas.Pressure{
				CPUWaiting: is(1000 * f.CPUSome), CPUStalled: is(1000 * f.CPUFull), MemoryWaiting: is(1000 * f.MemorySome),
				MemoryStalled: is(1000 * f.MemoryFull), IOWaiting: is(1000 * f.IOSome), IOStalled: is(1000 * f.IOFull)}})
	}
	cut := func(at int64) int64 { return at - at%1e9 }
	disk := func(at int64, d simkubelet.Disk) *schemas.Filesystem {
		return &schemas.Filesystem{Time: cut(at), Used: is(d.Used), Capacity: is(d.Capacity), Available: is(d.Available),
			Inodes: is(d.Inodes), InodesUsed: is(d.InodesUsed), InodesFree: is(d.InodesFree)}
	}
	network := func(at int64, n simkubelet.Traffic) *schemas.Network {
		return &schemas.Network{Time: cut(at), Interfaces: []schemas.InterfaceUsage{{Name: "eth0", ReceivedBytes: is(n.Received),
			ReceiveErrors: is(n.ReceiveErrors), TransmittedBytes: is(n.Transmitted), TransmitErrors: is(n.TransmitErrors)}}}
	}
	m, _ := truth.Node(s.Node)
	at := s.Point.Time
	moment := time.Unix(0, at)
	extra(s.Node, m, s.Point)
	same(s.Node, s.Extra.Network, network(at, m.Traffic(moment)))
	same(s.Node, s.Extra.Rootfs, disk(at, m.Filesystem(moment)))
	if s.Extra.Images == nil || s.Extra.Containers == nil {
		t.Errorf("%s: %+v", s.Node, s.Extra)
	}
	uidOf := map[string]string{}
	for _, p := range truth.Pods() {
		uidOf[p.Namespace+"/"+p.Name] = string(p.UID)
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		name := p.Namespace + "/" + p.Name
		m, ok := truth.Pod(p.Namespace, p.Name)
		if !ok || p.UID == "" || p.UID != uidOf[name] {
			t.Fatalf("%s: the UID is %q, want %q", name, p.UID, uidOf[name])
		}
		uids[p.UID] = true
		extra(name, m, p.Point)
		same(name, p.Extra.Network, network(at, m.Traffic(moment)))
		same(name, p.Extra.Ephemeral, disk(at, m.Ephemeral(moment)))
		same(name, p.Extra.Processes, is(uint64(1+2*len(p.Containers))))
		if p.Namespace == "ns" {
			d, _ := truth.Claim("ns", p.Name, "data-"+p.Name, moment)
			same(name, p.Extra.Volumes, []schemas.VolumeUsage{{Name: "data", ClaimNamespace: "ns", Claim: "data-" + p.Name, Filesystem: disk(at, d)}})
		}
		for j := range p.Containers {
			c := &p.Containers[j]
			m, _ := truth.Container(p.Namespace, p.Name, c.Name)
			extra(name+"/"+c.Name, m, &c.Point)
			same(name, c.Extra, &schemas.ContainerExtra{Rootfs: disk(c.Point.Time, m.Rootfs(time.Unix(0, c.Point.Time))), Logs: disk(c.Point.Time, m.Logs(time.Unix(0, c.Point.Time)))})
		}
	}
}

// A kubelet without the endpoint, one that forbids it, one whose answer can't be read and one that hangs cost the node what the
// summary adds, and say what to do; CPU and memory go on. When it is well again the sample has all of it. Where the other
// endpoint fails, that is what is told.
func TestSummaryFromAService(t *testing.T) {
	w := newWorld(t, testenv.Conn(t))
	w.config.Source, w.timeout = SourceSummary, 6*time.Second
	k := runKubelet(t, "node")
	var answer http.HandlerFunc
	var broken bool
	var mu sync.Mutex
	set := func(h http.HandlerFunc) {
		mu.Lock()
		defer mu.Unlock()
		answer = h
	}
	set(status(404, "404 page not found"))
	k.bend(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h, bad := answer, broken
		mu.Unlock()
		if r.URL.Path != summaryPath {
			if bad {
				rw.WriteHeader(http.StatusInternalServerError)
				return
			}
			io.WriteString(rw, k.body())
			return
		}
		h(rw, r)
	})
	w.put(schemas.Applied, k.node())
	reports := w.reports()
	service, stop := w.run()
	defer stop()
	var sample *schemas.UsageSample
	for _, test := range []struct {
		answer http.HandlerFunc
		result result
		says   string
	}{
		{status(404, "404 page not found"), resultStatus, "use --source=resource"},
		{status(403, "Forbidden (user=u, verb=get, resource=nodes, subresource=stats)"), resultStatus, "grant get on nodes/stats"},
		{status(200, `{"node":`), resultDecode, "ends too early"},
		{hijacked(reset), resultRead, "couldn't"},
		{hang, resultTimeout, "--kubelet-request-timeout"},
		{status(500, "no runtime"), resultStatus, "see its log"},
	} {
		set(test.answer)
		report := reports.wait(t, "node", func(report schemas.ScrapeReport) error {
			if report.Result != string(test.result) || !strings.Contains(report.Error, summaryPath) || !strings.Contains(report.Error, test.says) {
				return fmt.Errorf("the report says %s: %s", report.Result, report.Error)
			}
			return nil
		})
		if !strings.HasSuffix(report.URL, summaryPath) || report.Failures != 0 || report.LastSuccess != report.Time || !report.Published() {
			t.Errorf("%+v", report)
		}
		if w.counted("headwater_ingest_summaries_total", string(test.result)) == 0 {
			t.Errorf("%s isn't counted", test.result)
		}
		n := service.ask(t, "").Nodes[0]
		if late := n.State == debugpage.Stale && *n.AgeSeconds > 2; n.State != debugpage.Partial && !late || n.Failures != 0 || n.LastSuccess.IsZero() {
			t.Errorf("the page says %+v", n)
		}
		sample = w.next("node", sample)
		if sample.Extra != nil || sample.Pods[0].Extra != nil || sample.Pods[0].UID != "" {
			t.Errorf("a sample with a summary: %+v", sample)
		}
	}
	halfACore(t, w.next("node", sample), 0)
	if n := w.scrapes(resultSuccess); n < 6 || w.scrapes(resultStatus)+w.scrapes(resultTimeout) > 0 {
		t.Errorf("%d scrapes were a success", n)
	}
	mu.Lock()
	broken = true
	mu.Unlock()
	report := reports.wait(t, "node", func(report schemas.ScrapeReport) error {
		if report.Failures == 0 {
			return errors.New("no failure")
		}
		return nil
	})
	if !strings.HasSuffix(report.URL, metricsPath) || report.Published() || report.LastSuccess == 0 || report.LastSuccess >= report.Time {
		t.Errorf("%+v", report)
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	set(status(200, fmt.Sprintf(`{"node":{"memory":{"rssBytes":5}},"pods":[{"podRef":{"name":"p","namespace":"ns","uid":"u"},"network":{"time":%q,"name":"eth0","rxBytes":9},"containers":[{"name":"c","memory":{"rssBytes":7,"usageBytes":-8}}]}]}`,
		time.Now().UTC().Format(time.RFC3339))))
	var first *schemas.UsageSample
	testenv.Eventually(t, 10*time.Second, func() error {
		if first = w.last("node"); first == nil || first.Pods[0].UID == "" {
			return errors.New("no sample with a summary")
		}
		return nil
	})
	if p := point(first); first.Pods[0].UID != "u" || first.Point.Extra.RSS.Value != 5 || p.Extra.RSS.Value != 7 || p.Extra.Usage.Valid || first.Pods[0].Extra.Network.Interfaces[0].ReceivedBytes.Value != 9 {
		t.Errorf("%+v", first)
	}
	if n := w.dropped("series_negative"); n == 0 {
		t.Error("the value that can't be true isn't counted")
	}
}

// A user who may read the metrics, but not the statistics, is told so.
func TestSummaryIsForbidden(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Nodes: 1, PodsPerNode: 1})
	clock := &stoppedClock{now: time.Now()}
	r := newReader(t, c, clock, SourceSummary)
	config := r.cfg
	config.Rest = c.RESTConfigFor(c.AddUser(identity.User{Name: "ingest", Rules: []identity.Rule{{Verbs: []string{"get"}, Groups: []string{""}, Resources: []string{"nodes/metrics"}}}}))
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	u := r.url(t, c.Truth().Nodes()[0])
	_, err = s.more(t.Context(), &Target{URL: u})
	var f *failure
	if !errors.As(err, &f) || f.result != resultStatus || !strings.Contains(err.Error(), "subresource=stats") || !strings.Contains(err.Error(), "nodes/stats") {
		t.Errorf("%v", err)
	}
	if err := s.kubelets.get(t.Context(), u, func([]byte) error { return nil }); err != nil {
		t.Errorf("the metrics: %v", err)
	}
}
