//lint:file-ignore U1000 record has fields for their size alone.

package view

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/headwater-metrics/headwater/schemas"
)

// record is as large as what the metrics API keeps of a pod.
type record struct {
	labels                 *Labels
	uid, node              string
	created, started, more int64
}

func pods(in *Interner, t testing.TB, namespaces, perNamespace int) *Objects[record] {
	o := NewObjects(func(r *record) *Labels { return r.labels })
	for n := range namespaces {
		for i := range perNamespace {
			o.Apply(fmt.Sprintf("namespace-%d", n), fmt.Sprintf("deployment-%d-5d8f7b9c6-%05d", i/50, i*7919%perNamespace),
				record{labels: label(t, in, fmt.Sprintf("app=app-%d,pod-template-hash=5d8f7b9c6,tier=backend", i/50))})
		}
	}
	return o
}

func BenchmarkObjectsReplay(b *testing.B) {
	var (
		in    Interner
		names [20000]string
		set   [400]*Labels
	)
	for i := range names {
		names[i] = fmt.Sprintf("deployment-%d-5d8f7b9c6-%05d", i/50, i*7919%len(names))
	}
	for i := range set {
		set[i] = label(b, &in, fmt.Sprintf("app=app-%d", i))
	}
	b.ReportAllocs()
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		o := NewObjects(func(r *record) *Labels { return r.labels })
		for i, name := range names {
			o.Apply("shop", name, record{labels: set[i/50]})
		}
		o.Settle()
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(o)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(names)), "ns/object")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(names)), "held-B/object")
}

func BenchmarkObjectsUpdate(b *testing.B) {
	var in Interner
	o := pods(&in, b, 1, 15000)
	all := o.List("namespace-0")
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		e := all[i*7919%len(all)]
		o.Apply(e.Namespace, e.Name, e.Value)
		i++
	}
}

func BenchmarkObjectsList(b *testing.B) {
	var in Interner
	o := pods(&in, b, 10, 15000)
	o.Settle()
	b.Run("namespace of 15000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			o.List("namespace-3")
		}
	})
	b.Run("all 150000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			o.All()
		}
	})
	b.Run("one deployment of 50 in a namespace of 15000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if n := len(o.Select("namespace-3", app("app-77"))); n != 50 {
				b.Fatal(n)
			}
		}
	})
	b.Run("the same, by its label", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if n := len(o.Select("namespace-3", app("app-77"), Label{"app", "app-77"}, Label{"tier", "backend"})); n != 50 {
				b.Fatal(n)
			}
		}
	})
	b.Run("all 15000 of a namespace by label", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if n := len(o.Select("namespace-3", func(l *Labels) bool { return l.Get("tier") == "backend" })); n != 15000 {
				b.Fatal(n)
			}
		}
	})
}

func samples(nodes, podsPerNode int) []*schemas.UsageSample {
	all := make([]*schemas.UsageSample, nodes)
	for n := range all {
		s := sample(fmt.Sprintf("node-%d", n), 1)
		for i := range podsPerNode {
			s.Pods = append(s.Pods, podUsage(fmt.Sprintf("namespace-%d", i%10), fmt.Sprintf("deployment-%d-5d8f7b9c6-%05d", i, n), 1, 1))
		}
		all[n] = s
	}
	return all
}

func BenchmarkUsageApply(b *testing.B) {
	u := NewUsage()
	generations := [2][]*schemas.UsageSample{samples(5000, 30), samples(5000, 30)}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		u.Apply(generations[i/5000%2][i%5000])
		i++
	}
}

func BenchmarkUsagePods(b *testing.B) {
	u := NewUsage()
	var queries []PodQuery
	for _, s := range samples(5000, 30) {
		u.Apply(s)
		for i := range s.Pods {
			queries = append(queries, PodQuery{Namespace: s.Pods[i].Namespace, Name: s.Pods[i].Name, Node: s.Node})
		}
	}
	results := make([]PodUsage, len(queries))
	b.RunParallel(func(p *testing.PB) {
		results := make([]PodUsage, len(queries))
		for p.Next() {
			u.Pods(queries, results)
		}
	})
	u.Pods(queries, results)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(queries)), "ns/pod")
}

func BenchmarkChangesPut(b *testing.B) {
	const pods = 150_000
	c := NewChanges[[3]uintptr](placed(1, 1), clock(0))
	keys := make([]Key, pods)
	for i := range keys {
		keys[i] = Key{fmt.Sprint("namespace-", i%100), fmt.Sprint("a-pod-with-a-name-", i)}
		c.Load(keys[i], [3]uintptr{}, red)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%30 == 0 {
			c.Begin(c.at.place, placed(uint64(i), 1), clock(0))
		}
		c.Put(keys[i%pods], [3]uintptr{}, red, clock(1))
	}
}
