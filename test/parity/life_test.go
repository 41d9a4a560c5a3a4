package parity

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/internal/promtext"
)

// populate creates those objects that are not there, with their statuses.
func (w *world) populate(t *testing.T) {
	t.Helper()
	var missing []object
	for _, o := range w.objects {
		if _, err := w.of(o.GroupVersionResource, o.GetNamespace()).Get(t.Context(), o.GetName(), metav1.GetOptions{}); apierrors.IsNotFound(err) {
			missing = append(missing, o)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	w.all(t, missing, w.create, w.status)
}

// all does something to each of several objects, and then the next thing.
func (w *world) all(t *testing.T, objects []object, does ...func(context.Context, object) error) {
	t.Helper()
	for _, do := range does {
		for _, o := range objects {
			if err := do(t.Context(), o); err != nil {
				t.Error(err)
			}
		}
	}
}

// step is one of a life: a change, after which both sides have to say the same, and ours in a form that everybody reads.
func (w *world) step(t *testing.T, name string, change func(t *testing.T)) *promtext.Scrape {
	t.Helper()
	var got *promtext.Scrape
	t.Run(name, func(t *testing.T) {
		begin := time.Now()
		change(t)
		if t.Failed() {
			return
		}
		changed := time.Since(begin)
		w.caughtUp(t)
		got = w.whole.agree(t, "")
		w.whole.valid(t)
		t.Logf("%d series of %d families are the same; the change took %v, all %v",
			len(got.Series), len(families(got)), changed.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	})
	if got == nil {
		t.FailNow()
	}
	return got
}

// TestLife takes objects of all kinds through their lives, and compares after each step.
func TestLife(t *testing.T) {
	w := shared(t)
	updates, err := readUpdates()
	if err != nil {
		t.Fatal(err)
	}
	doomedObjects := copies(w.objects, doomed)
	namespaces, err := find("namespaces")
	if err != nil {
		t.Fatal(err)
	}
	doomedNamespace := named(namespaces, "", doomed)

	all := map[string]bool{}
	step := func(name string, change func(t *testing.T)) {
		t.Helper()
		for family := range families(w.step(t, name, change)) {
			all[family] = true
		}
	}
	step("creates", func(t *testing.T) {
		w.all(t, append([]object{doomedNamespace}, w.objects...), w.create)
		w.all(t, doomedObjects, w.create)
	})
	step("status", func(t *testing.T) {
		w.all(t, append(w.objects[:len(w.objects):len(w.objects)], doomedObjects...), w.status)
	})
	step("updates", func(t *testing.T) { w.update(t, updates, "") })
	step("status updates", func(t *testing.T) { w.update(t, updates, "status") })
	step("labels", func(t *testing.T) {
		w.all(t, w.objects, func(ctx context.Context, o object) error {
			return w.patch(ctx, o, map[string]any{"metadata": map[string]any{
				"labels":      map[string]any{"app": nil, "edited": "yes", "a.b": "x", "a-b": "y", "a_b": "z", "camelCase": "1", "example.com/HTTPServer": ""},
				"annotations": map[string]any{"note": "\"quoted\" \\ and\nmore, ümläut 日本 \u2028", "a.b": "", "a/b": "2", "empty": ""},
			}})
		})
	})
	step("many changes at once", func(t *testing.T) { w.burst(t) })
	step("deletions that wait", func(t *testing.T) {
		w.all(t, doomedObjects, func(ctx context.Context, o object) error {
			return w.patch(ctx, o, map[string]any{"metadata": map[string]any{"finalizers": []string{"example.com/wait"}}})
		}, w.remove)
		finalizer := map[string]any{"metadata": map[string]any{"finalizers": []string{"example.com/wait"}}}
		for _, o := range w.objects {
			if o.GetNamespace() == "" && o.Resource != "namespaces" {
				if err := w.patch(t.Context(), o, finalizer); err != nil {
					t.Error(err)
				}
				if err := w.remove(t.Context(), o); err != nil {
					t.Error(err)
				}
			}
		}
	})
	step("deletions that end", func(t *testing.T) {
		w.all(t, doomedObjects, w.release)
		for _, o := range w.objects {
			if o.GetNamespace() == "" && o.Resource != "namespaces" {
				if err := w.release(t.Context(), o); err != nil {
					t.Error(err)
				}
			}
		}
	})
	step("deletes and recreates", func(t *testing.T) {
		w.all(t, w.objects, func(ctx context.Context, o object) error {
			if o.Resource == "namespaces" {
				return nil // its objects go with it, and that takes its time
			}
			if err := w.drop(ctx, o); err != nil {
				return err
			}
			if err := w.create(ctx, o); err != nil {
				return err
			}
			return w.status(ctx, o)
		})
		w.all(t, doomedObjects, w.create, w.status)
	})
	step("deletes", func(t *testing.T) {
		for i, o := range w.objects {
			if i%2 == 0 && o.Resource != "namespaces" {
				if err := w.drop(t.Context(), o); err != nil {
					t.Error(err)
				}
			}
		}
	})
	step("a namespace's deletion", func(t *testing.T) {
		if err := w.remove(t.Context(), doomedNamespace); err != nil {
			t.Fatal(err)
		}
		w.gone(t, doomedNamespace)
	})
	step("recreates", func(t *testing.T) {
		for i, o := range w.objects {
			if i%2 == 0 && o.Resource != "namespaces" {
				if err := w.create(t.Context(), o); err != nil {
					t.Error(err)
				} else if err := w.status(t.Context(), o); err != nil {
					t.Error(err)
				}
			}
		}
	})
	w.tellFamilies(t, all)
}

// update applies the patches of testdata/updates.yaml for a subresource, or for the objects themselves.
func (w *world) update(t *testing.T, updates []update, subresource string) {
	t.Helper()
	for _, u := range updates {
		if u.Subresource != subresource {
			continue
		}
		k, err := find(u.Resource)
		if err != nil {
			t.Fatal(err)
		}
		if k.namespaced && u.Namespace == "" {
			u.Namespace = home
		}
		var subresources []string
		if subresource != "" {
			subresources = []string{subresource}
		}
		if err := w.patch(t.Context(), named(k, u.Namespace, u.Name), u.Patch, subresources...); err != nil {
			t.Error(err)
		}
	}
}

// burst changes a few objects of all kinds again and again, several hands at once.
func (w *world) burst(t *testing.T) {
	t.Helper()
	const hands, rounds = 4, 5
	errs := make(chan error, hands)
	for hand := range hands {
		go func() {
			for round := range rounds {
				for _, o := range w.objects {
					if err := w.patch(t.Context(), o, map[string]any{"metadata": map[string]any{
						"labels":      map[string]any{fmt.Sprintf("hand-%d", hand): fmt.Sprint(round)},
						"annotations": map[string]any{"latest": fmt.Sprintf("%d-%d", hand, round)},
					}}); err != nil {
						errs <- err
						return
					}
				}
			}
			errs <- nil
		}()
	}
	for range hands {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// release lets an object go that waits for finalizers.
func (w *world) release(ctx context.Context, o object) error {
	err := w.patch(ctx, o, map[string]any{"metadata": map[string]any{"finalizers": nil}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// drop deletes an object and lets it go, whatever it waits for.
func (w *world) drop(ctx context.Context, o object) error {
	if err := w.remove(ctx, o); err != nil {
		return err
	}
	return w.release(ctx, o)
}

// gone waits until an object is.
func (w *world) gone(t *testing.T, o object) {
	t.Helper()
	if err := cluster.Eventually(t.Context(), spare, func() error {
		_, err := w.of(o.GroupVersionResource, o.GetNamespace()).Get(t.Context(), o.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%s is still there", o)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// tellFamilies prints which families never had a series, and fails if these are not the ones that a real API server
// keeps from having one.
func (w *world) tellFamilies(t *testing.T, had map[string]bool) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "services", "exporter", "collector", "testdata", "families.json"))
	if err != nil {
		t.Fatal(err)
	}
	var families []struct{ Name string }
	if err := json.Unmarshal(text, &families); err != nil {
		t.Fatal(err)
	}
	never := map[string]bool{
		"kube_cronjob_schedule_invalid": true, // the API server refuses schedules that are not valid
	}
	for _, f := range families {
		if had[f.Name] == never[f.Name] {
			t.Errorf("%s has had a series: %v", f.Name, had[f.Name])
		}
	}
	t.Logf("%d of %d families have had series", len(had), len(families))
}
