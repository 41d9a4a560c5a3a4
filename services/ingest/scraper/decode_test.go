package scraper

import (
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
)

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

const (
	cpu1  = `container_cpu_usage_seconds_total{container="c",namespace="ns",pod="p"} `
	mem1  = `container_memory_working_set_bytes{container="c",namespace="ns",pod="p"} `
	start = `container_start_time_seconds{container="c",namespace="ns",pod="p"} `
	nodes = "node_cpu_usage_seconds_total 1 1000\nnode_memory_working_set_bytes 1 1000\n"
)

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
