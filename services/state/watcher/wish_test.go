package watcher_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/services/internal/customresource"
	"github.com/headwater-metrics/headwater/services/internal/sim/apiserver"
	"github.com/headwater-metrics/headwater/services/internal/sim/fault"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

var (
	bars   = customKind{stable, "v1", "bars", "bars"}
	theirs = customKind{other, "v1", "foos", "foos"}
)

// configuration is the text of a file that is about these kinds.
func configuration(kinds ...customKind) string {
	text := "kind: CustomResourceStateMetrics\nspec:\n  resources:\n"
	for _, k := range kinds {
		text += fmt.Sprintf("  - groupVersionKind: {group: %s, version: %q, kind: %s}\n", k.group, k.version, kindOf(k.plural))
	}
	if len(kinds) == 0 {
		text += "    []\n"
	}
	return text
}

// configMap is a folder with a file as the kubelet mounts a ConfigMap: links through a link that is replaced as a whole.
type configMap struct {
	testing.TB
	dir  string
	sets int
}

func newConfigMap(t testing.TB, text string) *configMap {
	t.Helper()
	c := &configMap{TB: t, dir: t.TempDir()}
	c.set(text)
	if err := os.Symlink(filepath.Join("..data", "crs.yaml"), c.path("crs.yaml")); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *configMap) path(name string) string { return filepath.Join(c.dir, name) }

func (c *configMap) set(text string) {
	c.Helper()
	c.sets++
	version := fmt.Sprintf("..%d", c.sets)
	err := errors.Join(
		os.Mkdir(c.path(version), 0o755), os.WriteFile(filepath.Join(c.dir, version, "crs.yaml"), []byte(text), 0o644),
		os.Symlink(version, c.path("..new")), os.Rename(c.path("..new"), c.path("..data")),
	)
	if err != nil {
		c.Fatal(err)
	}
}

// following makes the service follow a file.
func following(path string) func(*watcher.Config) {
	return func(c *watcher.Config) { c.CustomResourceState.ConfigFile = path }
}

// becomes waits until a metric has a value.
func (r *run) becomes(want float64, name string, labels ...string) {
	r.t.Helper()
	testenv.Eventually(r.t, patience, func() error {
		if got := r.metric(name, labels...); got != want {
			return fmt.Errorf("%s %v is %v, want %v", name, labels, got, want)
		}
		return nil
	})
}

// right checks what a consumer that has followed the log must never have seen.
func (v *view) right(t *testing.T) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, wrong := range v.wrong {
		t.Error(wrong)
	}
}

// TestTheConfigurationIsFollowed: kinds that are wanted newly come, those that aren't any more go, and no other is touched.
func TestTheConfigurationIsFollowed(t *testing.T) {
	w := newWorld(t)
	w.populate(10)
	for _, kind := range []customKind{foos, bars, theirs} {
		w.define(kind.group, kind.plural, "v1")
		w.put(custom(kind, "a", "x"), custom(kind, "b", "y"))
	}
	follower := w.follow()
	file := newConfigMap(t, configuration(foos))
	w.wanted = []customKind{foos}
	s := w.start(following(file.path("crs.yaml")), nodesOnly)
	s.isReady()
	w.isTrue(builtIn)
	s.becomes(1, "headwater_state_config_last_reload_successful")
	if s.metric("headwater_state_config_last_reload_success_timestamp_seconds") < float64(time.Now().Add(-time.Hour).Unix()) {
		t.Error("it isn't told when the file was read")
	}

	// want changes the file, and checks that what it doesn't change is not asked for again.
	reloads := 0.0
	want := func(events int, kinds ...customKind) {
		t.Helper()
		untouched := map[string]*atomic.Int64{"/nodes": w.requests("/nodes")}
		for _, kind := range kinds {
			if part := kind.group + "/v1/" + kind.plural; slices.Contains(w.wanted, kind) {
				untouched[part] = w.requests(part)
			}
		}
		if slices.Contains(kinds, theirs) == slices.Contains(w.wanted, theirs) {
			untouched["their definition"] = w.requests("foos." + other)
		}
		before := w.last()
		w.wanted = kinds
		file.set(configuration(kinds...))
		reloads++
		s.becomes(reloads, "headwater_state_config_reloads_total", "result", "success")
		w.isTrue(builtIn)
		for _, kind := range []customKind{foos, bars, theirs} {
			w.watched(kind, slices.Contains(kinds, kind))
			available := 0.0
			if slices.Contains(kinds, kind) {
				available = 1
			}
			s.becomes(available, "headwater_state_resource_available", "resource", kind.plural+"."+kind.group)
		}
		if after := w.last(); int(after-before) != events {
			t.Errorf("the log went from %d to %d, want %d events", before, after, events)
		}
		for what, n := range untouched {
			if n.Load() > 0 {
				t.Errorf("%d requests for %s", n.Load(), what)
			}
		}
	}
	want(2, foos, bars)
	want(4, bars, theirs)
	want(2, foos, bars, theirs)
	want(2, foos, bars)
	w.change(foos, "a", "x")
	w.isTrue(builtIn)

	// Without any, the definitions aren't watched either.
	want(4)
	testenv.Eventually(t, patience, func() error {
		if n := w.store.Watches(apiserver.Definitions()); n != 0 {
			return fmt.Errorf("the definitions have %d watches", n)
		}
		return nil
	})
	s.becomes(0, "headwater_state_resource_available", "resource", definitions)
	want(2, theirs)
	if s.metric("headwater_state_resource_available", "resource", definitions, "reason", "") != 1 {
		t.Error("the definitions don't count as available again")
	}
	if n := s.metric("headwater_state_terms_total"); n != 0 || !s.Leading() {
		t.Errorf("%v terms have ended", n)
	}
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
	follower.right(t)
}

// watched waits until a custom resource is watched, once, or not at all.
func (w *world) watched(kind customKind, want bool) {
	w.t.Helper()
	testenv.Eventually(w.t, patience, func() error {
		if n := w.store.Watches(w.store.CustomResource(kind.group, kind.version, kind.plural)); n > 1 || (n == 1) != want {
			return fmt.Errorf("%s %s of %s has %d watches, want any: %v", kind.plural, kind.version, kind.group, n, want)
		}
		return nil
	})
}

// TestVersionsAreWanted: a version that is wanted no more goes, and another may take its place on the log.
func TestVersionsAreWanted(t *testing.T) {
	w := newWorld(t)
	newer := customKind{stable, "v2", "foos", "foos"}
	w.define(stable, "foos", "v1", "v2")
	w.put(custom(foos, "a", "x"))
	follower := w.follow()
	file := newConfigMap(t, configuration(foos))
	w.wanted = []customKind{foos}
	s := w.start(following(file.path("crs.yaml")), nodesOnly)
	s.isReady()
	w.isTrue()
	file.set(configuration(foos, newer))
	w.wanted = []customKind{newer, {stable, "v1", "foos", "foos.v1"}}
	w.isTrue()
	file.set(configuration(newer))
	w.wanted = []customKind{newer}
	w.isTrue()
	w.watched(newer, true) // once, whatever its version
	file.set(configuration(foos))
	w.wanted = []customKind{foos}
	w.isTrue()
	follower.right(t)
}

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) have(text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !strings.Contains(l.text.String(), text) {
		return fmt.Errorf("%q isn't logged", text)
	}
	return nil
}

// TestABadConfigurationChangesNothing: it is said where it is bad, and what was wanted stays so.
func TestABadConfigurationChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.wanted = []customKind{foos}
	w.define(stable, "foos", "v1")
	w.put(custom(foos, "a", "x"))
	file := newConfigMap(t, configuration(foos))
	path := file.path("crs.yaml")
	logged := &lines{}
	s := w.start(following(path), nodesOnly, func(c *watcher.Config) {
		c.CustomResourceState.ContinueWithoutFile = true // for a missing one at the start alone
		c.Log = slog.New(slog.NewJSONHandler(logged, nil))
	})
	s.isReady()
	w.isTrue()
	asked := w.requests("/v1/foos")
	failures := 0.0
	bad := func(want string) {
		t.Helper()
		failures++
		s.becomes(failures, "headwater_state_config_reloads_total", "result", "failure")
		s.becomes(0, "headwater_state_config_last_reload_successful")
		testenv.Eventually(t, patience, func() error { return logged.have(want) })
		w.change(foos, "a", "x")
		w.isTrue()
	}
	for text, want := range map[string]string{
		"spec:\n  resources:\n  - groupVersionKind: {kind: Foo}\n": path + ":3: spec.resources[0].groupVersionKind.group: ",
		"spec:\n  resources: []\n  resourcen: []\n":                path + ":3: spec.resourcen: ",
		"kind: Deployment\nspec: {}\n":                             path + ":1: kind: ",
		"spec: [\n":                                                path + ":",
		"\x00":                                                     path + ":",
		"":                                                         path + ":1: the configuration of custom resources is empty",
		configuration(foos, bars) + "    metrics: [{each: {type: []}}]": path + ":6: spec.resources[1].metrics[0].each.type: ",
	} {
		file.set(text)
		bad(want)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	bad("no such file or directory; check --custom-resource-state-config-file")
	if n := asked.Load(); n > 0 {
		t.Errorf("%d requests for foos", n)
	}
	// Back, as it was: there is nothing to do, but all is well.
	if err := os.WriteFile(path, []byte(configuration(foos)), 0o644); err != nil {
		t.Fatal(err)
	}
	s.becomes(1, "headwater_state_config_last_reload_successful")
	s.becomes(1, "headwater_state_config_reloads_total", "result", "success")
	w.define(stable, "bars", "v1")
	w.put(custom(bars, "a", "x"))
	if err := os.WriteFile(path, []byte(configuration(foos, bars)), 0o644); err != nil {
		t.Fatal(err)
	}
	w.wanted = []customKind{foos, bars}
	w.isTrue()
	if n := asked.Load(); n > 0 {
		t.Errorf("%d requests for foos", n)
	}
}

// TestTheConfigurationAtTheStart: bad is an error, and missing too, unless it may be missing.
func TestTheConfigurationAtTheStart(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "crs.yaml")
	begin := func(change ...func(*watcher.Config)) error {
		c := watcher.DefaultConfig()
		c.Conn, c.Rest, c.Streams.Cluster = w.conn, w.front.rest(), cluster
		for _, f := range append(change, following(path)) {
			f(&c)
		}
		_, err := watcher.New(c)
		return err
	}
	mayBeMissing := func(c *watcher.Config) { c.CustomResourceState.ContinueWithoutFile = true }
	if err := begin(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--custom-resource-state-config-file") {
		t.Errorf("missing: %v", err)
	}
	if err := begin(mayBeMissing); err != nil {
		t.Errorf("may be missing: %v", err)
	}
	if err := begin(func(c *watcher.Config) { c.CustomResourceState.Config = configuration(foos) }); err != nil {
		t.Errorf("the flag comes before the file: %v", err)
	}
	if err := begin(func(c *watcher.Config) { c.CustomResourceState.Config = "spec: []" }); err == nil || !strings.HasPrefix(err.Error(), "--custom-resource-state-config:1: ") {
		t.Errorf("a bad flag: %v", err)
	}
	if err := os.WriteFile(path, []byte("spec:\n  resource: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := begin(mayBeMissing); err == nil || !strings.Contains(err.Error(), path+":2: spec.resource: ") {
		t.Errorf("bad: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}

	// Without the file, it is as without custom resources, but for those of the other flag; then it comes.
	w.define(stable, "foos", "v1")
	w.define(other, "foos", "v1")
	w.put(custom(foos, "a", "x"), custom(theirs, "a", "x"))
	asked := w.requests("apiextensions")
	s := w.start(following(path), mayBeMissing, nodesOnly)
	s.isReady()
	w.isTrue()
	s.becomes(1, "headwater_state_config_last_reload_successful")
	if n := asked.Load(); n > 0 {
		t.Errorf("%d requests for definitions, though none are wanted", n)
	}
	if err := os.WriteFile(path, []byte("spec: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.becomes(0, "headwater_state_config_last_reload_successful")
	if err := os.WriteFile(path, []byte(configuration(foos)), 0o644); err != nil {
		t.Fatal(err)
	}
	w.wanted = []customKind{foos}
	w.isTrue()
	s.stop()

	s = w.start(following(path), watching("*."+other), nodesOnly)
	s.isReady()
	w.wanted = []customKind{foos, theirs}
	w.isTrue()
	if err := os.WriteFile(path, []byte(configuration()), 0o644); err != nil {
		t.Fatal(err)
	}
	w.wanted = []customKind{theirs}
	w.isTrue()
}

// TestWishesWhileDefinitionsAreAway: what isn't wanted any more needs no definition to go; what is, waits for it.
func TestWishesWhileDefinitionsAreAway(t *testing.T) {
	w := newWorld(t)
	w.define(stable, "foos", "v1")
	w.define(other, "foos", "v1")
	w.put(custom(foos, "a", "x"), custom(theirs, "a", "x"))
	follower := w.follow()
	w.wanted = []customKind{foos, theirs}
	file := newConfigMap(t, configuration(foos, theirs))
	s := w.start(following(file.path("crs.yaml")), nodesOnly)
	s.isReady()
	w.isTrue()
	away := func() func() {
		return w.api.Bend(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "customresourcedefinitions") }, fault.Status(http.StatusInternalServerError))
	}
	// They can't be read: bars must wait, foos go, the others go on.
	w.define(stable, "bars", "v1")
	w.put(custom(bars, "a", "x"))
	mend := away()
	file.set(configuration(theirs))
	w.holds(foos, 0)
	file.set(configuration(bars, theirs))
	s.becomes(0, "headwater_state_resource_available", "resource", definitions)
	s.becomes(2, "headwater_state_config_reloads_total", "result", "success")
	w.change(theirs, "a", "x")
	w.wanted = []customKind{theirs}
	w.isTrue()
	// What can't be read isn't wanted any more, so nothing is wrong.
	file.set(configuration(theirs))
	s.becomes(1, "headwater_state_resource_available", "resource", definitions)
	s.becomes(0, "headwater_state_unusable_definitions")
	file.set(configuration(bars, theirs))
	s.becomes(2, "headwater_state_unusable_definitions") // of the group, whose kinds aren't known by their names
	mend()
	w.wanted = []customKind{theirs, bars}
	w.isTrue()
	s.becomes(1, "headwater_state_resource_available", "resource", definitions)
	s.stop()

	// Nobody has listed them yet, so that what the log has is held.
	defer away()()
	s = w.start(following(file.path("crs.yaml")), nodesOnly)
	s.becomes(1, "headwater_state_leader")
	file.set(configuration(bars))
	w.holds(theirs, 0)
	w.holds(bars, 1)
	file.set(configuration())
	w.holds(bars, 0)
	s.isReady() // it waits for no definitions any more
	follower.right(t)
}

// TestStandbyFollowsTheConfiguration: what one who stands by wants is what is wanted when it takes over.
func TestStandbyFollowsTheConfiguration(t *testing.T) {
	w := newWorld(t)
	w.put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	w.define(stable, "foos", "v1")
	w.define(stable, "bars", "v1")
	w.put(custom(foos, "a", "x"), custom(bars, "a", "x"))
	file := newConfigMap(t, configuration(foos))
	elect := func(c *watcher.Config) {
		c.LeaderElection = watcher.LeaderElection{Enabled: true, RetryPeriod: 50 * time.Millisecond}
	}
	first := w.start(following(file.path("crs.yaml")), nodesOnly, elect)
	first.isReady()
	second := w.start(following(file.path("crs.yaml")), nodesOnly, elect)
	second.isReady()
	file.set(configuration(bars))
	w.wanted = []customKind{bars}
	w.isTrue(builtIn)
	second.becomes(1, "headwater_state_config_reloads_total", "result", "success")
	before := w.last()
	first.stop()
	testenv.Eventually(t, patience, func() error {
		if !second.Leading() {
			return errors.New("nobody leads")
		}
		return second.Ready()
	})
	w.watched(bars, true)
	w.watched(foos, false)
	if after := w.last(); after != before {
		t.Errorf("nothing has changed, but the takeover took the log from %d to %d", before, after)
	}
	file.set(configuration(foos))
	w.wanted = []customKind{foos}
	w.isTrue(builtIn)
}

// TestWishesWhileNATSIsAway: what is wanted changes while nothing can be written.
func TestWishesWhileNATSIsAway(t *testing.T) {
	w := newWorld(t)
	w.define(stable, "foos", "v1")
	w.define(stable, "bars", "v1")
	for i := range 20 {
		w.put(custom(foos, "a", fmt.Sprint("x", i)), custom(bars, "a", fmt.Sprint("x", i)))
	}
	s := w.start(nodesOnly)
	s.WantCustomResources(patterns(foos))
	s.isReady()
	w.holds(foos, 20)
	w.nats.stop()
	s.WantCustomResources(patterns(bars))
	w.watched(foos, false)
	w.watched(bars, true)
	s.WantCustomResources(patterns(foos, bars))
	w.watched(foos, true)
	s.WantCustomResources(patterns(bars))
	w.watched(foos, false)
	w.nats.start()
	w.wanted = []customKind{bars}
	w.isTrue()
	if n := s.metric("headwater_state_terms_total"); n != 0 {
		t.Errorf("%v terms have ended", n)
	}
}

// patterns are what a configuration is about.
func patterns(kinds ...customKind) []customresource.Pattern {
	var all []customresource.Pattern
	for _, k := range kinds {
		all = append(all, customresource.Pattern{Group: k.group, Version: k.version, Kind: kindOf(k.plural)})
	}
	return all
}

// TestChurnOfWishes changes what is wanted from several sides at once, while definitions and objects come and go, under a
// consumer that never stops.
func TestChurnOfWishes(t *testing.T) {
	w := newWorld(t)
	w.put(node("n"))
	all := []customKind{foos, bars, theirs}
	for _, kind := range all {
		w.define(kind.group, kind.plural, "v1")
		w.put(custom(kind, "a", "always"))
	}
	follower := w.follow()
	s := w.start(nodesOnly)
	var churning sync.WaitGroup
	for side := range 3 {
		churning.Go(func() {
			random := rand.New(rand.NewPCG(uint64(side), 1))
			for range 40 {
				var some []customKind
				for _, kind := range all {
					if random.IntN(2) == 0 {
						some = append(some, kind)
					}
				}
				s.WantCustomResources(patterns(some...))
				kind := all[side]
				if _, err := w.store.Put(custom(kind, "a", fmt.Sprint("x", random.IntN(5)))); err != nil {
					t.Error(err)
				}
				if random.IntN(8) == 0 {
					if _, err := w.store.Delete(apiserver.Definitions(), "", kind.plural+"."+kind.group, ""); err != nil {
						t.Error(err)
					}
					if _, err := w.store.Put(definitionOf(kind.group, kind.plural, "v1")); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	churning.Wait()
	for _, kinds := range [][]customKind{{foos, theirs}, {bars}, {foos, bars, theirs}} {
		s.WantCustomResources(patterns(kinds...))
		w.wanted = kinds
		s.isReady()
		want := w.isTrue(builtIn)
		for _, kind := range all {
			w.watched(kind, slices.Contains(kinds, kind))
		}
		testenv.Eventually(t, patience, func() error {
			follower.mu.Lock()
			defer follower.mu.Unlock()
			if diff := cmp.Diff(want.states, follower.states); diff != "" {
				return fmt.Errorf("the follower differs (-log +follower):\n%s", diff)
			}
			return nil
		})
	}
	if n := s.metric("headwater_state_terms_total"); n != 0 {
		t.Errorf("%v terms have ended", n)
	}
	follower.right(t)
}

// TestWishesAndTheEndOfTheService: it ends while it reads the file, and leaves nothing behind.
func TestWishesAndTheEndOfTheService(t *testing.T) {
	w := newWorld(t)
	w.define(stable, "foos", "v1")
	file := newConfigMap(t, configuration(foos))
	s := w.start(following(file.path("crs.yaml")), nodesOnly)
	s.isReady()
	file.set(configuration(bars))
	s.stop()
	s.WantCustomResources(patterns(foos)) // after the end: no harm
	w.watched(foos, false)
	testenv.Eventually(t, patience, func() error {
		if n := w.store.Watches(apiserver.Definitions()); n != 0 {
			return fmt.Errorf("the definitions have %d watches", n)
		}
		return nil
	})
}

// TestPaceOfCustomResources: of all versions.
func TestPaceOfCustomResources(t *testing.T) {
	w := newWorld(t)
	w.define(stable, "foos", "v1", "v2")
	w.put(custom(foos, "a", "x"))
	s := w.start(watching("*."+stable), nodesOnly, func(c *watcher.Config) { c.Pace = watcher.Pace{"foos." + stable: 2 * time.Second} })
	s.isReady()
	before, start := w.last(), time.Now()
	for range 50 {
		w.change(foos, "a", "x")
	}
	w.wanted = []customKind{{stable, "v2", "foos", "foos"}, {stable, "v1", "foos", "foos.v1"}}
	w.isTrue()
	took := time.Since(start)
	most := 2 * (int(took/(2*time.Second)) + 1)
	if written := int(w.last() - before); written > most {
		t.Errorf("%d events in %v", written, took)
	}
	if n := int(s.metric("headwater_state_left_out_total", "reason", "paced")); n < 100-most {
		t.Errorf("%d states were left out of 100 in %v", n, took)
	}
}
