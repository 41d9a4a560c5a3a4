package api

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// messages are a cluster's object changes and usage samples as they come from the streams.
type messages struct {
	objects, samples []stream.Event
	pods             int
}

// generate makes a cluster of deployments of 50 pods, spread over some namespaces. A third of the pods have two
// containers.
func (s *served) generate(nodes, podsPerNode, namespaces int) messages {
	var m messages
	samples := make([]schemas.UsageSample, nodes)
	for n := range nodes {
		name := fmt.Sprintf("node-%04d.example.internal", n)
		p := point(uint64(n)*1e6+1, 16<<30+uint64(n)<<12, 15*time.Second)
		samples[n] = nodeSample(name, &p)
		node := newNode(name, map[string]string{"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "z1"})
		m.add(s.toChange("nodes", node, schemas.Applied))
	}
	add := func(namespace string, i int) {
		node := &samples[i%nodes]
		app := fmt.Sprintf("deployment-%d", i/50)
		pod := newPod(namespace, fmt.Sprintf("%s-5d8f7b9c6-%05d", app, i), node.Node, map[string]string{
			"app.kubernetes.io/name": app, "app.kubernetes.io/instance": namespace, "pod-template-hash": "5d8f7b9c6", "tier": "backend"})
		pod.UID = "0f0e0d0c-0b0a-4908-8706-050403020100"
		m.add(s.toChange("pods", pod, schemas.Applied))
		usage := podUsage(namespace, pod.Name, container("main", point(uint64(i)*1000+49530274, 50<<20+uint64(i)<<12, 15023*time.Millisecond)))
		if i%3 == 0 {
			usage.Containers = append(usage.Containers, container("sidecar", point(uint64(i)*100+153027, 5<<20+uint64(i), 15023*time.Millisecond)))
		}
		node.Pods = append(node.Pods, usage)
		m.pods++
	}
	for i := range nodes * podsPerNode {
		add(fmt.Sprintf("namespace-%d", i/50%namespaces), i)
	}
	for i := range samples {
		e := event(samples[i])
		e.Sequence = uint64(i + 1)
		m.samples = append(m.samples, e)
	}
	return m
}

func (m *messages) add(c schemas.ObjectChange) {
	subject := schemas.ObjectSubject{Cluster: "test", Resource: c.Resource, Namespace: c.Namespace, Name: c.Name}
	m.objects = append(m.objects, stream.Event{Sequence: uint64(len(m.objects) + 1), Subject: subject.String(), Data: c.Marshal()})
}

func apply(b testing.TB, sink stream.Sink, events []stream.Event) {
	for _, e := range events {
		if err := sink.Apply(e); err != nil {
			b.Fatal(err)
		}
	}
}

// question is what a client asks, and how.
type question struct{ name, accept, encoding, path string }

const protobuf, jsonType = "application/vnd.kubernetes.protobuf", "application/json"

// BenchmarkRead asks the server over HTTPS, as its clients do: 5,000 nodes x 30 pods, in 100 namespaces, then in 10. Beside
// the mean, it tells the median and the 99th of a hundred answers, the CPU time of both ends, and how large an answer is.
func BenchmarkRead(b *testing.B) {
	const label = "/namespaces/namespace-1/pods?labelSelector=app.kubernetes.io/name%3Ddeployment-101,tier%3Dbackend"
	read := func(namespaces int, questions ...question) {
		s := start(b, func(s *served) {
			m := s.generate(5000, 30, namespaces)
			apply(b, s.catalog, m.objects)
			apply(b, s.samples, m.samples)
		}, func(c *Config) { c.Options.Authentication.CacheTTL = 10 * time.Second })
		client := s.client(nil)
		for _, q := range questions {
			b.Run(q.name, func(b *testing.B) { s.ask(b, client, q) })
		}
	}
	read(100,
		question{"150000 pods/protobuf", protobuf, "identity", "/pods"},
		question{"150000 pods/protobuf gzip", protobuf, "gzip", "/pods"},
		question{"150000 pods/JSON", jsonType, "identity", "/pods"},
		question{"150000 pods/JSON gzip", jsonType, "gzip", "/pods"},
		question{"5000 nodes/protobuf", protobuf, "identity", "/nodes"},
		question{"5000 nodes/JSON gzip", jsonType, "gzip", "/nodes"},
		question{"50 of 1500 pods by label/protobuf", protobuf, "identity", label},
		question{"50 of 1500 pods by label/JSON gzip", jsonType, "gzip", label},
		question{"one pod/protobuf", protobuf, "identity", "/namespaces/namespace-1/pods/deployment-101-5d8f7b9c6-05051"},
	)
	read(10,
		question{"50 of 15000 pods by label/protobuf", protobuf, "identity", strings.Replace(label, "-101", "-201", 1)},
		question{"50 of 150000 pods by label/protobuf", protobuf, "identity", "/pods?labelSelector=app.kubernetes.io/name%3Ddeployment-201,tier%3Dbackend"},
		question{"15000 pods of a namespace/protobuf", protobuf, "identity", "/namespaces/namespace-1/pods"},
	)
}

// ask measures a question.
func (s *served) ask(b *testing.B, client *http.Client, q question) {
	b.ReportAllocs()
	var (
		size  int64
		took  []time.Duration
		start = cpuTime(b)
	)
	for b.Loop() {
		request := s.request(http.MethodGet, group+q.path)
		request.Header.Set("Accept", q.accept)
		request.Header.Set("Accept-Encoding", q.encoding)
		began := time.Now()
		response, err := client.Do(request)
		if err != nil {
			b.Fatal(err)
		}
		size, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != 200 {
			b.Fatal(response.Status, err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64((cpuTime(b)-start).Microseconds())/1000/float64(b.N), "cpu-ms/answer")
	b.ReportMetric(float64(size), "B/answer")
}

// cpuTime is what this process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkReplay builds the views from messages, without NATS: what a restart costs beside the transport.
func BenchmarkReplay(b *testing.B) {
	s := newServed(b)
	m := s.generate(5000, 30, 100)
	others := make([]stream.Event, 0, len(m.objects))
	for _, e := range m.objects { // as many objects that are passed over
		e.Subject = strings.Replace(e.Subject, ".pods.", ".endpoints.", 1)
		others = append(others, e)
	}
	run := func(name string, objects int, build func() any) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				build()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(objects), "ns/object")
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			built := build()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(objects), "held-B/object")
			runtime.KeepAlive(built)
		})
	}
	run("objects", len(m.objects), func() any {
		sink := s.service.beginCatalog()
		apply(b, sink, m.objects)
		sink.(*catalogSink).catalog.settle()
		return sink
	})
	run("objects of other kinds", len(others), func() any {
		sink := s.service.beginCatalog()
		apply(b, sink, others)
		return sink
	})
	run("usage, per pod", m.pods, func() any {
		sink := s.service.beginUsage()
		apply(b, sink, m.samples)
		return sink
	})
}
