package parity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/internal/promtext"
)

// cell is a setting of the matrix. part tells which of the series without any filter the setting leaves, for the families
// of which the older release can't tell.
type cell struct {
	setting
	part func(key string) bool
}

func in(namespaces ...string) func(key string) bool {
	return func(key string) bool {
		namespace, ok := promtext.Label(key, "namespace")
		return !ok || namespace == "" || slices.Contains(namespaces, namespace)
	}
}

func everySeries(string) bool { return true }

func family(keep func(name string) bool) func(key string) bool {
	return func(key string) bool { return keep(promtext.Name(key)) }
}

var matrix = []cell{
	{setting{name: "plain", plain: true}, everySeries},
	{setting{name: "allow", flags: []string{"--metric-allowlist=kube_pod_info,kube_(deployment|statefulset)_.*replicas,^kube_node(?!_status),_reason$"}}, family(func(name string) bool {
		return strings.HasPrefix(name, "kube_node") && !strings.HasPrefix(name, "kube_node_status") || strings.HasSuffix(name, "_reason")
	})},
	{setting{name: "deny", flags: []string{`--metric-denylist=^kube_.*_created$,kube_pod_(?!info|status|overhead)\w+,(?<!node)_annotations$`}}, family(func(name string) bool {
		return !strings.HasSuffix(name, "_created") && (!strings.HasPrefix(name, "kube_pod_") || strings.HasPrefix(name, "kube_pod_status") || strings.HasPrefix(name, "kube_pod_info"))
	})},
	{setting{name: "opt-in", plain: true, flags: []string{"--metric-opt-in-list=nodeselectors$"}}, everySeries},
	{setting{name: "opt-in-denied", plain: true, flags: []string{"--metric-opt-in-list=kube_pod_nodeselectors,csi", "--metric-denylist=csi_attributes"}}, everySeries},
	{setting{name: "labels", plain: true, flags: []string{
		"--metric-labels-allowlist=pods=[app,edited,team/part],nodes=[*],deployments=[app.kubernetes.io/name,edited],services=[a.b,a-b,a_b],persistentvolumes=[nothing]",
		"--metric-annotations-allowlist=pods=[example.com/text],configmaps=[*],namespaces=[owner]"}}, everySeries},
	{setting{name: "labels-wildcard", plain: true, flags: []string{"--metric-labels-allowlist=pods=[team/part],*=[app,edited]", "--metric-annotations-allowlist=*=[note,a.b]"}}, everySeries},
	// The older release knows no wildcards within a key: it gets the keys that there are.
	{setting{name: "labels-part", plain: true, ours: []string{"--metric-labels-allowlist=pods=[a*b,*/part],services=[*]"},
		peers: []string{"--metric-labels-allowlist=pods=[a.b,a-b,team/part],services=[*]"}}, everySeries},
	{setting{name: "labels-late-star", plain: true, flags: []string{"--metric-labels-allowlist=pods=[app,*],nodes=[nothing]", "--metric-annotations-allowlist=pods=[*,note]"}}, everySeries},
	{setting{name: "namespaces", flags: []string{"--namespaces=shop,quiet"}}, in("shop", "quiet")},
	{setting{name: "one-namespace", flags: []string{"--namespaces=quiet"}}, in("quiet")},
	{setting{name: "namespaces-denylist", flags: []string{"--namespaces-denylist=shop,kube-system"}}, func(key string) bool {
		namespace, _ := promtext.Label(key, "namespace")
		return namespace != "shop" && namespace != "kube-system"
	}},
	{setting{name: "both-namespaces", flags: []string{"--namespaces=shop,quiet", "--namespaces-denylist=quiet"}}, in("shop")},
	{setting{name: "resources", resources: []string{"nodes", "configmaps", "pods", "jobs"}}, family(func(name string) bool {
		return strings.HasPrefix(name, "kube_node_") || strings.HasPrefix(name, "kube_pod_")
	})},
	{setting{name: "node", resources: []string{"pods"}, flags: []string{"--node=node-b"}}, nil},
	{setting{name: "unscheduled", resources: []string{"pods"}, flags: []string{"--track-unscheduled-pods"}}, nil},
}

// startAll starts pairs, several at once, and stops them at the end of the test.
func (w *world) startAll(t *testing.T, settings []setting) []*pair {
	t.Helper()
	pairs, errs := make([]*pair, len(settings)), make([]error, len(settings))
	var wait sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i, s := range settings {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			pairs[i], errs[i] = w.start(t.Context(), s)
		})
	}
	wait.Wait()
	t.Cleanup(func() {
		for _, p := range pairs {
			if p != nil {
				p.stop()
			}
		}
	})
	for i, err := range errs {
		if err != nil {
			t.Fatalf("%s: %v", settings[i].name, err)
		}
	}
	return pairs
}

// changed changes objects of all kinds a little, so that those who watch have something to see.
func (w *world) changed(t *testing.T, round string) {
	t.Helper()
	w.all(t, w.objects, func(ctx context.Context, o object) error {
		return w.patch(ctx, o, map[string]any{"metadata": map[string]any{"labels": map[string]any{"edited": round, "app": "web"}, "annotations": map[string]any{"note": round}}})
	})
	for _, o := range w.objects {
		if o.Resource == "pods" || o.Resource == "configmaps" || o.Resource == "services" {
			w.all(t, []object{o}, w.drop, w.create, w.status)
		}
	}
	w.caughtUp(t)
}

// rounds are the changes after which the matrix is compared.
func rounds() []string {
	if testing.Short() {
		return []string{"first"}
	}
	return []string{"first", "second"}
}

// TestMatrix compares under flags that narrow or widen what is exported, before and after a change.
func TestMatrix(t *testing.T) {
	w := shared(t)
	w.populate(t)
	settings := make([]setting, len(matrix))
	for i, c := range matrix {
		settings[i] = c.setting
	}
	pairs := w.startAll(t, settings)
	for _, round := range rounds() {
		w.changed(t, round)
		whole := w.whole.agree(t, "")
		for i, p := range pairs {
			t.Run(p.name+" "+round, func(t *testing.T) {
				got := p.agree(t, "")
				p.valid(t)
				if part := matrix[i].part; part != nil {
					w.isPart(t, whole, got, part)
				}
				t.Logf("%d series of %d families", len(got.Series), len(families(got)))
			})
		}
	}
}

// isPart holds what the older release can't tell against the answer without filters.
func (w *world) isPart(t *testing.T, whole, got *promtext.Scrape, part func(key string) bool) {
	t.Helper()
	older := func(key string) bool { return w.differences.older(promtext.Name(key)) }
	want := whole.Only(func(key string) bool { return older(key) && part(key) })
	if diff := promtext.Compare(want, got.Only(older)); !diff.Empty() {
		t.Errorf("compared with the answer without filters: %v", diff)
	}
}

// TestShards compares each shard with the same one of kube-state-metrics, and all together with the whole.
func TestShards(t *testing.T) {
	w := shared(t)
	w.populate(t)
	for _, total := range []int{2, 3} {
		t.Run(fmt.Sprint(total), func(t *testing.T) {
			var settings []setting
			for shard := range total {
				settings = append(settings, setting{name: fmt.Sprintf("shard-%d-of-%d", shard, total),
					flags: []string{fmt.Sprintf("--shard=%d", shard), fmt.Sprintf("--total-shards=%d", total)}})
			}
			pairs := w.startAll(t, settings)
			for _, round := range rounds() {
				w.changed(t, fmt.Sprintf("%s-of-%d", round, total))
				for _, p := range pairs {
					got := p.agree(t, "")
					p.valid(t)
					t.Logf("%s: %d series", p.name, len(got.Series))
				}
				together(t, w.whole, pairs)
			}
		})
	}
}

// together waits until the answers of shards are, all of them, what an exporter of everything says, and no series is in two.
func together(t *testing.T, whole *pair, shards []*pair) {
	t.Helper()
	if err := cluster.Eventually(t.Context(), spare, func() error {
		want, err := whole.compare(t.Context(), "")
		if err != nil {
			return err
		}
		union := &promtext.Scrape{Types: map[string]string{}, Series: map[string]string{}}
		for _, p := range shards {
			got, err := p.compare(t.Context(), "")
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			for key, value := range got.Series {
				if _, ok := union.Series[key]; ok {
					return fmt.Errorf("%s is in two shards", key)
				}
				union.Series[key] = value
			}
		}
		if diff := promtext.Compare(want, union); !diff.Empty() {
			return diff
		}
		return nil
	}); err != nil {
		t.Errorf("the shards together, compared with %s: %v", whole.name, err)
	}
}

// TestQueries compares the answers for some resources only.
func TestQueries(t *testing.T) {
	w := shared(t)
	w.populate(t)
	w.caughtUp(t)
	for _, query := range []string{
		"?resources=pods", "?resources=pods,nodes", "?exclude_resources=pods,configmaps", "?resources=pods,nodes&exclude_resources=nodes",
		"?resources=pods&resources=nodes", "?resources=pods,%20nodes", "?exclude_resources=", "?resources=,pods", "?resources=%zz",
	} {
		got := w.whole.agree(t, query)
		t.Logf("%s: %d series of %d families", query, len(got.Series), len(families(got)))
	}
	for _, query := range []string{"?resources=nonsense", "?resources=", "?resources=%20", "?resources=pods&exclude_resources=pods"} {
		if a, err := w.whole.ask(t.Context(), query); err != nil || len(a.ours) != 0 || len(a.theirs) != 0 {
			t.Errorf("%s: %v, %d bytes of ours, %d of theirs, want none", query, err, len(a.ours), len(a.theirs))
		}
	}
}
