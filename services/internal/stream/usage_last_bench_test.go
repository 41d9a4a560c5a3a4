package stream_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// BenchmarkLastUsage is what it costs to go on from another ingester's samples: of 5,000 nodes with 8 kB each, by 16 at a time.
func BenchmarkLastUsage(b *testing.B) {
	const nodes = 5000
	conn := testenv.Conn(b)
	if err := stream.EnsureUsage(b.Context(), conn, stream.Streams{Cluster: cluster}); err != nil {
		b.Fatal(err)
	}
	p, err := stream.NewUsagePublisher(stream.UsagePublisherConfig{Conn: conn, Cluster: cluster})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	payload := make([]byte, 8000)
	for range stream.UsagePerNode {
		for i := range nodes {
			if err := p.Publish(schemas.UsageSubject{Cluster: cluster, Node: fmt.Sprint("node-", i)}.String(), payload); err != nil {
				b.Fatal(err)
			}
		}
		if err := p.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	var next atomic.Int64
	b.ResetTimer()
	b.SetParallelism(4)
	began := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			data, err := stream.LastUsage(b.Context(), conn, cluster, fmt.Sprint("node-", next.Add(1)%nodes))
			if err != nil || len(data) != len(payload) {
				b.Error(len(data), err)
				return
			}
		}
	})
	b.ReportMetric(float64(nodes)*time.Since(began).Seconds()/float64(b.N), "s/5000")
}
