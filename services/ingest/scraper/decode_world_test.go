package scraper

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
)

// requested is when the tests' bodies were asked for: what a series without a timestamp gets, cut to milliseconds.
var requested = time.Unix(1795217700, 123456789)

// decodeOnce returns the sample of one body of a node that has no past, and what was refused in it.
func decodeOnce(t testing.TB, body string) (*schemas.UsageSample, map[string]int, error) {
	t.Helper()
	return decodeNext(t, new(history), body)
}

// decodeNext returns the sample of one body of the node with history h.
func decodeNext(t testing.TB, h *history, body string) (*schemas.UsageSample, map[string]int, error) {
	t.Helper()
	var d decoder
	d.begin(h, requested)
	d.earliest, d.latest = math.MinInt64, math.MaxInt64 // most tests' times are of 1970
	if err := d.decode([]byte(body)); err != nil {
		return nil, nil, err
	}
	sample, err := d.settle(h, rulesFor(15*time.Second))
	refused := map[string]int{}
	for reason, n := range d.refused {
		if n > 0 {
			refused[dropReasons[reason]] = n
		}
	}
	return sample, refused, err
}

const ms = int64(time.Millisecond)

// A node, two pods; values and conversions are those of metrics-server's own test.
const smallBody = `# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="coredns",namespace="kube-system",pod="coredns-1"} 4.710169 1633253812125
container_cpu_usage_seconds_total{container="metrics",namespace="kube-system",pod="metrics-2"} 0.5 1633253812000
# HELP container_memory_working_set_bytes [STABLE] Current working set of the container in bytes
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="coredns",namespace="kube-system",pod="coredns-1"} 1.253376e+07 1633253812130
container_memory_working_set_bytes{container="metrics",namespace="kube-system",pod="metrics-2"} 4096 1633253812001
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container="coredns",namespace="kube-system",pod="coredns-1"} 1.633253800000e+09
node_cpu_usage_seconds_total 357.35491 1633253809720
node_memory_working_set_bytes 1.616273408e+09 1633253809721
pod_cpu_usage_seconds_total{namespace="kube-system",pod="coredns-1"} 4.67812 1633253812140
pod_memory_working_set_bytes{namespace="kube-system",pod="coredns-1"} 1.2627968e+07 1633253812141
scrape_error 0
`

// point finds the point of the container c of the pod ns/p; nil where the sample has none.
func point(s *schemas.UsageSample) *schemas.Point {
	if s == nil {
		return nil
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		for j := range p.Containers {
			if p.Namespace == "ns" && p.Name == "p" && p.Containers[j].Name == "c" {
				return &p.Containers[j].Point
			}
		}
	}
	return nil
}

// withoutRates returns a copy of s that has no rates.
func withoutRates(s *schemas.UsageSample) *schemas.UsageSample {
	var c schemas.UsageSample
	if err := c.Unmarshal(s.Marshal()); err != nil {
		panic(err)
	}
	strip := func(p *schemas.Point) {
		if p != nil {
			p.Rate, p.Window = 0, 0
		}
	}
	strip(c.Point)
	for i := range c.Pods {
		strip(c.Pods[i].Point)
		for j := range c.Pods[i].Containers {
			strip(&c.Pods[i].Containers[j].Point)
		}
	}
	return &c
}

// bodyOf is what a kubelet with that many pods would answer; every third pod has the given number of containers, the
// others one.
func bodyOf(pods, containers int) string {
	var cpu, memory, started, swap, ownCPU, ownMemory bytes.Buffer
	n := 0
	for c := range containers {
		for p := range pods {
			if c > 0 && p%3 > 0 {
				continue
			}
			labels := fmt.Sprintf(`{container="container-%d",namespace="namespace-%d",pod="pod-%d-5d89fb8b64-x7kqz"}`, (c+p)%5, p%4, p)
			n++
			at := 1795217691955 + n*7
			fmt.Fprintf(&cpu, "container_cpu_usage_seconds_total%s %v %d\n", labels, 100+float64(n)*1.234567891, at)
			fmt.Fprintf(&memory, "container_memory_working_set_bytes%s %v %d\n", labels, float64(n)*4555776, at)
			fmt.Fprintf(&started, "container_start_time_seconds%s %v\n", labels, 1.7952165502048197e+09+float64(n))
			fmt.Fprintf(&swap, "container_swap_usage_bytes%s 0 %d\n", labels, at)
		}
	}
	for p := range pods {
		labels := fmt.Sprintf(`{namespace="namespace-%d",pod="pod-%d-5d89fb8b64-x7kqz"}`, p%4, p)
		fmt.Fprintf(&ownCPU, "pod_cpu_usage_seconds_total%s %v %d\n", labels, 100+float64(p)*1.5, 1795217691955+p)
		fmt.Fprintf(&ownMemory, "pod_memory_working_set_bytes%s %v %d\n", labels, 5e7+float64(p), 1795217691955+p)
	}
	return "# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds\n# TYPE container_cpu_usage_seconds_total counter\n" + cpu.String() +
		"# HELP container_memory_working_set_bytes [STABLE] Current working set of the container in bytes\n# TYPE container_memory_working_set_bytes gauge\n" + memory.String() +
		"# TYPE container_start_time_seconds gauge\n" + started.String() +
		"# TYPE container_swap_usage_bytes gauge\n" + swap.String() +
		"# TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total 5208.686538165 1795217687378\n" +
		"# TYPE node_memory_working_set_bytes gauge\nnode_memory_working_set_bytes 3.413610496e+09 1795217687378\n" +
		"# TYPE pod_cpu_usage_seconds_total counter\n" + ownCPU.String() +
		"# TYPE pod_memory_working_set_bytes gauge\n" + ownMemory.String() +
		"# TYPE scrape_error gauge\nscrape_error 0\n"
}
