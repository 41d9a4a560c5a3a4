package watcher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/sim/apiserver"
	"github.com/headwater-metrics/headwater/services/internal/sim/fault"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

const (
	stable      = "stable.example.com"
	other       = "other.example.com"
	definitions = "customresourcedefinitions.apiextensions.k8s.io"
)

// customKind is a version of a custom resource, and what it is called on the log.
type customKind struct{ group, version, plural, resource string }

// foos is the usual one.
var foos = customKind{stable, "v1", "foos", "foos"}

// customTruth adds what the API server has of a custom resource; nothing where it isn't served.
func (w *world) customTruth(kind customKind, all map[string]state) {
	w.t.Helper()
	res := w.store.CustomResource(kind.group, kind.version, kind.plural)
	if res == nil {
		return
	}
	err := w.store.Each(res, "", func(obj runtime.Object) bool {
		m := obj.(metav1.Object)
		subject := schemas.ObjectSubject{Cluster: cluster, Group: kind.group, Resource: kind.resource, Namespace: m.GetNamespace(), Name: m.GetName()}
		all[subject.String()] = state{string(m.GetUID()), m.GetResourceVersion(), kind.version}
		return true
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// define puts the definition of a namespaced custom resource.
func (w *world) define(group, plural string, versions ...string) {
	w.t.Helper()
	w.put(definitionOf(group, plural, versions...))
}

func definitionOf(group, plural string, versions ...string) *apiserver.Custom {
	var all []apiserver.DefinedVersion
	for _, v := range versions {
		name, unserved := strings.CutPrefix(v, "!")
		all = append(all, apiserver.DefinedVersion{Name: name, Unserved: unserved})
	}
	return apiserver.NewDefinition(group, plural, kindOf(plural), true, all...)
}

// kindOf is "Foo" for "foos".
func kindOf(plural string) string {
	return strings.ToUpper(plural[:1]) + strings.TrimSuffix(plural[1:], "s")
}

// undefine deletes a definition, and with it the objects.
func (w *world) undefine(group, plural string) {
	w.t.Helper()
	if _, err := w.store.Delete(apiserver.Definitions(), "", plural+"."+group, ""); err != nil {
		w.t.Fatal(err)
	}
}

// custom is an object of a custom resource.
func custom(kind customKind, namespace, name string) *apiserver.Custom {
	return apiserver.NewCustom(map[string]any{
		"apiVersion": kind.group + "/" + kind.version, "kind": kindOf(kind.plural),
		"metadata": map[string]any{"namespace": namespace, "name": name, "annotations": map[string]any{
			"kubectl.kubernetes.io/last-applied-configuration": "hush", "kept": "yes",
		}},
		"spec":   map[string]any{"replicas": int64(3), "ratio": 0.5},
		"status": map[string]any{"phase": "Ready"},
	})
}

// change changes an object of a custom resource.
func (w *world) change(kind customKind, namespace, name string) {
	w.t.Helper()
	res := w.store.CustomResource(kind.group, kind.version, kind.plural)
	_, err := w.store.Update(res, namespace, name, func(obj runtime.Object) (runtime.Object, error) {
		c := obj.(*apiserver.Custom)
		return c, unstructured.SetNestedField(c.Object, c.GetResourceVersion(), "spec", "touched")
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// watching makes the service watch custom resources.
func watching(names ...string) func(*watcher.Config) {
	return func(c *watcher.Config) {
		for _, name := range names {
			if err := c.CustomResources.Set(name); err != nil {
				panic(err)
			}
		}
	}
}

// nodesOnly leaves the other kinds of the table out, which these tests are not about.
func nodesOnly(c *watcher.Config) { c.Resources = []string{"nodes"} }

// builtIn tells of subjects of the other kinds of the table.
func builtIn(subject string) bool {
	return !strings.Contains(subject, ".nodes.") && !strings.Contains(subject, "example_com")
}

// requests counts the requests for paths that have a part in them, from now on.
func (w *world) requests(part string) *atomic.Int64 {
	var n atomic.Int64
	w.api.Bend(func(r *http.Request) bool {
		if strings.Contains(r.URL.Path, part) {
			n.Add(1)
		}
		return false
	}, nil)
	return &n
}

// holds waits until the log has, and goes on to have, this many objects of a custom resource.
func (w *world) holds(kind customKind, want int) {
	w.t.Helper()
	testenv.Eventually(w.t, patience, func() error { return w.has(kind, want) })
}

func (w *world) has(kind customKind, want int) error {
	v, _ := w.read()
	prefix := strings.TrimSuffix(schemas.ObjectsOfResource(cluster, kind.group, kind.resource), "*.*")
	n := 0
	for subject := range v.states {
		if strings.HasPrefix(subject, prefix) {
			n++
		}
	}
	if n != want {
		return fmt.Errorf("the log has %d objects of %s, want %d: %v", n, kind.resource, want, slices.Sorted(maps.Keys(v.states)))
	}
	return nil
}

func TestCustomResourcesComeAndGo(t *testing.T) {
	for _, streaming := range []bool{true, false} {
		t.Run(fmt.Sprint("streaming=", streaming), func(t *testing.T) {
			w := newWorld(t)
			w.api.OfferWatchList(streaming)
			w.wanted = []customKind{foos}
			w.populate(20)
			follower := w.follow()
			s := w.start(watching("*."+stable), nodesOnly)
			s.isReady()
			w.isTrue(builtIn)
			nodes := w.requests("/nodes")
			for range 2 { // the second time it comes again
				w.define(stable, "foos", "v1")
				w.put(custom(foos, "a", "x"), custom(foos, "a", "y"), custom(foos, "b", "y"))
				w.holds(foos, 3)
				w.isTrue(builtIn)
				w.change(foos, "a", "x")
				w.isTrue(builtIn) // the feed has its watch, and needs no other
				// A change of the definition that changes nothing for its objects leaves their feed alone.
				asked, read := w.requests("/v1/foos"), w.requests("customresourcedefinitions/foos."+stable)
				labelled := definitionOf(stable, "foos", "v1")
				labelled.SetLabels(map[string]string{"new": "label"})
				w.put(labelled)
				testenv.Eventually(t, patience, func() error {
					if read.Load() == 0 {
						return errors.New("the definition isn't read again")
					}
					return nil
				})
				w.change(foos, "b", "y")
				w.isTrue(builtIn)
				if n := asked.Load(); n != 0 {
					t.Errorf("a label of the definition made %d requests for foos", n)
				}
				if _, err := w.store.Delete(w.store.CustomResource(stable, "v1", "foos"), "a", "y", ""); err != nil {
					t.Fatal(err)
				}
				w.isTrue(builtIn)
				if n := s.metric("headwater_state_objects", "resource", "foos."+stable); n != 2 {
					t.Errorf("%v foos are counted, want 2", n)
				}
				if s.metric("headwater_state_resource_available", "resource", "foos."+stable, "reason", "") != 1 {
					t.Error("foos don't count as available")
				}
				w.undefine(stable, "foos")
				w.holds(foos, 0)
				testenv.Eventually(t, patience, func() error {
					if n := s.metric("headwater_state_resource_available", "resource", "foos."+stable); n != 0 {
						return errors.New("foos still count as available")
					}
					return nil
				})
			}
			w.isTrue(builtIn)
			if n := nodes.Load(); n > 0 {
				t.Errorf("that foos came and went made %d requests for nodes", n)
			}
			if err := s.Ready(); err != nil {
				t.Errorf("ready says %v", err)
			}
			follower.mu.Lock()
			defer follower.mu.Unlock()
			for _, wrong := range follower.wrong {
				t.Error(wrong)
			}
		})
	}
}

// TestCustomResourceOnTheLog looks at a message.
func TestCustomResourceOnTheLog(t *testing.T) {
	w := newWorld(t)
	w.define(stable, "foos", "v1", "v1beta1")
	w.put(custom(foos, "a", "x"))
	s := w.start(watching("foos."+stable), nodesOnly)
	s.isReady()
	found := map[string]schemas.ObjectChange{}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := stream.ReplayOnce(ctx, stream.ReplayConfig{Conn: w.conn, Cluster: cluster, Name: "custom", Begin: func() stream.Sink {
		return stream.SinkFunc(func(e stream.Event) error {
			var c schemas.ObjectChange
			if strings.Contains(string(e.Data), "hush") {
				t.Error("what is pruned everywhere was published")
			}
			err := c.Unmarshal(bytes.Clone(e.Data))
			found[e.Subject] = c
			return err
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	for subject, version := range map[string]string{
		"k8s.v1.test.object.stable_example_com.foos.a.x":         "v1",
		"k8s.v1.test.object.stable_example_com.foos_v1beta1.a.x": "v1beta1",
	} {
		c, ok := found[subject]
		resource := "foos"
		if version != "v1" {
			resource += "." + version
		}
		if !ok || c.Group != stable || c.APIVersion != version || c.Kind != "Foo" || c.Resource != resource || c.Namespace != "a" || c.Name != "x" || c.UID == "" {
			t.Errorf("on %s is %+v (%v)", subject, c, ok)
		}
		var got, want customFields
		if err := objects.NewDecoder[customFields]().Decode(c.Object, &got); err != nil {
			t.Fatal(err)
		}
		want.APIVersion, want.Kind = stable+"/"+version, "Foo"
		want.Metadata.Name, want.Metadata.Annotations = "x", map[string]string{"kept": "yes"}
		want.Spec.Replicas, want.Spec.Ratio, want.Status.Phase = 3, 0.5, "Ready"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the object of %s differs (-want +got):\n%s", subject, diff)
		}
	}
}

// customFields is what a test wants to know of an object.
type customFields struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name        string            `json:"name"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		Replicas int     `json:"replicas"`
		Ratio    float64 `json:"ratio"`
	} `json:"spec"`
	Status struct {
		Phase string `json:"phase"`
	} `json:"status"`
}

func TestCustomResourceVersions(t *testing.T) {
	w := newWorld(t)
	w.wanted = []customKind{{stable, "v1beta1", "foos", "foos"}}
	follower := w.follow()
	s := w.start(watching("foos."+stable, "bars.v1."+stable), nodesOnly)
	old := w.wanted[0]
	w.define(stable, "foos", "v1beta1")
	w.put(custom(old, "a", "x"), custom(old, "b", "y"))
	s.isReady()
	w.isTrue()
	// A newer version takes the plural; the object is the same, written anew. The older one is beside it.
	w.define(stable, "foos", "v1beta1", "v1")
	w.wanted = []customKind{foos, {stable, "v1beta1", "foos", "foos.v1beta1"}}
	w.isTrue()
	w.define(stable, "foos", "v1", "v1beta1", "v2alpha1")
	w.wanted = []customKind{foos, {stable, "v1beta1", "foos", "foos.v1beta1"}, {stable, "v2alpha1", "foos", "foos.v2alpha1"}}
	w.isTrue()
	w.change(foos, "a", "x")
	w.isTrue()
	if n := s.metric("headwater_state_objects", "resource", "foos.v2alpha1."+stable); n != 2 {
		t.Errorf("%v objects of the alpha version are counted, want 2", n)
	}
	// A version that is served no more takes its objects with it; the others stay.
	before := w.last()
	w.define(stable, "foos", "v1", "!v1beta1", "v2alpha1")
	w.wanted = []customKind{foos, {stable, "v2alpha1", "foos", "foos.v2alpha1"}}
	w.isTrue()
	if after := w.last(); after != before+2 {
		t.Errorf("2 objects of a version went, but the log went from %d to %d", before, after)
	}
	w.define(stable, "foos", "!v1", "v2alpha1")
	w.wanted = []customKind{{stable, "v2alpha1", "foos", "foos"}}
	w.isTrue()
	// One version alone is wanted of this one.
	w.define(stable, "bars", "v2", "v1")
	w.put(custom(customKind{stable, "v2", "bars", ""}, "a", "x"))
	w.wanted = append(w.wanted, customKind{stable, "v1", "bars", "bars"})
	w.isTrue()
	follower.mu.Lock()
	defer follower.mu.Unlock()
	for _, wrong := range follower.wrong {
		t.Error(wrong)
	}
}

func TestTwoGroupsWithOnePlural(t *testing.T) {
	w := newWorld(t)
	theirs := customKind{other, "v1", "foos", "foos"}
	w.wanted = []customKind{foos, theirs}
	w.define(stable, "foos", "v1")
	w.define(other, "foos", "v1")
	w.define("unwanted.example.com", "foos", "v1")
	w.define(other, "unwanteds", "v1")
	w.put(apiserver.NewDefinition(other, "nodes", "Node", false, apiserver.DefinedVersion{Name: "v1"})) // as a built-in one is called
	cluster := customKind{other, "v1", "nodes", "nodes"}
	w.wanted = append(w.wanted, cluster)
	w.put(custom(foos, "a", "x"), custom(theirs, "a", "x"), custom(cluster, "", "n"), node("n"))
	s := w.start(watching("*."+stable, "foos."+other, "nodes."+other), nodesOnly)
	s.isReady()
	if v := w.isTrue(); len(v.states) != 4 {
		t.Errorf("%d objects, want 4: %v", len(v.states), v.states)
	}
	for group, plural := range map[string]string{"unwanted.example.com": "foos", other: "unwanteds"} {
		if n := w.store.Watches(w.store.CustomResource(group, "v1", plural)); n != 0 {
			t.Errorf("%s.%s has %d watches, but isn't wanted", plural, group, n)
		}
	}
	before := w.last()
	w.undefine(other, "foos")
	w.isTrue()
	if after := w.last(); after != before+1 {
		t.Errorf("one object went, but the log went from %d to %d", before, after)
	}
	// Both are called nodes.
	for name, want := range map[string]float64{"nodes": 1, "nodes." + other: 1, "foos." + stable: 1, "foos." + other: 0} {
		if n := s.metric("headwater_state_objects", "resource", name); n != want {
			t.Errorf("%v objects of %s are counted, want %v", n, name, want)
		}
	}
}

// TestCustomResourcesAreHeld: until the definitions are listed, nobody knows what to delete.
func TestCustomResourcesAreHeld(t *testing.T) {
	w := newWorld(t)
	gone := customKind{stable, "v1", "gones", "gones"}
	w.wanted = []customKind{foos, gone}
	w.define(stable, "foos", "v1")
	w.define(stable, "gones", "v1")
	w.put(custom(foos, "a", "x"), custom(foos, "a", "y"), custom(gone, "a", "x"))
	s := w.start(watching("*."+stable), nodesOnly)
	s.isReady()
	w.isTrue()
	s.stop()
	w.undefine(stable, "gones")
	if _, err := w.store.Delete(w.store.CustomResource(stable, "v1", "foos"), "a", "y", ""); err != nil {
		t.Fatal(err)
	}

	mend := w.api.Bend(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "customresourcedefinitions") }, fault.Status(http.StatusInternalServerError))
	s = w.start(watching("*."+stable), nodesOnly)
	testenv.Eventually(t, patience, func() error {
		if err := s.Ready(); err == nil || err.Error() != "not listed yet: "+definitions+" (error)" {
			return fmt.Errorf("ready says %v", err)
		}
		return nil
	})
	if err := errors.Join(w.has(foos, 2), w.has(gone, 1)); err != nil {
		t.Error(err)
	}
	mend()
	s.isReady()
	w.isTrue()
	s.stop()

	// A kind that isn't listed yet is waited for, as those of the table are.
	mend = w.api.Bend(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/v1/foos") }, fault.Status(http.StatusInternalServerError))
	s = w.start(watching("*."+stable), nodesOnly)
	testenv.Eventually(t, patience, func() error {
		if err := s.Ready(); err == nil || err.Error() != "not listed yet: foos."+stable+" (error)" {
			return fmt.Errorf("ready says %v", err)
		}
		return nil
	})
	if err := w.has(foos, 1); err != nil {
		t.Error(err)
	}
	mend()
	s.isReady()
	w.isTrue()
	s.stop()

	// Without custom resources those of the log are of a kind that isn't watched, and nobody asks for definitions.
	asked := w.requests("apiextensions")
	s = w.start(nodesOnly)
	s.isReady()
	w.holds(foos, 0)
	if n := asked.Load(); n != 0 {
		t.Errorf("definitions were asked for %d times, though none are wanted", n)
	}
	s.stop()

	// One of a group that isn't wanted any more is deleted without waiting for definitions.
	s = w.start(watching("*."+stable), nodesOnly)
	s.isReady()
	w.isTrue()
	s.stop()
	defer w.api.Bend(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "customresourcedefinitions") }, fault.Status(http.StatusInternalServerError))()
	w.start(watching("*."+other), nodesOnly)
	w.holds(foos, 0)
}

func TestDefinitionsForbidden(t *testing.T) {
	for name, verbs := range map[string][]string{"all": nil, "get": {"get"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.wanted = []customKind{foos}
			w.put(node("n"))
			w.define(stable, "foos", "v1")
			w.put(custom(foos, "a", "x"))
			s := w.start(watching("foos."+stable), nodesOnly)
			s.isReady()
			w.isTrue()
			s.stop()
			w.put(custom(foos, "a", "later"))

			w.users.Forbid(definitions, verbs...)
			s = w.start(watching("foos."+stable), nodesOnly)
			s.isReady()
			testenv.Eventually(t, patience, func() error {
				if s.metric("headwater_state_resource_available", "resource", definitions, "reason", "forbidden") != 0 {
					return errors.New("the definitions count as available")
				}
				return nil
			})
			if err := w.has(foos, 1); err != nil {
				t.Error(err)
			}
			if n := s.metric("headwater_state_requests_total", "resource", definitions, "result", "forbidden"); n == 0 {
				t.Error("no request was refused")
			}
			if verbs != nil { // that the definitions can still be watched doesn't make them available
				heard := w.listen()
				since := func() (since int64) {
					testenv.Eventually(t, patience, func() error {
						heard.mu.Lock()
						defer heard.mu.Unlock()
						for _, k := range heard.last.Kinds {
							if k.Resource == "customresourcedefinitions" && k.Reason == "forbidden" {
								since = k.Since
								return nil
							}
						}
						return fmt.Errorf("consumers hear %v", heard.last)
					})
					return since
				}
				before, watched := since(), s.metric("headwater_state_requests_total", "resource", definitions, "verb", "watch", "result", "ok")
				w.store.EndWatches(apiserver.Definitions(), nil)
				testenv.Eventually(t, patience, func() error {
					if s.metric("headwater_state_requests_total", "resource", definitions, "verb", "watch", "result", "ok") == watched {
						return errors.New("the definitions aren't watched again")
					}
					return nil
				})
				w.users.Forbid("nodes") // something else to tell of
				w.store.EndWatches(w.resource("nodes"), nil)
				testenv.Eventually(t, patience, func() error {
					heard.mu.Lock()
					defer heard.mu.Unlock()
					if !strings.Contains(fmt.Sprint(heard.last), "nodes forbidden") {
						return fmt.Errorf("consumers hear %v", heard.last)
					}
					return nil
				})
				if after := since(); after != before {
					t.Errorf("the definitions are forbidden since %d, and later since %d", before, after)
				}
				w.users.Permit("nodes")
			}
			w.users.Permit(definitions)
			w.isTrue()
			testenv.Eventually(t, patience, func() error {
				if s.metric("headwater_state_resource_available", "resource", definitions, "reason", "") != 1 {
					return errors.New("the definitions don't count as available again")
				}
				return nil
			})
		})
	}
}

func TestCustomResourceForbidden(t *testing.T) {
	w := newWorld(t)
	bars := customKind{stable, "v1", "bars", "bars"}
	w.wanted = []customKind{foos, bars}
	w.define(stable, "foos", "v1")
	w.define(stable, "bars", "v1")
	w.put(custom(foos, "a", "x"), custom(bars, "a", "x"))
	w.users.Forbid("foos." + stable)
	s := w.start(watching("*."+stable), nodesOnly)
	s.isReady()
	w.holds(bars, 1)
	if err := w.has(foos, 0); err != nil {
		t.Error(err)
	}
	if s.metric("headwater_state_resource_available", "resource", "foos."+stable, "reason", "forbidden") != 0 {
		t.Error("foos count as available")
	}
	w.users.Permit("foos." + stable)
	w.isTrue()
}

func TestGarbageDefinitions(t *testing.T) {
	w := newWorld(t)
	w.wanted = []customKind{foos}
	garbage := func(name string, fields map[string]any) *apiserver.Custom {
		fields["apiVersion"], fields["kind"] = "apiextensions.k8s.io/v1", "CustomResourceDefinition"
		fields["metadata"] = map[string]any{"name": name}
		return apiserver.NewCustom(fields)
	}
	spec := func(change func(spec map[string]any)) map[string]any {
		d := definitionOf(stable, "odds", "v1")
		change(d.Object["spec"].(map[string]any))
		return map[string]any{"spec": d.Object["spec"]}
	}
	w.put(
		garbage("empty."+stable, map[string]any{}),
		garbage("text."+stable, map[string]any{"spec": "text", "status": int64(1)}),
		garbage("versions."+stable, spec(func(spec map[string]any) { spec["versions"] = map[string]any{"v1": true} })),
		garbage("odds."+stable, spec(func(spec map[string]any) { spec["versions"] = []any{} })),
		garbage("another."+stable, spec(func(map[string]any) {})),
		garbage("names."+stable, spec(func(spec map[string]any) { spec["names"] = []any{nil} })),
		garbage("scopes."+stable, spec(func(spec map[string]any) {
			spec["names"], spec["scope"] = map[string]any{"plural": "scopes", "kind": "Scope"}, "Galaxy"
		})),
		garbage("noname."+stable, spec(func(spec map[string]any) {
			spec["names"], spec["versions"] = map[string]any{"plural": "noname", "kind": "N"}, []any{map[string]any{"served": true}}
		})),
		garbage("nodot", map[string]any{}),
	)
	w.define(stable, "foos", "v1")
	w.put(custom(foos, "a", "x"))
	s := w.start(watching("*."+stable), nodesOnly)
	s.isReady()
	w.isTrue()
	if n := s.metric("headwater_state_unusable_definitions"); n != 8 {
		t.Errorf("%v definitions count as unusable, want 8", n)
	}
	// A good one that goes bad leaves its objects, and its feed, as they are.
	bad := definitionOf(stable, "foos", "v1")
	bad.Object["spec"].(map[string]any)["names"] = "?"
	w.put(bad)
	testenv.Eventually(t, patience, func() error {
		if n := s.metric("headwater_state_unusable_definitions"); n != 9 {
			return fmt.Errorf("%v definitions count as unusable, want 9", n)
		}
		return nil
	})
	w.put(custom(foos, "a", "y"))
	w.isTrue()
	w.define(stable, "foos", "v1")
	testenv.Eventually(t, patience, func() error {
		if n := s.metric("headwater_state_unusable_definitions"); n != 8 {
			return fmt.Errorf("%v definitions count as unusable, want 8", n)
		}
		return nil
	})
	for _, name := range []string{"empty", "text", "versions", "odds", "another", "names", "scopes", "noname"} {
		w.undefine(stable, name)
	}
	testenv.Eventually(t, patience, func() error {
		if n := s.metric("headwater_state_unusable_definitions"); n != 0 {
			return fmt.Errorf("%v definitions count as unusable, want none", n)
		}
		return nil
	})
	w.isTrue()
}

// TestUnestablishedDefinition: a definition counts when the API server serves what it says.
func TestUnestablishedDefinition(t *testing.T) {
	w := newWorld(t)
	w.wanted = []customKind{foos}
	d := definitionOf(stable, "foos", "v1")
	d.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Established", "status": "False"}}}
	w.put(d)
	s := w.start(watching("*."+stable), nodesOnly)
	s.isReady()
	if n := s.metric("headwater_state_requests_total", "resource", "foos."+stable); n != 0 {
		t.Errorf("%v requests for what isn't served", n)
	}
	w.define(stable, "foos", "v1")
	w.put(custom(foos, "a", "x"))
	w.holds(foos, 1)
	w.isTrue()
}

// TestCustomResourceRelists: 410 and 404 in between hide nothing and delete nothing.
func TestCustomResourceRelists(t *testing.T) {
	for _, streaming := range []bool{true, false} {
		t.Run(fmt.Sprint("streaming=", streaming), func(t *testing.T) {
			w := newWorld(t)
			w.api.OfferWatchList(streaming)
			w.wanted = []customKind{foos}
			w.define(stable, "foos", "v1")
			for i := range 30 {
				w.put(custom(foos, "a", fmt.Sprint("x", i)))
			}
			s := w.start(watching("*."+stable), nodesOnly)
			s.isReady()
			w.isTrue()
			before := w.last()
			gone := apierrors.NewResourceExpired("too old resource version").Status()
			isFoos := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/v1/foos") }
			for _, status := range []int{http.StatusGone, http.StatusNotFound} {
				mend := w.api.Bend(isFoos, fault.Status(status))
				refused := w.requests("/v1/foos")
				w.store.Compact()
				if w.store.EndWatches(nil, &gone) == 0 {
					t.Fatal("there were no watches to end")
				}
				testenv.Eventually(t, patience, func() error {
					if n := refused.Load(); n < 2 {
						return fmt.Errorf("%d requests for foos", n)
					}
					return nil
				})
				w.change(foos, "a", "x3")
				mend()
				w.isTrue()
			}
			if after := w.last(); after != before+2 {
				t.Errorf("2 objects were changed, the log went from %d to %d", before, after)
			}
			testenv.Eventually(t, patience, func() error {
				if s.metric("headwater_state_resource_available", "resource", "foos."+stable, "reason", "") != 1 {
					return errors.New("foos don't count as available again")
				}
				return nil
			})
		})
	}
}

// TestTermEndsCustomFeeds: whatever ends a term ends them, and the next begins with the definitions.
func TestTermEndsCustomFeeds(t *testing.T) {
	w := newWorld(t)
	w.wanted = []customKind{foos}
	w.define(stable, "foos", "v1")
	w.put(custom(foos, "a", "x"))
	s := w.start(watching("*."+stable), nodesOnly)
	s.isReady()
	w.isTrue()
	// Another writer ends the term.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	position, err := stream.ReplayOnce(ctx, stream.ReplayConfig{Conn: w.conn, Cluster: cluster, Name: "intruder", Begin: func() stream.Sink {
		return stream.SinkFunc(func(stream.Event) error { return nil })
	}})
	if err != nil {
		t.Fatal(err)
	}
	intruder, err := stream.NewAppender(stream.AppenderConfig{Conn: w.conn, Cluster: cluster, After: position.LogPosition, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer intruder.Close()
	c := schemas.ObjectChange{Operation: schemas.Applied, Group: stable, APIVersion: "v1", Kind: "Foo", Resource: "foos", Namespace: "a", Name: "intruder",
		UID: "u", ResourceVersion: "1", Object: []byte{0x80}}
	if _, err := intruder.Append(schemas.ObjectSubject{Cluster: cluster, Group: stable, Resource: "foos", Namespace: "a", Name: "intruder"}.String(), c.Marshal()); err != nil {
		t.Fatal(err)
	}
	if err := intruder.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	w.put(custom(foos, "a", "y")) // is fenced
	w.isTrue()                    // the next term has deleted the intruder's
	testenv.Eventually(t, patience, func() error {
		if s.metric("headwater_state_terms_total", "reason", "fenced") == 0 {
			return errors.New("no term was fenced")
		}
		if n := w.store.Watches(w.store.CustomResource(stable, "v1", "foos")); n != 1 {
			return fmt.Errorf("foos have %d watches", n)
		}
		return nil
	})
	s.stop()
	testenv.Eventually(t, patience, func() error {
		if n := w.store.Watches(w.store.CustomResource(stable, "v1", "foos")); n != 0 {
			return fmt.Errorf("foos still have %d watches", n)
		}
		if n := w.store.Watches(apiserver.Definitions()); n != 0 {
			return fmt.Errorf("the definitions still have %d watches", n)
		}
		return nil
	})
}

// TestDefinitionChurn lets definitions, versions and objects come and go all at once, under a consumer that never stops.
func TestDefinitionChurn(t *testing.T) {
	w := newWorld(t)
	w.put(node("n"))
	follower := w.follow()
	s := w.start(watching("*."+stable, "foos."+other), nodesOnly)
	s.isReady()
	rounds := 12
	var churning sync.WaitGroup
	for i, kind := range []customKind{foos, {stable, "v1", "bars", "bars"}, {other, "v1", "foos", "foos"}} {
		churning.Go(func() {
			for round := range rounds {
				versions := []string{"v1", "v1beta1", "v2"}[:1+(round+i)%3]
				if _, err := w.store.Put(definitionOf(kind.group, kind.plural, versions...)); err != nil {
					t.Error(err)
				}
				for n := range 5 {
					if _, err := w.store.Put(custom(kind, "a", fmt.Sprint("x", (n+round)%7))); err != nil {
						t.Error(err)
					}
				}
				if round%4 == 3 {
					if _, err := w.store.Delete(apiserver.Definitions(), "", kind.plural+"."+kind.group, ""); err != nil {
						t.Error(err)
					}
				}
			}
			if _, err := w.store.Put(definitionOf(kind.group, kind.plural, "v1", "v2")); err != nil {
				t.Error(err)
			}
			if _, err := w.store.Put(custom(kind, "a", "last")); err != nil {
				t.Error(err)
			}
		})
	}
	churning.Wait()
	for _, kind := range []customKind{foos, {stable, "v1", "bars", "bars"}, {other, "v1", "foos", "foos"}} {
		w.wanted = append(w.wanted, customKind{kind.group, "v2", kind.plural, kind.plural}, customKind{kind.group, "v1", kind.plural, kind.plural + ".v1"})
	}
	want := w.isTrue()
	testenv.Eventually(t, patience, func() error {
		follower.mu.Lock()
		defer follower.mu.Unlock()
		if diff := cmp.Diff(want.states, follower.states); diff != "" {
			return fmt.Errorf("the follower differs (-log +follower):\n%s", diff)
		}
		return nil
	})
	follower.mu.Lock()
	defer follower.mu.Unlock()
	for _, wrong := range follower.wrong {
		t.Error(wrong)
	}
}

// TestStandbyTakesOverCustomResources: who stands by knows what the log has of them.
func TestStandbyTakesOverCustomResources(t *testing.T) {
	w := newWorld(t)
	w.put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	w.wanted = []customKind{foos}
	w.define(stable, "foos", "v1", "!v2")
	w.put(custom(foos, "a", "x"), custom(foos, "a", "y"))
	elect := func(c *watcher.Config) {
		c.LeaderElection = watcher.LeaderElection{Enabled: true, RetryPeriod: 50 * time.Millisecond}
	}
	first := w.start(watching("*."+stable), nodesOnly, elect)
	first.isReady()
	second := w.start(watching("*."+stable), nodesOnly, elect)
	second.isReady()
	w.isTrue(builtIn)
	before := w.last()
	w.define(stable, "foos", "v1", "v2")
	w.wanted = []customKind{{stable, "v2", "foos", "foos"}, {stable, "v1", "foos", "foos.v1"}}
	w.isTrue(builtIn)
	middle := w.last()
	if middle != before+4 {
		t.Errorf("two objects in two versions were due, the log went from %d to %d", before, middle)
	}
	first.stop()
	testenv.Eventually(t, patience, func() error {
		if !second.Leading() {
			return errors.New("nobody leads")
		}
		return second.Ready()
	})
	if after := w.last(); after != middle {
		t.Errorf("nothing has changed, but the takeover took the log from %d to %d", middle, after)
	}
	w.change(foos, "a", "y")
	w.isTrue(builtIn)
}
