package stream_test

import (
	"context"
	"fmt"
	"hash/maphash"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/schemas/wire"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// These report, beside the wall time, the CPU time of this process (client) and of the server's (server), which is the
// figure to compare on a machine that is shared. The server is a process of its own, reached over loopback.

// BenchmarkReplay rebuilds the view that the Metrics API needs of 200,000 pods, exact, under 2,000 writes/s: a snapshot,
// and a tail of 10,000 events and what is written meanwhile.
func BenchmarkReplay(b *testing.B) {
	const objects, tail, rate = 200_000, 10_000, 2000
	server := newProcess(b)
	server.start()
	c := connect(b, stream.ConnConfig{URL: "nats://" + server.address})
	ensure(b, c)
	a := appender(b, c, stream.LogPosition{})
	p := &pods{a: a, last: make([]uint64, objects), data: make([][]byte, objects)}
	for i := range objects {
		if err := p.set(b.Context(), i); err != nil {
			b.Fatal(err)
		}
	}
	flush(b, a)
	sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a})
	began, cpu := time.Now(), server.cpu()
	stats, err := sw.Write(b.Context(), a.Acked().Sequence, p.chunks())
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("a snapshot of %d objects: %d chunks, %d MB, in %v, client %.2f, server %.2f CPU-s", stats.Objects, stats.Chunks,
		stats.Bytes>>20, time.Since(began).Round(time.Millisecond), cpu.client(), cpu.server())
	for i := range tail {
		if err := p.set(b.Context(), i*7919%objects); err != nil {
			b.Fatal(err)
		}
	}
	flush(b, a)
	for _, test := range []struct {
		name    string
		workers int
		rate    int
		begin   func() *liteView
	}{
		{"decoded, 4 workers, 2000 writes/s", 4, rate, newLiteView},
		{"decoded, 2 workers, 2000 writes/s", 2, rate, newLiteView},
		{"decoded, 1 worker, 2000 writes/s", 1, rate, newLiteView},
		{"not decoded, 4 workers, no writes", 4, 0, func() *liteView { return nil }},
	} {
		b.Run(test.name, func(b *testing.B) {
			writing, stop := context.WithCancel(b.Context())
			var writer errgroup.Group
			if test.rate > 0 {
				writer.Go(func() error { return p.churn(writing, test.rate) })
			}
			defer func() {
				stop()
				if err := writer.Wait(); err != nil {
					b.Error(err)
				}
			}()
			var clientCPU, serverCPU float64
			events := 0
			for b.Loop() {
				b.StopTimer()
				runtime.GC()
				cpu := server.cpu()
				b.StartTimer()
				var view *liteView
				old := debug.SetGCPercent(400) // as a service does while it replays
				position, err := stream.ReplayOnce(b.Context(), stream.ReplayConfig{
					Conn: c, Cluster: cluster, Name: "bench", Workers: test.workers,
					Begin: func() stream.Sink {
						if view = test.begin(); view == nil {
							return stream.SinkFunc(func(stream.Event) error { return nil })
						}
						return view
					},
				})
				debug.SetGCPercent(old)
				b.StopTimer()
				if err != nil {
					b.Fatal(err)
				}
				clientCPU += cpu.client()
				serverCPU += cpu.server()
				events += int(position.Sequence) // the snapshot is as of the sequence that is the number of objects
				if view != nil {
					if err := view.check(p, position.Sequence); err != nil {
						b.Error(err)
					}
				}
				b.StartTimer()
			}
			n := float64(b.N)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/message")
			b.ReportMetric(b.Elapsed().Seconds()/n, "s/replay")
			b.ReportMetric(clientCPU/n, "client-CPU-s")
			b.ReportMetric(serverCPU/n, "server-CPU-s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkUsageReplay rebuilds the usage of 5,000 nodes of 30 pods, two samples each.
func BenchmarkUsageReplay(b *testing.B) {
	const nodes = 5000
	server := newProcess(b)
	server.start()
	c := connect(b, stream.ConnConfig{URL: "nats://" + server.address})
	ensure(b, c)
	p, err := stream.NewUsagePublisher(stream.UsagePublisherConfig{Conn: c, Cluster: cluster})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	size := 0
	for round := range 2 {
		for node := range nodes {
			data := usageSample(node, round).Marshal()
			size = len(data)
			if err := p.Publish(usageSubject(node), data); err != nil {
				b.Fatal(err)
			}
		}
		flushUsage(b, p)
	}
	var clientCPU, serverCPU float64
	for b.Loop() {
		b.StopTimer()
		runtime.GC()
		cpu := server.cpu()
		b.StartTimer()
		view := map[string]*schemas.UsageSample{}
		ctx, cancel := context.WithCancel(b.Context())
		r, err := stream.NewUsageReplay(stream.ReplayConfig{
			Conn: c, Cluster: cluster, Name: "bench",
			Begin: func() stream.Sink {
				return stream.SinkFunc(func(e stream.Event) error {
					s := &schemas.UsageSample{}
					if err := s.Unmarshal(e.Data); err != nil {
						return err
					}
					view[e.Subject] = s
					return nil
				})
			},
			Whole: func(stream.Sink, stream.Position) { cancel() },
		})
		if err != nil {
			b.Fatal(err)
		}
		r.Run(ctx)
		b.StopTimer()
		if len(view) != nodes {
			b.Errorf("%d nodes", len(view))
		}
		clientCPU += cpu.client()
		serverCPU += cpu.server()
		b.StartTimer()
	}
	n := float64(b.N)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n/(2*nodes), "ns/message")
	b.ReportMetric(b.Elapsed().Seconds()/n, "s/replay")
	b.ReportMetric(clientCPU/n, "client-CPU-s")
	b.ReportMetric(serverCPU/n, "server-CPU-s")
	b.ReportMetric(float64(size), "B/message")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAppend appends events of 1.5 KB as fast as the log takes them.
func BenchmarkAppend(b *testing.B) {
	server := newProcess(b)
	server.start()
	c := connect(b, stream.ConnConfig{URL: "nats://" + server.address})
	ensure(b, c)
	a := appender(b, c, stream.LogPosition{})
	data := podChange(1, 1)
	cpu := server.cpu()
	b.SetBytes(int64(len(data)))
	for i := 0; b.Loop(); i++ {
		if _, err := a.AppendWait(b.Context(), subjectOf(i%100_000), data); err != nil {
			b.Fatal(err)
		}
	}
	flush(b, a)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(cpu.client()*1e6/float64(b.N), "client-CPU-us")
	b.ReportMetric(cpu.server()*1e6/float64(b.N), "server-CPU-us")
}

// cpuTimes are those at a moment, of this process and the server's.
type cpuTimes struct {
	p          *process
	own, other float64
}

func (p *process) cpu() cpuTimes { return cpuTimes{p, ownCPU(), p.serverCPU()} }

func (c cpuTimes) client() float64 { return ownCPU() - c.own }
func (c cpuTimes) server() float64 { return c.p.serverCPU() - c.other }

func ownCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// serverCPU reads what Linux tells of another process: fields 14 and 15 of its stat, in hundredths of a second.
func (p *process) serverCPU() float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// pods is a world of pods as the state service publishes them.
type pods struct {
	a    *stream.Appender
	mu   sync.Mutex
	last []uint64 // sequence of each pod's last change
	data [][]byte
	log  []int // pod of each sequence - 1
}

func (p *pods) set(ctx context.Context, i int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	data := podChange(i, len(p.log))
	sequence, err := p.a.AppendWait(ctx, podSubject(i), data)
	if err != nil {
		return err
	}
	p.last[i], p.data[i] = sequence, data
	p.log = append(p.log, i)
	return nil
}

func (p *pods) churn(ctx context.Context, rate int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for range rate / 100 {
			n++
			if err := p.set(ctx, n*104729%len(p.last)); err != nil {
				return nil
			}
		}
	}
}

func (p *pods) chunks() func(func(stream.Chunk) bool) {
	return func(yield func(stream.Chunk) bool) {
		for from := 0; from < len(p.last); from += 256 {
			c := stream.Chunk{ID: uint32(from / 256), Dirty: true, Read: func() (uint64, []stream.Entry) {
				p.mu.Lock()
				defer p.mu.Unlock()
				var entries []stream.Entry
				for i := from; i < min(from+256, len(p.last)); i++ {
					entries = append(entries, stream.Entry{Sequence: p.last[i], Subject: podSubject(i), Data: p.data[i]})
				}
				return p.a.Next() - 1, entries
			}}
			if !yield(c) {
				return
			}
		}
	}
}

func podSubject(i int) string {
	return schemas.ObjectSubject{Cluster: cluster, Resource: "pods", Namespace: podNamespace(i), Name: podName(i)}.String()
}

func podNamespace(i int) string { return fmt.Sprintf("team-%d", i/100%1000) }
func podName(i int) string      { return fmt.Sprintf("service-%d-7d9c5bf6d4-%05x", i/10, i) }

// podChange is an event of some 1.5 KB: a pod with what the exporter needs of it.
func podChange(i, version int) []byte {
	str := wire.AppendString
	pairs := func(b []byte, kv ...string) []byte {
		b = wire.AppendMapLen(b, len(kv)/2)
		for _, s := range kv {
			b = str(b, s)
		}
		return b
	}
	uid := fmt.Sprintf("%08x-1111-4222-8333-%012x", i*2654435761&0xffffffff, i)
	b := pairs(nil)
	b = wire.AppendMapLen(b[:0], 3)
	b = str(b, "metadata")
	b = wire.AppendMapLen(b, 6)
	b = str(str(b, "name"), podName(i))
	b = str(str(b, "namespace"), podNamespace(i))
	b = str(str(b, "uid"), uid)
	b = str(str(b, "resourceVersion"), strconv.Itoa(100_000+version))
	b = str(str(b, "creationTimestamp"), "2026-01-02T03:04:05Z")
	b = pairs(str(b, "labels"), "app.kubernetes.io/name", fmt.Sprintf("service-%d", i/10), "app.kubernetes.io/part-of", "shop", "pod-template-hash", "7d9c5bf6d4", "team", podNamespace(i))
	b = str(b, "spec")
	b = wire.AppendMapLen(b, 4)
	b = str(str(b, "nodeName"), fmt.Sprintf("ip-10-%d-%d-%d.eu-west-1.compute.internal", i/30/65536, i/30/256%256, i/30%256))
	b = str(str(b, "serviceAccountName"), "default")
	b = str(str(b, "priorityClassName"), "standard")
	b = wire.AppendArrayLen(str(b, "containers"), 2)
	for _, name := range []string{"main", "sidecar"} {
		b = wire.AppendMapLen(b, 3)
		b = str(str(b, "name"), name)
		b = str(str(b, "image"), "registry.example.org/shop/"+name+":1.2.3")
		b = wire.AppendMapLen(str(b, "resources"), 2)
		b = pairs(str(b, "requests"), "cpu", "100m", "memory", "128Mi")
		b = pairs(str(b, "limits"), "cpu", "1", "memory", "256Mi")
	}
	b = str(b, "status")
	b = wire.AppendMapLen(b, 5)
	b = str(str(b, "phase"), "Running")
	b = str(str(b, "podIP"), "10.1.2.3")
	b = str(str(b, "startTime"), "2026-01-02T03:04:06Z")
	b = wire.AppendArrayLen(str(b, "conditions"), 3)
	for _, name := range []string{"Initialized", "Ready", "ContainersReady"} {
		b = pairs(b, "type", name, "status", "True", "lastTransitionTime", "2026-01-02T03:04:07Z")
	}
	b = wire.AppendArrayLen(str(b, "containerStatuses"), 2)
	for _, name := range []string{"main", "sidecar"} {
		b = pairs(b, "name", name, "image", "registry.example.org/shop/"+name+":1.2.3", "imageID", "sha256:"+strings.Repeat(uid[:8], 8), "containerID", "containerd://"+strings.Repeat(uid[:8], 8), "ready", "true")
	}
	c := schemas.ObjectChange{Operation: schemas.Applied, APIVersion: "v1", Kind: "Pod", Resource: "pods", Namespace: podNamespace(i),
		Name: podName(i), UID: uid, ResourceVersion: strconv.Itoa(100_000 + version), Time: 1_700_000_000_000_000_000, Object: b}
	return c.Marshal()
}

// liteView is what a Metrics API needs of every pod, in shards, as several workers write it.
type liteView struct {
	shards [32]liteShard
}

type liteShard struct {
	mu     sync.Mutex
	pods   map[schemas.ObjectKey]litePod
	change schemas.ObjectChange
	intern map[string]string
}

type litePod struct {
	uid, node, phase string
	labels           []string
	sequence         uint64
}

func newLiteView() *liteView {
	v := &liteView{}
	for i := range v.shards {
		v.shards[i].pods, v.shards[i].intern = map[schemas.ObjectKey]litePod{}, map[string]string{}
	}
	return v
}

var seed = maphash.MakeSeed()

func (v *liteView) Apply(e stream.Event) error {
	s := &v.shards[maphash.String(seed, e.Subject)%uint64(len(v.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.change.Unmarshal(e.Data); err != nil {
		return err
	}
	p := litePod{uid: s.change.UID, sequence: e.Sequence}
	err := eachField(s.change.Object, func(r *wire.Reader, part []byte) error {
		switch string(part) {
		case "metadata":
			return s.labels(r, &p.labels)
		case "spec":
			return s.field(r, "nodeName", &p.node)
		case "status":
			return s.field(r, "phase", &p.phase)
		}
		return r.Skip()
	})
	if err != nil {
		return err
	}
	s.pods[s.change.Key()] = p
	return nil
}

// eachField calls f for every key of a map; f reads the value.
func eachField(object []byte, f func(*wire.Reader, []byte) error) error {
	r := wire.NewReader(object)
	return fieldsOf(&r, f)
}

func fieldsOf(r *wire.Reader, f func(*wire.Reader, []byte) error) error {
	n, err := r.MapLen()
	if err != nil {
		return err
	}
	for range n {
		key, err := r.StringBytes()
		if err != nil {
			return err
		}
		if err := f(r, key); err != nil {
			return err
		}
	}
	return nil
}

func (s *liteShard) field(r *wire.Reader, name string, into *string) error {
	return fieldsOf(r, func(r *wire.Reader, key []byte) error {
		if string(key) == name {
			return s.read(r, into)
		}
		return r.Skip()
	})
}

func (s *liteShard) labels(r *wire.Reader, into *[]string) error {
	return fieldsOf(r, func(r *wire.Reader, key []byte) error {
		if string(key) != "labels" {
			return r.Skip()
		}
		return fieldsOf(r, func(r *wire.Reader, key []byte) error {
			var value string
			if err := s.read(r, &value); err != nil {
				return err
			}
			*into = append(*into, s.string(key), value)
			return nil
		})
	})
}

func (s *liteShard) read(r *wire.Reader, into *string) error {
	b, err := r.StringBytes()
	*into = s.string(b)
	return err
}

func (s *liteShard) string(b []byte) string {
	if known, ok := s.intern[string(b)]; ok {
		return known
	}
	text := string(b)
	s.intern[text] = text
	return text
}

// check compares each pod with what was acknowledged at the sequence.
func (v *liteView) check(p *pods, sequence uint64) error {
	p.mu.Lock()
	last := make([]uint64, len(p.last))
	for i, pod := range p.log[:sequence] {
		last[pod] = uint64(i) + 1
	}
	p.mu.Unlock()
	wrong := 0
	for i, want := range last {
		subject := podSubject(i)
		s := &v.shards[maphash.String(seed, subject)%uint64(len(v.shards))]
		got := s.pods[schemas.ObjectKey{Resource: "pods", Namespace: podNamespace(i), Name: podName(i)}]
		if got.sequence != want || got.phase != "Running" || len(got.labels) != 8 {
			wrong++
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d pods are wrong", wrong, len(last))
	}
	return nil
}

// usageSample is one node's, with 30 pods and 40 containers.
func usageSample(node, round int) *schemas.UsageSample {
	at := int64(1_700_000_000_000_000_000 + round*15_000_000_000)
	point := func(i int) schemas.Point {
		return schemas.Point{Time: at + int64(i)*1e6, CPUTime: at + int64(i)*1e6, MemoryTime: at + int64(i)*1e6, Start: at - 1e15,
			CPU: uint64(i) * 123_456_789_012, Memory: uint64(i) * 12_345_678, Rate: uint64(i) * 1_234_567, Window: 15_000_000_000}
	}
	s := &schemas.UsageSample{Node: nodeName(node), Time: at, Duration: 20_000_000}
	p := point(99)
	s.Point = &p
	for i := range 30 {
		pod := schemas.PodUsage{Namespace: podNamespace(node*30 + i), Name: podName(node*30 + i)}
		pod.Containers = append(pod.Containers, schemas.ContainerUsage{Name: "main", Point: point(i)})
		if i%3 == 0 {
			pod.Containers = append(pod.Containers, schemas.ContainerUsage{Name: "sidecar", Point: point(i + 1)})
		}
		s.Pods = append(s.Pods, pod)
	}
	return s
}
