package server

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/internal/shard"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// replica is the pod of an exporter in a StatefulSet.
func replica(n int) *corev1.Pod {
	p := pod(fmt.Sprint("exporter-", n), fmt.Sprint("exporter-", n), "node")
	p.Namespace = "monitoring"
	p.OwnerReferences = []metav1.OwnerReference{
		{APIVersion: "example.com/v1", Kind: "StatefulSet", Name: "other", Controller: new(false)},
		{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "exporter", UID: "uid-set", Controller: new(true)},
	}
	return p
}

func statefulSet(replicas *int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "exporter", UID: "uid-set"},
		Spec:       appsv1.StatefulSetSpec{Replicas: replicas},
	}
}

var podUIDs = regexp.MustCompile(`(?m)^kube_pod_info\{.*,uid="([^"]*)"`)

// uids are the pods of a text.
func uids(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range podUIDs.FindAllStringSubmatch(text, -1) {
		all[m[1]] = true
	}
	return all
}

// again is another exporter on the same streams.
func (w *world) again() *world {
	other := *w
	return &other
}

func TestReplicasOfAStatefulSetDivideTheObjects(t *testing.T) {
	const count = 60
	w := newWorld(t)
	w.have(count)
	w.put(replica(0), replica(1), statefulSet(new(int32(1))))
	var samples []schemas.UsageSample
	for i := range 10 {
		samples = append(samples, schemas.UsageSample{Node: fmt.Sprint("node-", i), Time: time.Now().UnixNano(), Point: &schemas.Point{CPU: 1e9}})
	}
	w.report(samples...)
	everything := map[string]bool{"uid-exporter-0": true, "uid-exporter-1": true}
	for i := range count {
		everything[fmt.Sprint("uid-", i)] = true
	}

	// Whatever a replica answers is exactly what one of the divisions gives it.
	division := func(ordinal int, totals ...int) func(string) error {
		return func(text string) error {
			got := uids(text)
			for _, total := range totals {
				want := maps.Clone(everything)
				maps.DeleteFunc(want, func(uid string, _ bool) bool { return shard.Of(uid, total) != ordinal })
				if maps.Equal(got, want) {
					return nil
				}
			}
			return fmt.Errorf("replica %d has %d pods, which is no shard of %v", ordinal, len(got), totals)
		}
	}
	replicas := []*world{w, w.again()}
	var stops []func()
	for i, r := range replicas {
		r.start(func(o *Options) { o.Pod, o.PodNamespace = fmt.Sprint("exporter-", i), "monitoring" })
		r.ready()
		stops = append(stops, r.looking(division(i, 1, 2, 3)))
	}
	editions := 1
	for _, total := range []int32{2, 3, 2, 1} {
		w.put(statefulSet(&total))
		editions++
		union, nodes := map[string]bool{}, ""
		for i, r := range replicas {
			r.served(editions)
			r.metric("kube_state_metrics_total_shards", "", float64(total))
			r.metric("kube_state_metrics_shard_ordinal", fmt.Sprintf("shard_ordinal=%q", fmt.Sprint(i)), float64(i))
			text := r.scrape()
			if err := division(i, int(total))(text); err != nil {
				t.Error(err)
			}
			for uid := range uids(text) {
				if union[uid] {
					t.Errorf("%s is in two shards of %d", uid, total)
				}
				union[uid] = true
			}
			nodes += text
		}
		if total == 2 && !maps.Equal(union, everything) {
			t.Errorf("both shards have %d of %d pods", len(union), len(everything))
		}
		for i := range 10 {
			name := fmt.Sprint("node-", i)
			want := 0
			if shard.Of(name, int(total)) < len(replicas) {
				want = 1
			}
			if got := strings.Count(nodes, fmt.Sprintf("node_cpu_usage_seconds_total{node=%q}", name)); got != want {
				t.Errorf("%d replicas of %d have the usage of %s, want %d", got, total, name, want)
			}
		}
	}
	// A change that doesn't change the division, and the end of what it comes from, change nothing.
	set := statefulSet(nil)
	set.Labels = map[string]string{"a": "b"}
	w.put(set)
	w.drop(set)
	for _, stop := range stops {
		stop()
	}
	w.drop(replica(0))
	w.put(pod("last", "last", ""))
	w.eventually(`kube_pod_status_phase{namespace="shop",pod="last",uid="uid-last",phase="Running"} 1`)
	for _, r := range replicas {
		r.served(editions)
	}
}

func TestAnExporterThatDoesNotKnowItsShardSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.have(3)
	w.start(func(o *Options) { o.Pod, o.PodNamespace, o.Usage = "exporter-1", "monitoring", false })
	says := func(want string) {
		t.Helper()
		testenv.Eventually(t, patience, func() error {
			response, body := w.get("/metrics")
			if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "the shard is not known yet") || !strings.Contains(string(body), want) {
				return fmt.Errorf("%s: %s, want %q", response.Status, body, want)
			}
			return nil
		})
	}
	says("there is no pod exporter-1 in namespace monitoring on the log")
	loose := replica(1)
	loose.OwnerReferences = nil
	w.put(loose)
	says("no StatefulSet controls the pod exporter-1")
	w.put(replica(1))
	says("there is no StatefulSet exporter in namespace monitoring on the log")
	w.put(statefulSet(new(int32(2))))
	w.ready()
	w.metric("kube_state_metrics_total_shards", "", 2)
}

func TestAssignments(t *testing.T) {
	of := func(name string, start int, replicas *int) error {
		m := &members{pod: &member{}, sets: map[string]*set{"exporter": {}}}
		m.pod.Metadata.OwnerReferences = slices.Grow(m.pod.Metadata.OwnerReferences, 1)[:1]
		owner := &m.pod.Metadata.OwnerReferences[0]
		owner.APIVersion, owner.Kind, owner.Name, owner.Controller = "apps/v1", "StatefulSet", "exporter", true
		m.sets["exporter"].Spec.Replicas, m.sets["exporter"].Spec.Ordinals.Start = replicas, start
		got, err := m.assignment("monitoring", name)
		if err != nil {
			return err
		}
		return errors.New(fmt.Sprint(got.shard, " of ", got.total))
	}
	for _, test := range []struct {
		name     string
		start    int
		replicas *int
		want     string
	}{
		{"exporter-3", 0, new(5), "3 of 5"},
		{"exporter-7", 5, new(3), "2 of 3"},
		{"exporter-0", 0, nil, "0 of 1"},
		{"exporter-x", 0, nil, "does not end in its number"},
		{"exporter-2", 5, nil, "does not end in its number"},
		{"else-2", 0, nil, "does not end in its number"},
	} {
		if got := of(test.name, test.start, test.replicas); !strings.Contains(got.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, got, test.want)
		}
	}
}

func TestNodesAndUnscheduledPods(t *testing.T) {
	w := newWorld(t)
	a, b, none := pod("a", "1", "node-a"), pod("b", "2", "node-b"), pod("none", "3", "")
	w.put(a, b, none)
	now := time.Now().UnixNano()
	w.report(schemas.UsageSample{Node: "node-a", Time: now, Point: &schemas.Point{CPU: 1e9}}, schemas.UsageSample{Node: "node-b", Time: now, Point: &schemas.Point{CPU: 1e9}})
	onNode, loose := w.again(), w.again()
	onNode.start(func(o *Options) { o.Collector.Resources, o.Shard.Node = []string{"pods"}, "node-a" })
	loose.start(func(o *Options) { o.Collector.Resources, o.Shard.Unscheduled = []string{"pods"}, true })
	info := func(p *corev1.Pod) string {
		return fmt.Sprintf("kube_pod_status_phase{namespace=%q,pod=%q,uid=%q,phase=\"Running\"} 1", p.Namespace, p.Name, p.UID)
	}
	onNode.eventually(info(a), "!"+info(b), "!"+info(none), "# TYPE node_cpu_usage_seconds_total counter", `!node_cpu_usage_seconds_total{node="node-b"}`)
	loose.eventually("!"+info(a), "!"+info(b), info(none), "!# TYPE node_cpu_usage_seconds_total")

	// It is bound; and another one is replaced by one of the same name that is elsewhere.
	none.Spec.NodeName = "node-a"
	again := pod("a", "4", "node-b")
	w.put(none, again)
	onNode.eventually("!"+info(a), "!"+info(again), info(none))
	loose.eventually("!" + info(none))
	w.put(pod("a", "5", ""))
	w.drop(none)
	loose.eventually(`kube_pod_status_phase{namespace="shop",pod="a",uid="uid-5",phase="Running"} 1`)
	onNode.eventually("!kube_pod_info{")
	onNode.metric("headwater_exporter_odd_events_total", `reason="unknown_deletion"`, 0)
}
