package api

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// TestNothingVanishesInASilence: who lists and who watches is never told of a part, or of an end, because nothing is heard. That is
// so where the server of NATS stands still for everybody, and goes on before there are new samples, and where only this replica
// is cut off.
func TestNothingVanishesInASilence(t *testing.T) {
	for name, everybody := range map[string]bool{"NATS stands still": true, "this replica is cut off": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := testenv.NATS(t)
			w := newEndToEnd(t, testenv.Connect(t, config))
			line := newLine(t, strings.TrimPrefix(config.URL, "nats://"))
			config.URL = "nats://" + line.Addr().String()
			w.conn = testenv.Connect(t, config)
			running := w.publish(1)
			const age = 4 * time.Second
			service, stop := w.run(func(o *Options) { o.Resolution, o.MaxSampleAge, o.EnableWatch = time.Second, age, true })
			t.Cleanup(stop)
			seen := w.look(running)
			round := uint64(1)
			publish := func() {
				if time.Since(w.published) > 900*time.Millisecond {
					round++
					w.publish(round)
				}
			}
			for round < 3 {
				publish()
				seen.expect(t, "a list", 1)
				seen.forget("a list")
			}
			seen.expect(t, "MODIFIED", running)

			line.hold(true)
			testenv.Eventually(t, 20*time.Second, func() error {
				if !everybody {
					publish()
				}
				if heard := service.usageReplay.Position().Heard; time.Since(heard) < age+time.Second {
					return fmt.Errorf("last heard %v ago", time.Since(heard))
				}
				return nil
			})
			seen.expect(t, "503", 1)
			seen.expect(t, "ERROR 503", 1)
			seen.forget("503", "a list", "MODIFIED")
			line.hold(false)
			testenv.Eventually(t, 20*time.Second, func() error {
				if service.usageReplay.Position().Silence.Until.IsZero() {
					return errors.New("still silent")
				}
				return nil
			})
			if everybody {
				seen.expect(t, "503", 20)
			}
			testenv.Eventually(t, 20*time.Second, func() error { publish(); return service.Ready() })
			testenv.Eventually(t, 20*time.Second, func() error { publish(); return seen.lacks("MODIFIED", 2*running) })
			seen.expect(t, "a list", 20)
		})
	}
}

// sight is what somebody has seen who lists and watches.
type sight struct {
	mu   sync.Mutex
	seen map[string]int
}

func (s *sight) see(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[what]++
}

func (s *sight) forget(all ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, what := range all {
		delete(s.seen, what)
	}
}

// lacks is an error if something has not been seen that many times.
func (s *sight) lacks(what string, times int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[what] < times {
		return fmt.Errorf("%v, but not %d times %s", s.seen, times, what)
	}
	return nil
}

// expect waits until it has.
func (s *sight) expect(t *testing.T, what string, times int) {
	t.Helper()
	testenv.Eventually(t, 20*time.Second, func() error { return s.lacks(what, times) })
}

// look lists all pods, over and over, and watches them, until the test ends. It is an error if a list is not of so many as there
// are, or isn't answered for another reason than 503, or if a watch tells of an end.
func (w *endToEnd) look(running int) *sight {
	s := &sight{seen: map[string]int{}}
	config := w.cluster.RESTConfig()
	config.QPS = -1
	client, err := metricsclient.NewForConfig(config)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx := w.t.Context()
	ticker := time.NewTicker(10 * time.Millisecond)
	w.t.Cleanup(ticker.Stop)
	pause := func() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	list := func() (version string) {
		var items v1beta1.PodMetricsList
		err := client.MetricsV1beta1().RESTClient().Get().Resource("pods").MaxRetries(0).Do(ctx).Into(&items)
		switch {
		case ctx.Err() != nil:
		case apierrors.IsServiceUnavailable(err):
			s.see("503")
		case err != nil:
			w.t.Error(err)
		case len(items.Items) != running:
			w.t.Errorf("a list has %d of %d pods", len(items.Items), running)
		default:
			s.see("a list")
			return items.ResourceVersion
		}
		return ""
	}
	follow := func(version string) {
		watching, err := client.MetricsV1beta1().PodMetricses("").Watch(ctx, metav1.ListOptions{ResourceVersion: version})
		if err != nil {
			if ctx.Err() == nil && !apierrors.IsServiceUnavailable(err) {
				w.t.Error(err)
			}
			return
		}
		defer watching.Stop()
		for event := range watching.ResultChan() {
			switch object := event.Object.(type) {
			case *v1beta1.PodMetrics:
				if event.Type == watch.Deleted {
					w.t.Errorf("%s/%s has ended", object.Namespace, object.Name)
				}
				s.see(string(event.Type))
			case *metav1.Status:
				if ctx.Err() != nil {
					return
				}
				if object.Code != 503 {
					w.t.Errorf("a watch ends with %+v", object)
				}
				s.see(fmt.Sprint("ERROR ", object.Code))
			}
		}
	}
	var looking sync.WaitGroup
	w.t.Cleanup(looking.Wait)
	looking.Go(func() {
		for ; ctx.Err() == nil; pause() {
			list()
		}
	})
	looking.Go(func() {
		follow("") // all there is comes as ADDED
		for ; ctx.Err() == nil; pause() {
			if version := list(); version != "" {
				follow(version)
			}
		}
	})
	return s
}

// line stands between NATS and who connects to it. While it is held, nothing passes and nothing is lost.
type line struct {
	net.Listener
	held    sync.RWMutex
	holding bool // of the test's goroutine
}

func newLine(t *testing.T, to string) *line {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{Listener: listener}
	var open sync.WaitGroup
	ends := make(chan struct{})
	pass := func(to, from net.Conn) {
		defer to.Close()
		defer from.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := from.Read(buffer)
			l.held.RLock()
			if err == nil {
				_, err = to.Write(buffer[:n])
			}
			l.held.RUnlock()
			if err != nil {
				return
			}
		}
	}
	open.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			open.Go(func() { pass(server, client) })
			open.Go(func() { pass(client, server) })
			open.Go(func() {
				<-ends
				client.Close()
				server.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.hold(false)
		listener.Close()
		close(ends)
		open.Wait()
	})
	return l
}

// hold holds it, or lets it go.
func (l *line) hold(on bool) {
	switch {
	case on == l.holding:
	case on:
		l.held.Lock()
	default:
		l.held.Unlock()
	}
	l.holding = on
}
