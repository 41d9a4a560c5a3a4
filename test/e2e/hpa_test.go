package e2e

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// TestHorizontalPodAutoscaler: the real controller scales a Deployment up when its usage rises, and down when it falls.
func TestHorizontalPodAutoscaler(t *testing.T) { shared.autoscales(t, "scale") }

// autoscales scales a Deployment up and down in a namespace of its own.
func (w *world) autoscales(t *testing.T, namespace string) {
	load := func(millicores float64) {
		w.Kubelets.ShareUsage(cluster.Match{Namespace: namespace}, cluster.Usage{CPU: millicores, Memory: 512 << 20})
	}
	load(600)
	w.apply(t, deployment(namespace, "web", 1)+`
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {namespace: `+namespace+`, name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 5
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}
  behavior:
    scaleDown: {stabilizationWindowSeconds: 0}
`)
	replicas := func(want int32) func() error {
		return func() error {
			d, err := w.Client.AppsV1().Deployments(namespace).Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if d.Status.ReadyReplicas != want || *d.Spec.Replicas != want {
				hpa, err := w.Client.AutoscalingV2().HorizontalPodAutoscalers(namespace).Get(t.Context(), "web", metav1.GetOptions{})
				if err != nil {
					return err
				}
				return fmt.Errorf("%d of %d replicas are ready, want %d; the autoscaler says %+v", d.Status.ReadyReplicas, *d.Spec.Replicas, want, hpa.Status.Conditions)
			}
			return nil
		}
	}
	// A pod asks for 1 core and shall use 60 % of it: 600 millicores are one pod's, 1,800 are three's.
	eventually(t, time.Minute, func() error {
		hpa, err := w.Client.AutoscalingV2().HorizontalPodAutoscalers(namespace).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, m := range hpa.Status.CurrentMetrics {
			if m.Resource != nil && m.Resource.Current.AverageUtilization != nil && *m.Resource.Current.AverageUtilization == 60 {
				return nil
			}
		}
		return fmt.Errorf("the autoscaler doesn't see 60 %%: %+v", hpa.Status)
	})
	load(1800)
	t.Logf("scaled up after %v", eventually(t, 2*time.Minute, replicas(3)).Round(time.Second))
	load(500)
	t.Logf("scaled down after %v", eventually(t, 2*time.Minute, replicas(1)).Round(time.Second))
}
