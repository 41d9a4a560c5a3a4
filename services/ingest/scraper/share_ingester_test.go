package scraper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

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
	i.Service = w.make(c)
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
	m := i.metric(name, label)
	if m == nil {
		return -1
	}
	return m.GetGauge().GetValue()
}

func (i *ingester) counter(name, label string) float64 {
	return i.metric(name, label).GetCounter().GetValue()
}

// metric is the one of a name and the value of its first label; nil where there is none.
func (i *ingester) metric(name, label string) *dto.Metric {
	families, err := i.registry.Gather()
	if err != nil {
		return nil
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m
			}
		}
	}
	return nil
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

// first waits for samples of a node from a time on and returns the one that was published first.
func (s *samples) first(t testing.TB, node string, since int64) (first *schemas.UsageSample) {
	t.Helper()
	testenv.Eventually(t, 10*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range s.all[node] {
			if first = &s.all[node][i]; first.Time >= since {
				return nil
			}
		}
		return fmt.Errorf("no new sample of %s", node)
	})
	return first
}

// check checks that no rate was lost or wrong: after the first sample of each node every one has the rate that its node
// has, and none is older than one before it, but for what was on its way in the moment when its node was given away: its
// successor may be faster. What somebody kept back for longer would be older than that, but for the time in which the machine
// let nobody send anything.
//
// A node whose past couldn't be read in time has one sample without a rate; those are counted as failed looks for it.
func (s *samples) check(t testing.TB, failed int, stalls *stalls) {
	t.Helper()
	without := 0
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for node, all := range s.all {
		want := cores(node) * 1e9
		var newest int64
		for i := range all {
			if i > 0 && !all[i].Point.HasRate() {
				if without++; without <= failed {
					continue
				}
			}
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
			if late := time.Duration(newest - c.Time); late > shareResolution/2 {
				if lost := stalls.between(time.Unix(0, c.Time), time.Unix(0, newest).Add(shareResolution)); late > shareResolution/2+lost {
					t.Errorf("sample %d of %s is %v older than one before it, stalled for %v", i, node, late, lost)
				}
			}
			newest = max(newest, c.Time)
		}
	}
	if n < 2*shareNodes {
		t.Errorf("only %d points", n)
	}
}
