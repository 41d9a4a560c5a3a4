package view

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
)

func sample(node string, time int64, pods ...schemas.PodUsage) *schemas.UsageSample {
	return &schemas.UsageSample{Node: node, Time: time, Pods: pods}
}

func podUsage(namespace, name string, start, time int64) schemas.PodUsage {
	return schemas.PodUsage{Namespace: namespace, Name: name, Containers: []schemas.ContainerUsage{
		{Name: "main", Point: schemas.Point{Start: start, Time: time}},
	}}
}

// where says which node a pod's usage comes from, "" for none.
func where(u *Usage, namespace, name, node string) string {
	found, ok := u.Pod(PodQuery{Namespace: namespace, Name: name, Node: node})
	if !ok {
		return ""
	}
	if found.Pod.Namespace != namespace || found.Pod.Name != name {
		return "the wrong pod"
	}
	return found.Sample.Node
}

func TestASampleThatWasLongOnItsWay(t *testing.T) {
	const second = int64(time.Second)
	at := func(taken, read int64) *schemas.UsageSample {
		s := sample("n1", taken*second, podUsage("shop", "a", 1, read*second))
		s.Point = &schemas.Point{Time: read * second}
		return s
	}
	for name, c := range map[string]struct {
		next    *schemas.UsageSample
		applied bool
	}{
		"newer":                               {at(1010, 1009), true},
		"came after its successor":            {at(990, 989), false},
		"the ingester's clock went back":      {at(990, 1009), true},
		"the kubelet's clock went back":       {at(1010, 989), true},
		"both clocks went back, by far":       {at(900, 899), true},
		"the kubelet repeats its last answer": {at(1010, 1000), true},
	} {
		u := NewUsage()
		u.Apply(at(1000, 1000))
		applied := u.Apply(c.next)
		held, _ := u.Node("n1")
		if applied != c.applied || (held == c.next) != c.applied {
			t.Errorf("%s: applied %v, held %v; want %v", name, applied, held == c.next, c.applied)
		}
		if found, ok := u.Pod(PodQuery{Namespace: "shop", Name: "a"}); !ok || found.Sample != held {
			t.Errorf("%s: the pod is not of the sample held", name)
		}
	}
}

func TestUsageFollowsTheLatestSample(t *testing.T) {
	u := NewUsage()
	u.Apply(sample("n1", 10, podUsage("shop", "a", 1, 10), podUsage("shop", "b", 1, 10)))
	u.Apply(sample("n2", 10, podUsage("shop", "c", 1, 10)))
	// The next sample of n1 lists other pods in another order, and its clock has gone back.
	u.Apply(sample("n1", 9, podUsage("shop", "d", 1, 9), podUsage("shop", "a", 1, 9)))
	for pod, want := range map[string]string{"a": "n1", "b": "", "c": "n2", "d": "n1", "e": ""} {
		if got := where(u, "shop", pod, ""); got != want {
			t.Errorf("pod %s is on %q, want %q", pod, got, want)
		}
	}
	if s, ok := u.Node("n1"); !ok || s.Time != 9 {
		t.Errorf("n1's sample is %+v", s)
	}
	if _, ok := u.Node("n3"); ok {
		t.Error("n3 has a sample")
	}
	if nodes, pods := u.Len(); nodes != 2 || pods != 3 {
		t.Errorf("%d nodes, %d pods, want 2 and 3", nodes, pods)
	}
	if all := u.All(); len(all) != 2 || all[0].Node != "n1" || all[1].Node != "n2" {
		t.Errorf("all: %v", all)
	}

	if n := u.Expire(10); n != 1 {
		t.Errorf("%d nodes expired, want 1", n)
	}
	if where(u, "shop", "a", "") != "" || where(u, "shop", "c", "") != "n2" {
		t.Error("the wrong node has expired")
	}
}

func TestTwoNodesReportOnePod(t *testing.T) {
	u := NewUsage()
	check := func(step, node, want string) {
		t.Helper()
		if got := where(u, "shop", "db-0", node); got != want {
			t.Errorf("%s: asked with node %q, it is on %q, want %q", step, node, got, want)
		}
	}
	u.Apply(sample("old", 10, podUsage("shop", "db-0", 1, 10)))
	u.Apply(sample("new", 11, podUsage("shop", "db-0", 8, 11)))
	check("started later", "", "new")
	u.Apply(sample("old", 12, podUsage("shop", "db-0", 1, 12)))
	check("the older pod's point is newer", "", "new")
	check("the node is known", "old", "old")
	check("the node is neither", "other", "new")
	u.Apply(sample("third", 12, podUsage("shop", "db-0", 8, 11)))
	check("all the same but the name", "", "new")
	u.Apply(sample("third", 13, podUsage("shop", "db-0", 8, 12)))
	check("its point is newer", "", "third")
	u.Apply(sample("third", 14))
	check("third has it no more", "", "new")
	u.Apply(sample("new", 14))
	check("new has it no more", "", "old")
	if len(u.rivals) != 0 {
		t.Errorf("there are no rivals left, but %v", u.rivals)
	}
	u.Apply(sample("old", 15))
	check("nobody has it", "", "")
}

func TestOnePodTwiceInOneSample(t *testing.T) {
	u := NewUsage()
	u.Apply(sample("n", 1, podUsage("shop", "a", 1, 1), podUsage("shop", "a", 1, 2)))
	found, ok := u.Pod(PodQuery{Namespace: "shop", Name: "a"})
	if !ok || found.Pod.Containers[0].Point.Time != 2 || len(u.rivals) != 0 {
		t.Errorf("got %+v, %v, rivals %v", found.Pod, ok, u.rivals)
	}
	u.Apply(sample("n", 2))
	if _, pods := u.Len(); pods != 0 {
		t.Errorf("%d pods, want none", pods)
	}
}

// TestUsageAgainstModel applies random samples and compares every pod with a search through all latest samples.
func TestUsageAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		u := NewUsage()
		model := map[string]*schemas.UsageSample{}
		for step := range 300 {
			s := sample(fmt.Sprint("node", random.IntN(5)), int64(step))
			for range random.IntN(8) {
				s.Pods = append(s.Pods, podUsage("ns", fmt.Sprint("pod", random.IntN(15)), int64(random.IntN(4)), int64(random.IntN(4))))
			}
			u.Apply(s)
			model[s.Node] = s
			if random.IntN(20) == 0 {
				before := int64(step - 20)
				u.Expire(before)
				for node, s := range model {
					if s.Time < before {
						delete(model, node)
					}
				}
			}
			queries, results, want := []PodQuery{}, make([]PodUsage, 15), make([]PodUsage, 15)
			for i := range 15 {
				name := fmt.Sprint("pod", i)
				queries = append(queries, PodQuery{Namespace: "ns", Name: name})
				var reports []podRef
				for _, s := range model {
					if last := lastIndex(s, name); last >= 0 {
						reports = append(reports, podRef{s, last})
					}
				}
				if len(reports) > 0 {
					best := slices.MaxFunc(reports, newer)
					want[i] = PodUsage{best.sample, best.pod()}
				}
			}
			u.Pods(queries, results)
			for i := range results {
				if results[i] != want[i] {
					t.Fatalf("seed %d, step %d, pod%d: got %v, want %v", seed, step, i, results[i], want[i])
				}
			}
		}
	}
}

func lastIndex(s *schemas.UsageSample, name string) int {
	for i := range slices.Backward(s.Pods) {
		if s.Pods[i].Name == name {
			return i
		}
	}
	return -1
}

func TestPodsInManyBatches(t *testing.T) {
	u := NewUsage()
	s := sample("n", 1)
	queries := make([]PodQuery, 3*batch+1)
	for i := range queries {
		queries[i] = PodQuery{Namespace: "ns", Name: fmt.Sprint(i)}
		if i%2 == 0 {
			s.Pods = append(s.Pods, podUsage("ns", fmt.Sprint(i), 1, 1))
		}
	}
	u.Apply(s)
	results := make([]PodUsage, len(queries))
	u.Pods(queries, results)
	for i, result := range results {
		got := ""
		if result.Pod != nil {
			got = result.Pod.Name
		}
		want := ""
		if i%2 == 0 {
			want = queries[i].Name
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("query %d (-want +got): %s", i, diff)
		}
	}
}

func TestUsageConcurrently(t *testing.T) {
	var writers, readers sync.WaitGroup
	u := NewUsage()
	done := make(chan struct{})
	for w := range 4 {
		writers.Go(func() {
			for i := range 200 {
				node := fmt.Sprint("node", w)
				u.Apply(sample(node, int64(i), podUsage("ns", node, 1, int64(i)), podUsage("ns", "everywhere", int64(w), int64(i))))
				u.Advance(uint64(i))
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			queries, results := []PodQuery{{Namespace: "ns", Name: "everywhere"}, {Namespace: "ns", Name: "node1"}}, make([]PodUsage, 2)
			for {
				u.Pods(queries, results)
				for i, r := range results {
					if r.Pod != nil && r.Pod.Name != queries[i].Name {
						t.Errorf("asked for %s, got %s", queries[i].Name, r.Pod.Name)
					}
				}
				u.All()
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if got := where(u, "ns", "everywhere", ""); got != "node3" {
		t.Errorf("everywhere is on %q, want node3, whose start is the latest", got)
	}
}
