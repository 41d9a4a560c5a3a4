package topparity

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/internal/promtext"
)

// selfMetrics compares the metrics of that name which each side has of itself: names, types, labels, buckets.
func (w *world) selfMetrics(t *testing.T) {
	var bodies [2]string
	for i, s := range []server{w.our, w.their} {
		body, err := s.get(t.Context(), "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		bodies[i] = string(body)
	}
	got, want := shapes(bodies[0]), shapes(bodies[1])
	if len(want) == 0 {
		t.Fatal("theirs has no metrics of itself")
	}
	all := maps.Clone(got)
	maps.Copy(all, want)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if got[name] != want[name] {
			t.Errorf("%s:\n  ours   %s\n  theirs %s", name, or(got[name], "nothing"), or(want[name], "nothing"))
		}
	}
	// Nodes that are gone are gone; there, their series stay.
	gone := w.nodes[deleted].name
	for name, is := range map[string]bool{"ours": strings.Contains(bodies[0], gone), "theirs": strings.Contains(bodies[1], gone)} {
		if is != (name == "theirs") {
			t.Errorf("%s has series of the deleted node: %v", name, is)
		}
	}
	if err := w.differences.use("series-of-the-gone"); err != nil {
		t.Error(err)
	}
	// Requests are counted alike: each side's failures are those of the script.
	for i, side := range []string{"ours", "theirs"} {
		s := promtext.Parse([]byte(bodies[i]))
		for _, success := range []string{"true", "false"} {
			if v := s.Series[`metrics_server_kubelet_request_total{success="`+success+`"}`]; v == "" || v == "0" {
				t.Errorf("%s counts %q requests with success=%s", side, v, success)
			}
		}
	}
}

// shapes describes the families of that name in an exposition: type, label names, and the values of labels that are not
// nodes.
func shapes(body string) map[string]string {
	s := promtext.Parse([]byte(body))
	labels := map[string]map[string]bool{}
	types := map[string]string{}
	for name, kind := range s.Types {
		if strings.HasPrefix(name, "metrics_server_") {
			types[name], labels[name] = kind, map[string]bool{}
		}
	}
	for key := range s.Series {
		name, rest, _ := strings.Cut(key, "{")
		if !strings.HasPrefix(name, "metrics_server_") {
			continue
		}
		family := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if f, ok := strings.CutSuffix(name, suffix); ok && types[f] == "histogram" {
				family = f
			}
		}
		if labels[family] == nil {
			labels[family] = map[string]bool{}
		}
		node, ok := promtext.Label(key, "node")
		if ok {
			rest = strings.Replace(rest, `node="`+node+`"`, "node", 1)
		}
		labels[family][strings.TrimPrefix(name, family)+"{"+rest] = true
	}
	all := map[string]string{}
	for family, keys := range labels {
		all[family] = types[family] + " " + strings.Join(slices.Sorted(maps.Keys(keys)), " ")
	}
	return all
}

// hostile has a kubelet tell a series without labels: that ends metrics-server. Ours loses one node's reading.
func (w *world) hostile(t *testing.T) {
	w.Kubelets.Bend(cluster.Body("# TYPE container_cpu_usage_seconds_total counter\ncontainer_cpu_usage_seconds_total 1 1\n"), w.nodes[failing].name)
	if err := cluster.Eventually(t.Context(), 3*resolution, func() error {
		if w.peer.Running() {
			return fmt.Errorf("metrics-server runs")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if log := w.peer.Tail(50); !strings.Contains(log, "panic") {
		t.Errorf("metrics-server ended for another reason:\n%s", log)
	}
	if err := w.differences.use("hostile"); err != nil {
		t.Error(err)
	}
	before := w.Kubelets.Scrapes(w.nodes[failing].name)
	if err := cluster.Eventually(t.Context(), 3*resolution, func() error {
		if n := w.Kubelets.Scrapes(w.nodes[failing].name) - before; n < 1 {
			return fmt.Errorf("ours has asked the hostile kubelet %d times", n)
		}
		got, err := w.our.state(t.Context())
		if err != nil {
			return err
		}
		for i, n := range w.nodes {
			if key := "nodes " + n.name; got[key] == "" && i != deleted && i != unselected {
				return fmt.Errorf("ours has no %s", key)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
