//lint:file-ignore U1000 msgpack finds the fields named _msgpack by reflection.

package schemas_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
)

// The benchmarks print how many times faster than plain reflection on structs of the same arrays our codec is, measured
// in the same run ("x-faster"), beside what both cost.

// The reflected structs are what one would write without a codec of one's own.
type (
	reflectedSample struct {
		_msgpack struct{} `msgpack:",as_array"`
		Version  int
		Node     string
		Time     int64
		Duration int64
		Point    *reflectedPoint
		Pods     []reflectedPod
	}
	reflectedPod struct {
		_msgpack   struct{} `msgpack:",as_array"`
		Namespace  string
		Name       string
		UID        string
		Containers []reflectedContainer
		Point      *reflectedPoint
	}
	reflectedContainer struct {
		_msgpack struct{} `msgpack:",as_array"`
		Name     string
		Point    reflectedPoint
	}
	reflectedPoint struct {
		_msgpack                         struct{} `msgpack:",as_array"`
		Time, CPUTime, MemoryTime, Start int64
		CPU, Memory, Rate                uint64
		Window                           int64
	}
	reflectedChange struct {
		_msgpack                                                                 struct{} `msgpack:",as_array"`
		Version, Operation                                                       uint8
		Group, APIVersion, Kind, Resource, Namespace, Name, UID, ResourceVersion string
		Time                                                                     int64
		Object                                                                   msgpack.RawMessage
		Dropped                                                                  []string
	}
)

const benchTime = 1_763_770_000_123_456_789

// benchSample is a node's sample of 30 pods with 40 containers in all.
func benchSample() schemas.UsageSample {
	at := int64(benchTime)
	point := func(i int) schemas.Point {
		return schemas.Point{
			Time: at + int64(i)*1_000_000, CPUTime: at + int64(i)*1_000_000, MemoryTime: at + int64(i)*1_000_000,
			Start: at - 86_400_000_000_000 - int64(i), CPU: 4_321_000_000_000 + uint64(i)*1_000_003, Memory: 123_456_789 + uint64(i)*4096,
			Rate: 12_345_678 + uint64(i), Window: 15_000_123_456,
		}
	}
	node := point(0)
	s := schemas.UsageSample{Node: "ip-10-1-2-3.eu-west-1.compute.internal", Time: at, Duration: 4_321_000, Point: &node}
	namespaces := []string{"kube-system", "monitoring", "shop-production", "shop-staging"}
	for i := range 30 {
		p := schemas.PodUsage{
			Namespace: namespaces[i%len(namespaces)], Name: fmt.Sprintf("service-%02d-7c9f8d6b5-x%04d", i, i*7919%10000),
			UID: fmt.Sprintf("0a1b2c3d-%04d-4e5f-8a9b-0c1d2e3f%04d", i, i),
		}
		p.Containers = append(p.Containers, schemas.ContainerUsage{Name: "server", Point: point(i)})
		if i%3 == 0 {
			p.Containers = append(p.Containers, schemas.ContainerUsage{Name: "sidecar-proxy", Point: point(i + 100)})
		}
		s.Pods = append(s.Pods, p)
	}
	return s
}

func reflectPoint(p *schemas.Point) *reflectedPoint {
	return &reflectedPoint{Time: p.Time, CPUTime: p.CPUTime - p.Time, MemoryTime: p.MemoryTime - p.Time, Start: p.Start,
		CPU: p.CPU, Memory: p.Memory, Rate: p.Rate, Window: p.Window}
}

func reflectSample(s *schemas.UsageSample) reflectedSample {
	r := reflectedSample{Version: schemas.Version, Node: s.Node, Time: s.Time, Duration: s.Duration, Point: reflectPoint(s.Point)}
	for _, p := range s.Pods {
		q := reflectedPod{Namespace: p.Namespace, Name: p.Name, UID: p.UID}
		for _, c := range p.Containers {
			q.Containers = append(q.Containers, reflectedContainer{Name: c.Name, Point: *reflectPoint(&c.Point)})
		}
		r.Pods = append(r.Pods, q)
	}
	return r
}

// benchChange is a pod's change, whose object has about 3 kB.
func benchChange() schemas.ObjectChange {
	var object []byte
	object = wire.AppendMapLen(object, 40)
	for i := range 40 {
		object = wire.AppendString(object, fmt.Sprintf("field%02d", i))
		object = wire.AppendMapLen(object, 2)
		object = wire.AppendString(object, "name")
		object = wire.AppendString(object, "a value of some thirty bytes, so to say")
		object = wire.AppendString(object, "number")
		object = wire.AppendInt(object, int64(i)*100_000)
	}
	return schemas.ObjectChange{
		Operation: schemas.Applied, APIVersion: "v1", Kind: "Pod", Resource: "pods", Namespace: "shop-production",
		Name: "service-07-7c9f8d6b5-x4711", UID: "0a1b2c3d-1234-4e5f-8a9b-0c1d2e3f4567", ResourceVersion: "123456789",
		Time: benchTime, Object: object,
	}
}

// versus runs ours as the benchmark. Then it runs ours and theirs by turns and reports the ratio of the best turns, which
// a busy machine disturbs least.
func versus(b *testing.B, ours, theirs func() error) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if err := ours(); err != nil {
			b.Fatal(err)
		}
	}
	turn := func(f func() error, best float64) float64 {
		const calls = 50
		begin := time.Now()
		for range calls {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		return min(best, float64(time.Since(begin))/calls)
	}
	our, their := math.Inf(1), math.Inf(1)
	for range 50 {
		our, their = turn(ours, our), turn(theirs, their)
	}
	b.ReportMetric(their/our, "x-faster")
	b.ReportMetric(our, "best-ns")
	b.ReportMetric(their, "reflection-best-ns")
}

func BenchmarkUsageEncode(b *testing.B) {
	sample := benchSample()
	reflected := reflectSample(&sample)
	buf := sample.Marshal()
	b.Run("append", func(b *testing.B) {
		versus(b, func() error { buf = sample.AppendMsgpack(buf[:0]); return nil },
			func() error { _, err := msgpack.Marshal(&reflected); return err })
		b.ReportMetric(float64(len(buf)), "wire-bytes")
	})
	b.Run("marshal", func(b *testing.B) {
		versus(b, func() error { sample.Marshal(); return nil },
			func() error { _, err := msgpack.Marshal(&reflected); return err })
	})
	b.Run("encoder", func(b *testing.B) {
		versus(b, func() error { _, err := msgpack.Marshal(&sample); return err },
			func() error { _, err := msgpack.Marshal(&reflected); return err })
	})
}

func BenchmarkUsageDecode(b *testing.B) {
	sample := benchSample()
	raw := sample.Marshal()
	theirs := func() error { var s reflectedSample; return msgpack.Unmarshal(raw, &s) }
	b.Run("fresh", func(b *testing.B) {
		versus(b, func() error { var s schemas.UsageSample; return s.Unmarshal(raw) }, theirs)
	})
	b.Run("same-node", func(b *testing.B) {
		var s schemas.UsageSample
		versus(b, func() error { return s.Unmarshal(raw) }, theirs)
	})
	b.Run("any-node", func(b *testing.B) {
		other := benchSample()
		for i := range other.Pods {
			p := &other.Pods[i]
			p.Name, p.UID = "x"+p.Name, "x"+p.UID
		}
		messages := [][]byte{raw, other.Marshal()}
		i := 0
		var s schemas.UsageSample
		versus(b, func() error { i++; return s.Unmarshal(messages[i&1]) }, theirs)
	})
	b.Run("decoder", func(b *testing.B) {
		versus(b, func() error { var s schemas.UsageSample; return msgpack.Unmarshal(raw, &s) }, theirs)
	})
}

func BenchmarkObjectEncode(b *testing.B) {
	change := benchChange()
	reflected := reflectedChange{Version: schemas.Version, Operation: uint8(change.Operation), APIVersion: change.APIVersion, Kind: change.Kind,
		Resource: change.Resource, Namespace: change.Namespace, Name: change.Name, UID: change.UID, ResourceVersion: change.ResourceVersion,
		Time: change.Time, Object: change.Object}
	buf := change.Marshal()
	theirs := func() error { _, err := msgpack.Marshal(&reflected); return err }
	b.Run("append", func(b *testing.B) {
		versus(b, func() error { buf = change.AppendMsgpack(buf[:0]); return nil }, theirs)
		b.ReportMetric(float64(len(buf)), "wire-bytes")
	})
	b.Run("marshal", func(b *testing.B) {
		versus(b, func() error { change.Marshal(); return nil }, theirs)
	})
}

func BenchmarkObjectDecode(b *testing.B) {
	change := benchChange()
	raw := change.Marshal()
	other := change
	other.Name, other.UID, other.ResourceVersion = "x"+change.Name, "x"+change.UID, "1"+change.ResourceVersion
	messages := [][]byte{raw, other.Marshal()}
	theirs := func() error { var c reflectedChange; return msgpack.Unmarshal(raw, &c) }
	b.Run("fresh", func(b *testing.B) {
		versus(b, func() error { var c schemas.ObjectChange; return c.Unmarshal(raw) }, theirs)
	})
	b.Run("reused", func(b *testing.B) {
		var c schemas.ObjectChange
		i := 0
		versus(b, func() error { i++; return c.Unmarshal(messages[i&1]) }, theirs)
	})
}

func BenchmarkParseObjectSubject(b *testing.B) {
	subject := schemas.ObjectSubject{Cluster: "prod", Resource: "pods", Namespace: "shop-production", Name: "service-07-7c9f8d6b5-x4711"}.String()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schemas.ParseObjectSubject(subject); err != nil {
			b.Fatal(err)
		}
	}
}
