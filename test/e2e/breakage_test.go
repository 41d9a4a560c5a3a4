package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/internal/stall"
)

// watch asks a server again and again and remembers what is wrong with its answers, until stop is called.
func watch(t *testing.T, wrong func() error) (stop func() (asked int, errs []error)) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	var asked int
	var errs []error
	done.Go(func() {
		for ctx.Err() == nil {
			if err := wrong(); err != nil && len(errs) < 5 {
				errs = append(errs, fmt.Errorf("answer %d: %w", asked, err))
			}
			asked++
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return func() (int, []error) { cancel(); done.Wait(); return asked, errs }
}

// exports tells whether an exporter has exactly these pods.
func exports(url string, pods map[string]bool) error {
	body, err := get(url)
	if err != nil {
		return err
	}
	got := exportedPods(body)
	for uid := range pods {
		if !got[uid] {
			return fmt.Errorf("a pod is missing among %d of %d", len(got), len(pods))
		}
	}
	if len(got) != len(pods) {
		return fmt.Errorf("%d pods instead of %d", len(got), len(pods))
	}
	return nil
}

// TestLogLost: the NATS server loses its disk. State writes everything again; what is served meanwhile is never a part of
// the world.
func TestLogLost(t *testing.T) {
	w := shared
	w.steady(t, "log-lost")
	o := w.own(t, "log-lost")
	o.up()
	w.settled(t)
	o.isTrue(time.Minute)
	pods := exportedPods(fetch(t, o.metricsURL))
	stop := watch(t, func() error { return exports(o.metricsURL, pods) })
	o.nats.Kill()
	if err := os.RemoveAll(o.natsDir()); err != nil {
		t.Fatal(err)
	}
	start(t, o.nats)
	started := time.Now()
	for _, url := range []string{o.telemetryURL, o.apiTelemetryURL} {
		eventually(t, 30*time.Second, func() error {
			if metric(t, url, "headwater_stream_rebuilds_total", `reason="recreated"`, `_OBJECTS"`) == 0 || metric(t, url, "headwater_stream_rebuilding") > 0 {
				return errors.New("the view of the objects was not rebuilt")
			}
			return nil
		})
	}
	ask := o.direct(t, o.apiPort)
	eventually(t, 30*time.Second, func() error {
		times, err := o.sampleTimes(ask)
		if err != nil {
			return err
		}
		for _, node := range w.Kubelets.Nodes() {
			if !times[node].After(started) {
				return fmt.Errorf("%s: its usage is still of %v", node, times[node])
			}
		}
		return o.correctFrom(t.Context(), ask)
	})
	t.Logf("all is new %v after the start of the empty NATS server", time.Since(started).Round(time.Millisecond))
	if asked, errs := stop(); len(errs) > 0 || asked == 0 {
		t.Errorf("of %d answers of the exporter some were wrong: %v", asked, errors.Join(errs...))
	}
	o.isTrue(20 * time.Second)
}

// TestLogOfThePast: the NATS server is restored from an old copy. What was deleted since does not come back for good, and
// what came since is there.
func TestLogOfThePast(t *testing.T) {
	w := shared
	w.steady(t, "past")
	o := w.own(t, "past")
	o.up()
	if err := o.nats.Stop(); err != nil {
		t.Fatal(err)
	}
	copied := o.natsDir() + ".old"
	if err := os.CopyFS(copied, os.DirFS(o.natsDir())); err != nil {
		t.Fatal(err)
	}
	start(t, o.nats)
	for _, replicas := range []int{0, 5} { // none of the old ones is left
		if _, err := w.Kubectl(t.Context(), "scale", "deployment", "-n", "past", "web", fmt.Sprintf("--replicas=%d", replicas)); err != nil {
			t.Fatal(err)
		}
		w.running(t, "past", replicas)
	}
	o.isTrue(30 * time.Second)
	o.nats.Kill()
	if err := os.RemoveAll(o.natsDir()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copied, o.natsDir()); err != nil {
		t.Fatal(err)
	}
	start(t, o.nats)
	eventually(t, 30*time.Second, func() error {
		if metric(t, o.telemetryURL, "headwater_stream_rebuilds_total", `reason="went_back"`) == 0 {
			return errors.New("the exporter has not noticed")
		}
		return nil
	})
	o.isTrue(30 * time.Second)
	restart(t, o.exporter)
	o.isTrue(30 * time.Second)
}

// TestAnyOrder: readers first, writers next, NATS last; and then an API server that comes later than state.
func TestAnyOrder(t *testing.T) {
	w := shared
	w.steady(t, "any-order")
	o := w.own(t, "any-order")
	start(t, o.exporter, o.metricsapi, o.ingest, o.state)
	for url, text := range map[string]string{
		o.telemetryURL: "waits for NATS", o.apiTelemetryURL: "waits for NATS", o.ingestURL: "waiting for NATS", o.stateURL: "waiting for NATS",
	} {
		saysNotReady(t, url, text)
		if _, err := get(url + "/livez"); err != nil {
			t.Error(err)
		}
	}
	if _, err := get(o.metricsURL); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("the exporter answers %v before it knows anything", err)
	}
	start(t, o.nats)
	isReady(t, 30*time.Second, o.stateURL, o.ingestURL, o.telemetryURL)
	o.isTrue(30 * time.Second)

	// The API server goes away while all run, and state and the Metrics API are started without it.
	before := w.standing(t, o.metricsURL)
	o.isTrue(time.Minute)
	w.APIServer.Kill()
	back := sync.OnceFunc(func() {
		if err := w.APIServer.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() {
		if !w.APIServer.Running() {
			if err := w.APIServer.Start(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	restart(t, o.state)
	restart(t, o.metricsapi)
	restart(t, o.exporter)
	saysNotReady(t, o.stateURL, "not ready")
	isReady(t, 20*time.Second, o.telemetryURL)
	after := seriesOf(fetch(t, o.metricsURL))
	for series := range before {
		if !after[series] {
			t.Errorf("missing while the API server is away: %s", series)
		}
	}
	for _, p := range []*cluster.Process{o.state, o.metricsapi} {
		if !p.Running() {
			t.Errorf("%s has ended without an API server:\n%s", p.Name(), p.Tail(5))
		}
	}
	back()
	isReady(t, time.Minute, o.stateURL)
	o.isTrue(time.Minute)
	eventually(t, time.Minute, func() error { // the shared ones too, through the aggregation layer
		items, err := w.pods(t.Context())
		if err != nil {
			return err
		}
		return w.correct(items)
	})
}

// TestTwoOfEach: two servers say the same, two ingesters harm nothing, two states without election harm nothing, and of
// two with election the one takes over from the other that is killed.
func TestTwoOfEach(t *testing.T) {
	w := shared
	w.steady(t, "two")
	o := w.own(t, "two")
	o.up()
	exporter, metrics, _ := o.exporterProcess("exporter-2")
	metricsapi, port, _ := o.metricsapiProcess("metricsapi-2")
	ingest, ingestURL := o.ingestProcess("ingest-2")
	start(t, exporter, metricsapi, ingest)
	isReady(t, 30*time.Second, ingestURL)
	eventually(t, 30*time.Second, func() error {
		one, err := get(o.metricsURL)
		if err != nil {
			return err
		}
		other, err := get(metrics)
		if err != nil {
			return err
		}
		a, b := seriesOf(one), seriesOf(other)
		for series := range a {
			if !b[series] {
				return fmt.Errorf("only one exporter has %s", series)
			}
		}
		if len(a) != len(b) {
			return fmt.Errorf("%d series of one exporter, %d of the other", len(a), len(b))
		}
		return nil
	})
	for _, ask := range []func(context.Context) ([]byte, error){o.direct(t, o.apiPort), o.direct(t, port)} {
		eventually(t, 30*time.Second, func() error { return o.correctFrom(t.Context(), ask) })
	}

	second, secondURL := o.stateProcess("state-2")
	start(t, second)
	eventually(t, 20*time.Second, func() error { _, err := get(secondURL + "/livez"); return err })
	eventually(t, 30*time.Second, func() error {
		if metric(t, o.stateURL, "headwater_state_terms_total", `reason="fenced"`)+metric(t, secondURL, "headwater_state_terms_total", `reason="fenced"`) > 0 {
			return nil
		}
		return errors.Join(o.churn("two", 5, 6), errors.New("none of the two was refused yet"))
	})
	o.isTrue(30 * time.Second)
	second.Kill()
	o.state.Kill()

	election := []string{"--leader-elect", "--leader-elect-lease-duration=3s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=500ms", "--leader-elect-resource-name=two"}
	one, oneURL := o.stateProcess("state-a", election...)
	other, otherURL := o.stateProcess("state-b", election...)
	start(t, one)
	isReady(t, 30*time.Second, oneURL)
	start(t, other)
	isReady(t, 30*time.Second, otherURL)
	// It is the first one, unless the machine stood still for longer than its lease.
	eventually(t, 10*time.Second, func() error {
		first, second := metric(t, oneURL, "headwater_state_leader"), metric(t, otherURL, "headwater_state_leader")
		if first+second != 1 {
			return fmt.Errorf("the first one leads: %v, the other: %v", first, second)
		}
		if second == 1 {
			one, other, oneURL, otherURL = other, one, otherURL, oneURL
		}
		return nil
	})
	one.Kill()
	if err := o.churn("two", 3, 6); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, 30*time.Second, func() error {
		if metric(t, otherURL, "headwater_state_leader") != 1 {
			return errors.New("the other one does not lead")
		}
		return nil
	})
	o.isTrue(30 * time.Second)
	t.Logf("the other state led %v after the kill", took.Round(time.Millisecond))
}

// churn scales a namespace's Deployment to each of the sizes.
func (w *world) churn(namespace string, sizes ...int) error {
	for _, n := range sizes {
		if _, err := w.Kubectl(context.Background(), "scale", "deployment", "-n", namespace, "web", fmt.Sprintf("--replicas=%d", n)); err != nil {
			return err
		}
	}
	return nil
}

// TestKilledUnderChurn: each process in turn is killed three times while pods come and go; then every view is the truth.
// At last each ends in order, at SIGTERM.
func TestKilledUnderChurn(t *testing.T) {
	w := shared
	w.steady(t, "churn")
	o := w.own(t, "churn")
	o.up()
	all := []*cluster.Process{o.nats, o.state, o.ingest, o.metricsapi, o.exporter}
	for i := range 3 {
		for j, p := range all {
			if err := w.churn("churn", 2+(i+j)%3); err != nil {
				t.Fatal(err)
			}
			p.Kill()
			if err := w.churn("churn", 6-(i+j)%3); err != nil {
				t.Fatal(err)
			}
			start(t, p)
		}
		o.isTrue(30 * time.Second)
	}
	for _, p := range []*cluster.Process{o.exporter, o.metricsapi, o.ingest, o.state, o.nats} {
		begin := time.Now()
		if err := p.Stop(); err != nil {
			t.Errorf("%s: %v", p.Name(), err)
		}
		if err := p.Wait(t.Context()); err != nil {
			t.Errorf("%s ended with %v after SIGTERM", p.Name(), err)
		}
		if took := time.Since(begin) - stall.Since(begin); took > 5*time.Second {
			t.Errorf("%s took %v to end", p.Name(), took)
		}
		log, err := os.Open(p.Log())
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(log)
		log.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "panic:") || strings.Contains(string(text), "fatal error:") {
			t.Errorf("%s crashed: %s", p.Name(), p.Tail(40))
		}
	}
}
