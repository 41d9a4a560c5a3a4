package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/internal/stall"
)

// steady gives the world some pods, and waits until their usage is answered correctly.
func (w *world) steady(t *testing.T, namespace string) {
	t.Helper()
	w.Kubelets.SetUsage(cluster.Match{Namespace: namespace}, cluster.Usage{CPU: 300, Memory: 200 << 20})
	w.apply(t, deployment(namespace, "web", 6))
	w.running(t, namespace, 6)
	eventually(t, time.Minute, func() error {
		items, err := w.pods(t.Context())
		if err != nil {
			return err
		}
		return w.correct(items)
	})
}

// silence makes every kubelet refuse to be scraped until the test ends or heal is called: what is answered meanwhile
// can't have come from a scrape.
func (w *world) silence(t *testing.T) (heal func()) {
	t.Helper()
	w.Kubelets.Bend(cluster.Status(http.StatusServiceUnavailable))
	t.Cleanup(func() { w.Kubelets.Heal() })
	return func() { w.Kubelets.Heal() }
}

// TestMetricsAPIHasNoColdStart: killed and started, it gives the correct answer although no kubelet answers.
func TestMetricsAPIHasNoColdStart(t *testing.T) {
	w := shared
	w.steady(t, "cold-metricsapi")
	w.silence(t)
	begin := restart(t, w.metricsapi)
	ready := time.Since(begin)
	eventually(t, 20*time.Second, func() error {
		items, err := w.pods(t.Context())
		if err != nil {
			return err
		}
		return w.correct(items)
	})
	t.Logf("metricsapi: ready %v after its start, first correct answer through kubectl after %v, without a scrape",
		ready.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
}

// TestExporterHasNoColdStart: killed and started, its first answer is complete.
func TestExporterHasNoColdStart(t *testing.T) {
	w := shared
	w.steady(t, "cold-exporter")
	before := w.standing(t, w.metrics)
	w.silence(t)
	w.exporter.Kill()
	begin := time.Now()
	if err := w.exporter.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var first string
	eventually(t, 20*time.Second, func() (err error) {
		first, err = get(w.metrics)
		return err
	})
	took := time.Since(begin)
	after := seriesOf(first)
	for series := range before {
		if !after[series] {
			t.Errorf("missing in the first answer: %s", series)
		}
	}
	if !strings.Contains(first, `container_cpu_usage_seconds_total{`) || !strings.Contains(first, `namespace="cold-exporter"`) {
		t.Error("the first answer has no usage")
	}
	t.Logf("exporter: first answer %v after its start, complete (%d series), without a scrape", took.Round(time.Millisecond), len(after))
}

// seriesOf gives the series of an exposition without their values.
func seriesOf(body string) map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(body) {
		if name, _, ok := strings.Cut(line, "} "); ok && !strings.HasPrefix(line, "#") && !strings.Contains(line, "resource_version") {
			all[name] = true
		}
	}
	return all
}

// standing waits until nothing is left of what earlier tests made, at the API server and then in an exporter's answer too,
// which hears of each kind at its own time; it returns the series of that answer without their values.
func (w *world) standing(t *testing.T, url string) (series map[string]bool) {
	t.Helper()
	w.settled(t)
	var since time.Time
	eventually(t, time.Minute, func() error {
		body, err := get(url)
		if err != nil {
			return err
		}
		if now := seriesOf(body); !maps.Equal(now, series) {
			series, since = now, time.Now()
		}
		if stood := time.Since(since) - stall.Since(since); stood < resolution/2 {
			return fmt.Errorf("the series stand still for %v only", stood)
		}
		return nil
	})
	return series
}

// TestIngestHasNoColdStart: killed and started, its first scrapes already yield rates, so no answer ever lacks a pod.
func TestIngestHasNoColdStart(t *testing.T) {
	w := shared
	w.steady(t, "cold-ingest")
	w.settled(t)
	w.ingest.Kill()
	scrapes := w.Kubelets.Scrapes()
	killed := time.Now()
	if err := w.ingest.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Until every node has been scraped by the new process and each pod has a newer timestamp, every answer is correct.
	eventually(t, 30*time.Second, func() error {
		items, err := w.pods(t.Context())
		if err != nil {
			return err
		}
		if err := w.correct(items); err != nil {
			t.Fatalf("%v after the kill: %v", time.Since(killed), err)
		}
		for _, item := range items {
			if !item.Timestamp.After(killed.Add(time.Second)) {
				return fmt.Errorf("%s/%s is still of %v", item.Metadata.Namespace, item.Metadata.Name, item.Timestamp)
			}
		}
		return nil
	})
	t.Logf("ingest: all pods had a rate from after the kill %v after it, with %d scrapes of %d nodes",
		time.Since(killed).Round(time.Millisecond), w.Kubelets.Scrapes()-scrapes, len(w.Kubelets.Nodes()))
}

// TestNATSHasNoColdStart: killed and started, nothing that was served is lost, and everything goes on.
func TestNATSHasNoColdStart(t *testing.T) {
	w := shared
	w.steady(t, "cold-nats")
	before := w.standing(t, w.metrics)
	w.nats.Kill()
	killed := time.Now()

	// The servers go on serving what they have.
	items, err := w.pods(t.Context())
	if err == nil {
		err = w.correct(items)
	}
	if err != nil {
		t.Errorf("while NATS is away: %v", err)
	}
	if after := seriesOf(fetch(t, w.metrics)); len(after) < len(before) {
		t.Errorf("while NATS is away the exporter has %d series of %d", len(after), len(before))
	}
	if _, err := w.Kubectl(t.Context(), "scale", "deployment", "-n", "cold-nats", "web", "--replicas=7"); err != nil {
		t.Fatal(err)
	}
	w.running(t, "cold-nats", 7)
	if err := w.nats.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	eventually(t, time.Minute, func() error {
		items, err := w.pods(t.Context())
		if err != nil {
			return err
		}
		if err := w.correct(items); err != nil {
			return err
		}
		for _, item := range items {
			if !item.Timestamp.After(started) {
				return fmt.Errorf("%s/%s is still of %v", item.Metadata.Namespace, item.Metadata.Name, item.Timestamp)
			}
		}
		return nil
	})
	t.Logf("nats-server: away for %v, and %v after its start every pod was answered with usage from after it, the one that came meanwhile too",
		started.Sub(killed).Round(time.Millisecond), time.Since(started).Round(time.Millisecond))
}

// TestAllInOneHasNoColdStart: killed and started on its data directory, it gives the correct answer although no kubelet
// answers.
func TestAllInOneHasNoColdStart(t *testing.T) {
	w := shared
	var natsPort, apiPort, metricsPort, telemetryPort int
	if err := ports(&natsPort, &apiPort, &metricsPort, &telemetryPort); err != nil {
		t.Fatal(err)
	}
	p, err := w.Run(t.Context(), cluster.Spec{Name: "allinone", Path: binary("allinone"), Args: []string{
		"--kubeconfig=" + w.Kubeconfig, "--data-dir=" + filepath.Join(w.Dir, "allinone"), fmt.Sprintf("--nats-address=127.0.0.1:%d", natsPort),
		"--kubelet-certificate-authority=" + w.CertificateAuthority(), "--kubelet-use-node-status-port", "--kubelet-preferred-address-types=InternalIP",
		"--metric-resolution=" + resolution.String(), "--max-sample-age=1m", "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", apiPort),
		fmt.Sprintf("--listen-address=127.0.0.1:%d", metricsPort), fmt.Sprintf("--telemetry-address=127.0.0.1:%d", telemetryPort),
	}, Ready: cluster.HTTPReady(fmt.Sprintf("http://127.0.0.1:%d/readyz", telemetryPort))})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	w.steady(t, "cold-allinone")
	ask := w.direct(t, apiPort)
	eventually(t, time.Minute, func() error { return w.correctFrom(t.Context(), ask) })
	w.silence(t)
	p.Kill()
	begin := time.Now()
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() error { return w.correctFrom(t.Context(), ask) })
	took := time.Since(begin)
	body := fetch(t, fmt.Sprintf("http://127.0.0.1:%d/metrics", metricsPort))
	if !strings.Contains(body, `kube_pod_info{namespace="cold-allinone"`) {
		t.Error("the exporter's first answer lacks pods")
	}
	t.Logf("allinone: first correct answer %v after its start, without a scrape", took.Round(time.Millisecond))
}

// TestMetricsServerForComparison prints how long metrics-server, killed and started beside Headwater on the same
// kubelets, takes to its first correct answer.
func TestMetricsServerForComparison(t *testing.T) {
	w := shared
	w.steady(t, "cold-peer")
	const peerResolution = 10 * time.Second // its least
	peer, err := w.StartMetricsServer(t.Context(), peerResolution)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Kill()
	ask := w.direct(t, peer.Port)
	eventually(t, time.Minute, func() error { return w.correctFrom(t.Context(), ask) })
	peer.Kill()
	begin := time.Now()
	if err := peer.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() error { return w.correctFrom(t.Context(), ask) })
	t.Logf("metrics-server: first correct answer %v after its start, at a resolution of %v", time.Since(begin).Round(time.Millisecond), peerResolution)
}

// direct asks a server of the Metrics API for all pods on its own port, as the cluster's administrator.
func (w *world) direct(t *testing.T, port int) func(context.Context) ([]byte, error) {
	t.Helper()
	config := rest.CopyConfig(w.REST)
	config.TLSClientConfig.CAFile, config.TLSClientConfig.CAData, config.TLSClientConfig.Insecure = "", nil, true
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: withoutHTTP2(tlsConfig), DisableKeepAlives: true}}
	return func(ctx context.Context) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d%s", port, podsPath), nil)
		if err != nil {
			return nil, err
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", response.Status, body)
		}
		return body, err
	}
}

func withoutHTTP2(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.NextProtos = []string{"http/1.1"}
	return c
}

func (w *world) correctFrom(ctx context.Context, ask func(context.Context) ([]byte, error)) error {
	body, err := ask(ctx)
	if err != nil {
		return err
	}
	items, err := decodePods(body)
	if err != nil {
		return err
	}
	return w.correct(items)
}
