package schemas_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// message is what all messages can do.
type message interface {
	msgpack.CustomEncoder
	msgpack.CustomDecoder
	AppendMsgpack([]byte) []byte
	Marshal() []byte
	Unmarshal([]byte) error
}

var (
	_ message = (*schemas.UsageSample)(nil)
	_ message = (*schemas.ObjectChange)(nil)
	_ message = (*schemas.Availability)(nil)
	_ message = (*schemas.ScrapeReport)(nil)
)

// golden is one message of testdata/v1: its bytes in <name>.msgpack, a readable dump in <name>.txt.
type golden struct {
	name  string
	value message
	raw   []byte // of a message that this code reads but does not write; nil for the others
}

const goldenTime = 1_763_770_000_000_000_000 // 2025-11-22 00:06:40 UTC

func optional(v uint64) schemas.Optional { return schemas.Optional{Value: v, Valid: true} }

func goldens() []golden {
	node := &schemas.Point{
		Time: goldenTime - 1_500_000_000, CPUTime: goldenTime - 1_500_000_000, MemoryTime: goldenTime - 1_250_000_000,
		CPU: 987_654_321_000_000, Memory: 16_000_000_000, Rate: 2_345_678_901, Window: 15_000_000_000,
	}
	container := schemas.Point{
		Time: goldenTime - 2_000_000_000, CPUTime: goldenTime - 2_000_000_000, MemoryTime: goldenTime - 2_000_000_000,
		Start: goldenTime - 3_600_000_000_000, CPU: 4_321_000_000, Memory: 52_428_800, Rate: 12_345_678, Window: 15_001_000_000,
	}
	first := container
	first.Rate, first.Window = 0, 0
	noRate := container
	noRate.Rate = schemas.NoRate
	swap := container
	swap.Extra = &schemas.Extra{SwapUsage: optional(0)}
	faults := container
	faults.Extra = &schemas.Extra{RSS: optional(40_000_000), MajorPageFaults: optional(7)}
	pressed := container
	pressed.Extra = &schemas.Extra{RSS: optional(3), Pressure: &schemas.Pressure{CPUWaiting: optional(35_232_438_000), CPUStalled: optional(0), IOStalled: optional(1<<64 - 1)}}
	eth := []schemas.InterfaceUsage{
		{Name: "eth0", ReceivedBytes: optional(123_456_789_012), ReceiveErrors: optional(0), TransmittedBytes: optional(98_765), TransmitErrors: optional(2)},
		{Name: "eth1", TransmittedBytes: optional(1)},
	}
	disk := &schemas.Filesystem{Time: goldenTime - 3_000_000_000, Used: optional(4096), Capacity: optional(100 << 30), Available: optional(60 << 30),
		Inodes: optional(6_553_600), InodesUsed: optional(12), InodesFree: optional(6_000_000)}
	part := &schemas.Filesystem{Time: goldenTime, Capacity: optional(1 << 40)}
	all := container
	all.Extra = &schemas.Extra{SwapUsage: optional(4096), SwapLimit: optional(1 << 40), RSS: optional(1), Usage: optional(200),
		PageFaults: optional(70_000), MajorPageFaults: optional(1<<64 - 1)}
	extremes := schemas.Point{Time: -1 << 63, CPUTime: 1<<63 - 1, MemoryTime: 0, Start: -33, CPU: 1<<64 - 1, Memory: 128, Rate: 1<<64 - 2, Window: -1}

	pod := schemas.ObjectChange{
		Operation: schemas.Applied, APIVersion: "v1", Kind: "Pod", Resource: "pods", Namespace: "shop", Name: "web-0",
		UID: "0a1b2c3d-1234-4e5f-8a9b-0c1d2e3f4567", ResourceVersion: "123456", Time: goldenTime, Object: podObject(),
	}
	deleted := pod
	deleted.Operation, deleted.Object, deleted.ResourceVersion, deleted.Time = schemas.Deleted, nil, "123460", goldenTime+5_000_000_000
	dropped := pod
	dropped.Dropped = []string{"status", "metadata.annotations"}
	role := schemas.ObjectChange{
		Operation: schemas.Applied, Group: "rbac.authorization.k8s.io", APIVersion: "v1", Kind: "ClusterRole", Resource: "clusterroles",
		Name: "system:node-proxier", UID: "u", ResourceVersion: "1", Time: goldenTime, Object: []byte{0x80},
	}
	available := &schemas.Availability{Time: goldenTime, Kinds: []schemas.KindAvailability{
		{Resource: "pods", Since: goldenTime - 3_600_000_000_000},
		{Resource: "secrets", Reason: schemas.ForbiddenReason, Since: goldenTime - 1},
		{Group: "stable.example.com", Resource: "foos.v1beta1", Reason: schemas.NotFoundReason, Since: goldenTime},
		{Group: "apps", Resource: "deployments", Reason: schemas.PendingReason},
	}}
	unread := &schemas.ScrapeReport{
		Node: "ip-10-1-2-3.eu-west-1.compute.internal", Ingester: "ingest-7c5d9-x2x4v", Time: goldenTime, Duration: 10_000_123_456,
		Result: "timeout", Error: "couldn't ask the kubelet: it didn't answer in 10s; see --kubelet-request-timeout",
		URL: "https://10.1.2.3:10250/metrics/resource", Failures: 3, LastSuccess: goldenTime - 45_000_000_000, Next: goldenTime + 15_000_000_000,
	}
	unpublished := &schemas.ScrapeReport{
		Node: "n", Ingester: "ingest-0", Time: goldenTime, Duration: 4_000_000, Result: schemas.ScrapeSuccess,
		URL: "https://10.1.2.3:10250/metrics/resource", LastSuccess: goldenTime, Next: goldenTime + 15_000_000_000,
		Dropped: []schemas.DroppedUsage{
			{Reason: "node_without_cpu"},
			{Namespace: "shop", Pod: "web-0", Container: "server", Reason: "pod_container_without_memory"},
			{Namespace: "shop", Pod: "web-1", Reason: "message_too_large"},
		},
		More: 48_000,
	}
	return []golden{
		{name: "usage-full", value: &schemas.UsageSample{
			Node: "ip-10-1-2-3.eu-west-1.compute.internal", Time: goldenTime, Duration: 12_345_678, Point: node,
			Pods: []schemas.PodUsage{
				{Namespace: "shop", Name: "web-0", UID: "0a1b2c3d-1234-4e5f-8a9b-0c1d2e3f4567",
					Containers: []schemas.ContainerUsage{{Name: "server", Point: container}, {Name: "proxy", Point: swap}}, Point: &faults},
				{Namespace: "kube-system", Name: "starting",
					Containers: []schemas.ContainerUsage{{Name: "first-sight", Point: first}, {Name: "went-backwards", Point: noRate}, {Name: "every-extra", Point: all}}},
				{Namespace: "shop", Name: "no-containers", Point: &container},
			},
		}},
		{name: "usage-no-node-point", value: &schemas.UsageSample{Node: "n", Time: goldenTime, Duration: 5, Pods: []schemas.PodUsage{
			{Namespace: "a", Name: "b", Containers: []schemas.ContainerUsage{{Name: "c", Point: container}}}}}},
		{name: "usage-empty", value: &schemas.UsageSample{Node: "new-node", Time: goldenTime, Duration: 127}},
		{name: "usage-extremes", value: &schemas.UsageSample{Node: strings.Repeat("n", 253), Time: 1<<63 - 1, Duration: -1, Point: &extremes,
			Pods: extremePods(extremes)}},
		{name: "usage-from-a-later-writer", raw: laterUsage(container), value: &schemas.UsageSample{
			Node: "later", Time: goldenTime, Duration: 1, Point: &container, Pods: []schemas.PodUsage{
				{Namespace: "shop", Name: "web-0", Containers: []schemas.ContainerUsage{
					{Name: "server", Point: all, Extra: &schemas.ContainerExtra{Logs: &schemas.Filesystem{Time: goldenTime}}}}, Point: &container,
					Extra: &schemas.PodExtra{Network: &schemas.Network{Time: goldenTime, Interfaces: []schemas.InterfaceUsage{{Name: "eth0"}}},
						Volumes: []schemas.VolumeUsage{{Name: "data", ClaimNamespace: "shop", Claim: "claim"}}}}}}},
		{name: "usage-from-a-terse-writer", raw: terseUsage(container), value: &schemas.UsageSample{
			Node: "terse", Time: goldenTime, Duration: 1, Pods: []schemas.PodUsage{
				{Namespace: "shop", Name: "web-0", Containers: []schemas.ContainerUsage{{Name: "server", Point: container}}}, {Namespace: "shop", Name: "web-1"}}}},
		{name: "object-applied", value: &pod},
		{name: "object-deleted", value: &deleted},
		{name: "object-dropped", value: &dropped},
		{name: "object-cluster-scoped", value: &role},
		{name: "object-from-a-later-writer", raw: laterObject(&dropped), value: &dropped},
		{name: "object-from-a-terse-writer", raw: terseObject(&pod), value: &pod},
		{name: "availability", value: available},
		{name: "availability-empty", value: &schemas.Availability{Time: goldenTime}},
		{name: "availability-from-a-later-writer", raw: laterAvailability(available), value: available},
		{name: "availability-from-a-terse-writer", raw: []byte{0x93, 1, 0xd2, 0, 0, 0, 7, 0xc0}, value: &schemas.Availability{Time: 7}},
		{name: "scrape-failed", value: unread},
		{name: "scrape-dropped", value: unpublished},
		{name: "scrape-empty", value: &schemas.ScrapeReport{}},
		{name: "scrape-from-a-later-writer", raw: laterScrape(unpublished), value: unpublished},
		{name: "scrape-from-a-terse-writer", raw: terseScrape(unread), value: unread},
		{name: "usage-rich", value: &schemas.UsageSample{
			Node: "ip-10-1-2-3.eu-west-1.compute.internal", Time: goldenTime, Duration: 12_345_678, Point: &pressed,
			Pods: []schemas.PodUsage{
				{Namespace: "shop", Name: "db-0", UID: "0a1b2c3d-1234-4e5f-8a9b-0c1d2e3f4567", Point: &pressed,
					Containers: []schemas.ContainerUsage{
						{Name: "server", Point: pressed, Extra: &schemas.ContainerExtra{Rootfs: disk, Logs: part}},
						{Name: "proxy", Point: all, Extra: &schemas.ContainerExtra{Logs: part}},
						{Name: "quiet", Point: swap}},
					Extra: &schemas.PodExtra{Network: &schemas.Network{Time: goldenTime - 4_000_000_000, Interfaces: eth},
						Volumes: []schemas.VolumeUsage{
							{Name: "data", ClaimNamespace: "shop", Claim: "data-db-0", Filesystem: disk, Abnormal: optional(0)},
							{Name: "backup", ClaimNamespace: "shop", Claim: "backup"}},
						Ephemeral: part, Processes: optional(7)}},
				{Namespace: "shop", Name: "web-0", Containers: []schemas.ContainerUsage{{Name: "server", Point: container, Extra: &schemas.ContainerExtra{Rootfs: disk}}},
					Extra: &schemas.PodExtra{Processes: optional(1)}},
				{Namespace: "shop", Name: "plain", Containers: []schemas.ContainerUsage{{Name: "server", Point: container}}},
			},
			Extra: &schemas.NodeExtra{Network: &schemas.Network{Time: goldenTime, Interfaces: eth[1:]}, Containers: disk},
		}},
	}
}

// laterAvailability is the message by a writer that knows a field more of each kind, and two of the whole.
func laterAvailability(a *schemas.Availability) []byte {
	b := wire.AppendArrayLen(nil, 5)
	b = wire.AppendInt(b, 1)
	b = wire.AppendInt(b, a.Time)
	b = wire.AppendArrayLen(b, len(a.Kinds))
	for _, k := range a.Kinds {
		b = wire.AppendArrayLen(b, 5)
		for _, s := range []string{k.Group, k.Resource, k.Reason} {
			b = wire.AppendString(b, s)
		}
		b = wire.AppendInt(b, k.Since)
		b = wire.AppendMapLen(b, 0)
	}
	return append(b, 0xc3, 0x91, 0xc0)
}

// laterScrape is the report by a writer that knows a field more of what was dropped, and two of the whole.
func laterScrape(s *schemas.ScrapeReport) []byte {
	raw := s.Marshal()
	last := s.Dropped[len(s.Dropped)-1].Reason
	at := bytes.LastIndex(raw, []byte(last)) + len(last)
	b := append(bytes.Clone(raw[:at]), 0x81, 0xa1, 'x', 0xc0)
	b = append(append(b, raw[at:]...), 0x91, 0xc3, 0xc0)
	b[0] += 2
	b[bytes.LastIndex(b, wire.AppendString([]byte{0x94}, s.Dropped[2].Namespace))]++
	return b
}

// terseScrape is the report, which has dropped nothing, by a writer that leaves position 12 out.
func terseScrape(s *schemas.ScrapeReport) []byte {
	b := s.Marshal()
	b[0]--
	b[1] = 0xd0 // the version in two bytes
	b = append([]byte{b[0], b[1], 1}, b[2:]...)
	return append(b[:len(b)-2], 0xc0)
}

// extremePods are 20 pods, more than the short form of an array takes.
func extremePods(p schemas.Point) []schemas.PodUsage {
	var pods []schemas.PodUsage
	for i := range 20 {
		q := p
		q.Memory = 1 << (3 * i)
		q.Start = -1 << (3 * i)
		pods = append(pods, schemas.PodUsage{Namespace: strings.Repeat("s", 31+i%2), Name: strings.Repeat("p", 255+i%2), Point: &q})
	}
	return pods
}

// podObject is a small pod as a msgpack map, with one value of each kind that occurs in objects.
func podObject() []byte {
	str := wire.AppendString
	b := wire.AppendMapLen(nil, 4)
	b = str(str(b, "apiVersion"), "v1")
	b = str(str(b, "kind"), "Pod")
	b = wire.AppendMapLen(str(b, "metadata"), 3)
	b = str(str(b, "name"), "web-0")
	b = str(str(b, "namespace"), "shop")
	b = wire.AppendMapLen(str(b, "labels"), 1)
	b = str(str(b, "app"), "web")
	b = wire.AppendMapLen(str(b, "spec"), 4)
	b = str(str(b, "nodeName"), "node-1")
	b = wire.AppendBool(str(b, "hostNetwork"), true)
	b = wire.AppendInt(str(b, "priority"), -1000)
	b = wire.AppendArrayLen(str(b, "containers"), 1)
	b = wire.AppendMapLen(b, 2)
	b = str(str(b, "name"), "server")
	b = wire.AppendMapLen(str(b, "resources"), 0)
	return b
}

// laterUsage is a message of version 1 by a writer that knows more fields than this code: one more at the end of every array.
func laterUsage(p schemas.Point) []byte {
	point := func(b []byte, extra ...uint64) []byte {
		b = wire.AppendArrayLen(b, 8+6+1+2)
		for _, v := range []int64{p.Time, p.CPUTime - p.Time, p.MemoryTime - p.Time, p.Start, int64(p.CPU), int64(p.Memory), int64(p.Rate), p.Window} {
			b = wire.AppendInt(b, v)
		}
		for i := range 6 {
			if i < len(extra) {
				b = wire.AppendUint(b, extra[i])
			} else {
				b = wire.AppendNil(b)
			}
		}
		b = wire.AppendNil(b) // the pressure
		b = wire.AppendMapLen(b, 1)
		b = wire.AppendFloat(wire.AppendString(b, "temperature"), 0.25)
		return wire.AppendBool(b, false)
	}
	nils := func(b []byte, n int) []byte { return append(b, bytes.Repeat([]byte{0xc0}, n)...) }
	filesystem := func(b []byte) []byte {
		b = wire.AppendInt(wire.AppendArrayLen(b, 7+1), goldenTime)
		return wire.AppendBool(nils(b, 6), true)
	}
	b := wire.AppendArrayLen(nil, 6+4+1)
	b = wire.AppendInt(b, 1)
	b = wire.AppendString(b, "later")
	b = wire.AppendInt(b, goldenTime)
	b = wire.AppendInt(b, 1)
	b = point(b)
	b = wire.AppendArrayLen(b, 1)
	b = wire.AppendArrayLen(b, 5+4+1)
	b = wire.AppendString(b, "shop")
	b = wire.AppendString(b, "web-0")
	b = wire.AppendString(b, "")
	b = wire.AppendArrayLen(b, 1)
	b = wire.AppendArrayLen(b, 2+2+1)
	b = wire.AppendString(b, "server")
	b = point(b, 4096, 1<<40, 1, 200, 70_000, 1<<64-1)
	b = nils(b, 1)
	b = filesystem(b)
	b = wire.AppendBytes(b, []byte{1, 2, 3})
	b = point(b)
	b = wire.AppendInt(wire.AppendArrayLen(b, 2+1), goldenTime) // the network
	b = wire.AppendString(wire.AppendArrayLen(wire.AppendArrayLen(b, 1), 5+1), "eth0")
	b = append(nils(b, 4), 0x90, 0xc3)
	b = wire.AppendArrayLen(wire.AppendArrayLen(b, 1), 5+1) // the volumes
	for _, s := range []string{"data", "shop", "claim"} {
		b = wire.AppendString(b, s)
	}
	b = append(nils(b, 2), 0xa1, 'x')
	b = nils(b, 2)
	b = append(b, 0xd4, 5, 0) // an extension of one byte
	b = nils(b, 4)
	return wire.AppendArrayLen(b, 0)
}

// terseUsage is a message by a writer that leaves out what may be left out, and writes nil for empty lists and wide
// forms of numbers, strings and arrays.
func terseUsage(p schemas.Point) []byte {
	b := []byte{0xdc, 0, 6, 0xcf, 0, 0, 0, 0, 0, 0, 0, 1}
	b = append(b, "\xdb\x00\x00\x00\x05terse"...)
	b = wire.AppendInt(b, goldenTime)
	b = append(b, 0xd3, 0, 0, 0, 0, 0, 0, 0, 1)
	b = wire.AppendNil(b)
	b = append(b, 0xdd, 0, 0, 0, 2)
	b = wire.AppendArrayLen(b, 4)
	b = append(b, "\xd9\x04shop\xda\x00\x05web-0\xa0"...)
	b = wire.AppendArrayLen(b, 1)
	b = wire.AppendArrayLen(b, 2)
	b = wire.AppendString(b, "server")
	b = wire.AppendArrayLen(b, 8)
	for _, v := range []int64{p.Time, p.CPUTime - p.Time, p.MemoryTime - p.Time, p.Start, int64(p.CPU), int64(p.Memory), int64(p.Rate), p.Window} {
		b = wire.AppendInt(b, v)
	}
	b = wire.AppendArrayLen(b, 4)
	b = append(b, "\xa4shop\xa5web-1\xa0\xc0"...)
	return b
}

// laterObject is the change by a writer that knows two more fields.
func laterObject(c *schemas.ObjectChange) []byte {
	b := c.Marshal()
	b[0] += 2
	return append(b, 0xc0, 0x81, 0xa1, 'x', 0x92, 1, 2)
}

// terseObject is the change by a writer that leaves "dropped" out.
func terseObject(c *schemas.ObjectChange) []byte {
	b := c.Marshal()
	b[0]--
	return b[:len(b)-1]
}

func (g golden) bytes() []byte {
	if g.raw != nil {
		return g.raw
	}
	return g.value.Marshal()
}

// fresh is an empty message of the golden's type.
func (g golden) fresh() message {
	return reflect.New(reflect.TypeOf(g.value).Elem()).Interface().(message)
}

func dump(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := wire.Dump(&b, raw); err != nil {
		t.Fatalf("couldn't dump %x: %v", raw, err)
	}
	return b.Bytes()
}

func TestGolden(t *testing.T) {
	known := map[string]bool{}
	for _, g := range goldens() {
		t.Run(g.name, func(t *testing.T) {
			raw := g.bytes()
			for suffix, got := range map[string][]byte{".msgpack": raw, ".txt": dump(t, raw)} {
				name := filepath.Join("testdata", "v1", g.name+suffix)
				known[name] = true
				if *update {
					if err := os.WriteFile(name, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(name)
				if err != nil {
					t.Fatalf("couldn't read the golden file: %v (run the tests with -update to write it)", err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s differs (want, got):\n%s\n%s", name, want, got)
				}
			}

			got := g.fresh()
			if err := got.Unmarshal(raw); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, g.value) {
				t.Errorf("Unmarshal gives\n%s\nwant\n%s", show(got), show(g.value))
			}
			// Through msgpack's own encoder and decoder it is all the same.
			got = g.fresh()
			if err := msgpack.Unmarshal(raw, got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, g.value) {
				t.Errorf("DecodeMsgpack gives\n%s\nwant\n%s", show(got), show(g.value))
			}
			encoded, err := msgpack.Marshal(g.value)
			if err != nil || !bytes.Equal(encoded, g.value.Marshal()) {
				t.Errorf("EncodeMsgpack gives %x, %v, want %x", encoded, err, g.value.Marshal())
			}
			if appended := g.value.AppendMsgpack([]byte("before")); string(appended) != "before"+string(encoded) {
				t.Errorf("AppendMsgpack gives %x, want %x after other bytes", appended, encoded)
			}
		})
	}
	files, err := filepath.Glob("testdata/v1/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f] {
			t.Errorf("%s belongs to no test", f)
		}
	}
}

// show prints a message with what its pointers point to.
func show(m message) string { return dumpOrError(m.Marshal()) }

func dumpOrError(raw []byte) string {
	var b bytes.Buffer
	if err := wire.Dump(&b, raw); err != nil {
		return err.Error()
	}
	return b.String()
}
