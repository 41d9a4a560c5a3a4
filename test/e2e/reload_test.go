package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// volume is a folder as a kubelet makes it of a ConfigMap: its files are links through a link to a folder, and a change makes
// another folder and swaps that link.
type volume struct {
	dir  string
	made int
}

// hold changes all files at once.
func (v *volume) hold(t *testing.T, files map[string]string) {
	t.Helper()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(v.dir, "..data")
	before, _ := os.Readlink(data) // none the first time
	v.made++
	version := fmt.Sprintf("..2026_%d", v.made)
	do(os.Mkdir(filepath.Join(v.dir, version), 0o755))
	for name, text := range files {
		do(os.WriteFile(filepath.Join(v.dir, version, name), []byte(text), 0o644))
	}
	do(os.Symlink(version, data+"_tmp"))
	do(os.Rename(data+"_tmp", data))
	for name := range files {
		if _, err := os.Lstat(v.path(name)); err != nil {
			do(os.Symlink(filepath.Join("..data", name), v.path(name)))
		}
	}
	if before != "" {
		do(os.RemoveAll(filepath.Join(v.dir, before)))
	}
}

func (v *volume) path(name string) string { return filepath.Join(v.dir, name) }

const podsOnly = `
resources:
  pods: {}
metric_denylist:
  ^kube_pod_created$: {}
`

const podsWithLabels = `
resources: {pods: {}, configmaps: {}}
labels_allow_list:
  pods: [app]
`

const widgetSizes = `
kind: CustomResourceStateMetrics
spec:
  resources:
  - groupVersionKind: {group: reload.example.com, version: v1, kind: Widget}
    labelsFromPath: {namespace: [metadata, namespace], name: [metadata, name]}
    metrics:
    - name: size
      help: Size of a widget.
      each: {type: Gauge, gauge: {path: [spec, size]}}
`

const widgetColours = `
kind: CustomResourceStateMetrics
spec:
  resources:
  - groupVersionKind: {group: reload.example.com, version: v1, kind: Widget}
    metricNamePrefix: widget
    labelsFromPath: {namespace: [metadata, namespace], name: [metadata, name]}
    metrics:
    - name: info
      help: A widget.
      each: {type: Info, info: {path: [spec], labelsFromPath: {colour: [colour]}}}
`

// TestReload: the configuration changes in a mounted ConfigMap while the exporter is scraped. Every answer is whole, of one
// configuration or the other; a file that is wrong changes nothing, and the log says where it is wrong.
func TestReload(t *testing.T) {
	w := shared
	w.quiet(t)
	w.customState(t)
	w.define(t, crd(widgetGroup, "widgets", "Widget", "v1"), "widgets."+widgetGroup)
	var objects strings.Builder
	for i := range 5 {
		fmt.Fprintf(&objects, "---\napiVersion: %s/v1\nkind: Widget\nmetadata: {namespace: %s, name: widget-%d}\nspec: {size: %[3]d, colour: blue}\n", widgetGroup, still, i)
	}
	w.put(t, objects.String())

	v := &volume{dir: t.TempDir()}
	const config, custom = "config.yaml", "custom.yaml"
	v.hold(t, map[string]string{config: podsOnly, custom: widgetSizes})
	r := w.replica(t, "exporter", "--cluster="+customCluster, "--usage=false", "--event-counters", "--freshness", "--config="+v.path(config), "--custom-resource-state-config-file="+v.path(custom))
	serve(t, r)

	ofStill := ofNamespaces(still)
	become := func(want map[string]int) (lines []string, took time.Duration) {
		t.Helper()
		took = eventually(t, 30*time.Second, func() (err error) {
			if lines, err = see(ofStill, r.metrics); err != nil {
				return err
			}
			for family, n := range want {
				if got := count(lines, family); got != n {
					return fmt.Errorf("%d series of %s, want %d", got, family, n)
				}
			}
			return nil
		})
		return lines, took
	}
	reloaded := func(all, ofConfig, ofCustom float64) {
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			for _, m := range []struct {
				name, having string
				want         float64
			}{
				{"headwater_exporter_config_last_reload_successful", "", all},
				{"kube_state_metrics_last_config_reload_successful", `filename="` + v.path(config) + `",type="config"`, ofConfig},
				{"kube_state_metrics_last_config_reload_successful", `filename="` + v.path(custom) + `",type="customresourceconfig"`, ofCustom},
			} {
				if got := metric(t, r.telemetry, m.name, m.having); got != m.want {
					return fmt.Errorf("%s{%s} is %v, want %v", m.name, m.having, got, m.want)
				}
			}
			return nil
		})
	}
	says := func(text string) {
		t.Helper()
		eventually(t, 10*time.Second, func() error {
			log, err := os.ReadFile(r.Log())
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(log)) {
				if strings.Contains(line, "level=ERROR") && strings.Contains(line, text) {
					return nil
				}
			}
			return fmt.Errorf("no error in the log has %q", text)
		})
	}
	const pods, labels, created, configMaps, size, info = "kube_pod_info", "kube_pod_labels", "kube_pod_created", "kube_configmap_info", "kube_customresource_size", "widget_info"
	first, _ := become(map[string]int{pods: stillPods, labels: 0, created: 0, configMaps: 0, size: 5, info: 0})
	reloaded(1, 1, 1)
	look := onlook(t, r.metrics, ofStill)

	v.hold(t, map[string]string{config: podsWithLabels, custom: widgetColours})
	second, took := become(map[string]int{pods: stillPods, labels: stillPods, created: stillPods, configMaps: stillConfigMaps + 1, size: 0, info: 5})
	t.Logf("another configuration took effect after %v", took.Round(time.Millisecond))
	reloaded(1, 1, 1)

	v.hold(t, map[string]string{config: "resources: {pods: {}}\nmetric_denylst:\n  ^kube_pod_created$: {}\n", custom: widgetColours})
	reloaded(0, 0, 1)
	says(v.path(config) + ":2: metric_denylst")

	v.hold(t, map[string]string{config: "resources:\n  pods: {}\nmetric_denylist:\n  kube_pod_[: {}\n", custom: widgetColours})
	says(v.path(config) + ":4: metric_denylist")
	reloaded(0, 0, 1)

	v.hold(t, map[string]string{config: podsWithLabels, custom: strings.Replace(widgetSizes, "{path: [spec, size]}", "{path: spec}", 1)})
	reloaded(0, 1, 0)
	says(v.path(custom) + ":10: spec.resources[0].metrics[0].each.gauge.path")
	if n := metric(t, r.telemetry, "headwater_exporter_config_reloads_total", `result="failure"`); n != 3 {
		t.Errorf("%v reloads failed, want 3", n)
	}

	v.hold(t, map[string]string{config: podsOnly, custom: widgetSizes})
	_, took = become(map[string]int{pods: stillPods, labels: 0, created: 0, configMaps: 0, size: 5, info: 0})
	t.Logf("the first configuration took effect again after %v", took.Round(time.Millisecond))
	reloaded(1, 1, 1)
	look.saw(t, "reload", first, second, first)
}
