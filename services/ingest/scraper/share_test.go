package scraper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// recorder is the kubelets of many nodes behind one address: each has a path of its own. It notes who asked for which,
// and when; the ingesters are told apart by their tokens.
type recorder struct {
	t     testing.TB
	nodes []*corev1.Node

	mu    sync.Mutex
	asked map[string][]asked // by node
}

type asked struct {
	by string
	at time.Time
}

const shareNodes = 40

func newRecorder(t testing.TB, w *world, nodes int) *recorder {
	r := &recorder{t: t, asked: map[string][]asked{}}
	server, _ := newKubelet(t, r.serve)
	for i := range nodes {
		k := &kubelet{name: fmt.Sprintf("node-%02d", i), server: server, path: fmt.Sprintf("/node-%02d/metrics", i)}
		r.nodes = append(r.nodes, k.node())
	}
	w.put(schemas.Applied, r.nodes...)
	return r
}

// cores is what a node uses: another rate for each, so that one node's counters aren't taken for another's.
func cores(node string) float64 {
	var i int
	fmt.Sscanf(node, "node-%d", &i)
	return float64(i%shareNodes+1) / 8
}

func (r *recorder) serve(w http.ResponseWriter, q *http.Request) {
	node, _, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"), "/")
	now := time.Now().Truncate(time.Millisecond)
	r.mu.Lock()
	r.asked[node] = append(r.asked[node], asked{strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer "), now})
	r.mu.Unlock()
	used, at := now.Sub(clockStart).Seconds()*cores(node), now.UnixMilli()
	fmt.Fprintf(w, "node_cpu_usage_seconds_total %.9f %d\nnode_memory_working_set_bytes 1e9 %d\n"+
		"container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=%q} %.9f %d\n"+
		"container_memory_working_set_bytes{container=\"c\",namespace=\"ns\",pod=%q} 1e6 %d\n"+
		"container_start_time_seconds{container=\"c\",namespace=\"ns\",pod=%q} %d\n",
		used, at, at, "p-"+node, used, at, "p-"+node, at, "p-"+node, clockStart.Unix())
}

// since are the requests from a time on.
func (r *recorder) since(t time.Time) map[string][]asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := map[string][]asked{}
	for _, n := range r.nodes {
		for _, a := range r.asked[n.Name] {
			if !a.at.Before(t) {
				since[n.Name] = append(since[n.Name], a)
			}
		}
	}
	return since
}

// settled waits until every node was scraped at least twice from now on, by one of those named alone, each of whom has some,
// and returns who has which.
func (r *recorder) settled(within time.Duration, names ...string) map[string]string {
	r.t.Helper()
	began := time.Now()
	owner := map[string]string{}
	testenv.Eventually(r.t, within, func() error {
		clear(owner)
		all := r.since(began)
		for _, n := range r.nodes {
			a := all[n.Name]
			if len(a) < 2 {
				return fmt.Errorf("%s was scraped %d times", n.Name, len(a))
			}
			last := a[len(a)-2:]
			if last[0].by != last[1].by || !slices.Contains(names, last[0].by) {
				began = time.Now() // again, from here
				return fmt.Errorf("%s was scraped by %s and %s", n.Name, last[0].by, last[1].by)
			}
			owner[n.Name] = last[0].by
		}
		if has := slices.Compact(slices.Sorted(maps.Values(owner))); len(has) != len(names) {
			return fmt.Errorf("only %v have nodes", has)
		}
		return nil
	})
	return owner
}

// gap is the longest time between two scrapes of one node since a time, whoever did them, up to now.
func (r *recorder) gap(from time.Time) (longest time.Duration, node string) {
	now := time.Now()
	for name, all := range r.since(from) {
		for i := range all {
			end := now
			if i+1 < len(all) {
				end = all[i+1].at
			}
			if d := end.Sub(all[i].at); d > longest {
				longest, node = d, name
			}
		}
	}
	return longest, node
}

// double is the longest time for which one node was scraped by two since a time: from the first scrape of the second one to
// the last one of the first.
func (r *recorder) double(from time.Time, first string) (longest time.Duration) {
	for _, all := range r.since(from) {
		var taken time.Time
		for _, a := range all {
			if a.by != first && taken.IsZero() {
				taken = a.at
			}
			if a.by == first && !taken.IsZero() {
				longest = max(longest, a.at.Sub(taken))
			}
		}
	}
	return longest
}

// link is a way to NATS that can be cut.
type link struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func newLink(t testing.TB, cfg stream.ConnConfig) (*link, stream.ConnConfig) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{listener: listener, target: strings.TrimPrefix(cfg.URL, "nats://"), conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		listener.Close()
		l.cut(true)
	})
	go l.accept()
	cfg.URL = "nats://" + listener.Addr().String()
	return l, cfg
}

func (l *link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.target)
		if err != nil {
			client.Close()
			continue
		}
		l.mu.Lock()
		if l.down {
			client.Close()
			server.Close()
		}
		l.conns[client], l.conns[server] = true, true
		l.mu.Unlock()
		for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
			go func() {
				io.Copy(pair[0], pair[1])
				pair[0].Close()
				pair[1].Close()
			}()
		}
	}
}

// cut ends all connections and refuses new ones, or takes them again.
func (l *link) cut(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	if down {
		for c := range l.conns {
			c.Close()
		}
		clear(l.conns)
	}
}

// ingester is one of several.
type ingester struct {
	*Service
	line     *link
	registry *prometheus.Registry
	stop     func()
}

// kill ends it without a word to the others.
func (i *ingester) kill() {
	i.line.cut(true)
	i.stop()
}

// start starts an ingester with a connection of its own, under a name.
func (w *world) start(cfg stream.ConnConfig, name string, change func(*Config)) *ingester {
	w.t.Helper()
	i := &ingester{registry: prometheus.NewRegistry()}
	var through stream.ConnConfig
	i.line, through = newLink(w.t, cfg)
	conn, err := stream.Connect(w.t.Context(), through)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(conn.Close)
	c := w.config
	rest := *c.Rest
	rest.BearerToken = name
	c.Conn, c.Instance, c.Rest, c.Registry, c.Log = conn, name, &rest, i.registry, testenv.Logger(w.t).With("ingester", name)
	if change != nil {
		change(&c)
	}
	if i.Service, err = New(c); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	i.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			w.t.Errorf("Run of %s returned %v", name, err)
		}
	})
	w.t.Cleanup(i.stop)
	return i
}

func (i *ingester) ready(t testing.TB) {
	t.Helper()
	testenv.Eventually(t, 10*time.Second, i.Ready)
}

func (i *ingester) gauge(name, label string) float64 {
	families, err := i.registry.Gather()
	if err != nil {
		return -1
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// samples collects every usage sample as it is published.
type samples struct {
	mu  sync.Mutex
	all map[string][]schemas.UsageSample
}

func collect(t testing.TB, cfg stream.ConnConfig) *samples {
	nc, err := nats.Connect(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	s := &samples{all: map[string][]schemas.UsageSample{}}
	_, err = nc.Subscribe(schemas.AllUsage(clusterName), func(m *nats.Msg) {
		var sample schemas.UsageSample
		if err := sample.Unmarshal(m.Data); err != nil {
			t.Error(err)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all[sample.Node] = append(s.all[sample.Node], sample)
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// check checks that no rate was lost or wrong: after the first sample of each node every one has the rate that its node
// has, and none is older than one before it.
func (s *samples) check(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for node, all := range s.all {
		want := cores(node) * 1e9
		var newest int64
		for i := range all {
			c := &all[i].Pods[0].Containers[0].Point
			for _, p := range []*schemas.Point{all[i].Point, c} {
				n++
				switch {
				case !p.HasRate() && i == 0:
				case !p.HasRate():
					t.Errorf("sample %d of %s has no rate: %+v", i, node, p)
				case float64(p.Rate) < want*.99 || float64(p.Rate) > want*1.01:
					t.Errorf("sample %d of %s has the rate %v, want %v: %+v", i, node, p.Rate, want, p)
				}
			}
			if c.Time < newest {
				t.Errorf("sample %d of %s is %v older than one before it", i, node, time.Duration(newest-c.Time))
			}
			newest = max(newest, c.Time)
		}
	}
	if n < 2*shareNodes {
		t.Errorf("only %d points", n)
	}
}

const shareResolution = time.Second

// TestIngestersShare: ingesters come, are stopped, killed and cut off from NATS. Every node is always somebody's, but for a
// bounded time, and nobody's rate notices.
func TestIngestersShare(t *testing.T) {
	cfg := testenv.NATS(t)
	conn := testenv.Connect(t, cfg)
	w := newWorld(t, conn)
	w.config.MetricResolution = shareResolution
	r := newRecorder(t, w, shareNodes)
	published := collect(t, cfg)

	a := w.start(cfg, "a", nil)
	a.ready(t)
	r.settled(10*time.Second, "a")
	b, c := w.start(cfg, "b", nil), w.start(cfg, "c", nil)
	b.ready(t)
	c.ready(t)
	first := r.settled(10*time.Second, "a", "b", "c")
	for _, i := range []*ingester{a, b, c} {
		own := i.gauge("headwater_ingest_share_nodes", "own")
		if n := i.gauge("headwater_ingest_members", ""); n != 3 || own < 1 || own+i.gauge("headwater_ingest_share_nodes", "others") != shareNodes || i.gauge("headwater_ingest_member", "") != 1 {
			t.Errorf("%s: %v members, %v nodes", i.cfg.Instance, n, own)
		}
	}
	if problems, err := testutil.GatherAndLint(a.registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	// what counts is measured from the last scrape before it happened
	measure := func(what string, from time.Time, of string, longest time.Duration) {
		t.Helper()
		gap, node := r.gap(from.Add(-2 * shareResolution))
		double := r.double(from, of)
		t.Logf("%s: longest time without a scrape %v (%s), longest time scraped by two %v", what, gap.Round(time.Millisecond), node, double.Round(time.Millisecond))
		if gap > longest {
			t.Errorf("%s: %s was not scraped for %v, want at most %v", what, node, gap, longest)
		}
		if double > 2*shareResolution {
			t.Errorf("%s: a node was scraped by two for %v", what, double)
		}
	}
	moved := func(what string, before, after map[string]string, gone string) {
		t.Helper()
		for node, owner := range before {
			if owner != gone && after[node] != owner {
				t.Errorf("%s: %s moved from %s to %s", what, node, owner, after[node])
			}
		}
	}

	stopped := time.Now()
	c.stop()
	two := r.settled(10*time.Second, "a", "b")
	measure("c was stopped", stopped, "c", shareResolution*7/4)
	moved("c was stopped", first, two, "c")
	if taken := r.taken(stopped, first, "c"); taken > shareResolution*5/4 { // each when it was due anyway
		t.Errorf("c was stopped, and its nodes taken over after %v", taken)
	} else {
		t.Logf("taken over %v after the stop", taken.Round(time.Millisecond))
	}

	c = w.start(cfg, "c", nil)
	c.ready(t)
	if again := r.settled(10*time.Second, "a", "b", "c"); !maps.Equal(again, first) {
		t.Error("c has other nodes than before")
	}

	killed := time.Now()
	c.kill()
	after := r.settled(10*time.Second, "a", "b")
	measure("c was killed", killed, "c", 3*shareResolution)
	moved("c was killed", first, after, "c")
	if taken := r.taken(killed, first, "c"); taken > 2*shareResolution {
		t.Errorf("c was killed, and its nodes taken over after %v", taken)
	} else {
		t.Logf("taken over %v after the kill", taken.Round(time.Millisecond))
	}

	cut := time.Now()
	b.line.cut(true)
	r.settled(10*time.Second, "a")
	measure("b was cut off", cut, "b", 3*shareResolution)
	if err := b.Ready(); err == nil || !strings.Contains(err.Error(), "not a member") {
		t.Errorf("b is cut off and says %v", err)
	}
	if n := b.gauge("headwater_ingest_member", ""); n != 0 {
		t.Errorf("b is cut off and a member: %v", n)
	}
	if taken := r.taken(cut, after, "b"); taken > 2*shareResolution {
		t.Errorf("b was cut off, and its nodes taken over after %v", taken)
	} else {
		t.Logf("taken over %v after the cut", taken.Round(time.Millisecond))
	}
	healed := time.Now()
	b.line.cut(false)
	if again := r.settled(20*time.Second, "a", "b"); !maps.Equal(again, after) {
		t.Error("b has other nodes than before")
	}
	measure("b is back", healed, "a", 2*shareResolution)
	b.stop()
	a.stop()
	published.check(t)
}

// taken is how long after a time the last of one's nodes was first scraped by another.
func (r *recorder) taken(from time.Time, owner map[string]string, gone string) (longest time.Duration) {
	all := r.since(from)
	for node, of := range owner {
		if of != gone {
			continue
		}
		d := time.Hour
		for _, a := range all[node] {
			if a.by != gone {
				d = a.at.Sub(from)
				break
			}
		}
		longest = max(longest, d)
	}
	return longest
}

// An ingester that is alone waits for nobody, and goes on while NATS is away.
func TestIngesterAlone(t *testing.T) {
	cfg := testenv.NATS(t)
	conn := testenv.Connect(t, cfg)
	w := newWorld(t, conn)
	r := newRecorder(t, w, shareNodes)
	a := w.start(cfg, "a", nil)
	a.ready(t)
	began := time.Now()
	testenv.Eventually(t, 5*time.Second, func() error {
		if n := len(r.since(time.Time{})); n < shareNodes {
			return fmt.Errorf("%d nodes scraped", n)
		}
		return nil
	})
	if took, want := time.Since(began), spread(shareNodes, w.config.MetricResolution)+400*time.Millisecond; took > want {
		t.Errorf("all nodes were scraped after %v, want %v", took, want)
	}
	a.line.cut(true)
	from := time.Now()
	testenv.Eventually(t, 10*time.Second, func() error {
		for node, all := range r.since(from) {
			if len(all) < 4 { // far beyond the lease
				return fmt.Errorf("%s was scraped %d times", node, len(all))
			}
		}
		if n := len(r.since(from)); n < shareNodes {
			return fmt.Errorf("%d nodes scraped", n)
		}
		return nil
	})
	a.line.cut(false)
	r.settled(10*time.Second, "a")
	if err := a.Ready(); err != nil {
		t.Error(err)
	}
}

// Each says itself how long it may be silent: one that scrapes seldom isn't taken for lost by one that scrapes often.
func TestIngestersOfTwoResolutions(t *testing.T) {
	const slow = 3 * shareResolution
	cfg := testenv.NATS(t)
	conn := testenv.Connect(t, cfg)
	w := newWorld(t, conn)
	r := newRecorder(t, w, shareNodes)
	w.start(cfg, "a", nil).ready(t)
	b := w.start(cfg, "b", func(c *Config) { c.MetricResolution = slow })
	b.ready(t)
	owner := r.settled(30*time.Second, "a", "b")
	killed := time.Now()
	b.kill()
	r.settled(30*time.Second, "a")
	if taken := r.taken(killed, owner, "b"); taken < slow/2 || taken > 2*slow {
		t.Errorf("taken over after %v", taken)
	}
}

func TestFixedShards(t *testing.T) {
	cfg := testenv.NATS(t)
	conn := testenv.Connect(t, cfg)
	w := newWorld(t, conn)
	r := newRecorder(t, w, shareNodes)
	names := []string{"0", "1", "2"}
	for i, name := range names {
		w.start(cfg, name, func(c *Config) { c.Shard, c.TotalShards = i, 3 }).ready(t)
	}
	owner := r.settled(10*time.Second, names...)
	for node, by := range owner {
		if want := names[fixedSlots(3).owner(hashName(node))]; by != want {
			t.Errorf("%s is scraped by %s, want %s", node, by, want)
		}
	}
	for node, all := range r.since(time.Time{}) {
		for _, a := range all {
			if a.by != owner[node] {
				t.Errorf("%s was once scraped by %s", node, a.by)
			}
		}
	}
	if err := bucketMissing(t, cfg); err != nil {
		t.Error(err)
	}
}

// bucketMissing tells whether anybody has made the members' bucket.
func bucketMissing(t testing.TB, cfg stream.ConnConfig) error {
	nc, err := nats.Connect(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	answer, err := nc.Request("$JS.API.STREAM.INFO.KV_K8S_"+clusterName+"_INGEST", nil, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(answer.Data), "stream not found") {
		return fmt.Errorf("there is a bucket of members that nobody needs: %s", answer.Data)
	}
	return nil
}

// One ingester per node reads its kubelet where it is told to, whatever the Node object says; but what is no node has no
// sample.
func TestOneNode(t *testing.T) {
	cfg := testenv.NATS(t)
	conn := testenv.Connect(t, cfg)
	w := newWorld(t, conn)
	mine, other := runKubelet(t, "mine"), runKubelet(t, "other")
	w.put(schemas.Applied, other.node())
	bare := mine.node()
	bare.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}
	i := w.start(cfg, token, func(c *Config) {
		c.Node, c.KubeletAddress = "mine", "127.0.0.1"
		c.KubeletUseNodeStatusPort, c.KubeletPort = false, int(bare.Status.DaemonEndpoints.KubeletEndpoint.Port)
	})
	i.ready(t)
	w.put(schemas.Applied, bare)
	halfACore(t, w.next("mine", w.next("mine", nil)), 0)
	if n := other.requests.Load(); n > 0 {
		t.Errorf("%d requests to another node", n)
	}
	w.put(schemas.Deleted, bare)
	testenv.Eventually(t, 10*time.Second, func() error {
		n := 0
		i.schedule.Load().each(func(*timeline) { n++ })
		if n > 0 {
			return errors.New("it is scraped on after its Node was deleted")
		}
		return nil
	})
	if err := bucketMissing(t, cfg); err != nil {
		t.Error(err)
	}
}
