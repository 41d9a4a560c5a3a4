package scraper

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/headwater-metrics/headwater/schemas"
)

var seedBodies = []string{
	"", "\n", "# x\n", smallBody, bodyOf(3, 2), nodes,
	nodes + cpu1 + "1 1000\n" + mem1 + "2 1000\n" + start + "1\n" + cpu1 + "NaN 7\n" + mem1 + "-1\n" + mem1 + "1e300\n",
	nodes + mem1 + "1 -62135596800000\n",
	nodes + "container_cpu_usage_seconds_total 1 1000\n",
	nodes + `container_cpu_usage_seconds_total{container="a\"b\\c\nd",namespace="ns",pod="p",} +Inf 1000` + "\n",
	`{"container_cpu_usage_seconds_total",container="c",namespace="ns",pod="p"} 1 1000` + "\n",
	"<html>", "x 0x1p3\n", "x{a=\"b\"} 1 2", "container_cpu_usage_seconds_total{",
}

// FuzzDecode gives a node two bodies, one after the other. Whatever they are, nothing panics; the second decodes as it
// does without the first, but for rates; the sample survives the wire; and where Prometheus' own parser takes the body
// too, the values are the same.
func FuzzDecode(f *testing.F) {
	real, err := os.ReadFile("testdata/metrics-resource.txt")
	if err != nil {
		f.Fatal(err)
	}
	for i, body := range seedBodies {
		f.Add([]byte(body), []byte(seedBodies[(i+3)%len(seedBodies)]))
	}
	f.Add(real, []byte(smallBody))
	f.Fuzz(func(t *testing.T, before, body []byte) {
		var h history
		_, _, _ = decodeNext(t, &h, string(before))
		got, _, err := decodeNext(t, &h, string(body))
		want, _, alone := decodeOnce(t, string(body))
		if resultOf(err, resultSuccess) != resultOf(alone, resultSuccess) {
			t.Fatalf("with a past: %v; without: %v", err, alone)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(withoutRates(want), withoutRates(got)); diff != "" {
			t.Fatal(diff)
		}
		var back schemas.UsageSample
		if err := back.Unmarshal(got.Marshal()); err != nil {
			t.Fatal(err)
		}
		compareWithPrometheus(t, body, want)
	})
}

// compareWithPrometheus checks s against what Prometheus' own parser reads, if it takes the body.
func compareWithPrometheus(t *testing.T, body []byte, s *schemas.UsageSample) {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return
	}
	for _, name := range []string{"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_start_time_seconds"} {
		if k := families[name].GetType(); k == dto.MetricType_HISTOGRAM || k == dto.MetricType_SUMMARY || k == dto.MetricType_GAUGE_HISTOGRAM {
			return
		}
	}
	received := requested.UnixMilli() * ms
	// last returns the last value of a container in a family that can be true, scaled, and its timestamp.
	last := func(family, namespace, pod, container string, scale, limit float64) (value float64, at int64) {
		for _, m := range families[family].GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			v := (m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()) * scale
			if labels["namespace"] != namespace || labels["pod"] != pod || labels["container"] != container || !(v >= 0 && v < limit) || m.GetTimestampMs() > maxMillis {
				continue
			}
			value, at = v, received
			if m.TimestampMs != nil {
				at = m.GetTimestampMs() * ms
			}
		}
		return value, at
	}
	for _, pod := range s.Pods {
		for _, c := range pod.Containers {
			p := c.Point
			cpu, cpuTime := last("container_cpu_usage_seconds_total", pod.Namespace, pod.Name, c.Name, 1e9, maxUint64)
			memory, memoryTime := last("container_memory_working_set_bytes", pod.Namespace, pod.Name, c.Name, 1, maxUint64)
			start, _ := last("container_start_time_seconds", pod.Namespace, pod.Name, c.Name, 1e9, maxInt64)
			want := schemas.Point{
				Time: p.Time, CPUTime: cpuTime, MemoryTime: memoryTime, Start: int64(start),
				CPU: uint64(cpu), Memory: uint64(memory), Rate: p.Rate, Window: p.Window, Extra: p.Extra,
			}
			if diff := cmp.Diff(want, p); diff != "" {
				t.Fatalf("%s/%s/%s: %s", pod.Namespace, pod.Name, c.Name, diff)
			}
			if p.Time != p.CPUTime && p.Time != p.MemoryTime {
				t.Fatalf("%s/%s/%s: the point's time is neither counter's: %+v", pod.Namespace, pod.Name, c.Name, p)
			}
		}
	}
}
