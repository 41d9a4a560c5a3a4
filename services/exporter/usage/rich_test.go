package usage

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
)

func is(v uint64) schemas.Optional { return schemas.Optional{Value: v, Valid: true} }

// richSample is fullSample with what the summary endpoint adds.
func richSample() schemas.UsageSample {
	s := fullSample()
	early := at.Truncate(time.Second).UnixNano()
	pressure := &schemas.Pressure{CPUWaiting: is(1_500_000_000), CPUStalled: is(0), MemoryWaiting: is(2000), IOWaiting: is(7e9), IOStalled: is(3e9)}
	disk := func(used uint64) *schemas.Filesystem {
		return &schemas.Filesystem{Time: early, Used: is(used), Capacity: is(1000), Available: is(500), Inodes: is(100), InodesUsed: is(40), InodesFree: is(60)}
	}
	network := &schemas.Network{Time: early, Interfaces: []schemas.InterfaceUsage{
		{Name: "eth0", ReceivedBytes: is(1), ReceiveErrors: is(2), TransmittedBytes: is(3), TransmitErrors: is(4)},
		{Name: "eth1", TransmittedBytes: is(5)},
		{Name: "eth0", ReceivedBytes: is(9)},
	}}
	s.Point.Extra = &schemas.Extra{SwapUsage: is(4096), RSS: is(11), Usage: is(12), PageFaults: is(13), MajorPageFaults: is(14), Pressure: pressure}
	s.Extra = &schemas.NodeExtra{Network: network, Rootfs: disk(15)}
	web := &s.Pods[0]
	web.UID = "u"
	web.Point.Extra = &schemas.Extra{SwapUsage: is(0), RSS: is(21)}
	web.Extra = &schemas.PodExtra{Network: network, Ephemeral: disk(22), Processes: is(23), Volumes: []schemas.VolumeUsage{
		{Name: "data", ClaimNamespace: "shop", Claim: "data-web", Filesystem: disk(24), Abnormal: is(0)},
		{Name: "same", ClaimNamespace: "shop", Claim: "data-web", Filesystem: disk(25)},
		{Name: "ill", ClaimNamespace: "shop", Claim: "ill-web", Abnormal: is(1)},
	}}
	main := &web.Containers[0]
	main.Point.Extra.RSS, main.Point.Extra.PageFaults, main.Point.Extra.Pressure = is(31), is(32), pressure
	main.Extra = &schemas.ContainerExtra{Rootfs: disk(33), Logs: disk(34)}
	web.Containers[1].Extra = &schemas.ContainerExtra{Rootfs: disk(35)}
	odd := &s.Pods[1]
	odd.Extra = &schemas.PodExtra{Volumes: []schemas.VolumeUsage{{Name: "shared", ClaimNamespace: "shop", Claim: "data-web", Filesystem: disk(36)}}}
	odd.Containers[0].Extra = &schemas.ContainerExtra{Logs: disk(37)}
	return s
}

// richPart is an exposition's part behind that of the resource endpoint, without HELP.
func richPart(text string) string {
	_, text, _ = strings.Cut(text, "# HELP container_fs_inodes_free")
	lines := strings.SplitAfter("# HELP container_fs_inodes_free"+text, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "# HELP") }), "")
}

func TestRichFamilies(t *testing.T) {
	s := NewStore()
	apply(t, s, richSample())
	const want = `# TYPE container_fs_inodes_free gauge
container_fs_inodes_free{id="/",node="node-1"} 60 1767225600000
container_fs_inodes_free{container="main",namespace="shop",pod="web",node="node-1"} 60 1767225600000
container_fs_inodes_free{container="side",namespace="shop",pod="web",node="node-1"} 60 1767225600000
# TYPE container_fs_inodes_total gauge
container_fs_inodes_total{id="/",node="node-1"} 100 1767225600000
container_fs_inodes_total{container="main",namespace="shop",pod="web",node="node-1"} 100 1767225600000
container_fs_inodes_total{container="side",namespace="shop",pod="web",node="node-1"} 100 1767225600000
# TYPE container_fs_limit_bytes gauge
container_fs_limit_bytes{id="/",node="node-1"} 1000 1767225600000
container_fs_limit_bytes{container="main",namespace="shop",pod="web",node="node-1"} 1000 1767225600000
container_fs_limit_bytes{container="side",namespace="shop",pod="web",node="node-1"} 1000 1767225600000
# TYPE container_fs_usage_bytes gauge
container_fs_usage_bytes{id="/",node="node-1"} 15 1767225600000
container_fs_usage_bytes{container="main",namespace="shop",pod="web",node="node-1"} 67 1767225600000
container_fs_usage_bytes{container="side",namespace="shop",pod="web",node="node-1"} 35 1767225600000
# TYPE container_memory_failures_total counter
container_memory_failures_total{failure_type="pgfault",id="/",scope="container",node="node-1"} 13 1767225601000
container_memory_failures_total{failure_type="pgmajfault",id="/",scope="container",node="node-1"} 14 1767225601000
container_memory_failures_total{container="main",failure_type="pgfault",namespace="shop",pod="web",scope="container",node="node-1"} 32 1767225601000
# TYPE container_memory_rss gauge
container_memory_rss{id="/",node="node-1"} 11 1767225601000
container_memory_rss{namespace="shop",pod="web",node="node-1"} 21 1767225601000
container_memory_rss{container="main",namespace="shop",pod="web",node="node-1"} 31 1767225601000
# TYPE container_memory_swap gauge
container_memory_swap{id="/",node="node-1"} 4096 1767225601000
container_memory_swap{namespace="shop",pod="web",node="node-1"} 0 1767225601000
container_memory_swap{container="main",namespace="shop",pod="web",node="node-1"} 7 1767225601000
# TYPE container_memory_usage_bytes gauge
container_memory_usage_bytes{id="/",node="node-1"} 12 1767225601000
# TYPE container_network_receive_bytes_total counter
container_network_receive_bytes_total{id="/",interface="eth0",node="node-1"} 1 1767225600000
container_network_receive_bytes_total{interface="eth0",namespace="shop",pod="web",node="node-1"} 1 1767225600000
# TYPE container_network_receive_errors_total counter
container_network_receive_errors_total{id="/",interface="eth0",node="node-1"} 2 1767225600000
container_network_receive_errors_total{interface="eth0",namespace="shop",pod="web",node="node-1"} 2 1767225600000
# TYPE container_network_transmit_bytes_total counter
container_network_transmit_bytes_total{id="/",interface="eth0",node="node-1"} 3 1767225600000
container_network_transmit_bytes_total{id="/",interface="eth1",node="node-1"} 5 1767225600000
container_network_transmit_bytes_total{interface="eth0",namespace="shop",pod="web",node="node-1"} 3 1767225600000
container_network_transmit_bytes_total{interface="eth1",namespace="shop",pod="web",node="node-1"} 5 1767225600000
# TYPE container_network_transmit_errors_total counter
container_network_transmit_errors_total{id="/",interface="eth0",node="node-1"} 4 1767225600000
container_network_transmit_errors_total{interface="eth0",namespace="shop",pod="web",node="node-1"} 4 1767225600000
# TYPE container_pressure_cpu_stalled_seconds_total counter
container_pressure_cpu_stalled_seconds_total{id="/",node="node-1"} 0 1767225600123
container_pressure_cpu_stalled_seconds_total{container="main",namespace="shop",pod="web",node="node-1"} 0 1767225600123
# TYPE container_pressure_cpu_waiting_seconds_total counter
container_pressure_cpu_waiting_seconds_total{id="/",node="node-1"} 1.5 1767225600123
container_pressure_cpu_waiting_seconds_total{container="main",namespace="shop",pod="web",node="node-1"} 1.5 1767225600123
# TYPE container_pressure_io_stalled_seconds_total counter
container_pressure_io_stalled_seconds_total{id="/",node="node-1"} 3 1767225601000
container_pressure_io_stalled_seconds_total{container="main",namespace="shop",pod="web",node="node-1"} 3 1767225601000
# TYPE container_pressure_io_waiting_seconds_total counter
container_pressure_io_waiting_seconds_total{id="/",node="node-1"} 7 1767225601000
container_pressure_io_waiting_seconds_total{container="main",namespace="shop",pod="web",node="node-1"} 7 1767225601000
# TYPE container_pressure_memory_stalled_seconds_total counter
# TYPE container_pressure_memory_waiting_seconds_total counter
container_pressure_memory_waiting_seconds_total{id="/",node="node-1"} 2e-06 1767225601000
container_pressure_memory_waiting_seconds_total{container="main",namespace="shop",pod="web",node="node-1"} 2e-06 1767225601000
# TYPE container_processes gauge
container_processes{namespace="shop",pod="web",node="node-1"} 23 1767225601000
# TYPE kubelet_volume_stats_available_bytes gauge
kubelet_volume_stats_available_bytes{namespace="shop",persistentvolumeclaim="data-web",node="node-1"} 500
# TYPE kubelet_volume_stats_capacity_bytes gauge
kubelet_volume_stats_capacity_bytes{namespace="shop",persistentvolumeclaim="data-web",node="node-1"} 1000
# TYPE kubelet_volume_stats_health_status_abnormal gauge
kubelet_volume_stats_health_status_abnormal{namespace="shop",persistentvolumeclaim="data-web",node="node-1"} 0
kubelet_volume_stats_health_status_abnormal{namespace="shop",persistentvolumeclaim="ill-web",node="node-1"} 1
# TYPE kubelet_volume_stats_inodes gauge
kubelet_volume_stats_inodes{namespace="shop",persistentvolumeclaim="data-web",node="node-1"} 100
# TYPE kubelet_volume_stats_inodes_free gauge
kubelet_volume_stats_inodes_free{namespace="shop",persistentvolumeclaim="data-web",node="node-1"} 60
# TYPE kubelet_volume_stats_inodes_used gauge
kubelet_volume_stats_inodes_used{namespace="shop",persistentvolumeclaim="data-web",node="node-1"} 40
# TYPE kubelet_volume_stats_used_bytes gauge
kubelet_volume_stats_used_bytes{namespace="shop",persistentvolumeclaim="data-web",node="node-1"} 24
# TYPE pod_ephemeral_storage_used_bytes gauge
pod_ephemeral_storage_used_bytes{namespace="shop",pod="web",node="node-1"} 22 1767225600000
`
	if diff := cmp.Diff(want, richPart(text(t, s, exposition.Text, at))); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	inOpenMetrics := regexp.MustCompile(`(# TYPE \w+)_total counter`).ReplaceAllString(want, "$1 counter")
	inOpenMetrics = strings.NewReplacer(" 1767225600123\n", " 1767225600.123\n", "000\n", "\n").Replace(inOpenMetrics) + "# EOF\n"
	inOpenMetrics = strings.NewReplacer(`limit_bytes{id="/",node="node-1"} 1 `, `limit_bytes{id="/",node="node-1"} 1000 `, `"data-web",node="node-1"} 1`+"\n", `"data-web",node="node-1"} 1000`+"\n").Replace(inOpenMetrics)
	if diff := cmp.Diff(inOpenMetrics, richPart(text(t, s, exposition.OpenMetrics, at))); diff != "" {
		t.Errorf("OpenMetrics (-want +got):\n%s", diff)
	}
}

// Nodes whose kubelets are asked for the resource endpoint alone make the same exposition as ever, byte for byte; beside one
// that is rich they have no part in the rest.
func TestPlainSamplesStayPlain(t *testing.T) {
	plain, both := NewStore(), NewStore()
	one, two := fullSample(), richSample()
	two.Node = "node-2"
	apply(t, plain, one)
	apply(t, both, one, two)
	for _, format := range []exposition.Format{exposition.Text, exposition.OpenMetrics} {
		alone := text(t, plain, format, at)
		for _, f := range richFamilies() {
			if strings.Contains(alone, f.Name) {
				t.Errorf("%s is in the exposition of plain samples", f.Name)
			}
		}
		if n := strings.Count(alone, "# TYPE "); n != len(families()) {
			t.Errorf("%d families", n)
		}
		if rich := richPart(text(t, both, format, at)); strings.Contains(rich, `node="node-1"`) || !strings.Contains(rich, `node="node-2"`) {
			t.Error(rich)
		}
	}
	none := schemas.UsageSample{Node: "node-1", Time: at.UnixNano(), Point: two.Point}
	none.Point.Extra = nil
	if isRich(&none) {
		t.Error("a sample with nothing is rich")
	}
}

func TestSelectionsOfRichFamilies(t *testing.T) {
	s := NewStore()
	apply(t, s, richSample())
	for name, test := range map[string]struct {
		filter Filter
		want   int // families
		some   string
	}{
		"rich ones": {Filter{Family: func(f *collector.Family) (bool, error) { return strings.HasPrefix(f.Name, "kubelet_"), nil }}, 7, "kubelet_volume_stats_used_bytes{"},
		"one of each": {Filter{Family: func(f *collector.Family) (bool, error) {
			return strings.HasSuffix(f.Name, "_swap_usage_bytes") || f.Name == "container_memory_swap", nil
		}}, 4, "container_memory_swap{"},
		"plain ones":    {Filter{Family: func(f *collector.Family) (bool, error) { return strings.HasPrefix(f.Name, "node_"), nil }}, 3, "node_swap_usage_bytes{"},
		"no namespaces": {Filter{Namespace: func(string) bool { return false }}, len(families()) + len(richFamilies()), `container_memory_rss{id="/"`},
	} {
		selection, err := Select(test.filter)
		if err != nil {
			t.Fatal(err)
		}
		got := names(t, s, selection)
		if n := strings.Count(got, "# TYPE "); n != test.want || !strings.Contains(got, test.some) {
			t.Errorf("%s: %d families, want %d, with %s:\n%s", name, n, test.want, test.some, got)
		}
		if name == "no namespaces" && strings.Contains(got, "namespace=") {
			t.Error(got)
		}
	}
}

// Every name is cAdvisor's or the kubelet's, but for one; no name is in both tables.
func TestNamesOfRichFamilies(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range append(families(), richFamilies()...) {
		if seen[f.Name] {
			t.Errorf("%s is there twice", f.Name)
		}
		seen[f.Name] = true
		// A gauge in cAdvisor, whatever its name says.
		if counter := strings.HasSuffix(f.Name, "_total") && f.Name != "container_fs_inodes_total"; counter != (f.Type == collector.Counter) {
			t.Errorf("%s: its name says otherwise than its type", f.Name)
		}
	}
	for name := range seen {
		if !regexp.MustCompile(`^(container|node|pod|kubelet_volume_stats)_[a-z_]+$`).MatchString(name) {
			t.Errorf("%s is an odd name", name)
		}
	}
}

// BenchmarkRichScrape is BenchmarkScrape with 200 nodes whose samples are rich.
func BenchmarkRichScrape(b *testing.B) {
	s := NewStore()
	sample := richSample()
	pod := sample.Pods[0]
	pod.Containers = pod.Containers[:1]
	sample.Pods = nil
	for i := range 30 {
		pod.Name = fmt.Sprintf("service-%d-5f000000-%05x", i, i)
		sample.Pods = append(sample.Pods, pod)
	}
	messages := make([][]byte, 200)
	for i := range messages {
		sample.Node = fmt.Sprintf("ip-10-0-%d-%d.example.internal", i/256, i%256)
		messages[i] = sample.Marshal()
	}
	all := everything(b)
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range messages {
			if err := s.Apply(m); err != nil {
				b.Fatal(err)
			}
		}
		a := exposition.NewAnswer(exposition.OpenMetrics, s.Groups(exposition.OpenMetrics, at, all))
		if err := a.WriteGzip(io.Discard); err != nil {
			b.Fatal(err)
		}
		plain, _ := a.Sizes()
		b.SetBytes(plain)
	}
}
