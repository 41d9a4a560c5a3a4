package e2e

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// TestPrometheus: a real Prometheus scrapes the exporter, and objects and usage join.
func TestPrometheus(t *testing.T) {
	w := shared
	w.apply(t, deployment("prom", "web", 3))
	w.Kubelets.SetUsage(cluster.Match{Namespace: "prom", Container: "main"}, cluster.Usage{CPU: 400, Memory: 256 << 20})
	w.Kubelets.SetUsage(cluster.Match{Namespace: "prom", Container: "side"}, cluster.Usage{CPU: 200, Memory: 128 << 20})
	w.running(t, "prom", 3)

	prometheus, err := w.StartPrometheus(t.Context(), cluster.PrometheusConfig{Jobs: []cluster.ScrapeJob{
		{Name: "kube-state-metrics", Targets: []string{host(w.metrics)}, Settings: map[string]any{"honor_labels": true}},
		{Name: "headwater", Targets: []string{host(w.exporterTelemetry)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(prometheus.Kill)
	eventually(t, 30*time.Second, func() error { return prometheus.AllUp(t.Context()) })

	// Every pod of the Deployment by its node, with the CPU that its containers use: one row a container.
	const query = `sum by (namespace, pod, container) (rate(container_cpu_usage_seconds_total{namespace="prom"}[10s]))
		* on (namespace, pod) group_left (node, created_by_name) kube_pod_info{namespace="prom"}`
	eventually(t, time.Minute, func() error {
		samples, err := prometheus.Query(t.Context(), query)
		if err != nil {
			return err
		}
		if len(samples) != 6 {
			return fmt.Errorf("%d rows, want 3 pods x 2 containers: %v", len(samples), samples)
		}
		for _, s := range samples {
			want := map[string]float64{"main": 0.4, "side": 0.2}[s.Metric["container"]]
			if math.Abs(s.Value-want) > want*0.05 { // Prometheus extrapolates at the edges of the range
				return fmt.Errorf("%v is %v, want %v", s.Metric, s.Value, want)
			}
			if s.Metric["node"] == "" || !strings.HasPrefix(s.Metric["created_by_name"], "web-") {
				return fmt.Errorf("%v lacks its node or its owner", s.Metric)
			}
		}
		return nil
	})
	eventually(t, 10*time.Second, func() error { return prometheus.AllUp(t.Context()) }) // after the queries, too
	// Series that Prometheus had to drop or could not parse would be missing here.
	samples, err := prometheus.Query(t.Context(), `scrape_samples_scraped{job="kube-state-metrics"}`)
	if err != nil || len(samples) != 1 {
		t.Fatalf("%v, %v", samples, err)
	}
	t.Logf("a scrape has %.0f samples", samples[0].Value)

	body := fetch(t, w.metrics)
	if out, err := w.Promtool(t.Context(), strings.NewReader(body), "check", "metrics"); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

func host(url string) string {
	return strings.Split(strings.TrimPrefix(url, "http://"), "/")[0]
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	body, err := get(url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func get(url string) (string, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s: %s", url, response.Status, body)
	}
	return string(body), nil
}
