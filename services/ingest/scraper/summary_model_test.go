package scraper

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

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
