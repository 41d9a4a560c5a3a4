package api

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// freshness is the histogram metrics_server_api_metric_freshness_seconds: how old each returned object is when it is
// read. A list is taken in at once, which costs a fraction of as many observations.
type freshness struct {
	desc *prometheus.Desc

	mu  sync.Mutex
	all ages
}

// freshnessBounds are the upper bounds of the buckets, seconds: 20 of them from 1 s on, each 1.364 times the one before.
var freshnessBounds = func() (bounds [20]float64) {
	for i, bound := 0, 1.0; i < len(bounds); i, bound = i+1, bound*1.364 {
		bounds[i] = bound
	}
	return bounds
}()

// ages counts ages by bucket; the last one is for all beyond the bounds.
type ages struct {
	buckets [len(freshnessBounds) + 1]uint64
	count   uint64
	sum     float64 // seconds
}

// add takes in an age. What is of the future, by a clock that is ahead, counts as new: a sum must not shrink.
func (a *ages) add(age time.Duration) {
	seconds := max(age, 0).Seconds()
	i, _ := slices.BinarySearch(freshnessBounds[:], seconds)
	a.buckets[i]++
	a.count++
	a.sum += seconds
}

func newFreshness() *freshness {
	return &freshness{desc: prometheus.NewDesc("metrics_server_api_metric_freshness_seconds",
		"[ALPHA] Age of each node's or pod's metrics at the moment when they were returned to a client, in seconds.", nil, nil)}
}

func (f *freshness) observe(a *ages) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, n := range a.buckets {
		f.all.buckets[i] += n
	}
	f.all.count += a.count
	f.all.sum += a.sum
}

// Describe implements prometheus.Collector.
func (f *freshness) Describe(descs chan<- *prometheus.Desc) { descs <- f.desc }

// Collect implements prometheus.Collector. Before the first read there is no series.
func (f *freshness) Collect(out chan<- prometheus.Metric) {
	f.mu.Lock()
	all := f.all
	f.mu.Unlock()
	if all.count == 0 {
		return
	}
	cumulative, below := make(map[float64]uint64, len(freshnessBounds)), uint64(0)
	for i, bound := range freshnessBounds {
		below += all.buckets[i]
		cumulative[bound] = below
	}
	out <- prometheus.MustNewConstHistogram(f.desc, all.count, all.sum, cumulative)
}
