package topparity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// TestTop plays the script on both sides and compares after each round; then it asks both everything else.
func TestTop(t *testing.T) {
	w := newWorld(t)
	if err := w.startTheirs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := begin(t, w.gate, w.asked(0)); err != nil {
		t.Fatal(err)
	}
	var aside sync.WaitGroup
	defer aside.Wait()
	aside.Go(func() { w.fresh(t) })
	for round := 1; round <= rounds; round++ {
		w.change(t, round)
		w.play(t, round)
		if round == 1 {
			w.unready(t)
		}
	}
	aside.Wait()
	w.gate.release()
	if got := w.gate.unforeseen(); len(got) > 0 {
		t.Errorf("the kubelets were asked in ways that the script doesn't foresee:\n%s", first(got, 10))
	}
	if t.Failed() {
		return // the answers below would only repeat it
	}
	t.Run("Requests", w.requests)
	t.Run("Health", w.health)
	t.Run("SelfMetrics", w.selfMetrics)
	t.Run("ComparisonCanFail", w.comparisonCanFail)
	t.Run("Restart", w.restart)
	t.Run("Hostile", w.hostile)
	for _, name := range w.differences.unused() {
		t.Errorf("nothing needs the line %s of differences.txt, delete it", name)
	}
}

// begin waits for a moment at which metrics-server has just been round, so that a whole round fits in before it comes again.
func begin(t *testing.T, g *gate, nodes []string) error {
	t.Helper()
	return cluster.Eventually(t.Context(), 3*time.Minute, func() error {
		quiet, all := g.asked(nodes)
		if !all {
			return errors.New("not all nodes were asked yet by both")
		}
		if quiet < 300*time.Millisecond || quiet > 2*time.Second {
			return fmt.Errorf("metrics-server came %v ago", quiet)
		}
		return nil
	})
}

// play has the kubelets tell the readings of a round, waits until both sides have them, and compares what they answer.
func (w *world) play(t *testing.T, round int) {
	t.Helper()
	w.now = time.Now().UnixMilli()
	faults := map[string]cluster.Fault{}
	for _, n := range w.nodes {
		faults[n.name] = n.answer(round, w.now)
	}
	begin := time.Now()
	w.gate.step(faults)
	if err := cluster.Eventually(t.Context(), time.Minute, func() error { return w.gate.taken(w.asked(round)) }); err != nil {
		t.Fatal(err)
	}
	taken := time.Now()
	// Their slowest node decides when theirs are stored; only then is it fair to ask.
	if err := cluster.Eventually(t.Context(), 30*time.Second, func() error { return w.current(t.Context(), w.their, round) }); err != nil {
		t.Fatalf("round %d: theirs: %v", round, err)
	}
	stored := time.Now()
	var got answers
	var wrong []string
	err := soon(t.Context(), func() (err error) {
		if err := w.current(t.Context(), w.our, round); err != nil {
			return fmt.Errorf("ours: %w", err)
		}
		if got, err = ask(t.Context(), w.our, w.their); err != nil {
			return err
		}
		if wrong = w.judge(got, round); len(wrong) > 0 {
			return fmt.Errorf("%d differ", len(wrong))
		}
		return nil
	})
	if err != nil {
		t.Errorf("round %d at %s: %v\n%s", round, at(w.now), err, first(wrong, 8))
	}
	w.before = got
	logf("round %d: %d items are compared; scraped after %v, theirs stored %v later, ours the same %v later", round, len(got.keys()),
		taken.Sub(begin).Round(time.Millisecond), stored.Sub(taken).Round(time.Millisecond), time.Since(stored).Round(time.Millisecond))
}

// current says whether a side has this round's readings: each node has a pod whose time goes on in every one.
func (w *world) current(ctx context.Context, s server, round int) error {
	if round == 1 {
		return nil // there is nothing to see of it
	}
	got := state{}
	body, err := s.get(ctx, group+"/namespaces/kube-system/pods")
	if err != nil {
		return err
	}
	if err := got.add("pods", body); err != nil {
		return err
	}
	for i, n := range w.nodes {
		answers, before := n.script[round], n.script[round-1]
		well := func(event string) bool {
			return event == "" || event == "not-ready" || event == "scrape-error" || event == "elsewhere"
		}
		if i == unselected || n.away[round] != "" || n.away[round-1] != "" || !well(answers) || !well(before) || n.differs[round] != "" {
			continue
		}
		if key := fmt.Sprintf("pods kube-system/beacon-%d", i); !strings.Contains(got[key], at(w.now)) {
			return fmt.Errorf("%s has no reading of %s: %s", key, at(w.now), or(got[key], "nothing"))
		}
	}
	return nil
}

// judge holds what both sides answer to each other, item by item.
func (w *world) judge(got answers, round int) (wrong []string) {
	wants := map[string]expectation{}
	history := map[string][]string{}
	for _, n := range w.nodes {
		wants["nodes "+n.name] = n.expected(nil, round)
		for _, p := range n.pods {
			wants[p.key()] = n.expected(p, round)
			history[p.key()] = p.history
		}
	}
	for key := range wants {
		if _, ok := got.theirs[key]; !ok {
			if _, ok := got.ours[key]; !ok && wants[key].name != "" {
				got.theirs[key] = "" // so that it is judged
			}
		}
	}
	for _, key := range got.keys() {
		if err := w.differences.judge(wants[key], got.ours[key], got.theirs[key], w.before.ours[key], at(w.now)); err != nil {
			told := history[key]
			wrong = append(wrong, fmt.Sprintf("%s %v\n  told %s", key, err, strings.Join(told[max(0, len(told)-4):], "\n       ")))
		}
	}
	return wrong
}

// change does what happens at the API server before a round, and holds both sides to what they then answer.
func (w *world) change(t *testing.T, round int) {
	t.Helper()
	ctx := t.Context()
	pods := w.Client.CoreV1().Pods(home)
	now := int64(0)
	gone := metav1.DeleteOptions{GracePeriodSeconds: &now}
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("before round %d: %v", round, err)
		}
	}
	ready := func(status corev1.ConditionStatus) {
		fail(w.Kubelets.UpdateNodeStatus(ctx, w.nodes[lacking].name, func(s *corev1.NodeStatus) {
			for i := range s.Conditions {
				if s.Conditions[i].Type == corev1.NodeReady {
					s.Conditions[i].Status = status
				}
			}
		}))
	}
	addresses := func(addresses ...corev1.NodeAddress) {
		fail(w.Kubelets.UpdateNodeStatus(ctx, w.nodes[homeless].name, func(s *corev1.NodeStatus) { s.Addresses = addresses }))
	}
	switch round {
	case 4:
		ready(corev1.ConditionFalse)
		addresses(corev1.NodeAddress{Type: corev1.NodeExternalDNS, Address: "nowhere.invalid"})
		// Labels are those of this moment; usage stays.
		_, err := pods.Patch(ctx, relabelled, types.MergePatchType, []byte(`{"metadata":{"labels":{"generation":"two"}}}`), metav1.PatchOptions{})
		fail(err)
		w.patchNode(t, plain, `{"metadata":{"labels":{"generation":"two"}}}`)
		w.meanwhile(t, "both have the new labels", nil, func(got answers) error {
			for _, key := range []string{"pods " + home + "/" + relabelled, "nodes " + w.nodes[plain].name} {
				if !strings.Contains(got.theirs[key], `"generation":"two"`) || got.ours[key] != got.theirs[key] {
					return fmt.Errorf("%s:\n  ours   %s\n  theirs %s", key, got.ours[key], got.theirs[key])
				}
			}
			return nil
		})
	case 5:
		// A pod of the same name: the usage of the one before isn't its.
		old := w.before.theirs["pods "+home+"/"+recreated]
		fail(pods.Delete(ctx, recreated, gone))
		w.create(t, w.find(t, recreated), "two")
		w.meanwhile(t, "theirs has the old usage under the new labels, ours nothing", map[string]string{"pods " + home + "/" + recreated: "recreated"}, func(got answers) error {
			if key := "pods " + home + "/" + recreated; got.theirs[key] != strings.Replace(old, `"generation":"one"`, `"generation":"two"`, 1) {
				return fmt.Errorf("theirs has %s", or(got.theirs[key], "nothing"))
			}
			return nil
		})
		w.deleteNode(t, deleted)
		w.again = w.deleteNode(t, replaced)
		w.deleteNode(t, remade)()
		differs := map[string]string{"pods " + home + "/" + recreated: "recreated", "nodes " + w.nodes[remade].name: "recreated"}
		w.meanwhile(t, "both have no deleted nodes", differs, absent("nodes "+w.nodes[deleted].name, "nodes "+w.nodes[replaced].name))
		w.meanwhile(t, "theirs has the old usage under the new Node's labels, ours nothing", differs, func(got answers) error {
			key := "nodes " + w.nodes[remade].name
			if want := strings.Replace(w.before.theirs[key], `"labels":{`, `"labels":{"generation":"two",`, 1); got.theirs[key] != want {
				return fmt.Errorf("theirs has %s", or(got.theirs[key], "nothing"))
			}
			return nil
		})
	case 6:
		w.again()
		differs := map[string]string{"nodes " + w.nodes[replaced].name: "new-node"}
		w.meanwhile(t, "ours tells of the Node that came after a round", differs, func(got answers) error {
			if key := "nodes " + w.nodes[replaced].name; !strings.Contains(got.ours[key], `"generation":"two"`) {
				return fmt.Errorf("ours has %s", or(got.ours[key], "nothing"))
			}
			return nil
		})
		addresses(corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "127.0.0.1"})
		fail(pods.Delete(ctx, removed, gone))
		fail(w.Kubelets.Complete(ctx, home, completed, 0))
		w.meanwhile(t, "both have no deleted and no completed pod", differs, absent("pods "+home+"/"+removed, "pods "+home+"/"+completed))
	case 7:
		ready(corev1.ConditionTrue)
	}
}

// absent says whether neither side has the keys.
func absent(keys ...string) func(answers) error {
	return func(got answers) error {
		for _, key := range keys {
			if got.ours[key] != "" || got.theirs[key] != "" {
				return fmt.Errorf("%s:\n  ours   %s\n  theirs %s", key, or(got.ours[key], "nothing"), or(got.theirs[key], "nothing"))
			}
		}
		return nil
	}
}

// meanwhile waits until a condition holds between two rounds and the sides agree on the rest as they did before, but for
// some differences.
func (w *world) meanwhile(t *testing.T, what string, differs map[string]string, condition func(answers) error) {
	t.Helper()
	if err := soon(t.Context(), func() error {
		got, err := ask(t.Context(), w.our, w.their)
		if err != nil {
			return err
		}
		if err := condition(got); err != nil {
			return err
		}
		for _, key := range got.keys() {
			want := expectation{name: differs[key]}
			if strings.HasPrefix(key, "pods "+home+"/tie-") {
				want = expectation{"tie", true} // theirs is any, each time
			}
			if want.name == "" && w.before.ours[key] != w.before.theirs[key] {
				continue // it did differ before
			}
			if err := w.differences.judge(want, got.ours[key], got.theirs[key], "", ""); err != nil {
				return fmt.Errorf("%s %w", key, err)
			}
		}
		return nil
	}); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// deleteNode deletes a Node, and returns what makes another one of its name, labelled otherwise.
func (w *world) deleteNode(t *testing.T, i int) (again func()) {
	t.Helper()
	all, name, now := w.Client.CoreV1().Nodes(), w.nodes[i].name, int64(0)
	w.gate.parts(name)
	old, err := all.Get(t.Context(), name, metav1.GetOptions{})
	if err == nil {
		err = all.Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		labels := maps.Clone(old.Labels)
		labels["generation"] = "two"
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: old.Spec, Status: old.Status}
		if _, err := all.Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// patchNode changes a Node.
func (w *world) patchNode(t *testing.T, i int, change string) {
	t.Helper()
	if _, err := w.Client.CoreV1().Nodes().Patch(t.Context(), w.Kubelets.Nodes()[i], types.MergePatchType, []byte(change), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}
