package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/pins"
)

func natsServer(t *testing.T) (string, error) {
	paths, err := pins.Build(t.Context(), os.Stderr, "nats-server")
	return paths["nats-server"], err
}

// TestBadKubelets: one kubelet after the other way of going wrong. Its last sample stands with its time, the others'
// samples stay fresh, and the counter tells why.
func TestBadKubelets(t *testing.T) {
	w := shared
	w.steady(t, "bad-kubelets")
	o := w.own(t, "bad-kubelets")
	// A slow machine reads no more than this within the time of a scrape.
	o.ingest, o.ingestURL = o.ingestProcess("ingest", "--kubelet-max-body-bytes=1048576")
	o.up()
	t.Cleanup(func() { w.Kubelets.Heal() })
	ask := o.direct(t, o.apiPort)
	bent := w.Kubelets.Nodes()[0]
	scrapes := func(result string) float64 {
		return metric(t, o.ingestURL, "headwater_ingest_scrapes_total", fmt.Sprintf("result=%q", result))
	}
	var stands time.Time // the bent node's last sample
	for i, c := range []struct {
		name   string
		fault  cluster.Fault
		result string
	}{
		{"resets", cluster.Reset, "read"},
		{"401", cluster.Status(http.StatusUnauthorized), "status"},
		{"500", cluster.Status(http.StatusInternalServerError), "status"},
		{"HTML", cluster.HTML, "decode"},
		{"100 MB", cluster.Flood(100 << 20), "body_too_large"},
		{"no labels", cluster.Body("container_cpu_usage_seconds_total 1\ncontainer_memory_working_set_bytes 1\n"), "labels"},
		{"nothing", cluster.Body(""), "empty"},
		{"hangs", cluster.Hang, "timeout"},
	} {
		before := scrapes(c.result)
		w.Kubelets.Bend(c.fault, bent)
		eventually(t, 20*time.Second, func() error {
			if scrapes(c.result) < before+2 { // the last good sample has arrived by the second
				return fmt.Errorf("%s: no two scrapes count as %s", c.name, c.result)
			}
			return nil
		})
		since := time.Now()
		if i == 0 {
			times, err := o.sampleTimes(ask)
			if err != nil {
				t.Fatal(err)
			}
			stands = times[bent]
		}
		eventually(t, 20*time.Second, func() error {
			times, err := o.sampleTimes(ask)
			if err != nil {
				return err
			}
			for _, node := range w.Kubelets.Nodes() {
				switch at := times[node]; {
				case node == bent && !at.Equal(stands):
					t.Fatalf("%s: the bent node's sample is of %v, its last good one was of %v", c.name, at, stands)
				case node != bent && at.Before(since.Truncate(time.Second)):
					return fmt.Errorf("%s: %s is still of %v, %v ago", c.name, node, at, time.Since(at))
				}
			}
			return o.correctFrom(t.Context(), ask)
		})
	}
	w.Kubelets.Heal()
	healed := time.Now()
	eventually(t, 20*time.Second, func() error {
		times, err := o.sampleTimes(ask)
		if err == nil && times[bent].Before(healed.Truncate(time.Second)) {
			err = fmt.Errorf("%s is still of %v", bent, times[bent])
		}
		return err
	})
	if log, err := os.ReadFile(o.ingest.Log()); err != nil || strings.Count(string(log), "couldn't scrape a node") > 20 {
		t.Errorf("the log tells of every single failure: %v", err)
	}
}

// TestGarbageOnTheLog: what a stranger publishes on the streams' subjects is left out and counted, and the writer, whose
// place in the log it took, goes on.
func TestGarbageOnTheLog(t *testing.T) {
	w := shared
	w.steady(t, "garbage")
	o := w.own(t, "garbage")
	o.up()
	garbage := []string{"", "\x00", "not msgpack", "\x94\x63\x01\x02\x03" /* version 99 */, "\xdd\xff\xff\xff\xff", "\x95\x01", strings.Repeat("\x91", 10_000)}
	node := strings.ReplaceAll(w.Kubelets.Nodes()[0], ".", "_")
	var messages [][2]string
	for _, subject := range []string{
		"object.core.pods.garbage.ghost", "object.core.nodes._." + node, "object.odd", "object.core.pods.%zz.x",
		"usage." + node, "usage.ghost", "usage.a.b.c", "snapshot.chunk.0", "snapshot.chunk.99999", "snapshot.odd", "snapshot.manifest",
	} {
		for _, g := range garbage {
			messages = append(messages, [2]string{"k8s.v1.garbage." + subject, g})
		}
	}
	o.publish(messages...)
	if _, err := w.Kubectl(t.Context(), "scale", "deployment", "-n", "garbage", "web", "--replicas=4"); err != nil {
		t.Fatal(err)
	}
	w.running(t, "garbage", 4)
	o.isTrue(30 * time.Second)
	for _, url := range []string{o.stateURL, o.apiTelemetryURL, o.telemetryURL} {
		if metric(t, url, "headwater_stream_skipped_total", `reason="malformed"`) == 0 || metric(t, url, "headwater_stream_skipped_total", `reason="version"`) == 0 {
			t.Errorf("%s does not count what it left out", url)
		}
	}
	if metric(t, o.stateURL, "headwater_state_terms_total", `reason="fenced"`) == 0 {
		t.Error("the stranger's messages did not end the writer's term")
	}
	// They start from it, too.
	for _, p := range []*cluster.Process{o.state, o.ingest, o.metricsapi, o.exporter} {
		restart(t, p)
	}
	isReady(t, 30*time.Second, o.stateURL, o.ingestURL, o.apiTelemetryURL, o.telemetryURL)
	o.isTrue(30 * time.Second)
}

// TestNoRoomForTheLog: a NATS server that may not store as much as the log reserves is told of, and once it may, all goes on.
func TestNoRoomForTheLog(t *testing.T) {
	w := shared
	w.steady(t, "no-room")
	o := w.own(t, "no-room")
	config := filepath.Join(o.dir, "nats.conf")
	limit := func(size string) {
		if err := os.WriteFile(config, []byte("jetstream { max_file_store: "+size+" }\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	limit("100MB")
	o.nats = o.natsServer("-c", config)
	start(t, o.nats, o.state, o.ingest, o.metricsapi, o.exporter)
	saysNotReady(t, o.stateURL, "insufficient storage resources available")
	saysNotReady(t, o.stateURL, "raise the server's max_file_store")
	saysNotReady(t, o.telemetryURL, "which its writer has not created yet")
	limit("10GB")
	restart(t, o.nats)
	o.isTrue(time.Minute)
}

// TestWrongSettings: what can't work ends at once, with one line that says what and where.
func TestWrongSettings(t *testing.T) {
	w := shared
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	garbage, foreign := file("garbage", "{{{ not: [yaml"), file("foreign", "apiVersion: v1\nkind: Config\ncurrent-context: x\n")
	nats := "--nats-url=" + w.natsURL
	const none = "--telemetry-address="
	for _, c := range []struct {
		program string
		args    []string
		says    string
	}{
		{"state", []string{nats, none, "--kubeconfig=" + garbage}, fmt.Sprintf("couldn't load the kubeconfig %q", garbage)},
		{"state", []string{nats, none, "--kubeconfig=" + foreign}, fmt.Sprintf("couldn't load the kubeconfig %q", foreign)},
		{"state", []string{nats, none, "--kubeconfig=/does/not/exist"}, "no such file"},
		{"ingest", []string{nats, none, "--kubeconfig=" + garbage}, fmt.Sprintf("couldn't load the kubeconfig %q", garbage)},
		{"metricsapi", []string{nats, none, "--secure-port=0", "--cert-dir=" + dir, "--kubeconfig=" + garbage, "--authentication-kubeconfig=" + garbage, "--authorization-kubeconfig=" + garbage}, garbage},
		{"allinone", []string{none, "--nats-address=", "--data-dir=" + filepath.Join(dir, "a"), "--kubeconfig=" + garbage}, fmt.Sprintf("couldn't load the kubeconfig %q", garbage)},
		{"state", []string{nats, "--kubeconfig=" + w.Kubeconfig, "--telemetry-address=" + host(w.metrics)}, "address already in use"},
		{"ingest", []string{nats, "--kubeconfig=" + w.Kubeconfig, "--telemetry-address=" + host(w.metrics)}, "address already in use"},
		{"exporter", []string{nats, none, "--listen-address=" + host(w.metrics)}, "address already in use"},
		{"metricsapi", []string{nats, none, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", w.metricsPort), "--cert-dir=" + dir,
			"--kubeconfig=" + w.Kubeconfig, "--authentication-kubeconfig=" + w.Kubeconfig, "--authorization-kubeconfig=" + w.Kubeconfig}, "address already in use"},
		{"allinone", []string{none, "--data-dir=" + filepath.Join(dir, "b"), "--nats-address=" + strings.TrimPrefix(w.natsURL, "nats://")}, "address already in use"},
		{"exporter", []string{nats, none, "--cluster=a.b"}, "cluster name"},
		{"ingest", []string{nats, none, "--metric-resolution=10ms"}, "at least 1s"},
		{"state", []string{nats, none, "--kubeconfig=" + w.Kubeconfig, "--nats-creds=/does/not/exist"}, "couldn't read the NATS credentials"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		out, err := exec.CommandContext(ctx, binary(c.program), c.args...).CombinedOutput()
		cancel()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%s %v: %v, want exit status 1\n%s", c.program, c.args, err, out)
		}
		n := 0
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, c.says) {
				n++
			}
		}
		if n != 1 || strings.Contains(string(out), "goroutine ") {
			t.Errorf("%s %v says %d times %q:\n%s", c.program, c.args, n, c.says, out)
		}
	}
}

// TestTwoOnOneDirectory: the second allinone ends and names the first, which does not mind.
func TestTwoOnOneDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	args := func() (args []string, telemetry string) {
		var ports5 [5]int
		if err := ports(&ports5[0], &ports5[1], &ports5[2], &ports5[3], &ports5[4]); err != nil {
			t.Fatal(err)
		}
		return []string{"--data-dir=" + dir, "--sim-nodes=2", "--sim-pods-per-node=3", "--metric-resolution=1s", "--bind-address=127.0.0.1",
			fmt.Sprintf("--nats-address=127.0.0.1:%d", ports5[0]), fmt.Sprintf("--sim-address=127.0.0.1:%d", ports5[1]), fmt.Sprintf("--secure-port=%d", ports5[2]),
			fmt.Sprintf("--listen-address=127.0.0.1:%d", ports5[3]), fmt.Sprintf("--telemetry-address=127.0.0.1:%d", ports5[4])}, fmt.Sprintf("http://127.0.0.1:%d", ports5[4])
	}
	firstArgs, first := args()
	p := cluster.NewProcess(t.TempDir(), cluster.Spec{Name: "first", Path: binary("allinone"), Args: firstArgs})
	defer p.Kill()
	start(t, p)
	isReady(t, time.Minute, first)
	secondArgs, _ := args()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary("allinone"), secondArgs...).CombinedOutput()
	var exit *exec.ExitError
	if want := fmt.Sprintf("the data directory is in use: another Headwater (process %d) uses", p.Pid()); !errors.As(err, &exit) || exit.ExitCode() != 1 || strings.Count(string(out), want) != 1 {
		t.Errorf("%v, want exit status 1 and %q:\n%s", err, want, out)
	}
	isReady(t, 5*time.Second, first)
	if err := p.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Errorf("after SIGTERM it ended with %v", err)
	}
}
