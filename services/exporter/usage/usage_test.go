package usage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
)

var at = time.UnixMilli(1_767_225_600_123)

func point(cpu, memory uint64) schemas.Point {
	return schemas.Point{Time: at.UnixNano(), CPUTime: at.UnixNano(), MemoryTime: at.Add(877 * time.Millisecond).UnixNano(), Start: at.Add(-time.Hour).UnixNano(), CPU: cpu, Memory: memory}
}

func fullSample() schemas.UsageSample {
	node := point(357_354_910_000, 12_533_760)
	node.Start = 0
	node.Extra = &schemas.Extra{SwapUsage: schemas.Optional{Value: 4096, Valid: true}}
	pod := point(5_000_000_000, 2048)
	pod.Extra = &schemas.Extra{SwapUsage: schemas.Optional{Value: 0, Valid: true}}
	swapping := point(4_710_169_000, 1024)
	swapping.Extra = &schemas.Extra{SwapUsage: schemas.Optional{Value: 7, Valid: true}, SwapLimit: schemas.Optional{Value: 8, Valid: true}}
	young := point(1, 1)
	young.Start = 0
	return schemas.UsageSample{Node: "node-1", Time: at.UnixNano(), Point: &node, Pods: []schemas.PodUsage{
		{Namespace: "shop", Name: "web", Point: &pod, Containers: []schemas.ContainerUsage{{Name: "main", Point: swapping}, {Name: "side", Point: young}, {Name: "main", Point: point(9, 9)}}},
		{Namespace: "shop", Name: `odd"pod`, Containers: []schemas.ContainerUsage{{Name: "main", Point: point(0, 0)}}},
		{Namespace: "shop", Name: "web", Containers: []schemas.ContainerUsage{{Name: "again", Point: point(9, 9)}}},
	}}
}

func apply(t testing.TB, s *Store, samples ...schemas.UsageSample) {
	t.Helper()
	for _, sample := range samples {
		if err := s.Apply(sample.Marshal()); err != nil {
			t.Fatal(err)
		}
	}
}

func everything(t testing.TB) *Selection {
	t.Helper()
	all, err := Select(Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func text(t testing.TB, s *Store, format exposition.Format, since time.Time) string {
	t.Helper()
	var out bytes.Buffer
	if err := exposition.NewAnswer(format, s.Groups(format, since, everything(t))).Write(&out); err != nil {
		t.Fatal(err)
	}
	check := strict.Text
	if format == exposition.OpenMetrics {
		check = strict.OpenMetrics
	}
	if _, err := check(out.Bytes()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}

func TestFamilies(t *testing.T) {
	s := NewStore()
	apply(t, s, fullSample())
	const want = `# TYPE container_cpu_usage_seconds counter
container_cpu_usage_seconds_total{container="main",namespace="shop",pod="web",node="node-1"} 4.710169 1767225600.123
container_cpu_usage_seconds_total{container="side",namespace="shop",pod="web",node="node-1"} 1e-09 1767225600.123
container_cpu_usage_seconds_total{container="main",namespace="shop",pod="odd\"pod",node="node-1"} 0 1767225600.123
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="main",namespace="shop",pod="web",node="node-1"} 1024 1767225601
container_memory_working_set_bytes{container="side",namespace="shop",pod="web",node="node-1"} 1 1767225601
container_memory_working_set_bytes{container="main",namespace="shop",pod="odd\"pod",node="node-1"} 0 1767225601
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container="main",namespace="shop",pod="web",node="node-1"} 1.767222000123e+09
container_start_time_seconds{container="main",namespace="shop",pod="odd\"pod",node="node-1"} 1.767222000123e+09
# TYPE container_swap_limit_bytes gauge
container_swap_limit_bytes{container="main",namespace="shop",pod="web",node="node-1"} 8 1767225601
# TYPE container_swap_usage_bytes gauge
container_swap_usage_bytes{container="main",namespace="shop",pod="web",node="node-1"} 7 1767225601
# TYPE node_cpu_usage_seconds counter
node_cpu_usage_seconds_total{node="node-1"} 357.35491 1767225600.123
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes{node="node-1"} 1.253376e+07 1767225601
# TYPE node_swap_usage_bytes gauge
node_swap_usage_bytes{node="node-1"} 4096 1767225601
# TYPE pod_cpu_usage_seconds counter
pod_cpu_usage_seconds_total{namespace="shop",pod="web",node="node-1"} 5 1767225600.123
# TYPE pod_memory_working_set_bytes gauge
pod_memory_working_set_bytes{namespace="shop",pod="web",node="node-1"} 2048 1767225601
# TYPE pod_swap_usage_bytes gauge
pod_swap_usage_bytes{namespace="shop",pod="web",node="node-1"} 0 1767225601
# EOF
`
	withoutHelp := func(text string) string {
		return strings.Join(slices.DeleteFunc(strings.SplitAfter(text, "\n"), func(l string) bool { return strings.HasPrefix(l, "# HELP") }), "")
	}
	if diff := cmp.Diff(want, withoutHelp(text(t, s, exposition.OpenMetrics, at))); diff != "" {
		t.Errorf("OpenMetrics (-want +got):\n%s", diff)
	}
	inText := strings.NewReplacer("_seconds counter", "_seconds_total counter", " 1767225600.123\n", " 1767225600123\n", " 1767225601\n", " 1767225601000\n", "# EOF\n", "").Replace(want)
	if diff := cmp.Diff(inText, withoutHelp(text(t, s, exposition.Text, at))); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestTheNewestSampleWinsAndOldOnesAreLeftOut(t *testing.T) {
	s := NewStore()
	sample := func(node string, after time.Duration, cpu uint64) schemas.UsageSample {
		p := point(cpu*1e9, 1)
		p.Time = at.Add(after).UnixNano()
		return schemas.UsageSample{Node: node, Time: at.Add(after).UnixNano(), Point: &p}
	}
	apply(t, s, sample("b", 2*time.Second, 2), sample("b", time.Second, 1), sample("a", -time.Minute, 3))
	all := text(t, s, exposition.Text, at.Add(-time.Hour))
	a, b := strings.Index(all, `node_cpu_usage_seconds_total{node="a"} 3`), strings.Index(all, `node_cpu_usage_seconds_total{node="b"} 2`)
	if a < 0 || b < a || strings.Count(all, "node_cpu_usage_seconds_total{") != 2 {
		t.Error(all)
	}
	if fresh := text(t, s, exposition.Text, at); strings.Contains(fresh, `node="a"`) || !strings.Contains(fresh, `node="b"`) {
		t.Error(fresh)
	}
	if none := text(t, s, exposition.Text, at.Add(time.Hour)); none != "" {
		t.Error(none)
	}
	if nodes, pods, newest := s.Stats(); nodes != 2 || pods != 0 || !newest.Equal(at.Add(2*time.Second)) {
		t.Error(nodes, pods, newest)
	}
	if n := s.Expire(at); n != 1 {
		t.Errorf("%d nodes expired", n)
	}
	if nodes, _, _ := s.Stats(); nodes != 1 {
		t.Error(nodes)
	}
	// An ingester whose clock is behind, by far: what comes last counts.
	apply(t, s, sample("b", -time.Hour, 7))
	if all := text(t, s, exposition.Text, at.Add(-2*time.Hour)); !strings.Contains(all, `node_cpu_usage_seconds_total{node="b"} 7`) {
		t.Error(all)
	}
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	s := NewStore()
	good := fullSample()
	message := good.Marshal()
	for n := range len(message) {
		if err := s.Apply(message[:n]); err == nil {
			t.Fatalf("%d of %d bytes are taken", n, len(message))
		}
	}
	message[1] = 77 // the version
	if err := s.Apply(message); !errors.Is(err, schemas.ErrVersion) {
		t.Error(err)
	}
	if nodes, _, _ := s.Stats(); nodes != 0 {
		t.Error("something was taken")
	}
}

// names are the families and nodes of what a selection gives.
func names(t testing.TB, s *Store, of *Selection) string {
	t.Helper()
	var out bytes.Buffer
	if err := exposition.NewAnswer(exposition.Text, s.Groups(exposition.Text, at, of)).Write(&out); err != nil {
		t.Fatal(err)
	}
	if _, err := strict.Text(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestSelections(t *testing.T) {
	s := NewStore()
	one, two := fullSample(), fullSample()
	two.Node = "node-2"
	two.Pods = append(two.Pods, schemas.PodUsage{Namespace: "bank", Name: "vault", Containers: []schemas.ContainerUsage{{Name: "main", Point: point(1, 1)}}})
	apply(t, s, one, two)
	choose := func(f Filter) *Selection {
		t.Helper()
		selection, err := Select(f)
		if err != nil {
			t.Fatal(err)
		}
		return selection
	}
	all := choose(Filter{})
	whole := names(t, s, all)
	if !strings.Contains(whole, `namespace="bank"`) || !strings.Contains(whole, `node="node-1"`) {
		t.Fatal(whole)
	}
	node := choose(Filter{Node: func(name string) bool { return name == "node-2" }})
	if got := names(t, s, node); strings.Contains(got, `node="node-1"`) || !strings.Contains(got, `node="node-2"`) {
		t.Error(got)
	}
	namespace := choose(Filter{Namespace: func(name string) bool { return name != "bank" }})
	if got := names(t, s, namespace); strings.Contains(got, "bank") || !strings.Contains(got, `namespace="shop"`) || !strings.Contains(got, `node_cpu_usage_seconds_total{node="node-2"}`) {
		t.Error(got)
	}
	family := choose(Filter{Family: func(f *collector.Family) (bool, error) { return !strings.HasPrefix(f.Name, "pod_"), nil }})
	if got := names(t, s, family); strings.Contains(got, "pod_cpu") || !strings.Contains(got, "container_cpu") {
		t.Error(got)
	}
	none := choose(Filter{Family: func(*collector.Family) (bool, error) { return false, nil }})
	if got := names(t, s, none); got != "" || !none.Empty() || all.Empty() {
		t.Error(got)
	}
	if _, err := Select(Filter{Family: func(*collector.Family) (bool, error) { return false, io.ErrUnexpectedEOF }}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	// What was rendered for one selection is not given to another, also when they take turns.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if got := names(t, s, namespace); strings.Contains(got, "bank") {
					t.Error("a namespace that is not wanted")
				}
				if names(t, s, all) != whole {
					t.Error("another answer")
				}
			}
		})
	}
	wg.Wait()
}

func TestScrapesWhileSamplesCome(t *testing.T) {
	s := NewStore()
	var wg sync.WaitGroup
	for node := range 4 {
		wg.Go(func() {
			sample := fullSample()
			sample.Node = fmt.Sprint("node-", node)
			for i := range 200 {
				sample.Time = at.UnixNano() + int64(i)
				if err := s.Apply(sample.Marshal()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		wg.Go(func() {
			for range 50 {
				text(t, s, exposition.Text, at)
				text(t, s, exposition.OpenMetrics, at)
			}
		})
	}
	wg.Wait()
}

// BenchmarkScrape is a scrape after every one of 1,000 nodes with 30 pods has sent a new sample, and another right after it.
func BenchmarkScrape(b *testing.B) {
	s := NewStore()
	messages := make([][]byte, 1000)
	sample := schemas.UsageSample{Time: at.UnixNano()}
	p := point(12_345_678_901, 123_456_789)
	sample.Point = &p
	for i := range 30 {
		pod := schemas.PodUsage{Namespace: "team-1", Name: fmt.Sprintf("service-%d-5f000000-%05x", i, i), Point: &p, Containers: []schemas.ContainerUsage{{Name: "main", Point: p}}}
		if i%3 == 0 {
			pod.Containers = append(pod.Containers, schemas.ContainerUsage{Name: "proxy", Point: p})
		}
		sample.Pods = append(sample.Pods, pod)
	}
	for i := range messages {
		sample.Node = fmt.Sprintf("ip-10-0-%d-%d.example.internal", i/256, i%256)
		messages[i] = sample.Marshal()
	}
	all := everything(b)
	scrape := func() int64 {
		a := exposition.NewAnswer(exposition.OpenMetrics, s.Groups(exposition.OpenMetrics, at, all))
		if err := a.WriteGzip(io.Discard); err != nil {
			b.Fatal(err)
		}
		plain, _ := a.Sizes()
		return plain
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			for _, m := range messages {
				if err := s.Apply(m); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(scrape())
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			scrape()
		}
	})
}
