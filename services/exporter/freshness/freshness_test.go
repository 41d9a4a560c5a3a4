package freshness

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

var at = time.UnixMilli(1_767_225_600_250)

func text(t testing.TB, g exposition.Group) string {
	t.Helper()
	var out bytes.Buffer
	for format, check := range map[exposition.Format]func([]byte) (strict.Summary, error){exposition.OpenMetrics: strict.OpenMetrics, exposition.Text: strict.Text} {
		out.Reset()
		if err := exposition.NewAnswer(format, []exposition.Group{g}).Write(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := check(out.Bytes()); err != nil {
			t.Errorf("%v\n%s", err, out.String())
		}
	}
	if n := strings.Count(out.String(), "# HELP "); n != families {
		t.Errorf("%d families have a HELP", n)
	}
	var lines []string
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func kindsOf(names ...string) []Kind {
	var kinds []Kind
	for i, name := range names {
		k := Kind{Resource: name, Label: name, Objects: i}
		if resource, group, custom := strings.Cut(name, "."); custom {
			k.Resource, k.Group = resource, group
		}
		kinds = append(kinds, k)
	}
	return kinds
}

func TestNothingIsKnownAtFirst(t *testing.T) {
	const want = `headwater_lag{stream="objects"} 0
headwater_objects{resource="pods"} 0
headwater_position{stream="objects"} 0
`
	if diff := cmp.Diff(want, text(t, NewTracker().Group(kindsOf("pods"), Stream{Name: "objects"}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAllIsKnown(t *testing.T) {
	tracker := NewTracker()
	tracker.Event("", "pods", at.UnixNano())
	tracker.Event("", "pods", at.Add(-time.Hour).UnixNano()) // another build reads the log again
	tracker.Event("example.com", "foos", at.Add(time.Second).UnixNano())
	tracker.Event("", "secrets", at.UnixNano()) // not in the view
	a := schemas.Availability{Time: 1, Kinds: []schemas.KindAvailability{
		{Resource: "pods"}, {Group: "example.com", Resource: "foos", Reason: schemas.ForbiddenReason}, {Resource: "secrets"},
		{Group: "other.com", Resource: "nodes", Reason: schemas.ErrorReason},
	}}
	if err := tracker.Available(a.Marshal()); err != nil {
		t.Fatal(err)
	}
	p := Stream{"objects", stream.Position{LogPosition: stream.LogPosition{Sequence: 12345678}, Lag: 3, Heard: at.Add(2 * time.Second)}}
	const want = `headwater_lag{stream="objects"} 3
headwater_lag{stream="usage"} 0
headwater_last_event_timestamp_seconds{resource="foos.example.com"} 1.76722560125e+09
headwater_last_event_timestamp_seconds{resource="pods"} 1.76722560025e+09
headwater_last_heard_timestamp_seconds{stream="objects"} 1.76722560225e+09
headwater_objects{resource="foos.example.com"} 2
headwater_objects{resource="nodes"} 1
headwater_objects{resource="pods"} 0
headwater_position{stream="objects"} 1.2345678e+07
headwater_position{stream="usage"} 0
headwater_resource_available{resource="foos.example.com",reason="forbidden"} 0
headwater_resource_available{resource="pods",reason=""} 1
`
	kinds := kindsOf("pods", "nodes", "foos.example.com", "pods")
	if diff := cmp.Diff(want, text(t, tracker.Group(kinds, p, Stream{Name: "usage"}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A newer availability takes the older one's place; one that can't be read does not.
	a.Kinds = a.Kinds[:1]
	a.Kinds[0].Reason = "a later writer's \"reason\""
	if err := tracker.Available(a.Marshal()); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, {0xc1}, a.Marshal()[:5]} {
		if err := tracker.Available(bad); !errors.Is(err, schemas.ErrMalformed) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	got := text(t, tracker.Group(kinds, p))
	if !strings.Contains(got, `headwater_resource_available{resource="pods",reason="a later writer's \"reason\""} 0`+"\n") || strings.Count(got, "_available{") != 1 {
		t.Error(got)
	}
}

func TestTheNewestEventWinsAtOnce(t *testing.T) {
	tracker := NewTracker()
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for j := range 1000 {
				tracker.Event("", "pods", at.UnixNano()+int64(time.Second)*int64(j*8+i))
			}
		})
	}
	running.Go(func() {
		a := schemas.Availability{Kinds: []schemas.KindAvailability{{Resource: "pods"}}}
		for range 100 {
			if err := tracker.Available(a.Marshal()); err != nil {
				t.Error(err)
			}
			tracker.Group(kindsOf("pods"), Stream{Name: "objects"})
		}
	})
	running.Wait()
	if got := text(t, tracker.Group(kindsOf("pods"), Stream{Name: "objects"})); !strings.Contains(got, `headwater_last_event_timestamp_seconds{resource="pods"} 1.76723359925e+09`) {
		t.Error(got)
	}
}

func BenchmarkEvent(b *testing.B) {
	tracker := NewTracker()
	b.ReportAllocs()
	for i := range b.N {
		tracker.Event("", "pods", int64(i))
	}
}
