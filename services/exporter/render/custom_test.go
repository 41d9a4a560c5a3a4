package render

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
)

const crs = `
kind: CustomResourceStateMetrics
spec:
  resources:
  - groupVersionKind: {group: example.com, kind: Widget}
    labelsFromPath: {name: [metadata, name]}
    metrics:
    - {name: widget_info, help: About a widget., each: {type: Info, info: {path: [spec], labelsFromPath: {color: [color]}}}}
    - {name: widget_size, help: Its size., each: {type: Gauge, gauge: {path: [spec, size]}}}
  - groupVersionKind: {group: example.com, version: v1, kind: Gadget}
    resourcePlural: gadgetry
    metrics:
    - {name: widget_size, help: Its size., each: {type: Gauge, gauge: {path: [spec, size]}}}
`

const customObjects = `
apiVersion: example.com/v1
kind: Widget
metadata: {name: a, namespace: shop, uid: a, managedFields: [{manager: x}]}
spec: {color: red, size: 5Mi}
---
apiVersion: example.com/v2
kind: WidgetList
items:
- {metadata: {name: b, namespace: shop, uid: b}, spec: {color: "b\\lue", size: big}}
---
apiVersion: example.com/v1
kind: Gadget
metadata: {name: c, uid: c}
spec: {size: 1}
---
apiVersion: example.com/v1
kind: Gadget
metadata: {name: d, uid: d}
spec: {size: 2}
---
apiVersion: example.com/v2
kind: Gadget
metadata: {name: e}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {replicas: 1}
`

func TestCustomResources(t *testing.T) {
	file := filepath.Join(t.TempDir(), "crs.yaml")
	if err := os.WriteFile(file, []byte(crs), 0o600); err != nil {
		t.Fatal(err)
	}
	fromFile := "--custom-resource-state-config-file=" + file
	code, out, errs := run(t, customObjects, fromFile, "-")
	const want = `# HELP kube_customresource_widget_info About a widget.
# TYPE kube_customresource_widget_info gauge
kube_customresource_widget_info{color="red",customresource_group="example.com",customresource_kind="Widget",customresource_version="v1",name="a"} 1
kube_customresource_widget_info{color="b\\lue",customresource_group="example.com",customresource_kind="Widget",customresource_version="v2",name="b"} 1
# HELP kube_customresource_widget_size Its size.
# TYPE kube_customresource_widget_size gauge
kube_customresource_widget_size{customresource_group="example.com",customresource_kind="Widget",customresource_version="v1",name="a"} 5.24288e+06
kube_customresource_widget_size{customresource_group="example.com",customresource_kind="Gadget",customresource_version="v1"} 1
`
	const left = "left out 1 example.com/v2 Gadget, a kind that is not known\n" +
		"left out 1 series that the objects do not say enough for, or say again\n" +
		"left out 1 series of custom resources that another object has too; give them labels that tell the objects apart\n"
	if code != 0 || errs != left || !strings.HasSuffix(out, want) || !strings.Contains(out, `kube_deployment_spec_replicas{namespace="shop",deployment="web"} 1`) {
		t.Errorf("code %d, stderr\n%swant\n%sstdout\n%s", code, errs, left, out)
	}

	code, only, errs := run(t, customObjects, "--custom-resource-state-config="+crs, "--custom-resource-state-config-file=none", "--custom-resource-state-only", "-")
	if code != 0 || only != want || errs != "left out 1 deployments, which the flags leave out\n"+left {
		t.Errorf("code %d, stderr\n%sstdout\n%s", code, errs, only)
	}
	_, openMetrics, _ := run(t, customObjects, fromFile, "--custom-resource-state-only", "--openmetrics", "-")
	if !strings.Contains(openMetrics, "# TYPE kube_customresource_widget info\n") {
		t.Errorf("OpenMetrics\n%s", openMetrics)
	}
	if _, err := strict.OpenMetrics([]byte(openMetrics)); err != nil {
		t.Error(err)
	}

	code, out, errs = run(t, customObjects, fromFile, "--custom-resource-state-only", "--metric-denylist=_size$", "--namespaces=other", "-")
	if code != 0 || out != "" || !strings.Contains(errs, "left out 2 widgets in the namespace shop, which the flags leave out\n") || !strings.Contains(errs, "left out 2 example.com/v1 Gadget, a kind that is not known\n") {
		t.Errorf("code %d, stderr\n%sstdout\n%s", code, errs, out)
	}
	code, out, errs = run(t, customObjects, "--custom-resource-state-config-file="+file+"none", "--continue-without-custom-resource-state-config-file", "-")
	if code != 0 || strings.Contains(out, "customresource") || !strings.Contains(errs, "left out 2 example.com/v1 Gadget, a kind that is not known\n") {
		t.Errorf("code %d, stderr\n%sstdout\n%s", code, errs, out)
	}
}

func TestWrongCustomConfig(t *testing.T) {
	for config, want := range map[string]string{
		"spec: {resource: []}": "--custom-resource-state-config:1: spec.resource: there is no such field; there are resources",
		"spec:\n  resources:\n  - groupVersionKind: {group: example.com}\n    metrics:\n    - name: a\n      each:\n        type: Gauge\n        gauge: {path: ['[x]']}": "--custom-resource-state-config:8: spec.resources[0].metrics[0].each.gauge.path: \"[x]\" looks up",
	} {
		code, out, errs := run(t, "", "--custom-resource-state-config="+config, "-")
		if code != 2 || out != "" || !strings.Contains(errs, want) || !strings.Contains(errs, "--help") {
			t.Errorf("code %d, stderr %q, want %s", code, errs, want)
		}
	}
	if code, _, errs := run(t, "", "--custom-resource-state-config-file=none", "-"); code != 2 || !strings.Contains(errs, "check --custom-resource-state-config-file") {
		t.Errorf("code %d, stderr %q", code, errs)
	}
}

// TestShards renders the same objects as each of three shards: together they have every object once.
func TestShards(t *testing.T) {
	var objects strings.Builder
	for _, name := range strings.Fields("a b c d e f g h i j k l") {
		objects.WriteString("---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: shop, uid: " + name + "}\nspec: {" + map[bool]string{true: "nodeName: n1", false: ""}[name < "e"] + "}\n")
		objects.WriteString("---\napiVersion: example.com/v1\nkind: Widget\nmetadata: {name: " + name + ", uid: w-" + name + "}\nspec: {size: 1}\n")
	}
	count := func(args ...string) (pods, widgets int) {
		code, out, errs := run(t, objects.String(), append(args, "--custom-resource-state-config="+crs, "-")...)
		if code != 0 {
			t.Fatal(errs)
		}
		return strings.Count(out, "\nkube_pod_info{"), strings.Count(out, "\nkube_customresource_widget_size{")
	}
	pods, widgets := 0, 0
	for _, n := range []string{"0", "1", "2"} {
		p, w := count("--total-shards=3", "--shard="+n)
		if p == 12 || w == 12 || p+w == 0 {
			t.Errorf("shard %s has %d pods and %d widgets", n, p, w)
		}
		pods, widgets = pods+p, widgets+w
	}
	if pods != 12 || widgets != 12 {
		t.Errorf("the shards have %d pods and %d widgets", pods, widgets)
	}
	if p, w := count("--resources=pods", "--node=n1"); p != 4 || w != 12 {
		t.Errorf("the node has %d pods; %d widgets", p, w)
	}
	if p, _ := count("--resources=pods", "--track-unscheduled-pods"); p != 8 {
		t.Errorf("%d pods are not scheduled", p)
	}
	if code, _, errs := run(t, "", "--total-shards=2", "--shard=2", "-"); code != 2 || !strings.Contains(errs, "--shard is 2") {
		t.Errorf("code %d, stderr %q", code, errs)
	}
}
