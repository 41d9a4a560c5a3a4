package scraper

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func TestFromNodesToSamples(t *testing.T) {
	cfg := testenv.NATS(t)
	w := newWorld(t, testenv.Connect(t, cfg))
	published := collect(t, cfg)
	w.config.NodeSelector = "pool in (a,b)"
	first, second, special, other := runKubelet(t, "first.example"), runKubelet(t, "second"), runKubelet(t, "special"), runKubelet(t, "other")
	special.path = "/nodes/special/metrics/resource"
	elsewhere := other.node()
	elsewhere.Labels["pool"] = "c"
	w.put(schemas.Applied, first.node(), special.node(), elsewhere)
	began := time.Now()
	_, stop := w.run()

	a := published.first(t, "first.example", 0)
	if now := time.Now(); a.Node != "first.example" || a.Duration <= 0 || a.Time < began.UnixNano() || a.Time+a.Duration > now.UnixNano() {
		t.Errorf("%+v, published from %v to %v", a, began, now)
	}
	if p := point(a); p == nil || p.Window != 0 || p.Memory != 1e6 || p.Start == 0 || p.Time != p.CPUTime {
		t.Errorf("first point: %+v", p)
	}
	halfACore(t, w.next("first.example", a), 0)
	w.next("special", nil)

	// Nodes come, change and go.
	w.put(schemas.Applied, second.node())
	w.next("second", nil)
	elsewhere.Labels["pool"] = "b"
	w.put(schemas.Applied, elsewhere)
	w.next("other", nil)
	w.put(schemas.Deleted, first.node())
	lost := special.node()
	lost.Status.Addresses = nil
	w.put(schemas.Applied, lost)
	testenv.Eventually(t, 10*time.Second, func() error {
		before := first.requests.Load()
		w.next("second", w.next("second", nil)) // two scrapes of another node
		if n := first.requests.Load() - before; n > 0 {
			return fmt.Errorf("%d requests to a deleted node", n)
		}
		if w.scrapes(resultAddress) == 0 {
			return errors.New("the node without an address isn't counted")
		}
		return nil
	})
	if problems, err := testutil.GatherAndLint(w.registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	stop()
}

// Whatever one kubelet does costs it that scrape and nobody else anything: its last sample stands, its failure has a
// reason, and the first good scrape yields a rate over the whole time.
func TestBadKubelets(t *testing.T) {
	cfg := testenv.NATS(t)
	w := newWorld(t, testenv.Connect(t, cfg))
	published := collect(t, cfg)
	w.config.KubeletMaxBodyBytes = 1 << 20
	w.config.KubeletRequestTimeout = 300 * time.Millisecond
	tests := map[string]struct {
		bent http.HandlerFunc
		want result
	}{
		"hang":      {hang, resultTimeout},
		"reset":     {hijacked(reset), resultRead},
		"500":       {status(500, "internal error"), resultStatus},
		"html":      {status(200, "<!DOCTYPE html>\n<title>Sign in</title>\n"), resultDecode},
		"large":     {large, resultTooLarge},
		"labelless": {status(200, nodes+"container_cpu_usage_seconds_total 1 1000\n"), resultLabels},
		"empty":     {status(200, "scrape_error 1\n"), resultEmpty},
	}
	got := w.reports()
	good := runKubelet(t, "good")
	w.put(schemas.Applied, good.node())
	bad, before := map[string]*kubelet{}, map[string]*schemas.UsageSample{}
	for name := range tests {
		bad[name] = runKubelet(t, "bad-"+name)
		w.put(schemas.Applied, bad[name].node())
	}
	_, stop := w.run()
	for name, k := range bad {
		before[name] = w.next(k.name, w.next(k.name, nil))
	}
	for name, test := range tests {
		bad[name].bend(test.bent)
	}
	bent := time.Now()
	for name, test := range tests {
		got.wait(t, bad[name].name, func(r schemas.ScrapeReport) error {
			if r.Failures < 2 || r.Result != string(test.want) || w.scrapes(test.want) < 2 {
				return fmt.Errorf("want 2 failures and more as %s, %d are counted", test.want, w.scrapes(test.want))
			}
			return nil
		})
	}
	for name, k := range bad {
		stands := w.last(k.name)
		if stands.Time < before[name].Time || stands.Time > bent.UnixNano() || point(stands) == nil {
			t.Errorf("%s: the sample from before doesn't stand: %+v", name, stands)
		}
		before[name] = stands
	}
	g := w.next(good.name, nil)
	halfACore(t, w.next(good.name, g), 0)
	for _, k := range bad {
		k.bend(nil)
	}
	for name, k := range bad {
		// One from before bent was on its way when the kubelet was bent.
		halfACore(t, published.first(t, k.name, max(before[name].Time+1, bent.UnixNano())), 1900*time.Millisecond)
	}
	stop()
}

// An ingester that starts knows what the one before it knew: its first samples have rates.
func TestRestart(t *testing.T) {
	cfg := testenv.NATS(t)
	w := newWorld(t, testenv.Connect(t, cfg))
	published := collect(t, cfg)
	k := runKubelet(t, "node-1")
	w.put(schemas.Applied, k.node())
	_, stop := w.run()
	w.next(k.name, nil)
	stop()
	before := w.last(k.name)
	_, stop = w.run()
	after := published.first(t, k.name, before.Time+1)
	halfACore(t, after, 0)
	if want := after.Pods[0].Containers[0].Point.Time - before.Pods[0].Containers[0].Point.Time; after.Pods[0].Containers[0].Point.Window != want {
		t.Errorf("the rate is measured over %v, want %v", time.Duration(after.Pods[0].Containers[0].Point.Window), time.Duration(want))
	}
	stop()
}

// While NATS is away kubelets are scraped on; when it is back the newest samples are there.
func TestNATSAway(t *testing.T) {
	config := embedded.Config{Dir: t.TempDir(), Address: testenv.Address(t), Log: testenv.Logger(t)}
	server, err := embedded.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	config.Address = strings.TrimPrefix(server.URL(), "nats://")
	conn := testenv.Connect(t, stream.ConnConfig{URL: server.URL(), Name: t.Name(), Log: testenv.Logger(t)})
	w := newWorld(t, conn)
	k := runKubelet(t, "node-1")
	w.put(schemas.Applied, k.node())
	_, stop := w.run()
	before := w.next(k.name, nil)

	stalls, away := measureStalls(t), time.Now()
	server.Close()
	requests := k.requests.Load()
	testenv.Eventually(t, 10*time.Second, func() error {
		if n := k.requests.Load() - requests; n < 3 {
			return fmt.Errorf("%d scrapes while NATS is away", n)
		}
		return nil
	})
	back := time.Now()
	if server, err = embedded.Start(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	after := w.next(k.name, before)
	halfACore(t, after, 0)
	if age := back.Sub(time.Unix(0, after.Time)); age > 3*time.Second+stalls.since(away) {
		t.Errorf("the first sample that came after NATS was back was %v old", age)
	}
	stop()
}

// NATS may lose its disk: the usage stream is created again, and samples go on.
func TestStreamLost(t *testing.T) {
	url := testenv.NATS(t)
	conn := testenv.Connect(t, url)
	w := newWorld(t, conn)
	k := runKubelet(t, "node-1")
	w.put(schemas.Applied, k.node())
	_, stop := w.run()
	before := w.next(k.name, nil)
	nc, err := nats.Connect(url.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("$JS.API.STREAM.DELETE.K8S_"+clusterName+"_USAGE", nil, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	halfACore(t, w.next(k.name, before), 0)
	stop()
}

func TestReadyTellsWhatIsMissing(t *testing.T) {
	conn := testenv.Connect(t, stream.ConnConfig{URL: "nats://127.0.0.1:1", Log: testenv.Logger(t)})
	_, c := newKubelet(t, nil)
	c.Conn, c.Streams.Cluster, c.Log = conn, clusterName, testenv.Logger(t)
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "NATS") {
		t.Error(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
