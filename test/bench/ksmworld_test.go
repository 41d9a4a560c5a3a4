package bench

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// watched is how many kinds kube-state-metrics v2.18.0 watches by default.
const watched = 28

// equal makes both answer the same: of kube_pod_status_reason, 2.18 writes five series for every pod, and 2.20 one for
// a pod that has a reason.
const equal = "--metric-denylist=^kube_pod_status_reason$"

// scale is a simulated cluster with Headwater and kube-state-metrics on it. Leases aren't renewed, so that nothing
// changes but what the benchmark changes.
type scale struct {
	*lab
	client                 kubernetes.Interface
	api, natsServer, state *cluster.Process
	exporter, peer         *target

	pods int     // that run
	rate float64 // of changes a second
	next int     // pod to change
	all  []podStatus
}

// newScale starts everything but the servers that are compared.
func newScale(b *testing.B, nodes int) *scale {
	b.Helper()
	s := &scale{lab: newLab(b, "nats-server", "kube-state-metrics"), rate: 300}
	if nodes >= 5000 {
		s.rate = 160 // as in the figures that this is compared with
	}
	api, config := s.simulate(nodes, "--sim-lease-interval=0")
	s.api = api
	config.ContentType = "application/vnd.kubernetes.protobuf"
	var err error
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		b.Fatal(err)
	}
	if err := s.learn(b.Context()); err != nil {
		b.Fatal(err)
	}
	s.natsServer = s.startNATS()
	telemetry := s.port()
	s.state = s.begin(s.service("state", "state", "--kubeconfig="+s.kubeconfig, fmt.Sprintf("--telemetry-address=127.0.0.1:%d", telemetry)))
	s.awaitReady(fmt.Sprintf("http://127.0.0.1:%d/readyz", telemetry))
	s.exporter, s.peer = s.newExporter("exporter", "--usage=false"), s.newPeer("kube-state-metrics")
	return s
}

func (s *scale) newExporter(name string, args ...string) *target {
	s.Helper()
	port, telemetry := s.port(), s.port()
	t := &target{client: "exporter", server: server{at: fmt.Sprintf("http://127.0.0.1:%d", port), readyAt: fmt.Sprintf("http://127.0.0.1:%d/readyz", telemetry)}}
	if strings.Contains(name, "shard") {
		args = append(args, "--usage=false")
	}
	t.Process = s.service(name, "exporter", append(args, equal, "--server-write-timeout=5m", fmt.Sprintf("--listen-address=127.0.0.1:%d", port),
		fmt.Sprintf("--telemetry-address=127.0.0.1:%d", telemetry))...)
	t.ready = cluster.HTTPReady(t.readyAt)
	return t
}

// newPeer describes a kube-state-metrics. It serves before it has anything; it is complete when it watches every kind,
// because it does that once the kind's list is in.
func (s *scale) newPeer(name string, args ...string) *target {
	s.Helper()
	port, telemetry := s.port(), s.port()
	t := &target{client: "kube-state-metrics", server: server{at: fmt.Sprintf("http://127.0.0.1:%d", port), readyAt: fmt.Sprintf("http://127.0.0.1:%d/metrics", telemetry)}}
	t.Process = s.describe(name, s.pins["kube-state-metrics"], append(args, equal, "--kubeconfig="+s.kubeconfig, "--enable-gzip-encoding", "--server-write-timeout=5m",
		"--host=127.0.0.1", fmt.Sprintf("--port=%d", port), "--telemetry-host=127.0.0.1", fmt.Sprintf("--telemetry-port=%d", telemetry))...)
	t.ready = func(ctx context.Context) error {
		_, body, err := get(ctx, scrapeClient, t.server, t.readyAt, "")
		if err != nil {
			return err
		}
		n := 0
		for lines := bufio.NewScanner(body); lines.Scan(); {
			if line := lines.Text(); strings.HasPrefix(line, "kube_state_metrics_watch_total{") && strings.Contains(line, `result="success"`) {
				n++
			}
		}
		if n < watched {
			return fmt.Errorf("%d of %d kinds are watched", n, watched)
		}
		return nil
	}
	return t
}

// exporterShards says whether the exporter under test can be sharded.
func (s *scale) exporterShards() bool {
	help, _ := exec.CommandContext(s.Context(), filepath.Join(s.bin, "exporter"), "--help").CombinedOutput()
	return strings.Contains(string(help), "--total-shards")
}

// startUsage starts an ingest service, and describes an exporter that serves usage too.
func (s *scale) startUsage() *target {
	s.Helper()
	telemetry := s.port()
	s.begin(s.service("ingest", "ingest", "--kubelet-use-node-status-port", "--kubelet-preferred-address-types=InternalIP",
		"--metric-resolution="+resolution.String(), "--kubeconfig="+s.kubeconfig, fmt.Sprintf("--telemetry-address=127.0.0.1:%d", telemetry)))
	s.awaitReady(fmt.Sprintf("http://127.0.0.1:%d/readyz", telemetry))
	return s.newExporter("exporter-with-usage")
}

// requests is how many requests a client has sent to the API server.
func (s *scale) requests(ctx context.Context, client string) (int, error) {
	body, err := s.client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, fmt.Errorf("couldn't ask for the number of requests: %w", err)
	}
	n := 0
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, `apiserver_request_total{client="`+client+`"`) {
			count, err := strconv.Atoi(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]))
			if err != nil {
				return 0, fmt.Errorf("couldn't read the number of requests: %w", err)
			}
			n += count
		}
	}
	return n, nil
}

// quiet waits until nothing that is measured has anything to do: what a process does then is because it is asked. It
// gives up after a few minutes; what goes on by itself is part of the figures then.
func (s *scale) quiet(ctx context.Context) error {
	const step, calm = 250 * time.Millisecond, 20 * time.Millisecond
	var last time.Duration
	for begin, still := time.Now(), 0; still < 4 && time.Since(begin) < 3*time.Minute; still++ {
		var sum time.Duration
		for _, p := range s.processes {
			if p.Running() {
				c, err := costOf(p.Pid())
				if err != nil {
					return err
				}
				sum += c.cpu
			}
		}
		if sum-last > calm {
			still = -1
		}
		last = sum
		if err := pause(ctx, step); err != nil {
			return err
		}
	}
	return nil
}
