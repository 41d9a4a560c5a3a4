package watcher_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

func subject(resource, namespace, name string) string {
	kind, _ := objects.ByResource(resource)
	return schemas.ObjectSubject{Cluster: cluster, Group: kind.Group, Resource: resource, Namespace: namespace, Name: name}.String()
}

func TestEveryKindReachesTheLog(t *testing.T) {
	w := newWorld(t)
	fill := randfill.NewWithSeed(1).NilChance(1)
	for _, kind := range objects.Kinds() {
		obj := kind.New()
		fill.Fill(obj)
		m := obj.(metav1.Object)
		m.SetName("first.of-" + kind.Resource)
		m.SetNamespace("")
		if kind.Namespaced {
			m.SetNamespace("a")
		}
		m.SetUID("")
		m.SetGenerateName("")
		w.put(obj)
	}
	s := w.start()
	s.isReady()
	if v := w.isTrue(); len(v.states) != 39 {
		t.Errorf("%d objects, want one of each of 39 kinds", len(v.states))
	}
	for _, kind := range objects.Kinds() {
		if s.metric("headwater_state_resource_available", "resource", kind.Resource) != 1 {
			t.Errorf("%s counts as not available", kind.Resource)
		}
	}
}

func TestFollowsChanges(t *testing.T) {
	for _, streaming := range []bool{true, false} {
		t.Run(fmt.Sprint("streaming=", streaming), func(t *testing.T) {
			w := newWorld(t)
			w.api.OfferWatchList(streaming)
			w.populate(50)
			s := w.start()
			s.isReady()
			w.isTrue()
			for i := range 20 {
				w.touch("pods", []string{"a", "b"}[i%2], fmt.Sprint("p", i))
			}
			w.remove("pods", "a", "p0")
			w.remove("pods", "b", "p1")
			w.put(pod("b", "p1"), pod("b", "new"))
			w.isTrue()
			// The first snapshot is there, and a consumer starts from it.
			testenv.Eventually(t, patience, func() error {
				if v, _ := w.read(); v.snapshot == 0 {
					return errors.New("nothing came from a snapshot")
				}
				return nil
			})
			if streaming && s.metric("headwater_state_requests_total", "verb", "list") > 0 {
				t.Error("lists were asked of a server that offers streaming lists")
			}
		})
	}
}

// TestSecretsStay looks for what must never travel in all that is stored.
func TestSecretsStay(t *testing.T) {
	w := newWorld(t)
	p := pod("a", "p")
	p.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "hush-1"}
	p.Spec.Containers[0].Env[0].Value = "hush-2"
	p.Spec.Containers[0].Args = []string{"hush-3"}
	w.put(p, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "s"}, Data: map[string][]byte{"k": []byte("hush-4")}})
	s := w.start()
	s.isReady()
	w.isTrue()
	seen := 0
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := stream.ReplayOnce(ctx, stream.ReplayConfig{Conn: w.conn, Cluster: cluster, Name: "secrets", Begin: func() stream.Sink {
		return stream.SinkFunc(func(e stream.Event) error {
			seen++
			for _, secret := range []string{"hush", "aHVzaC0"} {
				if strings.Contains(string(e.Data), secret) {
					t.Errorf("%s tells a secret", e.Subject)
				}
			}
			return nil
		})
	}})
	if err != nil || seen == 0 {
		t.Errorf("%d events, %v", seen, err)
	}
}

func TestRestartWritesTheDifference(t *testing.T) {
	w := newWorld(t)
	w.populate(200)
	s := w.start()
	s.isReady()
	w.isTrue()
	s.stop()
	before := w.last()

	s = w.start()
	s.isReady()
	if after := w.last(); after != before {
		t.Errorf("nothing has changed, but the log went from %d to %d", before, after)
	}
	if n := s.metric("headwater_state_unchanged_total", "resource", "pods"); n < 200 {
		t.Errorf("%v pods count as unchanged", n)
	}
	s.stop()

	w.remove("pods", "a", "p0")
	w.remove("pods", "b", "p1")
	w.put(pod("b", "p1"))
	w.touch("pods", "a", "p2")
	w.put(pod("a", "new"))
	s = w.start()
	s.isReady()
	v := w.isTrue()
	// Gone: one. Created again: two. Changed: one. New: one.
	if after := w.last(); after != before+5 {
		t.Errorf("5 events were due, the log went from %d to %d", before, after)
	}
	if _, ok := v.states[subject("pods", "a", "p0")]; ok {
		t.Error("a pod that was deleted while nobody watched is still there")
	}
}

// TestRelistHidesNothing: after 410 Gone the reflectors list again; a consumer sees the difference and nothing else.
func TestRelistHidesNothing(t *testing.T) {
	for _, streaming := range []bool{true, false} {
		t.Run(fmt.Sprint("streaming=", streaming), func(t *testing.T) {
			w := newWorld(t)
			w.api.OfferWatchList(streaming)
			w.populate(100)
			s := w.start()
			s.isReady()
			w.isTrue()
			before := w.last()
			gone := apierrors.NewResourceExpired("too old resource version").Status()
			for round := range 3 {
				w.store.Compact()
				if w.store.EndWatches(nil, &gone) == 0 {
					t.Fatal("there were no watches to end")
				}
				w.touch("pods", "a", "p2")
				w.isTrue()
				testenv.Eventually(t, patience, func() error {
					if n := w.store.Watches(w.resource("nodes")); n != 1 {
						return fmt.Errorf("%d watches of nodes in round %d", n, round)
					}
					return nil
				})
			}
			if after := w.last(); after != before+3 {
				t.Errorf("3 pods were changed, the log went from %d to %d", before, after)
			}
		})
	}
}

func TestKindsThatMayNotBeWatched(t *testing.T) {
	w := newWorld(t)
	w.populate(10)
	w.users.Forbid("secrets")
	w.store.Hide(w.resource("mutatingadmissionpolicies"), true)
	s := w.start()
	s.isReady()
	noSecrets := func(subject string) bool { return strings.Contains(subject, ".secrets.") }
	w.isTrue(noSecrets)
	for resource, reason := range map[string]string{"secrets": "forbidden", "mutatingadmissionpolicies": "not_found"} {
		testenv.Eventually(t, patience, func() error {
			families, err := s.registry.Gather()
			if err != nil {
				return err
			}
			for _, family := range families {
				for _, m := range family.Metric {
					if family.GetName() == "headwater_state_resource_available" && hasLabels(m, []string{"resource", resource, "reason", reason}) && m.GetGauge().GetValue() == 0 {
						return nil
					}
				}
			}
			return fmt.Errorf("%s isn't shown as %s", resource, reason)
		})
	}
	w.users.Permit("secrets")
	w.store.Hide(w.resource("mutatingadmissionpolicies"), false)
	w.isTrue()
	// A permission that is taken away later takes nothing out of the log.
	w.users.Forbid("secrets")
	gone := apierrors.NewResourceExpired("too old resource version").Status()
	w.store.EndWatches(w.resource("secrets"), &gone)
	testenv.Eventually(t, patience, func() error {
		if s.metric("headwater_state_resource_available", "resource", "secrets") != 0 {
			return errors.New("secrets still count as available")
		}
		return nil
	})
	w.touch("pods", "a", "p2")
	w.isTrue()
	s.stop()
	s = w.start()
	s.isReady()
	w.isTrue()
}

func TestNoKindMayBeWatched(t *testing.T) {
	w := newWorld(t)
	w.populate(2)
	w.users.Forbid("nodes")
	w.users.Forbid("pods")
	s := w.start(func(c *watcher.Config) { c.Resources = []string{"nodes", "pods"} })
	testenv.Eventually(t, patience, func() error {
		if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "ClusterRole") {
			return fmt.Errorf("ready says %v", err)
		}
		return nil
	})
	w.users.Permit("nodes")
	s.isReady()
}

func TestPace(t *testing.T) {
	w := newWorld(t)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "l"}}
	w.put(lease)
	s := w.start(func(c *watcher.Config) { c.Pace = watcher.Pace{"leases": 2 * time.Second} })
	s.isReady()
	before := w.last()
	start := time.Now()
	for range 50 {
		w.touch("leases", "a", "l")
	}
	w.isTrue()
	took := time.Since(start)
	most := int(took/(2*time.Second)) + 1
	if written := int(w.last() - before); written > most {
		t.Errorf("%d events in %v", written, took)
	}
	if n := int(s.metric("headwater_state_left_out_total", "reason", "paced")); n < 50-most {
		t.Errorf("%d states were left out of 50 in %v", n, took)
	}
	s.stop()

	// A deletion waits for nothing: nobody lives to see this pace.
	s = w.start(func(c *watcher.Config) { c.Pace = watcher.Pace{"leases": 24 * time.Hour} })
	s.isReady()
	before = w.last()
	w.touch("leases", "a", "l")
	testenv.Eventually(t, patience, func() error {
		if n := s.metric("headwater_state_paced_objects"); n != 1 {
			return fmt.Errorf("%v objects wait", n)
		}
		return nil
	})
	w.remove("leases", "a", "l")
	w.isTrue()
	if written := w.last() - before; written != 1 {
		t.Errorf("%d events, want the deletion alone", written)
	}
}

func TestLargeObjects(t *testing.T) {
	w := newWorld(t)
	w.nats.stop()
	w.nats.cfg.MaxPayload = 64 << 10
	w.nats.start()
	big := node("big")
	for i := range 3000 {
		big.Status.Images = append(big.Status.Images, corev1.ContainerImage{Names: []string{fmt.Sprint("registry.example.com/some/image:", i)}})
	}
	w.put(big, node("small"))
	s := w.start()
	s.isReady()
	v := w.isTrue()
	if dropped := v.dropped[subject("nodes", "", "big")]; len(dropped) != 1 || dropped[0] != "status.images" {
		t.Errorf("dropped %q", dropped)
	}
	if s.metric("headwater_state_shrunk_total", "resource", "nodes") == 0 {
		t.Error("nothing is counted")
	}
	before := w.last()
	s.stop()
	s = w.start()
	s.isReady()
	if after := w.last(); after != before {
		t.Errorf("nothing has changed, but the log went from %d to %d", before, after)
	}
}

func TestResources(t *testing.T) {
	w := newWorld(t)
	w.populate(10)
	s := w.start()
	s.isReady()
	w.isTrue()
	s.stop()
	s = w.start(func(c *watcher.Config) { c.Resources = []string{"nodes", "pods"} })
	s.isReady()
	w.isTrue(func(subject string) bool {
		return !strings.Contains(subject, ".nodes.") && !strings.Contains(subject, ".pods.")
	})
	if v, _ := w.read(); len(v.states) != 12 {
		t.Errorf("%d objects, want 2 nodes and 10 pods", len(v.states))
	}
}
