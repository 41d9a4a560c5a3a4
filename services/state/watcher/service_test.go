package watcher_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/sim/fault"
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

func TestAPIServerAwayAtStart(t *testing.T) {
	w := newWorld(t)
	w.populate(10)
	w.front.close()
	s := w.start()
	testenv.Eventually(t, patience, func() error {
		if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "API server doesn't answer") {
			return fmt.Errorf("ready says %v", err)
		}
		if s.metric("headwater_state_resource_available", "reason", "unreachable") != 0 {
			return errors.New("an unreachable kind counts as available")
		}
		return nil
	})
	w.front.open()
	s.isReady()
	w.isTrue()
	// And away for a while: nothing is written, nothing is forgotten.
	before := w.last()
	w.front.close()
	testenv.Eventually(t, patience, func() error {
		if s.metric("headwater_state_requests_total", "result", "unreachable") < 60 {
			return errors.New("nobody has noticed")
		}
		return nil
	})
	if err := s.Ready(); err != nil {
		t.Errorf("what was whole is not any more: %v", err)
	}
	w.front.open()
	w.touch("pods", "a", "p2")
	w.isTrue()
	if after := w.last(); after != before+1 {
		t.Errorf("one pod was changed, the log went from %d to %d", before, after)
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

func TestLogIsGone(t *testing.T) {
	w := newWorld(t)
	w.populate(50)
	s := w.start()
	s.isReady()
	w.isTrue()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := stream.Recreate(ctx, w.conn, stream.Streams{Cluster: cluster, ObjectsMaxBytes: 256 << 20}); err != nil {
		t.Fatal(err)
	}
	w.touch("pods", "a", "p2")
	w.isTrue()
	if s.metric("headwater_state_terms_total", "reason", "log_changed") == 0 {
		t.Error("no term ended because the log was another one")
	}
}

// TestNATSAway: while nothing can be written the newest states are kept, and written when it can be.
func TestNATSAway(t *testing.T) {
	w := newWorld(t)
	w.nats.stop()
	w.populate(300)
	s := w.start(func(c *watcher.Config) { c.MaxBuffered = 16 << 10 })
	testenv.Eventually(t, patience, func() error {
		if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "NATS") {
			return fmt.Errorf("ready says %v", err)
		}
		return nil
	})
	w.nats.start()
	s.isReady()
	w.isTrue()
	v := w.follow()
	before := w.last()

	w.nats.stop()
	for range 3 {
		for i := range 300 {
			w.touch("pods", []string{"a", "b"}[i%2], fmt.Sprint("p", i))
		}
	}
	for i := range 50 {
		w.remove("pods", []string{"a", "b"}[i%2], fmt.Sprint("p", i))
	}
	for i := range 10 {
		w.put(pod([]string{"a", "b"}[i%2], fmt.Sprint("p", i)))
	}
	testenv.Eventually(t, patience, func() error {
		if s.metric("headwater_state_overflows_total") == 0 {
			return errors.New("the buffer hasn't overflown")
		}
		return nil
	})
	w.nats.start()
	w.isTrue()
	if n := s.metric("headwater_state_left_out_total", "resource", "pods", "reason", "behind"); n == 0 {
		t.Error("900 changes of 300 pods were all written through a buffer of 16 kB")
	} else if written := w.last() - before; int(written)+int(n) < 900 {
		t.Errorf("%d events and %v left out don't make 900 changes", written, n)
	}
	testenv.Eventually(t, patience, func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		if len(v.states) != len(w.truth()) {
			return fmt.Errorf("the follower has %d objects", len(v.states))
		}
		return nil
	})
	for _, wrong := range v.wrong {
		t.Error(wrong)
	}
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
	if written, most := w.last()-before, uint64(took/(2*time.Second))+1; written > most {
		t.Errorf("%d events in %v", written, took)
	}
	if n := s.metric("headwater_state_left_out_total", "reason", "paced"); n < 40 {
		t.Errorf("%v states were left out of 50", n)
	}
	w.touch("leases", "a", "l")
	w.remove("leases", "a", "l")
	start = time.Now()
	w.isTrue()
	if took := time.Since(start); took > 1500*time.Millisecond {
		t.Errorf("a deletion took %v", took)
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

func TestSnapshots(t *testing.T) {
	w := newWorld(t)
	w.populate(20)
	s := w.start(func(c *watcher.Config) { c.SnapshotEvents, c.SnapshotInterval = 30, 200*time.Millisecond })
	s.isReady()
	for i := range 200 {
		w.touch("pods", []string{"a", "b"}[i%2], fmt.Sprint("p", i%20))
	}
	w.isTrue()
	testenv.Eventually(t, patience, func() error {
		v, _ := w.read()
		if v.snapshot != len(v.states) || v.events != 0 {
			return fmt.Errorf("%d of %d objects come from the snapshot, %d events from the log", v.snapshot, len(v.states), v.events)
		}
		return nil
	})
	w.isTrue()
	if s.metric("headwater_state_snapshots_total", "result", "ok") < 2 {
		t.Error("only one snapshot was counted")
	}
	// The next service replays from it, and its own snapshot is as good.
	s.stop()
	s = w.start()
	s.isReady()
	testenv.Eventually(t, patience, func() error {
		if s.metric("headwater_state_snapshots_total", "result", "ok") == 0 {
			return errors.New("no snapshot")
		}
		return nil
	})
	w.isTrue()
}

// TestNoSnapshotOfAPart: servers take a log's first snapshot for the whole world, so none is written while a list is
// missing, however many events there are.
func TestNoSnapshotOfAPart(t *testing.T) {
	w := newWorld(t)
	w.populate(50)
	mend := w.api.Bend(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/pods") }, fault.Status(http.StatusInternalServerError))
	s := w.start(func(c *watcher.Config) {
		c.SnapshotEvents, c.SnapshotInterval, c.RetryLast = 1, time.Hour, 100*time.Millisecond
	})
	written := func() error {
		if w.last() == 0 {
			return errors.New("the log is empty")
		}
		return nil
	}
	testenv.Eventually(t, patience, written)
	before := w.last()
	began := time.Now()
	testenv.Eventually(t, patience, func() error { // longer than a tick
		w.touch("nodes", "", "n")
		if last := w.last(); last < before+5 || time.Since(began) < 1500*time.Millisecond {
			return fmt.Errorf("the log ends at %d", last)
		}
		return nil
	})
	if v, _ := w.read(); v.snapshot > 0 {
		t.Errorf("%d objects come from a snapshot, though the pods were never listed", v.snapshot)
	}
	mend()
	s.isReady()
	testenv.Eventually(t, patience, func() error {
		if v, _ := w.read(); v.snapshot < 50 {
			return fmt.Errorf("%d objects come from the snapshot", v.snapshot)
		}
		return nil
	})
	w.isTrue()
}

// TestSnapshotsGoOn: what becomes of the stream of the snapshots is mended by the writer: that another one replaced its
// manifest and went away, that the stream is deleted.
func TestSnapshotsGoOn(t *testing.T) {
	w := newWorld(t)
	w.populate(20)
	s := w.start(func(c *watcher.Config) { c.SnapshotEvents, c.SnapshotInterval = 10, 100*time.Millisecond })
	s.isReady()
	snapshotOfAll := func() error {
		w.touch("pods", "a", "p2")
		v, _ := w.read()
		if v.snapshot != len(v.states) {
			return fmt.Errorf("%d of %d objects come from the snapshot", v.snapshot, len(v.states))
		}
		return nil
	}
	testenv.Eventually(t, patience, snapshotOfAll)
	nc, err := nats.Connect(w.nats.url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for name, harm := range map[string]*nats.Msg{
		"a foreign manifest": {Subject: schemas.SnapshotSubject{Cluster: cluster, Manifest: true}.String(), Data: []byte("garbage")},
		"no stream":          {Subject: "$JS.API.STREAM.DELETE.K8S_" + cluster + "_SNAPSHOTS"},
	} {
		if _, err := nc.RequestMsg(harm, patience); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := s.metric("headwater_state_snapshots_total", "result", "ok")
		testenv.Eventually(t, patience, func() error {
			w.touch("pods", "a", "p2")
			if s.metric("headwater_state_snapshots_total", "result", "ok") < before+2 {
				return fmt.Errorf("%s: no further snapshots", name)
			}
			return nil
		})
		testenv.Eventually(t, patience, snapshotOfAll)
	}
	w.isTrue()
	if s.metric("headwater_state_snapshots_total", "result", "failed") == 0 {
		t.Error("nothing failed")
	}
}

// TestKilledWithAFullBuffer: what was never acknowledged is written by the next service, whether some of it had reached
// the log or not.
func TestKilledWithAFullBuffer(t *testing.T) {
	w := newWorld(t)
	w.populate(100)
	s := w.start()
	s.isReady()
	w.isTrue()
	w.nats.stop()
	for i := range 100 {
		w.touch("pods", []string{"a", "b"}[i%2], fmt.Sprint("p", i))
	}
	w.remove("pods", "a", "p0")
	testenv.Eventually(t, patience, func() error {
		if n := s.metric("headwater_state_events_total", "resource", "pods"); n < 201 {
			return fmt.Errorf("%v events were taken", n)
		}
		return nil
	})
	s.stop() // takes a while: it waits for acknowledgements, in vain
	w.nats.start()
	s = w.start()
	s.isReady()
	w.isTrue()
}
