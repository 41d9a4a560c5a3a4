package scraper

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

func TestDecode(t *testing.T) {
	got, refused, err := decodeOnce(t, smallBody)
	if err != nil {
		t.Fatal(err)
	}
	want := &schemas.UsageSample{
		Point: &schemas.Point{
			Time: 1633253809721 * ms, CPUTime: 1633253809720 * ms, MemoryTime: 1633253809721 * ms,
			CPU: 357354910000, Memory: 1616273408,
		},
		Pods: []schemas.PodUsage{{
			Namespace: "kube-system", Name: "coredns-1",
			Containers: []schemas.ContainerUsage{{Name: "coredns", Point: schemas.Point{
				Time: 1633253812130 * ms, CPUTime: 1633253812125 * ms, MemoryTime: 1633253812130 * ms,
				// 12.13 s old at the memory's timestamp: young enough to be measured from its start.
				Start: 1633253800000 * ms, CPU: 4710169000, Memory: 12533760, Rate: 388307419, Window: 12130 * ms,
			}}},
			Point: &schemas.Point{
				Time: 1633253812141 * ms, CPUTime: 1633253812140 * ms, MemoryTime: 1633253812141 * ms,
				CPU: 4678120000, Memory: 12627968,
			},
		}, {
			Namespace: "kube-system", Name: "metrics-2",
			Containers: []schemas.ContainerUsage{{Name: "metrics", Point: schemas.Point{
				Time: 1633253812001 * ms, CPUTime: 1633253812000 * ms, MemoryTime: 1633253812001 * ms,
				CPU: 500000000, Memory: 4096,
			}}},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
}

// The answers of a real kubelet, 16 s apart: every container's share of a core is near what it was set to burn.
func TestDecodeOfARealKubelet(t *testing.T) {
	var h history
	for i, name := range []string{"testdata/metrics-resource.txt", "testdata/metrics-resource.16s-later.txt"} {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sample, refused, err := decodeNext(t, &h, string(body))
		if err != nil || len(refused) > 0 {
			t.Fatalf("%s: %v, refused %v", name, err, refused)
		}
		if sample.Point == nil || sample.Point.HasRate() != (i > 0) {
			t.Errorf("%s: node %+v", name, sample.Point)
		}
		if len(sample.Pods) != 2 {
			t.Fatalf("%s: %d pods", name, len(sample.Pods))
		}
		for _, pod := range sample.Pods {
			if pod.Namespace != "default" || len(pod.Containers) != 2 || pod.Containers[0].Name != "main" || pod.Containers[1].Name != "side" || pod.Point == nil {
				t.Errorf("%s: %+v", name, pod)
			}
			for _, c := range pod.Containers {
				if c.Point.HasRate() != (i > 0) || c.Point.Extra == nil || !c.Point.Extra.SwapUsage.Valid || !c.Point.Extra.SwapLimit.Valid {
					t.Errorf("%s: %s/%s %+v", name, pod.Name, c.Name, c.Point)
				}
				if i > 0 && (c.Point.Window < 5e9 || c.Point.Window > 30e9 || c.Point.Rate < 10e6 || c.Point.Rate > 1e9) {
					t.Errorf("%s: %s/%s window %v, %d nanocores", name, pod.Name, c.Name, time.Duration(c.Point.Window), c.Point.Rate)
				}
			}
		}
	}
}

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

const (
	cpu1  = `container_cpu_usage_seconds_total{container="c",namespace="ns",pod="p"} `
	mem1  = `container_memory_working_set_bytes{container="c",namespace="ns",pod="p"} `
	start = `container_start_time_seconds{container="c",namespace="ns",pod="p"} `
	nodes = "node_cpu_usage_seconds_total 1 1000\nnode_memory_working_set_bytes 1 1000\n"
)

func TestDecodeRules(t *testing.T) {
	received := requested.UnixMilli() * ms
	type want struct {
		point   *schemas.Point // of ns/p/c; nil: its pod isn't published
		noNode  bool
		refused map[string]int
	}
	for name, test := range map[string]struct {
		body string
		want want
	}{
		"timestamps differ: the last line's is the sample's": {
			cpu1 + "1 1000\n" + mem1 + "2 2000\n",
			want{point: &schemas.Point{Time: 2000 * ms, CPUTime: 1000 * ms, MemoryTime: 2000 * ms, CPU: 1e9, Memory: 2}},
		},
		"the last line's in document order, also where it is CPU": {
			mem1 + "2 2000\n" + cpu1 + "1 1000\n",
			want{point: &schemas.Point{Time: 1000 * ms, CPUTime: 1000 * ms, MemoryTime: 2000 * ms, CPU: 1e9, Memory: 2}},
		},
		"no timestamp: that of the request": {
			cpu1 + "1\n" + mem1 + "2 \n",
			want{point: &schemas.Point{Time: received, CPUTime: received, MemoryTime: received, CPU: 1e9, Memory: 2}},
		},
		"start times set no timestamp": {
			cpu1 + "1 1000\n" + mem1 + "2 1000\n" + start + "0.5 9000\n",
			want{point: &schemas.Point{Time: 1000 * ms, CPUTime: 1000 * ms, MemoryTime: 1000 * ms, Start: 500 * ms, CPU: 1e9, Memory: 2}},
		},
		"given twice: the last line wins, by field": {
			cpu1 + "1 1000\n" + cpu1 + "3 3000\n" + mem1 + "2 2000\n",
			want{point: &schemas.Point{Time: 2000 * ms, CPUTime: 3000 * ms, MemoryTime: 2000 * ms, CPU: 3e9, Memory: 2},
				refused: map[string]int{"series_duplicate": 1}},
		},
		"the same container under labels in another order": {
			cpu1 + "1 1000\n" + `container_memory_working_set_bytes{pod="p", namespace = "ns" ,container="c",} 2 2000` + "\n",
			want{point: &schemas.Point{Time: 2000 * ms, CPUTime: 1000 * ms, MemoryTime: 2000 * ms, CPU: 1e9, Memory: 2}},
		},
		"escapes and other labels": {
			`container_cpu_usage_seconds_total{container="c",namespace="ns",pod="p",x="a\"b\\c\nd}"} 1 1000` + "\n" + mem1 + "2 1000\n",
			want{point: &schemas.Point{Time: 1000 * ms, CPUTime: 1000 * ms, MemoryTime: 1000 * ms, CPU: 1e9, Memory: 2}},
		},
		"a series' name among its labels belongs to none of ours": {
			`{"container_cpu_usage_seconds_total",container="c",namespace="ns",pod="p"} 1 1000` + "\n" + mem1 + "2 1000\n",
			want{refused: map[string]int{"pod_container_without_cpu": 1}},
		},
		"blank lines, comments, spaces and tabs": {
			"\n\n  \t\n#\n# HELP\n#x{\n " + strings.ReplaceAll(cpu1, "{", " \t{ ") + " \t1\t 1000 \t\n" + mem1 + "2 1000\n# no newline",
			want{point: &schemas.Point{Time: 1000 * ms, CPUTime: 1000 * ms, MemoryTime: 1000 * ms, CPU: 1e9, Memory: 2}},
		},
		"CPU 0 drops the pod":      {cpu1 + "0 1000\n" + mem1 + "2 1000\n", want{refused: map[string]int{"pod_container_without_cpu": 1}}},
		"CPU missing drops it":     {mem1 + "2 1000\n", want{refused: map[string]int{"pod_container_without_cpu": 1}}},
		"memory 0 drops it":        {cpu1 + "1 1000\n" + mem1 + "0 1000\n", want{refused: map[string]int{"pod_container_without_memory": 1}}},
		"memory missing drops it":  {cpu1 + "1 1000\n", want{refused: map[string]int{"pod_container_without_memory": 1}}},
		"only a start time: drops": {start + "5\n", want{refused: map[string]int{"pod_container_without_cpu": 1}}},
		"another container of the pod without CPU drops it": {
			cpu1 + "1 1000\n" + mem1 + "2 1000\n" + `container_start_time_seconds{container="d",namespace="ns",pod="p"} 5` + "\n",
			want{refused: map[string]int{"pod_container_without_cpu": 1}},
		},
		"swap alone makes no container": {
			cpu1 + "1 1000\n" + mem1 + "2 1000\n" + `container_swap_usage_bytes{container="d",namespace="ns",pod="p"} 5 1000` + "\n",
			want{point: &schemas.Point{Time: 1000 * ms, CPUTime: 1000 * ms, MemoryTime: 1000 * ms, CPU: 1e9, Memory: 2}},
		},
		"swap is extra": {
			cpu1 + "1 1000\n" + mem1 + "2 1000\n" + `container_swap_usage_bytes{container="c",namespace="ns",pod="p"} 5 1000` + "\n",
			want{point: &schemas.Point{Time: 1000 * ms, CPUTime: 1000 * ms, MemoryTime: 1000 * ms, CPU: 1e9, Memory: 2,
				Extra: &schemas.Extra{SwapUsage: schemas.Optional{Value: 5, Valid: true}}}},
		},
		"not a number":       {cpu1 + "NaN 1000\n" + mem1 + "2 1000\n", want{refused: map[string]int{"series_not_finite": 1, "pod_container_without_cpu": 1}}},
		"infinite":           {cpu1 + "1 1000\n" + mem1 + "+Inf 1000\n", want{refused: map[string]int{"series_not_finite": 1, "pod_container_without_memory": 1}}},
		"negative":           {cpu1 + "1 1000\n" + mem1 + "-5 1000\n", want{refused: map[string]int{"series_negative": 1, "pod_container_without_memory": 1}}},
		"beyond 64 bits":     {cpu1 + "1.9e10 1000\n" + mem1 + "2 1000\n", want{refused: map[string]int{"series_out_of_range": 1, "pod_container_without_cpu": 1}}},
		"a year beyond 2262": {cpu1 + "1 9223372036855\n" + mem1 + "2 1000\n", want{refused: map[string]int{"series_out_of_range": 1, "pod_container_without_cpu": 1}}},
		"refused values change nothing": {
			cpu1 + "1 1000\n" + mem1 + "2 2000\n" + cpu1 + "-1 3000\n" + start + "-Inf\n",
			want{refused: map[string]int{"series_negative": 1, "series_not_finite": 1},
				point: &schemas.Point{Time: 2000 * ms, CPUTime: 1000 * ms, MemoryTime: 2000 * ms, CPU: 1e9, Memory: 2}},
		},
		"a node without CPU keeps its pods": {
			cpu1 + "1 1000\n" + mem1 + "2 1000\n-node",
			want{noNode: true, refused: map[string]int{"node_without_cpu": 1},
				point: &schemas.Point{Time: 1000 * ms, CPUTime: 1000 * ms, MemoryTime: 1000 * ms, CPU: 1e9, Memory: 2}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			body, noNode := strings.CutSuffix(test.body, "-node")
			if !noNode {
				body = nodes + body
			}
			sample, refused, err := decodeOnce(t, body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want.point, point(sample)); diff != "" {
				t.Error(diff)
			}
			if (sample.Point == nil) != test.want.noNode {
				t.Errorf("node's point: %+v", sample.Point)
			}
			if test.want.refused == nil {
				test.want.refused = map[string]int{}
			}
			if diff := cmp.Diff(test.want.refused, refused); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A name is what its escapes stand for, and is found again by it.
func TestDecodeOfEscapedNames(t *testing.T) {
	labels := `{container="c\\\"d",namespace="n\ns",pod="p"} `
	body := nodes + "container_cpu_usage_seconds_total" + labels + "1 1000\ncontainer_memory_working_set_bytes" + labels + "1 1000\n"
	var h history
	for range 2 {
		sample, _, err := decodeNext(t, &h, body)
		if err != nil || len(sample.Pods) != 1 || sample.Pods[0].Namespace != "n\ns" || sample.Pods[0].Containers[0].Name != `c\"d` {
			t.Fatalf("%v, %+v", err, sample)
		}
	}
}

func TestDecodeRefusesTheWholeBody(t *testing.T) {
	good := nodes + cpu1 + "1 1000\n" + mem1 + "2 1000\n"
	for name, test := range map[string]struct {
		body string
		want result
	}{
		"nothing":                       {"", resultEmpty},
		"only a scrape error":           {"# TYPE scrape_error gauge\nscrape_error 1\n", resultEmpty},
		"only zeros":                    {"node_cpu_usage_seconds_total 0\n" + cpu1 + "0\n" + mem1 + "2\n", resultEmpty},
		"HTML":                          {"<!DOCTYPE html>\n<html>\n", resultDecode},
		"JSON":                          {`{"kind":"Status","code":401}`, resultDecode},
		"no labels":                     {good + "container_cpu_usage_seconds_total 1 1000\n", resultLabels},
		"empty labels":                  {good + "container_cpu_usage_seconds_total{} 1 1000\n", resultLabels},
		"no container label":            {good + `container_memory_working_set_bytes{namespace="ns",pod="p"} 1 1000` + "\n", resultLabels},
		"an empty pod label":            {good + `container_memory_working_set_bytes{container="c",namespace="ns",pod=""} 1 1000` + "\n", resultLabels},
		"a pod's own without namespace": {good + `pod_cpu_usage_seconds_total{pod="p"} 1 1000` + "\n", resultLabels},
		"a negative timestamp":          {good + mem1 + "1 -62135596800000\n", resultDecode},
		"a timestamp with a fraction":   {good + mem1 + "1 1000.5\n", resultDecode},
		"a timestamp beyond 64 bits":    {good + mem1 + "1 99999999999999999999\n", resultDecode},
		"a third number":                {good + mem1 + "1 1000 2\n", resultDecode},
		"an exemplar":                   {good + "x_total 1 # {a=\"b\"} 2\n", resultDecode},
		"no value":                      {good + "x\n", resultDecode},
		"no value, labels":              {good + "x{a=\"b\"}\n", resultDecode},
		"a value that is none":          {good + "x one\n", resultDecode},
		"underscores in a value":        {good + "x 1_000\n", resultDecode},
		"a hexadecimal value":           {good + "x 0x1p3\n", resultDecode},
		"a value beyond floats":         {good + "x 1e999\n", resultDecode},
		"a name with a dash":            {good + "x-y 1\n", resultDecode},
		"a name with a digit first":     {good + "9x 1\n", resultDecode},
		"a label without quotes":        {good + "x{a=b} 1\n", resultDecode},
		"a label without value":         {good + "x{a} 1\n", resultDecode},
		"labels without comma":          {good + `x{a="b" c="d"} 1` + "\n", resultDecode},
		"two commas":                    {good + `x{a="b",,c="d"} 1` + "\n", resultDecode},
		"a label twice":                 {good + `container_cpu_usage_seconds_total{pod="p",pod="q",container="c",namespace="ns"} 1` + "\n", resultDecode},
		"an unknown escape":             {good + `x{a="\t"} 1` + "\n", resultDecode},
		"a newline in a label":          {good + "x{a=\"\n\"} 1\n", resultDecode},
		"a carriage return":             {good + "x 1\r\n", resultDecode},
		"invalid UTF-8":                 {good + "x{a=\"\xff\"} 1\n", resultDecode},
		"a zero byte":                   {good + "\x00\n", resultDecode},
		"labels that do not end":        {good + `x{a="b",`, resultDecode},
		"a quote that does not end":     {good + `x{a="b\`, resultDecode},
		"cut off after a name":          {good + "x", resultDecode},
		"cut off within a value":        {good + mem1 + "12", resultDecode},
		"cut off within a timestamp":    {good + mem1 + "12 10", resultDecode},
	} {
		t.Run(name, func(t *testing.T) {
			h := new(history)
			if _, _, err := decodeNext(t, h, good); err != nil {
				t.Fatal(err)
			}
			_, _, err := decodeNext(t, h, test.body)
			if got := resultOf(err, resultSuccess); got != test.want {
				t.Fatalf("%s: %v, want %s", got, err, test.want)
			}
			t.Log(err)
			// The node's history is as it was: the next good body yields rates.
			sample, _, err := decodeNext(t, h, strings.NewReplacer(" 1 1000", " 3 2000", " 2 1000", " 2 2000").Replace(good))
			if err != nil || !sample.Point.HasRate() || !point(sample).HasRate() || point(sample).Rate != 2e9 {
				t.Fatalf("%v, %+v", err, point(sample))
			}
		})
	}
}

// What the fast path recognises and what the slow one parses are the same: bodies whose lines come and go, change their
// order or repeat decode as they do for a node without a past, but for rates.
func TestDecodeKnowsItsNodeAgain(t *testing.T) {
	body := bodyOf(12, 3)
	lines := strings.SplitAfter(strings.TrimSuffix(body, "\n"), "\n")
	lines[len(lines)-1] += "\n"
	reversed := slices.Clone(lines)
	slices.Reverse(reversed)
	without := func(parts ...string) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
			return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(l, part) })
		}), "")
	}
	variants := []string{
		body, body, without("pod-3"), body, without("pod-7", "start_time"), without("pod-1", "cpu"), strings.Join(reversed, ""),
		body + body, strings.ReplaceAll(body, `namespace="`, ` namespace="`), bodyOf(20, 1), bodyOf(5, 2), body,
	}
	var h history
	for i, variant := range variants {
		want, _, err := decodeOnce(t, variant)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := decodeNext(t, &h, variant)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(withoutRates(want), withoutRates(got)); diff != "" {
			t.Errorf("variant %d: %s", i, diff)
		}
	}
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

// A node may claim any number of containers; what it took to read them isn't kept.
func TestDecodeOfManyContainers(t *testing.T) {
	const n = 50_000
	body := []byte(bodyOf(n, 1))
	var h history
	var d decoder
	for range 2 {
		d.begin(&h, requested)
		d.earliest, d.latest = math.MinInt64, math.MaxInt64
		if err := d.decode(body); err != nil {
			t.Fatal(err)
		}
		sample, err := d.settle(&h, rulesFor(resolution))
		if err != nil || len(sample.Pods) != n {
			t.Fatalf("%v, %d pods", err, len(sample.Pods))
		}
		d.release()
	}
	if cap(d.containers.readings) > pooled || cap(d.pods) > pooled || len(d.podIndex) > pooled || cap(d.sample.sample.Pods) > pooled {
		t.Error("a pooled decoder keeps the memory of a large body")
	}
	if _, _, err := decodeNext(t, &h, smallBody); err != nil || cap(h.containers) > 100 {
		t.Errorf("%v, %d containers' memory kept", err, cap(h.containers))
	}
}

func TestErrorsSayWhere(t *testing.T) {
	_, _, err := decodeOnce(t, nodes+"x{a=\"é\"} "+strings.Repeat("é", 200)+"\n")
	if err == nil || !strings.HasPrefix(err.Error(), "line 3: ") || len(err.Error()) > 300 || !errors.Is(err, errValue) {
		t.Error(err)
	}
}

func TestValuesAreExact(t *testing.T) {
	for text, want := range map[string]float64{
		"0": 0, "-0": 0, "1.7952165502048197e+09": 1795216550.2048197, "4.5559808e+07": 45559808, "5e-324": 5e-324,
		"1.7976931348623157e308": math.MaxFloat64, "inf": math.Inf(1), "0.1": 0.1, "123456789012345678901234567890": 1.2345678901234568e29,
	} {
		got, n, err := scanValue([]byte(text + " 5\n"))
		if err != nil || n != len(text) || got != want {
			t.Errorf("%s: %v, %d, %v", text, got, n, err)
		}
	}
}
