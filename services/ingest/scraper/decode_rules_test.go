package scraper

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
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
