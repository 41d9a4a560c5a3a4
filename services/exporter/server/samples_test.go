package server

import (
	"errors"
	"testing"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/usage"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// TestScrapeReportsAreSteppedOver: the usage stream has them beside the samples, and they are no messages that can't be read.
func TestScrapeReportsAreSteppedOver(t *testing.T) {
	s := &samples{"test", usage.NewStore()}
	sample := schemas.UsageSample{Node: "a", Time: 1}
	report := schemas.ScrapeReport{Node: "a", Result: "timeout"}
	for i, c := range []struct {
		subject string
		data    []byte
		err     error
		nodes   int
	}{
		{schemas.ScrapeSubject{Cluster: "test", Node: "a"}.String(), report.Marshal(), nil, 0},
		{schemas.ScrapeSubject{Cluster: "test", Node: "b"}.String(), []byte("of a later version"), nil, 0},
		{schemas.UsageSubject{Cluster: "test", Node: "a"}.String(), sample.Marshal(), nil, 1},
		{schemas.UsageSubject{Cluster: "test", Node: "b"}.String(), []byte("garbage"), schemas.ErrMalformed, 1},
	} {
		if err := s.Apply(stream.Event{Sequence: uint64(i + 1), Subject: c.subject, Data: c.data}); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.subject, err, c.err)
		}
		if nodes, _, _ := s.store.Stats(); nodes != c.nodes {
			t.Errorf("%s: %d nodes, want %d", c.subject, nodes, c.nodes)
		}
	}
}
