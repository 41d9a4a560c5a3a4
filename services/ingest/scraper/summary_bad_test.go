package scraper

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
)

func TestSummaryThatIsNone(t *testing.T) {
	for body, want := range map[string]string{
		"":                                     "ends too early",
		"null x":                               "something follows",
		"{}{}":                                 "something follows",
		"<html>":                               "isn't JSON",
		"# HELP x":                             "isn't JSON",
		"[]":                                   "another kind",
		`"text"`:                               "another kind",
		`{"node":[]}`:                          "another kind",
		`{"pods":{}}`:                          "another kind",
		`{"pods":[1]}`:                         "another kind",
		`{"pods":[}`:                           "isn't JSON",
		`{"pods":[{]}`:                         "isn't JSON",
		`{"pods" []}`:                          "isn't JSON",
		`{pods:[]}`:                            "isn't JSON",
		`{"x":}`:                               "isn't JSON",
		`{"x":,}`:                              "isn't JSON",
		`{"x":1 "y":2}`:                        "isn't JSON",
		"{\"a\nb\":1}":                         "isn't JSON",
		`{"node":nil}`:                         "isn't JSON",
		"{\x00}":                               "isn't JSON",
		`{"x":` + strings.Repeat("[", 1e6):     "ends too early",
		podWith(`,"memory":{"rssBytes":"7"}`):  "another kind",
		podWith(`,"memory":{"rssBytes":{}}`):   "another kind",
		podWith(`,"memory":{"rssBytes":-}`):    "isn't JSON",
		podWith(`,"memory":{"rssBytes":1.}`):   "isn't JSON",
		podWith(`,"memory":{"rssBytes":1..2}`): "isn't JSON",
		podWith(`,"startTime":5`):              "another kind",
		podWith(`,"startTime":"yesterday"`):    "no time",
		podWith(`,"startTime":"2026-02-30T00:00:00Z"`):                 "no time",
		podWith(`,"name":{}`):                                          "another kind",
		podWith(`,"name":"a\qb"`):                                      "isn't JSON",
		podWith(",\"name\":\"a\xff\""):                                 "UTF-8",
		`{"pods":[{"volume":[{"volumeHealthStats":{"abnormal":1}}]}]}`: "another kind",
	} {
		var m summary
		err := m.decode([]byte(body))
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 {
			t.Errorf("%.60q: %v, want %q", body, err, want)
		}
	}
}

// A node with 50,000 containers in one pod, and with 50,000 pods of one name, is a matter of a moment.
func TestSummaryOfAMonster(t *testing.T) {
	const n = 50_000
	var one, many bytes.Buffer
	one.WriteString(`{"pods":[{"podRef":{"namespace":"ns","name":"p","uid":"u"},"containers":[`)
	many.WriteString(`{"pods":[`)
	s := &schemas.UsageSample{Pods: make([]schemas.PodUsage, 1)}
	s.Pods[0].Namespace, s.Pods[0].Name = "ns", "p"
	for i := range n {
		if i > 0 {
			one.WriteByte(',')
			many.WriteByte(',')
		}
		fmt.Fprintf(&one, `{"name":"c%d","memory":{"rssBytes":%d}}`, n-i, n-i)
		fmt.Fprintf(&many, `{"podRef":{"namespace":"ns","name":"p"},"containers":[{"name":"x","startTime":"1999-01-01T00:00:00Z"}]}`)
		s.Pods[0].Containers = append(s.Pods[0].Containers, schemas.ContainerUsage{Name: fmt.Sprint("c", i+1)})
	}
	one.WriteString("]}]}")
	many.WriteString("]}")
	began := worked(t)
	if _, err := enrich(t, many.Bytes(), s); err != nil || s.Pods[0].UID != "" {
		t.Fatal(err, s.Pods[0].UID)
	}
	if _, err := enrich(t, one.Bytes(), s); err != nil {
		t.Fatal(err)
	}
	for i, c := range s.Pods[0].Containers {
		if c.Point.Extra == nil || c.Point.Extra.RSS.Value != uint64(i+1) {
			t.Fatalf("%s: %+v", c.Name, c.Point.Extra)
		}
	}
	if took := worked(t) - began; took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

// worked is how long the process has worked so far: that of a machine that stands still doesn't.
func worked(t testing.TB) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// A summary that is used again says nothing of the node before.
func TestSummaryIsEmptyAgain(t *testing.T) {
	full, err := os.ReadFile("testdata/summary.json")
	if err != nil {
		t.Fatal(err)
	}
	var m summary
	if err := m.decode(full); err != nil {
		t.Fatal(err)
	}
	var refused [lastDrop]int
	m.add(&schemas.UsageSample{Point: new(schemas.Point)}, requested.UnixNano(), &refused)
	m.reset()
	if err := m.decode([]byte(`{"pods":[{"podRef":{"namespace":"ns","name":"p"},"containers":[{"name":"c"}]}]}`)); err != nil {
		t.Fatal(err)
	}
	s := &schemas.UsageSample{Point: new(schemas.Point), Pods: []schemas.PodUsage{{Namespace: "ns", Name: "p", Point: new(schemas.Point), Containers: []schemas.ContainerUsage{{Name: "c"}}}}}
	want := s.Marshal()
	m.add(s, requested.UnixNano(), &refused)
	if got := s.Marshal(); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// FuzzSummary reads any bytes without harm; and where encoding/json finds a summary in them, the same summary written as the
// kubelet does is read alike.
func FuzzSummary(f *testing.F) {
	full, err := os.ReadFile("testdata/summary.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	for _, fields := range []string{"", `,"memory":{"rssBytes":-1.5e3}`, `,"startTime":"2026-11-20T23:34:01Z","rootfs":{"time":"2026-11-20T23:34:01Z"}`, `,"x":[{"y":"\""}]`} {
		f.Add([]byte(podWith(fields)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := &schemas.UsageSample{Point: new(schemas.Point), Pods: []schemas.PodUsage{{Namespace: "ns", Name: "p", Point: new(schemas.Point), Containers: []schemas.ContainerUsage{{Name: "c"}, {Name: "c"}}}}}
		if _, err := enrich(t, body, s); err == nil {
			var back schemas.UsageSample
			if err := back.Unmarshal(s.Marshal()); err != nil {
				t.Fatal(err)
			}
		}
		var reference jsonSummary
		if json.Unmarshal(body, &reference) != nil {
			return
		}
		type key struct{ namespace, name string }
		seen := map[key]bool{}
		for _, p := range reference.Pods {
			k := key{p.PodRef.Namespace, p.PodRef.Name}
			if seen[k] {
				return // told apart by more than the name
			}
			seen[k] = true
			names := map[string]bool{}
			for _, c := range p.Containers {
				if names[c.Name] || c.StartTime != nil && (c.StartTime.Year() < 1900 || c.StartTime.Year() > 2100) {
					return
				}
				names[c.Name] = true
			}
			for _, v := range p.Volume {
				if v.Time != nil && (v.Time.Year() < 1900 || v.Time.Year() > 2100) {
					return // beyond what nanoseconds can say
				}
			}
		}
		body = lowerKeys(t, reference)
		got, want := skeleton(&reference)
		if _, err := enrich(t, body, got); err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		if diff := cmp.Diff(want.Marshal(), got.Marshal()); diff != "" {
			t.Fatalf("%s\n%s", cmp.Diff(want, got), body)
		}
	})
}
