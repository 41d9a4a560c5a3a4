package sim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
	"github.com/headwater-metrics/headwater/services/internal/sim/kubelet"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// summary is what the test reads of /stats/summary.
type summary struct {
	Node struct {
		NodeName         string
		CPU              struct{ UsageCoreNanoSeconds uint64 }
		SystemContainers []struct{ Name string }
		Network          struct{ Interfaces []traffic }
		Fs               struct{ UsedBytes, CapacityBytes uint64 }
	}
	Pods []struct {
		PodRef     struct{ Name, Namespace, UID string }
		Containers []struct {
			Name      string
			StartTime time.Time
			CPU       struct {
				Time                 time.Time
				UsageCoreNanoSeconds uint64
				PSI                  struct{ Full, Some struct{ Total uint64 } }
			}
			Memory struct{ WorkingSetBytes, RSSBytes, PageFaults uint64 }
			Rootfs struct{ UsedBytes uint64 }
		}
		Network struct {
			traffic
			Interfaces []traffic
		}
		Volume []struct {
			Name      string
			UsedBytes uint64
			PVCRef    *struct{ Name, Namespace string }
		}
	}
}

type traffic struct {
	Name                                 string
	RxBytes, RxErrors, TxBytes, TxErrors uint64
}

// The summary has the same truth as the resource metrics, and the rest of it at the same time.
func TestSummaryIsTheTruth(t *testing.T) {
	clock := newClock()
	c := testenv.Sim(t, sim.Options{PodsPerNode: 30, Now: clock.now})
	truth := c.Truth()
	node := truth.Nodes()[0]
	url := strings.TrimSuffix(kubeletURL(t, c, node), "/metrics/resource") + "/stats/summary"
	read := func() (s summary) {
		t.Helper()
		code, body, err := scrape(t.Context(), c, scraper(c), url)
		if err != nil || code != http.StatusOK {
			t.Fatalf("%d, %v", code, err)
		}
		if err := json.Unmarshal([]byte(body), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	_, metrics, err := scrape(t.Context(), c, scraper(c), kubeletURL(t, c, node))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{}
	times := map[string]int64{}
	for _, m := range parse(t, metrics)["container_cpu_usage_seconds_total"].Metric {
		labels := labelsOf(m)
		name := labels["namespace"] + "/" + labels["pod"] + "/" + labels["container"]
		want[name], times[name] = m.GetCounter().GetValue(), m.GetTimestampMs()
	}
	s := read()
	now := clock.now().Truncate(time.Millisecond)
	meter, _ := truth.Node(node)
	n := meter.Traffic(now)
	if s.Node.NodeName != node || s.Node.CPU.UsageCoreNanoSeconds != meter.CPU(now) || len(s.Node.SystemContainers) != 3 ||
		s.Node.Fs.UsedBytes != meter.Filesystem(now).Used || len(s.Node.Network.Interfaces) != 1 || s.Node.Network.Interfaces[0].TxBytes != n.Transmitted {
		t.Errorf("node: %+v", s.Node)
	}
	seen, claims := 0, 0
	for _, p := range s.Pods {
		pod, err := c.Pod(p.PodRef.Namespace, p.PodRef.Name)
		if err != nil || string(pod.UID) != p.PodRef.UID {
			t.Fatalf("%+v, %v", p.PodRef, err)
		}
		meter, _ := truth.Pod(p.PodRef.Namespace, p.PodRef.Name)
		w := meter.Traffic(now)
		if got := (kubelet.Traffic{Received: p.Network.RxBytes, ReceiveErrors: p.Network.RxErrors, Transmitted: p.Network.TxBytes, TransmitErrors: p.Network.TxErrors}); got != w || p.Network.Interfaces[0] != p.Network.traffic || w.Received == 0 {
			t.Errorf("%s: %+v, want %+v", p.PodRef.Name, p.Network, w)
		}
		for _, v := range p.Volume {
			if v.PVCRef == nil {
				continue
			}
			claims++
			if d, ok := truth.Claim(p.PodRef.Namespace, p.PodRef.Name, v.PVCRef.Name, now); !ok || d.Used != v.UsedBytes {
				t.Errorf("%s: %+v, want %+v", p.PodRef.Name, v, d)
			}
		}
		for _, container := range p.Containers {
			name := fmt.Sprintf("%s/%s/%s", p.PodRef.Namespace, p.PodRef.Name, container.Name)
			seen++
			at := time.UnixMilli(times[name])
			if got := float64(container.CPU.UsageCoreNanoSeconds) / 1e9; got != want[name] || !container.CPU.Time.Equal(at.Truncate(time.Second)) {
				t.Errorf("%s: %v core-seconds at %v, want %v at %v", name, got, container.CPU.Time, want[name], at)
			}
			meter, _ := truth.Container(p.PodRef.Namespace, p.PodRef.Name, container.Name)
			f := meter.Figures(at)
			if container.Memory.RSSBytes != f.RSS || container.Memory.PageFaults != f.PageFaults || container.CPU.PSI.Some.Total != f.CPUSome ||
				container.Memory.WorkingSetBytes != meter.Memory(at) || container.Rootfs.UsedBytes != meter.Rootfs(at).Used || f.RSS == 0 || f.PageFaults == 0 {
				t.Errorf("%s: %+v, want %+v", name, container, f)
			}
		}
	}
	if seen != len(want) || seen < 30 {
		t.Errorf("%d containers, the metrics have %d", seen, len(want))
	}
	// What is cumulative grows, by the truth.
	before := s.Pods[0].Network.RxBytes
	clock.advance(time.Minute)
	if after := read().Pods[0].Network.RxBytes; after < before+60_000 {
		t.Errorf("%d bytes, a minute later %d", before, after)
	}
}

// Statistics are another permission than metrics.
func TestSummaryNeedsPermission(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Nodes: 1})
	metrics := kubeletURL(t, c, c.Truth().Nodes()[0])
	for resource, want := range map[string][2]int{"nodes/metrics": {200, 403}, "nodes/stats": {403, 200}} {
		token := c.AddUser(identity.User{Name: "u", Rules: []identity.Rule{{Verbs: []string{"get"}, Groups: []string{""}, Resources: []string{resource}}}})
		for i, url := range []string{metrics, strings.TrimSuffix(metrics, "/metrics/resource") + "/stats/summary"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+token)
			response, err := scraper(c).Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != want[i] {
				t.Errorf("with %s, %s: %d, want %d", resource, url, response.StatusCode, want[i])
			}
		}
	}
}
