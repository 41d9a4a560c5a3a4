package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// customState is a state service that watches custom resources too, of which the one of the world knows nothing. Which ones
// it is told by a flag (widgets) and by the configuration that exporters have (foos).
type customState struct {
	once      sync.Once
	err       error
	telemetry string
	mount     volume // with the configuration, which the exporters have too
}

// path is that of the configuration.
func (c *customState) path() string { return c.mount.path("custom.yaml") }

// hold changes the configuration.
func (c *customState) hold(t *testing.T, text string) {
	t.Helper()
	c.mount.hold(t, map[string]string{"custom.yaml": text})
}

var custom customState

const (
	customCluster = "custom"
	customUser    = "headwater-custom-state"
	widgetGroup   = "reload.example.com"
	fooGroup      = "stable.example.com"
)

const foosConfig = `
kind: CustomResourceStateMetrics
spec:
  resources:
  - groupVersionKind: {group: stable.example.com, version: "*", kind: Foo}
    labelsFromPath: {namespace: [metadata, namespace], name: [metadata, name]}
    metrics:
    - name: size
      help: Size of a foo.
      each: {type: Gauge, gauge: {path: [spec, size]}}
    - name: phase
      help: Phase of a foo.
      each: {type: StateSet, stateSet: {labelName: phase, path: [status, phase], list: [Small, Big]}}
`

// customState starts it, for all tests that need it.
func (w *world) customState(t *testing.T) *customState {
	t.Helper()
	c := &custom
	c.once.Do(func() {
		var kubeconfig string
		var port int
		c.mount.dir = filepath.Join(w.Dir, "custom-mount")
		if c.err = os.Mkdir(c.mount.dir, 0o755); c.err != nil {
			return
		}
		c.hold(t, foosConfig)
		if kubeconfig, c.err = w.KubeconfigFor(customUser, "system:masters"); c.err != nil {
			return
		}
		if c.err = ports(&port); c.err != nil {
			return
		}
		c.telemetry = fmt.Sprintf("http://127.0.0.1:%d", port)
		_, c.err = w.Run(t.Context(), cluster.Spec{Name: "custom-state", Path: binary("state"),
			Args: []string{"--kubeconfig=" + kubeconfig, "--nats-url=" + w.natsURL, "--cluster=" + customCluster, "--objects-max-bytes=268435456",
				"--custom-resources=widgets." + widgetGroup, "--custom-resource-state-config-file=" + c.path(), "--telemetry-address=" + host(c.telemetry)},
			Ready: cluster.HTTPReady(c.telemetry + "/readyz")})
	})
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c
}

// crd is the definition of a kind that takes any fields.
func crd(group, plural, kind string, versions ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[2]s.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: %[2]s, singular: %[4]s, kind: %[3]s}
  versions:
`, group, plural, kind, strings.ToLower(kind))
	for i, v := range versions {
		fmt.Fprintf(&b, "  - {name: %s, served: true, storage: %v, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}\n", v, i == 0)
	}
	return b.String()
}

// define applies definitions, for the time of the test, and waits until the API server serves them.
func (w *world) define(t *testing.T, definition, name string) {
	t.Helper()
	w.apply(t, definition)
	if _, err := w.Kubectl(t.Context(), "wait", "--for=condition=established", "--timeout=3m", "crd/"+name); err != nil {
		t.Fatal(err)
	}
}

// put applies objects as soon as the API server serves their kind, which is a moment after it says so.
func (w *world) put(t *testing.T, objects string) {
	t.Helper()
	eventually(t, 30*time.Second, func() error { return w.Apply(t.Context(), objects) })
}

func foo(name string, size int, phase string) string {
	return fmt.Sprintf("---\napiVersion: stable.example.com/v1\nkind: Foo\nmetadata: {namespace: default, name: %s}\nspec: {size: %d}\nstatus: {phase: %s}\n", name, size, phase)
}

// TestCustomResourcesComeAndGo: a kind is defined, used, deleted and defined anew while everything runs. Its series follow,
// and nothing else notices: the pods' series stand, and the API server is not asked for pods again.
func TestCustomResourcesComeAndGo(t *testing.T) {
	w := shared
	w.quiet(t)
	c := w.customState(t)
	r := w.replica(t, "exporter", "--cluster="+customCluster, "--usage=false", "--custom-resource-state-config-file="+c.path())
	serve(t, r)

	foos := func(body string) []string {
		return filter(body, func(line string) bool { return strings.Contains(line, `customresource_kind="Foo"`) })
	}
	shows := func(want ...string) time.Duration {
		t.Helper()
		for i, line := range want {
			want[i] = strings.Replace(line, "{", `{customresource_group="stable.example.com",customresource_version="v1",customresource_kind="Foo",`, 1)
		}
		slices.Sort(want)
		return eventually(t, 30*time.Second, func() error {
			got, err := see(foos, r.metrics)
			if err == nil {
				err = differ(sortLabels(want), sortLabels(got))
			}
			return err
		})
	}
	series := func(name string, size int, big bool) []string {
		of := fmt.Sprintf(`name="%s",namespace="default"`, name)
		phase := func(of, p string, on bool) string {
			return fmt.Sprintf(`kube_customresource_phase{%s,phase="%s"} %d`, of, p, map[bool]int{true: 1}[on])
		}
		return []string{fmt.Sprintf("kube_customresource_size{%s} %d", of, size), phase(of, "Big", big), phase(of, "Small", !big)}
	}
	if len(w.askedByCustomState(t, 0, "pods")) == 0 {
		t.Fatal("the audit log doesn't show how the state service listed the pods")
	}
	shows()
	pods := onlook(t, r.metrics, ofNamespaces(still))
	place := w.audit.now(t)
	before, err := see(ofNamespaces(still), r.metrics)
	if err != nil {
		t.Fatal(err)
	}

	definition := crd(fooGroup, "foos", "Foo", "v1")
	w.define(t, definition, "foos."+fooGroup)
	w.put(t, foo("a", 1, "Small")+foo("b", 2, "Big")+foo("c", 3, "Small"))
	t.Logf("series appeared %v after the objects", shows(slices.Concat(series("a", 1, false), series("b", 2, true), series("c", 3, false))...).Round(time.Millisecond))

	w.put(t, foo("a", 10, "Big"))
	if _, err := w.Kubectl(t.Context(), "delete", "foo", "c"); err != nil {
		t.Fatal(err)
	}
	shows(slices.Concat(series("a", 10, true), series("b", 2, true))...)

	// A restarted exporter has them from the log.
	restarted := w.replica(t, "later", "--cluster="+customCluster, "--usage=false", "--custom-resource-state-config-file="+c.path())
	serve(t, restarted)
	if err := together(foos, r.metrics, restarted.metrics); err != nil {
		t.Errorf("an exporter that was started later: %v", err)
	}

	if _, err := w.Kubectl(t.Context(), "delete", "crd", "foos."+fooGroup); err != nil {
		t.Fatal(err)
	}
	t.Logf("series were gone %v after kubectl delete crd", shows().Round(time.Millisecond))

	w.define(t, crd(fooGroup, "foos", "Foo", "v1", "v2"), "foos."+fooGroup)
	w.put(t, foo("b", 20, "Small"))
	eventually(t, 30*time.Second, func() error {
		got, err := see(foos, r.metrics)
		if err != nil {
			return err
		}
		for _, version := range []string{"v1", "v2"} {
			if !slices.ContainsFunc(got, func(line string) bool {
				return strings.HasPrefix(line, "kube_customresource_size{") && strings.Contains(line, `customresource_version="`+version+`"`) && strings.HasSuffix(line, " 20")
			}) {
				return fmt.Errorf("no size of version %s: %q", version, got)
			}
		}
		if len(got) != 6 {
			return fmt.Errorf("%d series: %q", len(got), got)
		}
		return nil
	})

	pods.saw(t, "pods", before)
	if again := w.askedByCustomState(t, place, "pods"); len(again) > 0 {
		t.Errorf("the API server was asked for the pods again: %v", again)
	}
	if len(w.askedByCustomState(t, place, "foos")) == 0 {
		t.Error("the audit log doesn't show how the state service listed the foos")
	}
}

// askedByCustomState are the lists of all objects of a kind.
func (w *world) askedByCustomState(t *testing.T, place int64, resource string) []request {
	t.Helper()
	return w.audit.since(t, place, func(q request) bool {
		return q.User.Username == customUser && q.ObjectRef.Resource == resource && q.lists()
	})
}

const gadgetsToo = foosConfig + `
  - groupVersionKind: {group: stable.example.com, version: v1, kind: Gadget}
    metricNamePrefix: gadget
    labelsFromPath: {namespace: [metadata, namespace], name: [metadata, name]}
    metrics:
    - name: size
      help: Size of a gadget.
      each: {type: Gauge, gauge: {path: [spec, size]}}
`

// TestKindComesByConfiguration: a ConfigMap that the state service and the exporter have mounted gets another kind, whose
// objects are there already, and loses it again. Nobody is restarted, and the pods' series stand.
func TestKindComesByConfiguration(t *testing.T) {
	w := shared
	w.quiet(t)
	c := w.customState(t)
	w.define(t, crd(fooGroup, "gadgets", "Gadget", "v1"), "gadgets."+fooGroup)
	var objects strings.Builder
	for i := range 3 {
		fmt.Fprintf(&objects, "---\napiVersion: %s/v1\nkind: Gadget\nmetadata: {namespace: default, name: gadget-%d}\nspec: {size: %[2]d}\n", fooGroup, i)
	}
	w.put(t, objects.String())
	r := w.replica(t, "exporter", "--cluster="+customCluster, "--usage=false", "--custom-resource-state-config-file="+c.path())
	serve(t, r)
	before, err := see(ofNamespaces(still), r.metrics)
	if err != nil {
		t.Fatal(err)
	}
	look := onlook(t, r.metrics, ofNamespaces(still))
	place := w.audit.now(t)
	sizes := func(want int) time.Duration {
		t.Helper()
		return eventually(t, 30*time.Second, func() error {
			lines, err := see(everything, r.metrics)
			if n := count(lines, "gadget_size"); err == nil && n != want {
				err = fmt.Errorf("%d gadgets, want %d", n, want)
			}
			return err
		})
	}
	loaded := func(want float64) {
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			for url, name := range map[string]string{c.telemetry: "headwater_state_config_last_reload_successful", r.telemetry: "headwater_exporter_config_last_reload_successful"} {
				if got := metric(t, url, name); got != want {
					return fmt.Errorf("%s is %v, want %v", name, got, want)
				}
			}
			return nil
		})
	}
	t.Cleanup(func() { c.hold(t, foosConfig) })
	sizes(0)
	loaded(1)
	c.hold(t, gadgetsToo)
	t.Logf("series of a kind appeared %v after the configuration", sizes(3).Round(time.Millisecond))
	loaded(1)
	c.hold(t, strings.Replace(gadgetsToo, "kind: Gadget}", "knd: Gadget}", 1))
	loaded(0)
	sizes(3)
	c.hold(t, gadgetsToo)
	loaded(1)
	if n := len(w.askedByCustomState(t, place, "gadgets")); n != 1 {
		t.Errorf("the gadgets were listed %d times, want once", n)
	}
	c.hold(t, foosConfig)
	t.Logf("they were gone %v after it was changed back", sizes(0).Round(time.Millisecond))
	loaded(1)
	look.saw(t, "pods", before)
	if again := w.askedByCustomState(t, place, "pods"); len(again) > 0 {
		t.Errorf("the API server was asked for the pods again: %v", again)
	}
}

// sortLabels brings the labels of each line into alphabetical order. No value may hold a comma.
func sortLabels(lines []string) []string {
	sorted := make([]string, len(lines))
	for i, line := range lines {
		name, rest, _ := strings.Cut(line, "{")
		labels, value, _ := strings.Cut(rest, "}")
		pairs := strings.Split(labels, ",")
		slices.Sort(pairs)
		sorted[i] = name + "{" + strings.Join(pairs, ",") + "}" + value
	}
	slices.Sort(sorted)
	return sorted
}
