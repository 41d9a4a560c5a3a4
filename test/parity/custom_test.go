package parity

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// version is a version of a CustomResourceDefinition.
func version(name string, served, storage bool) string {
	return fmt.Sprintf("  - {name: %s, served: %t, storage: %t, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}\n", name, served, storage)
}

// definition is a CustomResourceDefinition whose objects may hold anything.
func definition(kind, group, scope string, versions ...string) string {
	singular := strings.ToLower(kind)
	return fmt.Sprintf(`---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]ss.%[2]s}
spec:
  group: %[2]s
  scope: %[3]s
  names: {kind: %[4]s, plural: %[1]ss, singular: %[1]s}
  versions:
%[5]s`, singular, group, scope, kind, strings.Join(versions, ""))
}

// foo is a custom object that has most of what the configurations look at.
func foo(name string, replicas int, more string) string {
	return fmt.Sprintf(`---
apiVersion: example.com/v1
kind: Foo
metadata:
  name: %s
  namespace: shop
  labels: {app: web, team/x: a.b_c}
  annotations: {note: "a \"b\" \\ c\nand more"}
  ownerReferences: [{apiVersion: v1, kind: Node, name: node-b, uid: 11111111-1111-4111-8111-111111111119}]
spec:
  replicas: %d
  version: "1.2"
  size: 3
  flag: true
  list: [a, 1, true]
  nested: {deep: {value: 1.5}}
  single: {on: "true"}
  parts:
  - {name: main, size: 3, weight: 25m, on: true, labels: {app: x, other: y1}, tags: {one: 1}}
  - {name: side, size: "5Gi", labels: {other: z}}
  - {name: none}
%s`, name, replicas, more)
}

const fooStatus = `status:
  phase: Running
  uptime: 43.21
  values: [1, "2", 50%, true, "Unknown", 2026-07-01T00:00:00Z]
  counts: {a: 1, b: "2Ki"}
  single: {name: main, size: 7}
  sub:
    type-a: {ready: 1, active: 3, inner: {value: 4}}
    type-b: {ready: "false", active: 5}
  conditions:
  - {type: Ready, status: "True", reason: Fine, lastTransitionTime: "2026-07-01T00:00:00Z"}
  - {type: Done, status: "False", reason: Odd}
`

const others = `---
apiVersion: example.com/v1
kind: Bar
metadata: {name: one}
spec: {size: 12, mode: fast, replicas: 2}
---
apiVersion: other.example.org/v1
kind: Foo
metadata: {name: namesake, namespace: shop}
spec: {weight: 1e3, members: [a, b, a]}
---
apiVersion: other.example.org/v1
kind: Foo
metadata: {name: namesake, namespace: quiet}
spec: {weight: "7", members: [a]}
`

// definitions are all of them, with two versions of Foo.
var definitions = definition("Foo", "example.com", "Namespaced", version("v1", true, true), version("v1beta1", true, false), version("v1alpha1", false, false)) +
	definition("Bar", "example.com", "Cluster", version("v1", true, true)) +
	definition("Foo", "other.example.org", "Namespaced", version("v1", true, true))

// custom are the pairs of TestCustom, with the mark that each shows of a Foo by name.
func customSettings(t *testing.T) []setting {
	t.Helper()
	flag := func(name string) string {
		file, err := filepath.Abs(filepath.Join("testdata", "custom", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return "--custom-resource-state-config-file=" + file
	}
	some := []string{"configmaps", "nodes"}
	// A shard has no series as soon as all objects that are left happen to have UIDs of the other.
	return []setting{
		{name: "gauges", resources: some, flags: []string{flag("gauges")}},
		{name: "texts", resources: some, flags: []string{flag("texts")}},
		{name: "groups", resources: some, flags: []string{flag("groups")}},
		{name: "custom-only", nothing: true, flags: []string{flag("texts"), "--custom-resource-state-only"}},
		{name: "custom-deny", resources: some, flags: []string{flag("gauges"), "--metric-denylist=part,condition"}},
		{name: "custom-namespace", resources: some, flags: []string{flag("gauges"), "--namespaces=shop,quiet"}},
		{name: "custom-denylist", resources: some, flags: []string{flag("gauges"), "--namespaces-denylist=quiet,kube-system"}},
		{name: "custom-shard-0", nothing: true, resources: some, flags: []string{flag("groups"), "--shard=0", "--total-shards=2"}},
		{name: "custom-shard-1", nothing: true, resources: some, flags: []string{flag("groups"), "--shard=1", "--total-shards=2"}},
	}
}

// TestCustom compares custom resources under three configurations, while their definitions come, change and go.
func TestCustom(t *testing.T) {
	w := shared(t)
	pairs := w.startAll(t, customSettings(t))
	do := func(t *testing.T, args ...string) {
		t.Helper()
		if _, err := w.Kubectl(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	create := func(t *testing.T, manifest string) {
		t.Helper()
		// A definition is a moment ahead of its API.
		var out string
		err := cluster.Eventually(t.Context(), spare, func() (err error) {
			out, err = w.KubectlInput(t.Context(), strings.NewReader(manifest), "create", "-f", "-")
			if err != nil && strings.Contains(err.Error(), "AlreadyExists") {
				err = nil
			}
			return err
		})
		if err != nil {
			t.Fatal(err, out)
		}
	}
	var whole *pair
	var shards []*pair
	for _, p := range pairs {
		switch {
		case p.name == "groups":
			whole = p
		case strings.Contains(p.name, "shard"):
			shards = append(shards, p)
		}
	}
	marks := 0
	// step changes something, makes a Foo that shows that what was before it has been seen, and compares all pairs.
	step := func(name string, there bool, change func(t *testing.T), wants ...want) {
		t.Helper()
		ok := t.Run(name, func(t *testing.T) {
			begin := time.Now()
			change(t)
			if there {
				marks++
				create(t, foo(fmt.Sprintf("mark-%d", marks), marks, fooStatus))
			}
			for _, p := range pairs {
				if there && !slices.Contains(shards, p) {
					p.shows(t, fmt.Sprintf(`="mark-%d"`, marks), true)
				}
				for _, want := range wants {
					if want.pair == p.name {
						p.shows(t, want.text, want.there)
					}
				}
				got := p.agree(t, "")
				p.valid(t)
				t.Logf("%s: %d series of %d families", p.name, len(got.Series), len(families(got)))
			}
			together(t, whole, shards)
			t.Logf("after %v", time.Since(begin).Round(time.Millisecond))
		})
		if !ok {
			t.FailNow()
		}
	}
	step("definitions and objects", true, func(t *testing.T) {
		create(t, definitions)
		create(t, foo("web", 3, fooStatus)+foo("bare", 0, "")+others)
	})
	step("updates", true, func(t *testing.T) {
		do(t, "-n", "shop", "patch", "foos.v1.example.com", "web", "--type=merge", "-p", `{"spec":{"replicas":null,"parts":[{"name":"main","size":9}],"size":"12k"},"status":{"phase":"Pending","sub":{"type-a":null},"counts":7,"conditions":null}}`)
		do(t, "-n", "shop", "patch", "foos.v1.example.com", "bare", "--type=merge", "-p", `{"metadata":{"labels":{"app":null,"b.c":"x"}},"status":{"phase":"Done \"well\"","uptime":"x"}}`)
		do(t, "patch", "bars.example.com", "one", "--type=merge", "-p", `{"spec":{"size":"50%"}}`)
	})
	step("delete and recreate", true, func(t *testing.T) {
		do(t, "-n", "shop", "delete", "foos.v1.example.com", "web")
		create(t, foo("web", 4, fooStatus))
		do(t, "-n", "quiet", "delete", "foos.other.example.org", "namesake")
	})
	step("a new version", true, func(t *testing.T) {
		do(t, "patch", "crd", "foos.example.com", "--type=json", "-p", `[{"op":"add","path":"/spec/versions/-","value":{"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}]`)
	}, want{"texts", `customresource_version="v2"`, true}, want{"groups", `customresource_version="v2"`, true}, want{"gauges", `customresource_version="v2"`, false})
	step("a version no longer served", true, func(t *testing.T) {
		do(t, "patch", "crd", "foos.example.com", "--type=json", "-p", `[{"op":"replace","path":"/spec/versions/1/served","value":false}]`)
	}, want{"texts", `customresource_version="v1beta1"`, false}, want{"groups", `customresource_version="v1beta1"`, false})
	step("a definition goes", false, func(t *testing.T) {
		do(t, "delete", "crd", "foos.example.com", "--timeout=5m")
	}, want{"gauges", `customresource_kind="Foo"`, false}, want{"texts", `customresource_kind="Foo"`, false}, want{"groups", `customresource_version="v2"`, false},
		want{"custom-shard-0", `customresource_version="v2"`, false}, want{"custom-shard-1", `customresource_version="v2"`, false})
	step("a definition comes back", true, func(t *testing.T) {
		create(t, definition("Foo", "example.com", "Namespaced", version("v1", true, true)))
		create(t, foo("web", 5, fooStatus))
	})
	step("all go", false, func(t *testing.T) {
		do(t, "delete", "crd", "foos.example.com", "bars.example.com", "foos.other.example.org", "--timeout=5m")
	}, want{"gauges", "customresource", false}, want{"texts", `bar_size`, false}, want{"groups", "customresource", false})
}

// want is a text that the answers of a pair have, or lack, once both sides know of a change.
type want struct {
	pair, text string
	there      bool
}

// shows waits until both sides have a text in a series of their answers, or lack it.
func (p *pair) shows(t *testing.T, text string, there bool) {
	t.Helper()
	if err := cluster.Eventually(t.Context(), spare, func() error {
		a, err := p.ask(t.Context(), "")
		if err != nil {
			return err
		}
		var errs []error
		for side, answer := range map[string][]byte{"the exporter": a.ours, "kube-state-metrics": a.theirs} {
			has := false
			for line := range strings.Lines(string(answer)) {
				has = has || line[0] != '#' && strings.Contains(line, text)
			}
			if has != there {
				errs = append(errs, fmt.Errorf("%s has %s: %v, want %v", side, text, has, there))
			}
		}
		return errors.Join(errs...)
	}); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
}
