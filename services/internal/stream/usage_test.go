package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func usageSubject(node int) string {
	return schemas.UsageSubject{Cluster: cluster, Node: nodeName(node)}.String()
}

func nodeName(node int) string { return fmt.Sprintf("node-%d.example.org", node) }

func publisher(t testing.TB, c *stream.Conn, reg prometheus.Registerer) *stream.UsagePublisher {
	t.Helper()
	p, err := stream.NewUsagePublisher(stream.UsagePublisherConfig{Conn: c, Cluster: cluster, Registry: reg, Log: testenv.Logger(t), AckTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func publish(t testing.TB, p *stream.UsagePublisher, node int, data string) {
	t.Helper()
	if err := p.Publish(usageSubject(node), []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func flushUsage(t testing.TB, p *stream.UsagePublisher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := p.Flush(ctx); err != nil {
		t.Fatal("flush:", err)
	}
}

// samples is a sink that keeps the newest two of every node.
type samples struct {
	mu   sync.Mutex
	last map[string][]string
}

func (s *samples) Apply(e stream.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := append(s.last[e.Subject], string(e.Data))
	s.last[e.Subject] = all[max(0, len(all)-2):]
	return nil
}

func (s *samples) of(node int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.last[usageSubject(node)], ",")
}

func usageReplay(t testing.TB, c *stream.Conn, name string, whole func(*samples, stream.Position)) *stream.Replay {
	t.Helper()
	r, err := stream.NewUsageReplay(stream.ReplayConfig{
		Conn: c, Cluster: cluster, Name: name, Log: testenv.Logger(t),
		Begin: func() stream.Sink { return &samples{last: map[string][]string{}} },
		Whole: func(s stream.Sink, p stream.Position) { whole(s.(*samples), p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, r.Run)
	return r
}

// The last two samples of every node are there for whoever reads, in order.
func TestUsage(t *testing.T) {
	c := testenv.Conn(t)
	if err := stream.AllLastUsage(t.Context(), c, cluster, func(string, []byte) error { return errors.New("called") }); err != nil {
		t.Error("no stream:", err)
	}
	if _, err := stream.LastUsage(t.Context(), c, cluster, "x"); !errors.Is(err, stream.ErrNoMessage) {
		t.Errorf("no stream: got %v, want ErrNoMessage", err)
	}
	ensure(t, c)
	p := publisher(t, c, nil)
	for round := range 3 {
		for node := range 100 {
			publish(t, p, node, fmt.Sprint(round))
		}
		flushUsage(t, p)
	}
	got := make(chan *samples, 1)
	r := usageReplay(t, c, "reader", func(s *samples, _ stream.Position) { got <- s })
	s := <-got
	for node := range 100 {
		if diff := cmp.Diff("1,2", s.of(node)); diff != "" {
			t.Errorf("node %d: %s", node, diff)
		}
	}
	publish(t, p, 7, "3")
	testenv.Eventually(t, 5*time.Second, func() error {
		if got := s.of(7); got != "2,3" {
			return errors.New(got)
		}
		return nil
	})
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
	if data, err := stream.LastUsage(t.Context(), c, cluster, nodeName(7)); string(data) != "3" || err != nil {
		t.Errorf("got %q, %v", data, err)
	}
	if _, err := stream.LastUsage(t.Context(), c, cluster, "unknown"); !errors.Is(err, stream.ErrNoMessage) {
		t.Errorf("got %v, want ErrNoMessage", err)
	}
	all := map[string]string{}
	if err := stream.AllLastUsage(t.Context(), c, cluster, func(subject string, data []byte) error {
		all[subject] = string(data)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(all) != 100 || all[usageSubject(7)] != "3" || all[usageSubject(8)] != "2" {
		t.Errorf("AllLastUsage: %v", all)
	}
	for _, e := range []struct {
		subject string
		size    int
		want    error
	}{
		{usageSubject(1), c.MaxPayload() + 1, stream.ErrTooLarge},
		{subjectOf(1), 0, stream.ErrSubject},
		{usageSubject(1) + " x", 0, stream.ErrSubject},
	} {
		if err := p.Publish(e.subject, make([]byte, e.size)); !errors.Is(err, e.want) {
			t.Errorf("%s: got %v, want %v", e.subject, err, e.want)
		}
	}
}

// Under writing, a reader that says that it is whole has every node, none older than what was acknowledged before it
// began.
func TestUsageReplayIsWholeUnderWriting(t *testing.T) {
	const nodes = 2000
	c := testenv.Conn(t)
	ensure(t, c)
	p := publisher(t, c, nil)
	writing, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	acked := make([]int, nodes)
	round := 0
	write := func(from, to int) error { // a part of the nodes, waiting for the acknowledgement
		round++
		for node := from; node < to; node++ {
			if err := p.Publish(usageSubject(node), fmt.Appendf(nil, "%09d", round)); err != nil {
				return err
			}
		}
		if err := p.Flush(writing); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for node := from; node < to; node++ {
			acked[node] = round
		}
		return nil
	}
	if err := write(0, nodes); err != nil {
		t.Fatal(err)
	}
	var background errgroup.Group
	background.Go(func() error { // every node once a second
		tick := time.NewTicker(time.Second / 100)
		defer tick.Stop()
		for n := 0; writing.Err() == nil; n++ {
			<-tick.C
			from := n % 100 * (nodes / 100)
			if err := write(from, from+nodes/100); err != nil && writing.Err() == nil {
				return err
			}
		}
		return nil
	})
	for i := range 20 {
		mu.Lock()
		before := append([]int(nil), acked...)
		mu.Unlock()
		got := make(chan *samples, 1)
		ctx, cancel := context.WithCancel(t.Context())
		r, err := stream.NewUsageReplay(stream.ReplayConfig{
			Conn: c, Cluster: cluster, Name: fmt.Sprint("reader-", i),
			Begin: func() stream.Sink { return &samples{last: map[string][]string{}} },
			Whole: func(s stream.Sink, _ stream.Position) { got <- s.(*samples); cancel() },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		s := <-got
		wrong := 0
		for node := range nodes {
			text := s.of(node)
			if text[max(0, len(text)-9):] < fmt.Sprintf("%09d", before[node]) {
				wrong++
			}
		}
		if wrong > 0 {
			t.Errorf("replay %d: %d of %d nodes are missing or old", i, wrong, nodes)
		}
		cancel()
	}
	stop()
	if err := background.Wait(); err != nil {
		t.Fatal(err)
	}
}

// NATS away from the start and for a while: the newest sample of each node is kept and stored later, older ones are
// dropped and counted.
func TestUsageWhileNATSIsAway(t *testing.T) {
	server := newProcess(t)
	c := server.connect()
	reg := prometheus.NewRegistry()
	p := publisher(t, c, reg)
	for round := range 3 {
		for node := range 50 {
			publish(t, p, node, fmt.Sprint("away ", round))
		}
	}
	if n := p.Waiting(); n != 50 {
		t.Errorf("%d nodes' samples wait, want 50", n)
	}
	server.start()
	ensure(t, c)
	flushUsage(t, p)
	if err := counted(reg, "headwater_stream_publish_dropped_total", "superseded", 90); err != nil {
		t.Error(err)
	}
	last := func(want string) {
		t.Helper()
		for node := range 50 {
			if data, err := stream.LastUsage(t.Context(), c, cluster, nodeName(node)); string(data) != want {
				t.Fatalf("node %d: got %q, %v, want %q", node, data, err, want)
			}
		}
	}
	last("away 2")
	server.kill()
	for round := range 3 {
		for node := range 50 {
			publish(t, p, node, fmt.Sprint("away again ", round))
		}
	}
	server.start()
	flushUsage(t, p)
	last("away again 2")
	if n := p.Waiting(); n != 0 {
		t.Errorf("%d nodes' samples wait, want none", n)
	}
	p.Close()
	if err := p.Publish(usageSubject(1), nil); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if err := p.Flush(t.Context()); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

// The usage stream is deleted and created again: the reader goes on with the sink that it has, because newer samples
// replace older ones, and a new, empty one would lack every node until its next scrape.
func TestUsageIsRecreated(t *testing.T) {
	cfg := testenv.NATS(t)
	c := connect(t, cfg)
	ensure(t, c)
	p := publisher(t, c, nil)
	publish(t, p, 1, "old")
	flushUsage(t, p)
	var mu sync.Mutex
	var views []*samples
	r := usageReplay(t, c, "reader", func(s *samples, _ stream.Position) {
		mu.Lock()
		defer mu.Unlock()
		views = append(views, s)
	})
	whole := func(n int) error {
		mu.Lock()
		defer mu.Unlock()
		if len(views) < n {
			return fmt.Errorf("%d views were whole", len(views))
		}
		return nil
	}
	testenv.Eventually(t, 10*time.Second, func() error { return whole(1) })
	_, js := raw(t, cfg)
	if err := js.DeleteStream(t.Context(), "K8S_test_USAGE"); err != nil {
		t.Fatal(err)
	}
	publish(t, p, 2, "new")
	testenv.Eventually(t, 10*time.Second, func() error {
		if !r.Position().Rebuilding {
			return errors.New("it was not noticed")
		}
		return r.Ready()
	})
	ensure(t, c)
	flushUsage(t, p)
	testenv.Eventually(t, 10*time.Second, func() error {
		if err := whole(2); err != nil {
			return err
		}
		if got := views[1].of(1) + views[1].of(2); got != "oldnew" {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	if views[0] != views[1] {
		t.Error("a new sink was begun")
	}
}

// Reports are beside the samples: two of each node stay, a reader of the stream gets them and is whole with them, and who
// wants samples alone doesn't see them.
func TestReports(t *testing.T) {
	c := testenv.Conn(t)
	ensure(t, c)
	registry := prometheus.NewRegistry()
	p := publisher(t, c, registry)
	subject := func(node int) string {
		return schemas.ScrapeSubject{Cluster: cluster, Node: nodeName(node)}.String()
	}
	publish(t, p, 1, "sample")
	for i := range 3 {
		flushUsage(t, p)
		for node := 1; node <= 2; node++ {
			if err := p.Publish(subject(node), fmt.Append(nil, "report ", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	flushUsage(t, p)
	if n := p.Waiting(); n != 0 {
		t.Errorf("%d wait", n)
	}
	got := make(chan *samples, 1)
	r := usageReplay(t, c, "reader", func(s *samples, _ stream.Position) { got <- s })
	s := <-got
	s.mu.Lock()
	want := map[string][]string{
		usageSubject(1): {"sample"}, subject(1): {"report 1", "report 2"}, subject(2): {"report 1", "report 2"},
	}
	if diff := cmp.Diff(want, s.last); diff != "" {
		t.Error(diff)
	}
	for of := range s.last {
		if usage, scrape := stream.IsUsage(cluster, of), stream.IsScrape(cluster, of); usage != (of == usageSubject(1)) || scrape == usage {
			t.Errorf("%s is usage %v, a report %v", of, usage, scrape)
		}
	}
	s.mu.Unlock()
	testenv.Eventually(t, 5*time.Second, r.Ready)
	if stream.IsUsage("other", usageSubject(1)) || stream.IsUsage(cluster, "") || stream.IsScrape(cluster, "k8s.v1.test.scrap") {
		t.Error("what is none of the cluster's usage is taken for it")
	}
	all := map[string]string{}
	if err := stream.AllLastUsage(t.Context(), c, cluster, func(subject string, data []byte) error {
		all[subject] = string(data)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{usageSubject(1): "sample"}, all); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []string{"k8s.v1.test.scrape.", "k8s.v1.test.scrape.a b", "k8s.v1.other.scrape.a", "k8s.v1.test.scrapes.a"} {
		if err := p.Publish(wrong, nil); !errors.Is(err, stream.ErrSubject) {
			t.Errorf("%q: %v, want ErrSubject", wrong, err)
		}
	}
}

// A stream of an older release, which has no reports, takes them from now on; its samples stay.
func TestAnOlderUsageStreamTakesReports(t *testing.T) {
	url := testenv.NATS(t)
	c, err := stream.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	_, js := raw(t, url)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "K8S_test_USAGE", Subjects: []string{schemas.AllUsage(cluster)},
		MaxMsgsPerSubject: stream.UsagePerNode, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), usageSubject(1), []byte("before")); err != nil {
		t.Fatal(err)
	}
	if err := stream.EnsureUsage(t.Context(), c, stream.Streams{Cluster: cluster}); err != nil {
		t.Fatal(err)
	}
	p := publisher(t, c, nil)
	if err := p.Publish(schemas.ScrapeSubject{Cluster: cluster, Node: "n"}.String(), []byte("report")); err != nil {
		t.Fatal(err)
	}
	flushUsage(t, p)
	if data, err := stream.LastUsage(t.Context(), c, cluster, nodeName(1)); string(data) != "before" {
		t.Errorf("%q, %v", data, err)
	}
}
