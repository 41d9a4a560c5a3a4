package parity

import (
	"fmt"
	"strings"
	"testing"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// TestControllers lets the controllers loose: they make objects of objects, and write statuses as fast as they can.
func TestControllers(t *testing.T) {
	w := shared(t)
	w.populate(t)
	w.step(t, "controllers", func(t *testing.T) {
		if err := w.RestartControllers(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.make(t.Context(), busy); err != nil {
			t.Fatal(err)
		}
		if err := cluster.Eventually(t.Context(), spare, func() error {
			out, err := w.Kubectl(t.Context(), "-n", "busy", "get", "pods", "-o", "name")
			if pods := strings.Count(out, "\n"); err == nil && pods < 17 {
				err = fmt.Errorf("the controllers made %d pods of 17", pods)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
	w.step(t, "a roll-out", func(t *testing.T) {
		for _, args := range [][]string{
			{"set", "image", "deployment/web", "main=other"},
			{"scale", "statefulset/db", "--replicas=0"},
			{"scale", "deployment/web", "--replicas=4"},
			{"delete", "job/once", "--wait=false"},
		} {
			if _, err := w.Kubectl(t.Context(), append([]string{"-n", "busy"}, args...)...); err != nil {
				t.Error(err)
			}
		}
	})
	w.step(t, "the end of it", func(t *testing.T) {
		if _, err := w.Kubectl(t.Context(), "delete", "namespace", "busy", "--timeout=5m"); err != nil {
			t.Error(err)
		}
	})
	// What controllers made of the barrier stays when they are quiet again, so nobody is to wait for the end of that.
	w.all(t, w.barrier, w.drop)
	w.barrier = nil
	if err := w.RestartControllers(t.Context(), quiet); err != nil {
		t.Error(err)
	}
}

// busy is what controllers have work with; 16 pods of it begin at once, and the StatefulSet's first.
const busy = `
apiVersion: v1
kind: Namespace
metadata: {name: busy}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: busy, name: web}
spec:
  replicas: 12
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: main, image: x}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {namespace: busy, name: db}
spec:
  replicas: 3
  serviceName: db
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: main, image: x}]}}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
---
apiVersion: batch/v1
kind: Job
metadata: {namespace: busy, name: once}
spec: {parallelism: 4, completions: 9, template: {spec: {restartPolicy: Never, containers: [{name: main, image: x}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {namespace: busy, name: often}
spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: x}]}}}}}
---
apiVersion: v1
kind: Service
metadata: {namespace: busy, name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {namespace: busy, name: web}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {namespace: busy, name: counts}
spec: {hard: {count/pods: "100", count/jobs.batch: "50"}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {namespace: busy, name: web}
spec: {minReplicas: 12, maxReplicas: 13, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}
`
