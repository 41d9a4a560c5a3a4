package topparity

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/test/cluster"
)

const (
	// young is the namespace of the pods that only those see who scrape rarely.
	young = "young"
	// rarely is their resolution: one at which a container that is 10 s to 20 s old is measured from its start.
	rarely = 20 * time.Second
)

// infants are pods by how old their containers are at a time, in Unix milliseconds, each in milliseconds.
func infants(node string, now int64) []*pod {
	var all []*pod
	for _, ages := range [][]int64{{3000}, {4000}, {9999}, {10001}, {10500}, {12000}, {14000}, {19000}, {19999}, {20001}, {23000}, {12000, 13000}, {12000, 3000}, {23000, 12000}} {
		p := &pod{namespace: young, name: strings.Trim(strings.ReplaceAll(fmt.Sprint("aged-", ages), " ", "-"), "[]"), node: node, told: node}
		p.name = strings.ReplaceAll(p.name, "[", "")
		for i, age := range ages {
			p.containers = append(p.containers, &container{name: fmt.Sprintf("c%d", i), start: now - age, cpu: uint64(age) * 250_000, at: now, rate: 250_000_000, memory: 1 << 24, offset: int64(i * 7)})
		}
		all = append(all, p)
	}
	return all
}

// fresh compares what both sides, at a resolution of more than 10 s, say of containers that have just started: those of
// the right age are measured from their start, at their first scrape and at every later one while they have that age.
func (w *world) fresh(t *testing.T) {
	ctx := t.Context()
	peer, err := w.StartMetricsServer(ctx, rarely, "--kubeconfig="+w.kubeconfigs[rarelyTheir], timeout(rarely), wanted)
	if err != nil {
		t.Error(err)
		return
	}
	their, err := w.server("metrics-server, rarely", peer.Port, w.REST)
	if err != nil {
		t.Error(err)
		return
	}
	our, _, err := w.start(ctx, side{"rarely", rarelyOurs, rarely, nil})
	if err != nil {
		t.Error(err)
		return
	}
	where := w.nodes[plain].name
	if err := begin(t, w.rarely, []string{where}); err != nil {
		t.Error(err)
		return
	}
	// No container may be older than its pod.
	if err := cluster.Eventually(ctx, 3*time.Minute, func() error {
		if age := time.Since(w.started); age < 25*time.Second {
			return fmt.Errorf("the pods are %v old", age)
		}
		return nil
	}); err != nil {
		t.Error(err)
		return
	}
	now := time.Now().UnixMilli()
	n := &node{name: where, own: &container{node: true, memory: 1 << 30, cpu: 1e12, rate: 1e9}, pods: infants(where, now)}
	for round := 1; round <= 2; round++ {
		then := now + int64(round-1)*6000 // 6 s older, so that some are of that age for the second time
		for _, p := range n.pods {
			p.model = model{}
		}
		w.rarely.step(map[string]cluster.Fault{where: n.answer(round, then)})
		if err := cluster.Eventually(ctx, 2*rarely, func() error { return w.rarely.taken([]string{where}) }); err != nil {
			t.Error(err)
			return
		}
		measured := map[int]string{1: "aged-12000", 2: "aged-3000"}[round] // is of that age in this round
		if err := soon(ctx, func() error {
			got, err := ask(ctx, our, their)
			if err != nil {
				return err
			}
			if key := "pods " + young + "/" + measured; !strings.Contains(got.theirs[key], at(then)) {
				return fmt.Errorf("theirs has no %s at %s: %s", key, at(then), or(got.theirs[key], "nothing"))
			}
			for _, key := range got.keys() {
				if err := w.differences.judge(expectation{}, got.ours[key], got.theirs[key], "", ""); err != nil {
					return fmt.Errorf("%s %w", key, err)
				}
			}
			return nil
		}); err != nil {
			t.Errorf("at a resolution of %v, round %d: %v", rarely, round, err)
		}
	}
	w.rarely.release()
}
