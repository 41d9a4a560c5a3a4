package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/headwater-metrics/headwater/test/cluster"
	"github.com/headwater-metrics/headwater/test/pins"
)

// TestVerticalPodAutoscaler: the real recommender recommends what the containers of a Deployment use, and its margin.
func TestVerticalPodAutoscaler(t *testing.T) {
	w := shared
	const program, namespace = "vpa-recommender", "vertical"
	paths, err := pins.Build(t.Context(), os.Stderr, program)
	if err != nil {
		t.Fatal(err)
	}
	source, err := pins.Source(t.Context(), program)
	if err != nil {
		t.Fatal(err)
	}
	definitions, err := os.ReadFile(filepath.Join(source, "deploy", "vpa-v1-crd-gen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	w.apply(t, string(definitions))
	usage := map[string]cluster.Usage{"main": {CPU: 400, Memory: 512 << 20}, "side": {CPU: 100, Memory: 256 << 20}}
	for name, each := range usage {
		w.Kubelets.SetUsage(cluster.Match{Namespace: namespace, Container: name}, each)
	}
	w.apply(t, deployment(namespace, "web", 2))
	w.running(t, namespace, 2)
	const autoscaler = `
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {namespace: ` + namespace + `, name: web}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  updatePolicy: {updateMode: "Off"}
`
	eventually(t, 30*time.Second, func() error { return w.Apply(t.Context(), autoscaler) }) // its kind is new

	var port int
	if err := ports(&port); err != nil {
		t.Fatal(err)
	}
	place := w.audit.now(t)
	recommender := cluster.NewProcess(t.TempDir(), cluster.Spec{Name: program, Path: paths[program],
		Args: []string{"--kubeconfig=" + w.Kubeconfig, "--recommender-interval=1s", fmt.Sprintf("--address=127.0.0.1:%d", port), "--v=2"}})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", program, recommender.Tail(30))
		}
		recommender.Kill()
	})
	start(t, recommender)
	took := eventually(t, time.Minute, func() error {
		out, err := w.Kubectl(t.Context(), "get", "verticalpodautoscaler", "-n", namespace, "web", "-o", "json")
		if err != nil {
			return err
		}
		var v struct {
			Status struct {
				Recommendation struct {
					ContainerRecommendations []struct {
						ContainerName string
						Target        map[string]resource.Quantity
					}
				}
			}
		}
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			return err
		}
		all := v.Status.Recommendation.ContainerRecommendations
		if len(all) != len(usage) {
			return fmt.Errorf("%d containers of %d have a recommendation", len(all), len(usage))
		}
		for _, c := range all {
			cpu, memory := c.Target["cpu"], c.Target["memory"]
			for what, of := range map[string][2]float64{
				"cores": {cpu.AsApproximateFloat64(), usage[c.ContainerName].CPU / 1000},
				"bytes": {memory.AsApproximateFloat64(), float64(usage[c.ContainerName].Memory)},
			} {
				// Its margin is 15 %, and it rounds up to what its histogram can tell apart, another 14 % at most.
				if ratio := of[0] / of[1]; ratio < 1.15*(1-tolerance) || ratio > 1.15*1.16 {
					return fmt.Errorf("for %s it recommends %g %s, which are %.2f of the truth", c.ContainerName, of[0], what, ratio)
				}
			}
		}
		return nil
	})
	asked := w.audit.since(t, place, func(r request) bool {
		return r.ObjectRef.APIGroup == "metrics.k8s.io" && strings.HasPrefix(r.UserAgent, program+"/")
	})
	if len(asked) == 0 {
		t.Error("the recommender didn't ask for metrics")
	}
	t.Logf("it recommended after %v and %d questions, the first %s", took.Round(100*time.Millisecond), len(asked), asked[:min(1, len(asked))])
}
