package e2e

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/test/cluster"
)

const apiName = "v1beta1.metrics.k8s.io"

// summarySource: an ingester of --source=resource is replaced by one of --source=summary. kubectl top prints the same as
// before, --show-swap prints swap, and a real Prometheus has network, disk and volumes under cAdvisor's and the kubelets'
// names.
func summarySource(t *testing.T, u *usageWorld) {
	const ns = "summary"
	u.agents(t, ns, "well", wellNodes)
	o := u.own(t, ns)
	resource := o.ingester("resource", "group=well", 0)
	summary := o.ingester("summary", "group=well", 0, "--source=summary")
	api, port := o.server("metricsapi", "--extended-usage")
	start(t, o.nats, o.state, api, o.exporter, resource.Process)
	ask := o.direct(t, port)
	isTrue := func() error {
		items, err := decodeAnswer(ask(t.Context()))
		if err != nil {
			return err
		}
		return u.truthIn(ns, items)
	}
	eventually(t, 30*time.Second, isTrue)
	if err := u.RegisterAPIService(t.Context(), apiName, port); err != nil {
		t.Fatal(err)
	}
	// Without it, kubectl takes it that the nodes have no swap.
	capacity := int64(1 << 30)
	for _, node := range u.well() {
		if err := u.Kubelets.UpdateNodeStatus(t.Context(), node, func(s *corev1.NodeStatus) { s.NodeInfo.Swap = &corev1.NodeSwapStatus{Capacity: &capacity} }); err != nil {
			t.Fatal(err)
		}
	}
	top := func(args ...string) (table [][]string) {
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			out, err := u.Kubectl(t.Context(), append([]string{"top"}, args...)...)
			table = rows(out)
			return err
		})
		return table
	}
	pods, containers := top("pod", "-n", ns), top("pod", "-n", ns, "--containers", "--show-swap")
	if plain := fetch(t, o.metricsURL); strings.Contains(plain, "container_network_receive_bytes_total") || strings.Contains(plain, "container_fs_usage_bytes") {
		t.Error("the resource endpoint has no network and no disk, and yet the exporter does")
	}

	onlooker := lookOn(t, ns, ask, func(items []podMetrics) error { return u.truthIn(ns, items) })
	if err := resource.Stop(); err != nil {
		t.Error(err)
	}
	start(t, summary.Process)
	u.seen(t, ask, ns, u.well(), time.Now().Add(resolution))
	if err := sameTop(pods, top("pod", "-n", ns)); err != nil {
		t.Errorf("kubectl top pod: %v", err)
	}
	if err := sameTop(containers, top("pod", "-n", ns, "--containers", "--show-swap")); err != nil {
		t.Errorf("kubectl top pod --containers --show-swap: %v", err)
	}
	for _, row := range containers {
		if want := map[string]string{"main": "300m 200Mi 32Mi", "side": "125m 64Mi 4Mi"}[row[1]]; strings.Join(row[2:], " ") != want {
			t.Errorf("kubectl top prints %v, want %s", row, want)
		}
	}
	// Other scenarios' pods come and go on the nodes, so that they can't all be still at one time.
	right := map[string]bool{}
	eventually(t, 30*time.Second, func() (wrong error) {
		table := top("node", "-l", "group=well", "--show-swap")
		if len(table) != wellNodes {
			return fmt.Errorf("%v", table)
		}
		for _, row := range table {
			want, _ := u.Kubelets.Node(row[0])
			err := nearRow(row[0], row[1], row[3], want)
			if swap, cell := column(row[5]); err == nil && (cell != nil || math.Abs(swap-float64(want.Swap)) > 1<<20) {
				err = fmt.Errorf("%v: swap %v, want %d: %v", row, swap, want.Swap, cell)
			}
			right[row[0]] = right[row[0]] || err == nil
			if !right[row[0]] {
				wrong = err
			}
		}
		return wrong
	})
	onlooker.end(t, false)
	o.exportsSummary(ns)
}

// sameTop compares what kubectl top printed: text for text, but for a millicore of rounding.
func sameTop(want, got [][]string) error {
	if len(want) != len(got) || len(want) == 0 {
		return fmt.Errorf("%v before, %v now", want, got)
	}
	for i := range want {
		for j := range want[i] {
			if want[i][j] == got[i][j] {
				continue
			}
			a, err := column(want[i][j])
			b, err2 := column(got[i][j])
			if err != nil || err2 != nil || !strings.HasSuffix(want[i][j], "m") || math.Abs(a-b) > 0.0011 {
				return fmt.Errorf("%v before, %v now", want[i], got[i])
			}
		}
	}
	return nil
}

// exportsSummary looks at the exporter through Prometheus.
func (o *own) exportsSummary(ns string) {
	t := o.t
	t.Helper()
	// The one name that it doesn't like is cAdvisor's.
	const named = `container_fs_inodes_total non-counter metrics should not have "_total" suffix`
	if out, err := o.Promtool(t.Context(), strings.NewReader(fetch(t, o.metricsURL)), "check", "metrics"); err == nil ||
		!strings.HasSuffix(err.Error(), ": exit status 3: "+named) || strings.TrimSpace(out) != "" {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	prometheus, err := o.StartPrometheus(t.Context(), cluster.PrometheusConfig{Jobs: []cluster.ScrapeJob{
		{Name: "headwater", Targets: []string{host(o.metricsURL)}, Settings: map[string]any{"honor_labels": true}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(prometheus.Kill)
	of := fmt.Sprintf("{namespace=%q}", ns)
	// deriv, as rate would extrapolate up to a now that is further from the last of these few points than they are from each other.
	for query, want := range map[string]struct {
		rows  int
		value float64
	}{
		`container_fs_usage_bytes{container!="",namespace="` + ns + `"}`:                                                                {2 * wellNodes, cluster.RootfsBytes + cluster.LogsBytes},
		`container_fs_limit_bytes{container!="",namespace="` + ns + `"}`:                                                                {2 * wellNodes, cluster.FilesystemBytes},
		`container_memory_rss{container="main",namespace="` + ns + `"}`:                                                                 {wellNodes, 100 << 20},
		`container_memory_usage_bytes{container="main",namespace="` + ns + `"}`:                                                         {wellNodes, 205 << 20},
		`container_memory_swap{container="main",namespace="` + ns + `"}`:                                                                {wellNodes, 32 << 20},
		`kubelet_volume_stats_used_bytes` + of:                                                                                          {wellNodes, 1 << 20},
		`container_pressure_cpu_waiting_seconds_total{container="main",namespace="` + ns + `"}`:                                         {wellNodes, cluster.StalledTime.Seconds()},
		`deriv(container_network_receive_bytes_total{interface="eth0",namespace="` + ns + `"}[20s])`:                                    {wellNodes, cluster.ReceivedRate},
		`sum by (pod) (container_fs_usage_bytes{container!="",namespace="` + ns + `"}) * on (pod) group_left (node) kube_pod_info` + of: {wellNodes, 2 * (cluster.RootfsBytes + cluster.LogsBytes)},
	} {
		eventually(t, 40*time.Second, func() error { return hasRows(t.Context(), prometheus, query, want.rows, want.value) })
	}
	eventually(t, 10*time.Second, func() error { return prometheus.AllUp(t.Context()) })
}

// hasRows compares the answer to a query: each row with the value, but for what Prometheus extrapolates.
func hasRows(ctx context.Context, p *cluster.Prometheus, query string, rows int, value float64) error {
	samples, err := p.Query(ctx, query)
	if err != nil {
		return err
	}
	if len(samples) != rows {
		return fmt.Errorf("%s has %d rows, want %d: %.1000v", query, len(samples), rows, samples)
	}
	for _, s := range samples {
		if math.Abs(s.Value-value) > value*0.05 {
			return fmt.Errorf("%s: %v is %v, want %v", query, s.Metric, s.Value, value)
		}
	}
	return nil
}
