package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const barePod = `
apiVersion: v1
kind: Namespace
metadata: {name: gone}
---
apiVersion: v1
kind: Pod
metadata: {namespace: gone, name: again, labels: {life: %q}}
spec: {containers: [{name: main, image: registry.example/main:1}]}
`

// TestDeletedWhileStateWasDown: what was deleted while nobody watched is gone from every view when the watcher is back,
// and a pod that was deleted and created under its old name is the new one only.
func TestDeletedWhileStateWasDown(t *testing.T) {
	w := shared
	w.apply(t, deployment("gone", "web", 4))
	w.apply(t, fmt.Sprintf(barePod, "first"))
	w.running(t, "gone", 5)
	first := uid(t, w)
	eventually(t, time.Minute, func() error {
		return w.everywhere(t, 5, `uid="`+first+`"`, "first", "")
	})

	w.state.Kill()
	if _, err := w.Kubectl(t.Context(), "delete", "deployment", "-n", "gone", "web"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Kubectl(t.Context(), "delete", "pod", "-n", "gone", "again"); err != nil {
		t.Fatal(err)
	}
	w.running(t, "gone", 0)
	if err := w.Apply(t.Context(), fmt.Sprintf(barePod, "second")); err != nil {
		t.Fatal(err)
	}
	w.running(t, "gone", 1)
	second := uid(t, w)
	if err := w.state.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, time.Minute, func() error {
		return w.everywhere(t, 1, `uid="`+second+`"`, "second", `uid="`+first+`"`)
	})
	t.Logf("state: every view was right %v after it was back", took.Round(time.Millisecond))
}

func uid(t *testing.T, w *world) string {
	t.Helper()
	pod, err := w.Client.CoreV1().Pods("gone").Get(t.Context(), "again", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(pod.UID)
}

// everywhere checks both views: that many pods in the namespace, the one named again with this life, some text in its
// series and other text in none.
func (w *world) everywhere(t *testing.T, pods int, has, life, hasNot string) error {
	items, err := w.pods(t.Context())
	if err != nil {
		return err
	}
	n := 0
	for _, item := range items {
		if item.Metadata.Namespace != "gone" {
			continue
		}
		n++
		if item.Metadata.Name == "again" && item.Metadata.Labels["life"] != life {
			return fmt.Errorf("the Metrics API says labels %v, want life %s", item.Metadata.Labels, life)
		}
	}
	if n != pods {
		return fmt.Errorf("the Metrics API has %d pods, want %d", n, pods)
	}
	body, err := get(w.metrics)
	if err != nil {
		return err
	}
	info, usage := 0, map[string]bool{}
	for line := range strings.Lines(body) {
		switch {
		case !strings.Contains(line, `namespace="gone"`):
		case strings.HasPrefix(line, "kube_pod_info{"):
			info++
		case strings.HasPrefix(line, "container_memory_working_set_bytes{"):
			_, name, _ := strings.Cut(line, `pod="`)
			name, _, _ = strings.Cut(name, `"`)
			usage[name] = true
		}
		if hasNot != "" && strings.Contains(line, hasNot) {
			return fmt.Errorf("still there: %s", line)
		}
		if pods == 1 && strings.Contains(line, `namespace="gone",deployment=`) {
			return fmt.Errorf("still there: %s", line)
		}
	}
	if info != pods || len(usage) != pods {
		return fmt.Errorf("the exporter has %d pods and usage of %d, want %d", info, len(usage), pods)
	}
	if !strings.Contains(body, has) {
		return fmt.Errorf("no series has %s", has)
	}
	return nil
}
