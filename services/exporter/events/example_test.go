package events_test

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/events"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/internal/objects"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// sink is a build of the view. Its Apply does what the exporter's would do besides rendering.
type sink struct{ fold *events.Fold }

func (s *sink) Apply(e stream.Event) error {
	var change schemas.ObjectChange // the exporter takes one from a pool
	if err := change.Unmarshal(e.Data); err != nil {
		return err
	}
	// Before anything is left out because of a flag: pods, jobs and namespaces count (events.Kinds) even where they are
	// not exported, so that a reload that exports them finds them known. What the flags say is the feed's Scope.
	return s.fold.Apply(e.Sequence, e.Snapshot, &change)
}

// The exporter has one Totals, which lives as long as the process; each replay has a Feed, each build of it a Fold.
func Example() {
	totals := events.NewTotals()

	// An edition has a replay, and so a feed. In its stream.ReplayConfig, where the variable replay is what NewReplay returns:
	//
	//	Begin: func() stream.Sink { return &sink{fold: feed.Begin(replay.Position())} },
	//	Whole: func(s stream.Sink, p stream.Position) { s.(*sink).fold.Whole(p) },
	//
	// and where the edition takes the place of the one before: feed.Serve().
	feed := totals.Feed(events.Scope{Namespace: func(namespace string) bool { return namespace != "kube-system" }})
	build := &sink{fold: feed.Begin(stream.Position{LogPosition: stream.LogPosition{Sequence: 100}})}

	kind, _ := objects.ByResource("pods")
	encoder, err := objects.NewEncoder(kind)
	if err != nil {
		fmt.Println(err)
		return
	}
	apply := func(build *sink, sequence uint64, snapshot bool, status corev1.ContainerStatus) {
		status.Name = "main"
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0", UID: "uid-1"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{status}}}
		message, err := encoder.AppendMessage(nil, pod, schemas.Applied, time.Now())
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := build.Apply(stream.Event{Sequence: sequence, Snapshot: snapshot, Data: message}); err != nil {
			fmt.Println(err)
		}
	}
	killed := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled", ContainerID: "a"}}
	apply(build, 99, true, corev1.ContainerStatus{RestartCount: 7, ContainerID: "a"})
	build.fold.Whole(stream.Position{LogPosition: stream.LogPosition{Sequence: 100}})
	feed.Serve()

	// Between two scrapes, a container is killed and started again.
	apply(build, 101, false, corev1.ContainerStatus{RestartCount: 7, ContainerID: "a", State: killed})
	apply(build, 102, false, corev1.ContainerStatus{RestartCount: 8, ContainerID: "b", LastTerminationState: killed})

	// A reload builds another view, from the same snapshot: nothing of it counts again.
	next := totals.Feed(events.Scope{})
	other := &sink{fold: next.Begin(stream.Position{LogPosition: stream.LogPosition{Sequence: 100}})}
	apply(other, 99, true, corev1.ContainerStatus{RestartCount: 7, ContainerID: "a"})
	apply(other, 101, false, corev1.ContainerStatus{RestartCount: 7, ContainerID: "a", State: killed})
	apply(other, 102, false, corev1.ContainerStatus{RestartCount: 8, ContainerID: "b", LastTerminationState: killed})
	other.fold.Whole(stream.Position{LogPosition: stream.LogPosition{Sequence: 102}})
	next.Serve()

	// A scrape: behind the groups of the view's snapshot.
	group, ok := totals.Group()
	if !ok {
		return
	}
	var out bytes.Buffer
	if err := exposition.NewAnswer(exposition.Text, []exposition.Group{group}).Write(&out); err != nil {
		fmt.Println(err)
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "headwater_pod_container_terminations_total") {
			fmt.Print(line)
		}
	}
	// Output:
	// headwater_pod_container_terminations_total{namespace="shop",reason="Completed"} 0
	// headwater_pod_container_terminations_total{namespace="shop",reason="Error"} 0
	// headwater_pod_container_terminations_total{namespace="shop",reason="OOMKilled"} 1
	// headwater_pod_container_terminations_total{namespace="shop",reason="Unknown"} 0
}
