package scraper

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
)

// A body that the kubelet's own types have written, every field of them set: what we take is what encoding/json finds.
func TestSummaryOfTheKubeletsTypes(t *testing.T) {
	body, err := os.ReadFile("testdata/summary.json")
	if err != nil {
		t.Fatal(err)
	}
	var reference jsonSummary
	if err := json.Unmarshal(body, &reference); err != nil {
		t.Fatal(err)
	}
	got, want := skeleton(&reference)
	refused, err := enrich(t, body, got)
	if err != nil || len(refused) > 0 {
		t.Fatal(refused, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// That the reference has found something itself.
	p := got.Pods[0]
	if c := p.Containers[0]; c.Extra.Rootfs == nil || c.Extra.Logs == nil || !c.Point.Extra.RSS.Valid || !c.Point.Extra.MajorPageFaults.Valid ||
		c.Point.Extra.Pressure == nil || !c.Point.Extra.Pressure.IOStalled.Valid || !c.Point.Extra.SwapUsage.Valid {
		t.Errorf("container: %+v", c)
	}
	if p.UID == "" || len(p.Extra.Volumes) != 2 || p.Extra.Volumes[0].Abnormal.Value != 1 || len(p.Extra.Network.Interfaces) != 2 || !p.Extra.Processes.Valid {
		t.Errorf("pod: %+v", p)
	}
	if q := got.Pods[1]; len(q.Extra.Volumes) != 1 || len(q.Extra.Network.Interfaces) != 1 || q.Containers[1].Point.Extra != nil {
		t.Errorf("a pod of which little is known: %+v", q)
	}
	if n := got.Extra; n.Network == nil || n.Rootfs == nil || n.Images == nil || n.Containers == nil {
		t.Errorf("node: %+v", n)
	}
	// Cut off anywhere, it is an error and nothing else.
	body = bytes.TrimRight(body, "\n")
	for n := range len(body) {
		var m summary
		if err := m.decode(body[:n]); err == nil {
			t.Fatalf("%d of %d bytes are taken", n, len(body))
		}
	}
}

// podWith is a summary with one pod ns/p, started at second 100 after requested's hour, that has a container c with the fields.
func podWith(fields string) string {
	return `{"node":{},"pods":[{"podRef":{"name":"p","namespace":"ns","uid":"u"},"containers":[{"name":"c"` + fields + `}]}]}`
}

func TestSummaryRules(t *testing.T) {
	some := func(v uint64) schemas.Optional { return schemas.Optional{Value: v, Valid: true} }
	now := requested.UTC().Truncate(time.Second)
	stamp := func(after time.Duration) string { return `"` + now.Add(after).Format(time.RFC3339) + `"` }
	for name, test := range map[string]struct {
		fields  string
		extra   *schemas.Extra
		rootfs  *schemas.Filesystem
		refused map[string]int
	}{
		"nothing": {},
		"null everywhere": {
			fields: `,"cpu":null,"memory":{"rssBytes":null,"psi":null},"io":{"psi":{"full":null,"some":{"total":null}}},"swap":{},"rootfs":null,"startTime":null`,
		},
		"zero is not nothing": {
			fields: `,"memory":{"rssBytes":0},"swap":{"swapUsageBytes":0}`,
			extra:  &schemas.Extra{RSS: some(0), SwapUsage: some(0)},
		},
		"fields of later kubelets, deep ones too": {
			fields: `,"x":` + strings.Repeat(`[{"a":`, 1000) + `"]}\""` + strings.Repeat(`}]`, 1000) + `,"memory":{"y":[1,-2.5e3,true,null,{}],"rssBytes":7}`,
			extra:  &schemas.Extra{RSS: some(7)},
		},
		"white space": {
			fields: " ,\n\t\"memory\" : { \"rssBytes\" : 7 , \"usageBytes\"\r:8 } ",
			extra:  &schemas.Extra{RSS: some(7), Usage: some(8)},
		},
		"escapes in names of fields": {
			fields: `,"m\u0065mory":{"rss\u0042ytes":7}`,
			extra:  &schemas.Extra{RSS: some(7)},
		},
		"given twice: the last one counts": {
			fields: `,"memory":{"rssBytes":7},"memory":{"rssBytes":8}`,
			extra:  &schemas.Extra{RSS: some(8)},
		},
		"the greatest and what is beyond": {
			fields:  `,"memory":{"rssBytes":9223372036854775807,"usageBytes":9223372036854775808,"pageFaults":18446744073709551615,"majorPageFaults":99999999999999999999999}`,
			extra:   &schemas.Extra{RSS: some(1<<63 - 1)},
			refused: map[string]int{"series_out_of_range": 3},
		},
		"no counts": {
			fields:  `,"memory":{"rssBytes":-1,"usageBytes":1.5,"pageFaults":1e3,"majorPageFaults":-0.5E-7}`,
			refused: map[string]int{"series_negative": 2, "series_out_of_range": 2},
		},
		"pressure, which comes in microseconds": {
			fields:  `,"cpu":{"psi":{"full":{"total":5},"some":{"total":9223372036854775}}},"memory":{"psi":{"some":{"total":9223372036854776}}}`,
			extra:   &schemas.Extra{Pressure: &schemas.Pressure{CPUStalled: some(5000), CPUWaiting: some(9223372036854775000)}},
			refused: map[string]int{"series_out_of_range": 1},
		},
		"a filesystem": {
			fields: `,"rootfs":{"time":` + stamp(-time.Minute) + `,"usedBytes":3,"capacityBytes":5}`,
			rootfs: &schemas.Filesystem{Time: now.Add(-time.Minute).UnixNano(), Used: some(3), Capacity: some(5)},
		},
		"a time with a fraction and a zone": {
			fields: `,"rootfs":{"time":"` + now.In(time.FixedZone("", 3600)).Add(time.Millisecond).Format(time.RFC3339Nano) + `"}`,
			rootfs: &schemas.Filesystem{Time: now.Add(time.Millisecond).UnixNano()},
		},
		"of 1970":      {fields: `,"rootfs":{"time":"1970-01-01T00:00:00Z","usedBytes":3}`, refused: map[string]int{"series_too_old": 1}},
		"of year 1":    {fields: `,"rootfs":{"time":"0001-01-01T00:00:00Z","usedBytes":3}`, refused: map[string]int{"series_too_old": 1}},
		"of year 9999": {fields: `,"rootfs":{"time":"9999-12-31T23:59:59Z","usedBytes":3}`, refused: map[string]int{"series_in_future": 1}},
		"of next year": {fields: `,"rootfs":{"time":` + stamp(8760*time.Hour) + `,"usedBytes":3}`, refused: map[string]int{"series_in_future": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &schemas.UsageSample{Pods: []schemas.PodUsage{{Namespace: "ns", Name: "p", Containers: []schemas.ContainerUsage{{Name: "c"}}}}}
			refused, err := enrich(t, []byte(podWith(test.fields)), s)
			if err != nil {
				t.Fatal(err)
			}
			c := s.Pods[0].Containers[0]
			if s.Pods[0].UID != "u" {
				t.Errorf("the UID is %q", s.Pods[0].UID)
			}
			if diff := cmp.Diff(test.extra, c.Point.Extra); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.rootfs, c.Extra.Rootfs); diff != "" {
				t.Error(diff)
			}
			if want := test.refused; len(want)+len(refused) > 0 && !cmp.Equal(want, refused) {
				t.Errorf("refused: %v, want %v", refused, want)
			}
		})
	}
}

// starts are container starts in two readings: what the summary says is cut to seconds.
func TestSummaryOfAnotherPod(t *testing.T) {
	at := requested.Truncate(time.Second).Add(-time.Minute)
	pod := func(uid string, containers ...string) string {
		return `{"podRef":{"namespace":"ns","name":"p","uid":"` + uid + `"},"containers":[` + strings.Join(containers, ",") + `]}`
	}
	container := func(name string, start time.Time) string {
		return fmt.Sprintf(`{"name":%q,"startTime":%q,"memory":{"rssBytes":7}}`, name, start.UTC().Format(time.RFC3339))
	}
	point := func(start time.Time) schemas.Point { return schemas.Point{Start: start.UnixNano()} }
	for name, test := range map[string]struct {
		pods []string
		c, d schemas.Point // starts of two containers
		uid  string
		rich string // of them, which have figures
	}{
		"the same":                          {[]string{pod("u", container("c", at), container("d", at.Add(time.Second)))}, point(at.Add(999_999_500)), point(at.Add(time.Second)), "u", "cd"},
		"made again between":                {[]string{pod("u", container("c", at), container("d", at))}, point(at.Add(2 * time.Second)), point(at.Add(3 * time.Second)), "", ""},
		"made again before":                 {[]string{pod("u", container("c", at), container("d", at))}, point(at.Add(-time.Second)), point(at.Add(-time.Second)), "", ""},
		"one container restarted":           {[]string{pod("u", container("c", at), container("d", at))}, point(at.Add(30 * time.Second)), point(at), "u", "d"},
		"one container new":                 {[]string{pod("u", container("c", at))}, point(at), point(at), "u", "c"},
		"the old one and the new one":       {[]string{pod("old", container("c", at), container("d", at)), pod("new", container("c", at.Add(9*time.Second)), container("d", at.Add(9*time.Second)))}, point(at.Add(9 * time.Second)), point(at.Add(9 * time.Second)), "new", "cd"},
		"the new one and the old one":       {[]string{pod("new", container("c", at.Add(9*time.Second))), pod("old", container("c", at), container("d", at))}, point(at.Add(9 * time.Second)), point(at.Add(9 * time.Second)), "new", "c"},
		"starts unknown to the summary":     {[]string{pod("u", `{"name":"c","startTime":null,"memory":{"rssBytes":7}}`)}, point(at), point(at), "u", "c"},
		"starts unknown to the other":       {[]string{pod("u", container("c", at), container("d", at))}, schemas.Point{}, schemas.Point{}, "u", "cd"},
		"without containers":                {[]string{pod("u")}, point(at), point(at), "u", ""},
		"two without containers":            {[]string{pod("u"), pod("v")}, point(at), point(at), "", ""},
		"not there":                         {[]string{strings.Replace(pod("u", container("c", at)), `"p"`, `"q"`, 1)}, point(at), point(at), "", ""},
		"a name twice: the last one counts": {[]string{pod("u", container("c", at.Add(-time.Hour)), container("c", at))}, point(at), point(at), "u", "c"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &schemas.UsageSample{Pods: []schemas.PodUsage{{Namespace: "ns", Name: "p", Containers: []schemas.ContainerUsage{{Name: "c", Point: test.c}, {Name: "d", Point: test.d}}}}}
			if _, err := enrich(t, []byte(`{"pods":[`+strings.Join(test.pods, ",")+`]}`), s); err != nil {
				t.Fatal(err)
			}
			rich := ""
			for _, c := range s.Pods[0].Containers {
				if c.Point.Extra != nil {
					rich += c.Name
				}
			}
			if s.Pods[0].UID != test.uid || rich != test.rich || (s.Pods[0].Extra != nil) != (test.uid != "") {
				t.Errorf("UID %q, containers with figures %q, pod's own %v; want %q, %q", s.Pods[0].UID, rich, s.Pods[0].Extra != nil, test.uid, test.rich)
			}
		})
	}
}
