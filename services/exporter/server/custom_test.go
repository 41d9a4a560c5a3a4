package server

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headwater-metrics/headwater/schemas"
	wireobjects "github.com/headwater-metrics/headwater/services/internal/objects"
)

const foos = `
kind: CustomResourceStateMetrics
spec:
  resources:
  - groupVersionKind: {group: stable.example.com, version: "*", kind: Foo}
    labelsFromPath: {name: [metadata, name]}
    metrics:
    - name: size
      help: Size of a foo.
      each: {type: Gauge, gauge: {path: [spec, size]}}
  - groupVersionKind: {group: other.example.com, version: v1, kind: Bar}
    labelsFromPath: {team: [spec, team]}
    metrics:
    - name: size
      help: Size of a bar.
      each: {type: Gauge, gauge: {path: [spec, size]}}
    - name: info
      help: A bar.
      each: {type: Info, info: {path: [spec], labelsFromPath: {name: [name]}}}
`

// thing is a custom resource.
type thing struct {
	gvk    schema.GroupVersionKind
	plural string
	uid    string
	name   string
	spec   map[string]any
}

func foo(version, name string, size int64) thing {
	return thing{schema.GroupVersionKind{Group: "stable.example.com", Version: version, Kind: "Foo"}, "foos", "uid-" + name, name, map[string]any{"size": size}}
}

func bar(name, team string, size int64) thing {
	return thing{schema.GroupVersionKind{Group: "other.example.com", Version: "v1", Kind: "Bar"}, "bars", "uid-" + name, name, map[string]any{"size": size, "team": team, "name": name}}
}

// custom writes changes of custom resources into the log.
func (w *world) custom(operation schemas.Operation, things ...thing) {
	w.Helper()
	for _, o := range things {
		encoder, err := wireobjects.NewEncoder(wireobjects.Custom(o.gvk.GroupVersion().WithResource(o.plural), o.gvk.Kind, true))
		if err != nil {
			w.Fatal(err)
		}
		change, err := encoder.Change(&unstructured.Unstructured{Object: map[string]any{
			"apiVersion": o.gvk.GroupVersion().String(), "kind": o.gvk.Kind,
			"metadata": map[string]any{"namespace": "shop", "name": o.name, "uid": o.uid}, "spec": o.spec,
		}}, operation, time.Now())
		if err != nil {
			w.Fatal(err)
		}
		w.append(subjectOf(&change), change.Marshal())
	}
}

func fooSize(version, name string, size int64) string {
	return fmt.Sprintf(`kube_customresource_size{customresource_group="stable.example.com",customresource_kind="Foo",customresource_version=%q,name=%q} %d`, version, name, size)
}

func barSize(team string, size int64) string {
	return fmt.Sprintf(`kube_customresource_size{customresource_group="other.example.com",customresource_kind="Bar",customresource_version="v1",team=%q} %d`, team, size)
}

func TestCustomResourcesComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.put(pod("a", "1", ""))
	w.custom(schemas.Applied, foo("v1", "one", 1))
	w.start(func(o *Options) { o.Custom.Config = foos })
	w.eventually(fooSize("v1", "one", 1), "# TYPE kube_pod_info gauge", "# HELP kube_customresource_size Size of a foo.")

	// A kind that wasn't there; a version that wasn't, beside the first; a kind that isn't configured.
	else1 := foo("v1", "else", 9)
	else1.gvk.Kind, else1.plural = "Else", "elses"
	second := foo("v1beta1", "one", 2)
	second.plural = "foos.v1beta1"
	w.custom(schemas.Applied, bar("x", "red", 3), second, else1)
	w.eventually(fooSize("v1", "one", 1), fooSize("v1beta1", "one", 2), barSize("red", 3))
	text := w.scrape()
	if n := strings.Count(text, "# TYPE kube_customresource_size "); n != 1 {
		t.Errorf("the family has %d blocks", n)
	}
	w.metric("headwater_exporter_objects", `resource="foos.stable.example.com"`, 1)
	w.metric("headwater_exporter_objects", `resource="foos.v1beta1.stable.example.com"`, 1)
	w.metric("headwater_exporter_objects", `resource="bars.other.example.com"`, 1)
	w.metric("kube_state_metrics_custom_resource_state_cache", "", 3)
	if _, body := w.get("/metrics?resources=bars.other.example.com"); !strings.Contains(string(body), barSize("red", 3)) || strings.Contains(string(body), "stable.example.com") || strings.Contains(string(body), "kube_pod") {
		t.Errorf("%s", body)
	}
	if _, body := w.get("/"); !strings.Contains(string(body), "foos.v1beta1.stable.example.com") {
		t.Errorf("the landing page: %s", body)
	}

	// The resource changes its version: its objects are of one only.
	w.custom(schemas.Applied, foo("v2", "one", 5))
	w.eventually(fooSize("v2", "one", 5), "!"+fooSize("v1", "one", 1), fooSize("v1beta1", "one", 2))
	w.custom(schemas.Deleted, foo("v2", "one", 0), second, bar("x", "", 0))
	w.eventually("!kube_customresource_size", "!# TYPE kube_customresource_size", "# TYPE kube_pod_info gauge")
	w.custom(schemas.Applied, foo("v1", "two", 7))
	w.eventually(fooSize("v1", "two", 7))
	w.scrape()
	lintSelfMetrics(t, w.registry)
}

func TestCustomResourcesAlone(t *testing.T) {
	w := newWorld(t)
	w.put(pod("a", "1", ""))
	w.report(schemas.UsageSample{Node: "n", Time: time.Now().UnixNano(), Point: &schemas.Point{CPU: 1}})
	w.custom(schemas.Applied, foo("v1", "one", 1))
	w.start(func(o *Options) { o.Custom.Config, o.Custom.Only = foos, true })
	w.eventually(fooSize("v1", "one", 1), "!kube_pod", "!node_cpu")
	w.scrape()
}

func TestTheFilterOfFamiliesIsForCustomResourcesToo(t *testing.T) {
	w := newWorld(t)
	w.custom(schemas.Applied, bar("x", "red", 1), foo("v1", "one", 1))
	w.start(func(o *Options) {
		o.Custom.Config, o.Collector.Deny, o.Collector.NamespacesDenylist = foos, []string{"_size$"}, []string{"bank"}
	})
	w.eventually("!kube_customresource_size", `kube_customresource_info{customresource_group="other.example.com",customresource_kind="Bar",customresource_version="v1",name="x",team="red"} 1`)
}

func TestTheFileOfCustomResourcesIsReadAgain(t *testing.T) {
	w := newWorld(t)
	w.put(pod("a", "1", ""))
	w.custom(schemas.Applied, foo("v1", "one", 1), bar("x", "red", 3))
	folder := t.TempDir()
	path, config := filepath.Join(folder, "custom.yaml"), filepath.Join(folder, "config.yaml")
	write(t, config, "resources: [pods]\n")
	w.start(func(o *Options) { o.ConfigFile, o.Custom.ConfigFile, o.Custom.ContinueWithoutFile = config, path, true })
	w.eventually("!kube_customresource", "# TYPE kube_pod_info gauge")
	write(t, path, foos)
	w.served(2)
	w.eventually(fooSize("v1", "one", 1), barSize("red", 3))
	w.metric("kube_state_metrics_last_config_reload_successful", `type="customresourceconfig"`, 1)
	write(t, path, strings.Replace(foos, "name: size", "name: size\n      hepl: x", 1))
	w.metric("kube_state_metrics_last_config_reload_successful", `type="customresourceconfig"`, 0)
	w.metric("kube_state_metrics_last_config_reload_successful", `type="config"`, 1)
	write(t, path, strings.Replace(foos, "type: Gauge", "type: Gouge", 1))
	w.metric("headwater_exporter_config_reloads_total", `result="failure"`, 2)
	w.eventually(fooSize("v1", "one", 1), barSize("red", 3))
	w.served(2)
	write(t, path, strings.Replace(foos, "name: size", "name: length", 1))
	w.served(3)
	w.eventually("!"+fooSize("v1", "one", 1), barSize("red", 3))
	// The file of --config names another one, which is watched from then on.
	other := filepath.Join(t.TempDir(), "other.yaml")
	write(t, other, foos)
	write(t, config, "resources: [pods]\ncustom_resource_state_config_file: "+other+"\n")
	w.served(4)
	w.eventually(fooSize("v1", "one", 1))
	write(t, other, "spec: {}\n")
	w.served(5)
	w.eventually("!kube_customresource", "# TYPE kube_pod_info gauge")
}

func TestOneOfTwoObjectsHasASeries(t *testing.T) {
	w := newWorld(t)
	w.start(func(o *Options) { o.Custom.Config = foos })
	w.ready()
	w.custom(schemas.Applied, bar("a", "red", 1), bar("b", "red", 2), bar("c", "blue", 3), bar("d", "red", 4))
	info := func(name, team string) string {
		return fmt.Sprintf(`kube_customresource_info{customresource_group="other.example.com",customresource_kind="Bar",customresource_version="v1",name=%q,team=%q} 1`, name, team)
	}
	// What is told apart is there of all.
	w.eventually(barSize("red", 1), barSize("blue", 3), info("a", "red"), info("b", "red"), info("d", "red"))
	w.metric("headwater_exporter_odd_events_total", `reason="duplicate_series"`, 2)
	w.custom(schemas.Applied, bar("b", "red", 5)) // still the second one
	w.metric("headwater_exporter_odd_events_total", `reason="duplicate_series"`, 3)
	w.eventually(barSize("red", 1))
	w.custom(schemas.Applied, bar("a", "green", 1)) // it gives the series up
	w.eventually(barSize("green", 1), barSize("red", 5))
	w.custom(schemas.Applied, bar("a", "red", 6)) // and comes too late to have it back
	w.custom(schemas.Deleted, bar("b", "", 0))
	w.eventually(barSize("red", 4), "!"+barSize("green", 1), info("a", "red"), info("d", "red"), "!"+info("b", "red"))
	w.custom(schemas.Deleted, bar("d", "", 0))
	w.eventually(barSize("red", 6), info("a", "red"))
	w.custom(schemas.Deleted, bar("c", "", 0), bar("a", "", 0))
	w.eventually("!kube_customresource")
	w.scrape()
	view := w.service.editions.serving.Load().view.Load()
	r := view.custom.rivals
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.owners)+len(r.waiting)+len(r.objects) > 0 {
		t.Errorf("%d owners, %d waiting, %d objects are left", len(r.owners), len(r.waiting), len(r.objects))
	}
}
