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

// The summary as the kubelet's API has it, for encoding/json: what we take of it, written down a second time.
type (
	jsonSummary struct {
		Node jsonNode  `json:"node"`
		Pods []jsonPod `json:"pods"`
	}
	jsonMeasured struct {
		CPU *struct {
			PSI *jsonPSI `json:"psi"`
		} `json:"cpu"`
		Memory *struct {
			UsageBytes, RSSBytes, PageFaults, MajorPageFaults *uint64
			PSI                                               *jsonPSI `json:"psi"`
		} `json:"memory"`
		IO *struct {
			PSI *jsonPSI `json:"psi"`
		} `json:"io"`
		Swap *struct{ SwapUsageBytes *uint64 } `json:"swap"`
	}
	jsonPSI struct{ Full, Some struct{ Total uint64 } }
	jsonFs  struct {
		Time                                                                     *time.Time
		AvailableBytes, CapacityBytes, UsedBytes, InodesFree, Inodes, InodesUsed *uint64
	}
	jsonInterface struct {
		Name                                 string
		RxBytes, RxErrors, TxBytes, TxErrors *uint64
	}
	jsonNetwork struct {
		Time *time.Time
		jsonInterface
		Interfaces []jsonInterface
	}
	jsonNode struct {
		jsonMeasured
		Network *jsonNetwork
		Fs      *jsonFs
		Runtime *struct{ ImageFs, ContainerFs *jsonFs }
	}
	jsonPod struct {
		PodRef struct{ Name, Namespace, UID string }
		jsonMeasured
		Containers []struct {
			Name      string
			StartTime *time.Time
			jsonMeasured
			Rootfs, Logs *jsonFs
		}
		Network *jsonNetwork
		Volume  []struct {
			jsonFs
			Name              string
			PVCRef            *struct{ Name, Namespace string }
			VolumeHealthStats *struct{ Abnormal *bool }
		}
		EphemeralStorage *jsonFs `json:"ephemeral-storage"`
		ProcessStats     *struct {
			ProcessCount *uint64 `json:"process_count"`
		} `json:"process_stats"`
	}
)

// lowerKeys renders v with the field names that the API has: those of the structs begin with a capital letter.
func lowerKeys(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer("RSSBytes", "rssBytes", "UID", "uid", "PVCRef", "pvcRef")
	var lower func(any) any
	lower = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			out := make(map[string]any, len(v))
			for key, value := range v {
				key = names.Replace(key)
				out[strings.ToLower(key[:1])+key[1:]] = lower(value)
			}
			return out
		case []any:
			for i := range v {
				v[i] = lower(v[i])
			}
		}
		return v
	}
	if raw, err = json.Marshal(lower(tree)); err != nil {
		t.Fatal(err)
	}
	return raw
}

func number(v *uint64) schemas.Optional {
	if v == nil || *v > 1<<63-1 {
		return schemas.Optional{}
	}
	return schemas.Optional{Value: *v, Valid: true}
}

func wantExtra(m *jsonMeasured) *schemas.Extra {
	var e schemas.Extra
	var p schemas.Pressure
	stall := func(psi *jsonPSI, waiting, stalled *schemas.Optional) {
		for total, to := range map[*uint64]*schemas.Optional{&psi.Some.Total: waiting, &psi.Full.Total: stalled} {
			if *total <= (1<<63-1)/1000 {
				*to = schemas.Optional{Value: *total * 1000, Valid: true}
			}
		}
	}
	if m.CPU != nil && m.CPU.PSI != nil {
		stall(m.CPU.PSI, &p.CPUWaiting, &p.CPUStalled)
	}
	if m.Memory != nil {
		e.Usage, e.RSS = number(m.Memory.UsageBytes), number(m.Memory.RSSBytes)
		e.PageFaults, e.MajorPageFaults = number(m.Memory.PageFaults), number(m.Memory.MajorPageFaults)
		if m.Memory.PSI != nil {
			stall(m.Memory.PSI, &p.MemoryWaiting, &p.MemoryStalled)
		}
	}
	if m.IO != nil && m.IO.PSI != nil {
		stall(m.IO.PSI, &p.IOWaiting, &p.IOStalled)
	}
	if m.Swap != nil {
		e.SwapUsage = number(m.Swap.SwapUsageBytes)
	}
	if p != (schemas.Pressure{}) {
		e.Pressure = &p
	}
	if e == (schemas.Extra{}) {
		return nil
	}
	return &e
}

// believed tells whether a time is one that is taken.
func believed(at *time.Time) (int64, bool) {
	if at == nil || at.IsZero() {
		return 0, false
	}
	if at.Before(requested.Add(-time.Duration(pastBound))) || at.After(requested.Add(time.Duration(futureBound))) {
		return 0, false
	}
	return at.UnixNano(), true
}

func wantFilesystem(f *jsonFs) *schemas.Filesystem {
	if f == nil {
		return nil
	}
	at, ok := believed(f.Time)
	if !ok {
		return nil
	}
	return &schemas.Filesystem{Time: at, Used: number(f.UsedBytes), Capacity: number(f.CapacityBytes), Available: number(f.AvailableBytes),
		Inodes: number(f.Inodes), InodesUsed: number(f.InodesUsed), InodesFree: number(f.InodesFree)}
}

func wantNetwork(n *jsonNetwork) *schemas.Network {
	if n == nil {
		return nil
	}
	at, ok := believed(n.Time)
	if !ok {
		return nil
	}
	out := &schemas.Network{Time: at}
	add := func(i jsonInterface) {
		if i.Name != "" {
			out.Interfaces = append(out.Interfaces, schemas.InterfaceUsage{Name: i.Name, ReceivedBytes: number(i.RxBytes), ReceiveErrors: number(i.RxErrors),
				TransmittedBytes: number(i.TxBytes), TransmitErrors: number(i.TxErrors)})
		}
	}
	for _, i := range n.Interfaces {
		add(i)
	}
	if len(out.Interfaces) == 0 {
		add(n.jsonInterface)
	}
	if len(out.Interfaces) == 0 {
		return nil
	}
	return out
}

// skeleton is a sample with the pods and containers of a summary, and what the sample is to become by it.
func skeleton(s *jsonSummary) (plain, want *schemas.UsageSample) {
	plain, want = &schemas.UsageSample{Node: "n", Point: &schemas.Point{CPU: 1}}, &schemas.UsageSample{Node: "n", Point: &schemas.Point{CPU: 1}}
	want.Point.Extra = wantExtra(&s.Node.jsonMeasured)
	want.Extra = &schemas.NodeExtra{Network: wantNetwork(s.Node.Network), Rootfs: wantFilesystem(s.Node.Fs)}
	if s.Node.Runtime != nil {
		want.Extra.Images, want.Extra.Containers = wantFilesystem(s.Node.Runtime.ImageFs), wantFilesystem(s.Node.Runtime.ContainerFs)
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		usage := schemas.PodUsage{Namespace: p.PodRef.Namespace, Name: p.PodRef.Name, Point: &schemas.Point{}}
		rich := schemas.PodUsage{Namespace: p.PodRef.Namespace, Name: p.PodRef.Name, UID: p.PodRef.UID, Point: &schemas.Point{Extra: wantExtra(&p.jsonMeasured)},
			Extra: &schemas.PodExtra{Network: wantNetwork(p.Network), Ephemeral: wantFilesystem(p.EphemeralStorage)}}
		if p.ProcessStats != nil {
			rich.Extra.Processes = number(p.ProcessStats.ProcessCount)
		}
		for _, v := range p.Volume {
			if v.PVCRef == nil || v.PVCRef.Name == "" {
				continue
			}
			volume := schemas.VolumeUsage{Name: v.Name, ClaimNamespace: v.PVCRef.Namespace, Claim: v.PVCRef.Name}
			f := v.jsonFs
			at := int64(0)
			if f.Time != nil && !f.Time.IsZero() {
				at = f.Time.UnixNano()
			}
			f.Time = &requested
			volume.Filesystem = wantFilesystem(&f)
			if volume.Filesystem.Time = at; *volume.Filesystem == (schemas.Filesystem{}) {
				volume.Filesystem = nil
			}
			if v.VolumeHealthStats != nil && v.VolumeHealthStats.Abnormal != nil {
				volume.Abnormal = schemas.Optional{Valid: true}
				if *v.VolumeHealthStats.Abnormal {
					volume.Abnormal.Value = 1
				}
			}
			rich.Extra.Volumes = append(rich.Extra.Volumes, volume)
		}
		for j := range p.Containers {
			c := &p.Containers[j]
			point := schemas.Point{CPU: uint64(j)}
			if c.StartTime != nil && !c.StartTime.IsZero() {
				point.Start = c.StartTime.UnixNano() + int64(j)*100_000_000%1e9
			}
			usage.Containers = append(usage.Containers, schemas.ContainerUsage{Name: c.Name, Point: point})
			point.Extra = wantExtra(&c.jsonMeasured)
			rich.Containers = append(rich.Containers, schemas.ContainerUsage{Name: c.Name, Point: point,
				Extra: &schemas.ContainerExtra{Rootfs: wantFilesystem(c.Rootfs), Logs: wantFilesystem(c.Logs)}})
		}
		plain.Pods, want.Pods = append(plain.Pods, usage), append(want.Pods, rich)
	}
	return plain, want
}

// enrich adds the summary of a body to a sample and returns how many values were refused, by reason.
func enrich(t testing.TB, body []byte, s *schemas.UsageSample) (map[string]int, error) {
	t.Helper()
	var m summary
	if err := m.decode(body); err != nil {
		return nil, err
	}
	var refused [lastDrop]int
	m.add(s, requested.UnixNano(), &refused)
	return reasons(refused), nil
}

func reasons(refused [lastDrop]int) map[string]int {
	named := map[string]int{}
	for reason, n := range refused {
		if n > 0 {
			named[dropReasons[reason]] = n
		}
	}
	return named
}

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
	began := time.Now()
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
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
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
