package server

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// ran is a pod in namespace shop whose container has been killed for its memory as often as killed says.
func ran(name, uid string, killed int32) *corev1.Pod {
	status := corev1.ContainerStatus{Name: "main", RestartCount: killed, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	if killed > 0 {
		status.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(uid), CreationTimestamp: metav1.Now()},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{status}},
	}
}

// Nothing of it is there unless a flag asks for it.
func TestExtrasAreOff(t *testing.T) {
	w := newWorld(t)
	w.put(ran("web-0", "1", 0))
	w.start(func(o *Options) { o.Usage = false })
	w.ready()
	w.drop(ran("web-0", "1", 0))
	w.eventually("!kube_pod_info")
	if text := w.scrape(); strings.Contains(text, "headwater_") {
		t.Errorf("there is something of Headwater's own:\n%s", text)
	}
}

// A kill between two scrapes is counted, once, through a reload.
func TestEventCounters(t *testing.T) {
	const oom = `headwater_pod_container_terminations_total{namespace="shop",reason="OOMKilled"} `
	w := newWorld(t)
	w.put(ran("web-0", "1", 3))
	config := newConfigMap(t, map[string]string{"c.yaml": "metric_denylist: {kube_pod_labels: {}}\n"})
	w.start(func(o *Options) {
		o.Usage, o.Extras.EventCounters, o.ConfigFile = false, true, config.path("c.yaml")
	})
	w.ready()
	w.eventually(oom + "0") // what was before is not counted
	w.put(ran("web-0", "1", 4))
	w.eventually(oom + "1")
	w.put(ran("web-0", "1", 6)) // two runs ended between two states: the reason of one is known
	w.eventually(oom+"2", `headwater_pod_container_terminations_total{namespace="shop",reason="Unknown"} 1`)

	// Pods are not exported any more, and then again: both builds read what was counted already.
	config.set(map[string]string{"c.yaml": "resources: [configmaps]\n"})
	w.eventually("!kube_pod_info")
	w.put(ran("web-1", "2", 0))
	config.set(map[string]string{"c.yaml": "resources: [pods]\n"})
	w.eventually(`kube_pod_status_phase{namespace="shop",pod="web-1",uid="2",phase="Running"} 1`, oom+"2")
	w.put(ran("web-1", "2", 1))
	w.eventually(oom + "3")
	w.scrape()
}

// The last series of a deleted object stay for a while, with a mark, until it is due or another one has its name.
func TestDeletedLinger(t *testing.T) {
	const running = `kube_pod_status_phase{namespace="shop",pod="web-0",uid="1",phase="Running"} 1`
	w := newWorld(t)
	w.put(ran("web-0", "1", 0), ran("web-1", "2", 0), ran("web-2", "3", 0))
	w.start(func(o *Options) { o.Usage, o.Extras.DeletedLinger = false, time.Minute })
	w.ready()
	w.drop(ran("web-0", "1", 0))
	w.eventually(running)
	testenv.Eventually(t, patience, func() error {
		if _, body := w.get("/metrics"); !strings.Contains(string(body), `headwater_deleted_object_timestamp_seconds{resource="pods",namespace="shop",name="web-0",uid="1"}`) {
			return errors.New("the deletion is not told")
		}
		return nil
	})
	if text := w.scrape(); !strings.Contains(text, running) {
		t.Error("the deleted pod's series are gone")
	}
	// Another one takes its place at once.
	w.put(ran("web-0", "4", 0))
	w.eventually(`kube_pod_status_phase{namespace="shop",pod="web-0",uid="4",phase="Running"} 1`,
		`!kube_pod_status_phase{namespace="shop",pod="web-0",uid="1"`, "!headwater_deleted_object_timestamp_seconds{")
	// A deletion that is older than the linger is due at once.
	change := changeOf(t, ran("web-1", "2", 0), schemas.Deleted)
	change.Time = time.Now().Add(-2 * time.Minute).UnixNano()
	w.append(subjectOf(&change), change.Marshal())
	w.eventually(`!kube_pod_status_phase{namespace="shop",pod="web-1"`, "!headwater_deleted_object_timestamp_seconds{",
		`kube_pod_status_phase{namespace="shop",pod="web-2",uid="3",phase="Running"} 1`)
	// The deletion of what isn't known leaves no mark.
	w.drop(ran("web-9", "9", 0))
	w.put(ran("web-3", "5", 0))
	w.eventually(`kube_pod_status_phase{namespace="shop",pod="web-3",uid="5",phase="Running"} 1`, "!headwater_deleted_object_timestamp_seconds{")
}

// Custom resources linger like all objects, and their freshness is told under their own names.
func TestExtrasOfCustomResources(t *testing.T) {
	w := newWorld(t)
	w.custom(schemas.Applied, foo("v1", "one", 1), foo("v1", "two", 2), bar("x", "red", 3))
	w.start(func(o *Options) {
		o.Usage, o.Custom.Config = false, foos
		o.Extras = Extras{EventCounters: true, DeletedLinger: 2 * time.Second, Freshness: true}
	})
	w.ready()
	w.eventually(`headwater_objects{resource="foos.stable.example.com"} 2`, `headwater_objects{resource="bars.other.example.com"} 1`)
	begun := time.Now()
	w.custom(schemas.Deleted, foo("v1", "one", 0))
	w.eventually(`headwater_object_changes_total{resource="foos.stable.example.com",operation="deleted"} 1`)
	if text := w.scrape(); time.Since(begun) < time.Second && (!strings.Contains(text, fooSize("v1", "one", 1)) || !strings.Contains(text, `resource="foos.stable.example.com",namespace="shop",name="one"`)) {
		t.Errorf("the deleted object is gone, or not marked:\n%s", text)
	}
	w.eventually("!"+fooSize("v1", "one", 1), "!headwater_deleted_object_timestamp_seconds{", fooSize("v1", "two", 2), `headwater_objects{resource="foos.stable.example.com"} 1`)
}

// Freshness tells of each kind in the view, and of what state says of it.
func TestFreshness(t *testing.T) {
	w := newWorld(t)
	w.put(ran("web-0", "1", 0), ran("web-1", "2", 0))
	w.start(func(o *Options) { o.Usage, o.Extras.Freshness = false, true })
	w.ready()
	w.eventually(`headwater_objects{resource="pods"} 2`, `headwater_objects{resource="nodes"} 0`, `headwater_lag{stream="objects"} 0`,
		"!headwater_resource_available{")
	available := schemas.Availability{Kinds: []schemas.KindAvailability{{Resource: "pods"}, {Resource: "nodes", Reason: "forbidden"}}}
	if err := stream.PublishAvailability(t.Context(), w.conn, cluster, available.Marshal()); err != nil {
		t.Fatal(err)
	}
	w.eventually(`headwater_resource_available{resource="pods",reason=""} 1`, `headwater_resource_available{resource="nodes",reason="forbidden"} 0`)
	// Garbage changes nothing, and is counted.
	if err := stream.PublishAvailability(t.Context(), w.conn, cluster, []byte("x")); err != nil {
		t.Fatal(err)
	}
	w.metric("headwater_exporter_odd_events_total", `reason="availability"`, 1)
	w.eventually(`headwater_resource_available{resource="nodes",reason="forbidden"} 0`)
	w.scrape()
}

// A scrape is of one view, also where another one comes into service while it is answered, because the log was begun anew.
func TestAScrapeIsOfOneView(t *testing.T) {
	w := newWorld(t)
	w.put(ran("web-0", "1", 0), ran("web-1", "2", 0))
	w.start(func(o *Options) {
		o.Usage, o.Extras = false, Extras{Freshness: true, DeletedLinger: time.Minute}
	})
	w.ready()
	w.drop(ran("web-1", "2", 0))
	current, err := w.service.current()
	if err != nil {
		t.Fatal(err)
	}
	before := current.view.Load()
	testenv.Eventually(t, patience, func() error {
		if before.leaving.Len() == 0 {
			return errors.New("the deletion was not read")
		}
		return nil
	})
	defer current.view.Store(before)
	groups := w.service.groups(current, exposition.Text, func(string) bool { // asked of the groups of the snapshot first
		current.view.Store(newObjects(current.catalog, w.service.metrics, nil, nil))
		return true
	})
	var text bytes.Buffer
	if err := exposition.NewAnswer(exposition.Text, groups).Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`kube_pod_info{namespace="shop",pod="web-1"`, `headwater_deleted_object_timestamp_seconds{resource="pods",namespace="shop",name="web-1"`, `headwater_objects{resource="pods"} 2`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("there is no %s", want)
		}
	}
}

// The flags are checked.
func TestExtrasAreValidated(t *testing.T) {
	o := NewOptions()
	o.Extras.DeletedLinger = -time.Second
	if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "--deleted-linger") {
		t.Errorf("Validate returned %v", err)
	}
}
