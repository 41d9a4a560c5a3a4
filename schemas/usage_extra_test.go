package schemas_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/headwater-metrics/headwater/schemas"
)

// withoutExtras is a copy of s without what UnmarshalPoints steps over.
func withoutExtras(s *schemas.UsageSample) schemas.UsageSample {
	point := func(p schemas.Point) schemas.Point {
		if p.Extra != nil {
			e := *p.Extra
			e.Pressure = nil
			if p.Extra = &e; e == (schemas.Extra{}) {
				p.Extra = nil
			}
		}
		return p
	}
	cut := *s
	cut.Extra, cut.Pods = nil, nil
	if s.Point != nil {
		p := point(*s.Point)
		cut.Point = &p
	}
	for _, pod := range s.Pods {
		pod.Extra = nil
		if pod.Point != nil {
			p := point(*pod.Point)
			pod.Point = &p
		}
		containers := pod.Containers
		pod.Containers = nil
		for _, c := range containers {
			pod.Containers = append(pod.Containers, schemas.ContainerUsage{Name: c.Name, Point: point(c.Point)})
		}
		cut.Pods = append(cut.Pods, pod)
	}
	return cut
}

// onlyContainers is a copy of s without what UnmarshalContainers steps over.
func onlyContainers(s *schemas.UsageSample) schemas.UsageSample {
	cut := withoutExtras(s)
	if cut.Point != nil {
		cut.Point.Extra = nil
	}
	for i := range cut.Pods {
		cut.Pods[i].Point = nil
		for j := range cut.Pods[i].Containers {
			cut.Pods[i].Containers[j].Point.Extra = nil
		}
	}
	return cut
}

// Whoever reads a part alone gets that, of any message, into any value, and refuses what is malformed in it.
func TestUnmarshalInPart(t *testing.T) {
	for name, part := range map[string]struct {
		read func(*schemas.UsageSample, []byte) error
		cut  func(*schemas.UsageSample) schemas.UsageSample
	}{
		"points":     {(*schemas.UsageSample).UnmarshalPoints, withoutExtras},
		"containers": {(*schemas.UsageSample).UnmarshalContainers, onlyContainers},
	} {
		random := rand.New(rand.NewPCG(5, 6))
		var used schemas.UsageSample
		for i := range 300 {
			s := randomSample(random)
			cut := part.cut(&s)
			raw, want := s.Marshal(), cut.Marshal()
			var fresh schemas.UsageSample
			for value, to := range map[string]*schemas.UsageSample{"new": &fresh, "used": &used} {
				if err := part.read(to, raw); err != nil {
					t.Fatal(err)
				}
				if got := to.Marshal(); !bytes.Equal(got, want) {
					t.Fatalf("%s of sample %d into a %s value:\n%s\nwant\n%s", name, i, value, dumpOrError(got), dumpOrError(want))
				}
			}
			if i%3 == 0 { // what a full reading leaves must not shine through
				if err := used.Unmarshal(raw); err != nil {
					t.Fatal(err)
				}
			}
			if err := part.read(&fresh, raw[:len(raw)-1]); err == nil {
				t.Fatalf("%s: a message that was cut off is taken", name)
			}
		}
	}
}

// richSample is benchSample with all that the summary endpoint tells.
func richSample() schemas.UsageSample {
	s := benchSample()
	v := uint64(0)
	number := func() schemas.Optional { v += 12_345; return optional(v) }
	filesystem := func() *schemas.Filesystem {
		return &schemas.Filesystem{Time: benchTime, Used: number(), Capacity: optional(100 << 30), Available: optional(60 << 30),
			Inodes: optional(6_553_600), InodesUsed: number(), InodesFree: optional(6_000_000)}
	}
	extra := func() *schemas.Extra {
		return &schemas.Extra{SwapUsage: optional(0), RSS: number(), Usage: number(), PageFaults: number(), MajorPageFaults: number(),
			Pressure: &schemas.Pressure{CPUWaiting: number(), CPUStalled: number(), MemoryWaiting: number(), MemoryStalled: number(), IOWaiting: number(), IOStalled: number()}}
	}
	network := func() *schemas.Network {
		return &schemas.Network{Time: benchTime, Interfaces: []schemas.InterfaceUsage{
			{Name: "eth0", ReceivedBytes: number(), ReceiveErrors: optional(0), TransmittedBytes: number(), TransmitErrors: optional(0)}}}
	}
	s.Point.Extra = extra()
	s.Extra = &schemas.NodeExtra{Network: network(), Rootfs: filesystem(), Images: filesystem(), Containers: filesystem()}
	for i := range s.Pods {
		p := &s.Pods[i]
		if p.Point != nil {
			own := *p.Point
			own.Extra = extra()
			p.Point = &own
		}
		p.Extra = &schemas.PodExtra{Network: network(), Ephemeral: filesystem(), Processes: optional(7)}
		if i%3 == 0 {
			p.Extra.Volumes = []schemas.VolumeUsage{{Name: "data", ClaimNamespace: p.Namespace, Claim: fmt.Sprint("data-", i), Filesystem: filesystem()}}
		}
		for j := range p.Containers {
			c := &p.Containers[j]
			c.Point.Extra = extra()
			c.Extra = &schemas.ContainerExtra{Rootfs: filesystem(), Logs: filesystem()}
		}
	}
	return s
}

// A node's next sample is read without allocations, however rich it is.
func TestAllocationsOfRichSamples(t *testing.T) {
	sample := richSample()
	raw := sample.Marshal()
	var s schemas.UsageSample
	buf := make([]byte, 0, 2*len(raw))
	for name, f := range map[string]func() error{
		"append":            func() error { sample.AppendMsgpack(buf); return nil },
		"read the next one": func() error { return s.Unmarshal(raw) },
	} {
		if n := testing.AllocsPerRun(100, func() {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("to %s takes %v allocations", name, n)
		}
	}
}

// BenchmarkRich is a rich sample of a node with 30 pods, 40 containers, beside BenchmarkUsage's plain one.
func BenchmarkRich(b *testing.B) {
	sample := richSample()
	raw := sample.Marshal()
	b.Run("append", func(b *testing.B) {
		buf := make([]byte, 0, len(raw))
		b.ReportAllocs()
		for b.Loop() {
			buf = sample.AppendMsgpack(buf[:0])
		}
		b.ReportMetric(float64(len(raw)), "message-bytes")
	})
	for name, read := range map[string]func(*schemas.UsageSample, []byte) error{
		"all": (*schemas.UsageSample).Unmarshal, "points": (*schemas.UsageSample).UnmarshalPoints, "containers": (*schemas.UsageSample).UnmarshalContainers,
	} {
		b.Run("new-"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var s schemas.UsageSample
				if err := read(&s, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("next-"+name, func(b *testing.B) {
			var s schemas.UsageSample
			b.ReportAllocs()
			for b.Loop() {
				if err := read(&s, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
