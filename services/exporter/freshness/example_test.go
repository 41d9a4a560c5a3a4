package freshness_test

import (
	"fmt"
	"os"

	"github.com/headwater-metrics/headwater/schemas"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/freshness"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// The exporter has one tracker, which lives as long as the process.
func Example() {
	tracker := freshness.NewTracker()

	// Every build of the view tells every event: in its sink, when the envelope is decoded.
	tracker.Event("", "pods", 1767225600e9)
	// And a goroutine runs stream.WatchAvailability(ctx, conn, cluster, func(data []byte) { ... }).
	available := schemas.Availability{Kinds: []schemas.KindAvailability{{Resource: "pods"}}}
	if err := tracker.Available(available.Marshal()); err != nil {
		fmt.Println(err)
	}

	// At a scrape: the sizes of the view in service, and what its replay's Position tells.
	kinds := []freshness.Kind{{Resource: "pods", Label: "pods", Objects: 17}}
	objects := freshness.Stream{Name: "objects", Position: stream.Position{LogPosition: stream.LogPosition{Sequence: 4711}}}
	group := tracker.Group(kinds, objects)
	if err := exposition.NewAnswer(exposition.Text, []exposition.Group{group}).Write(os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// # HELP headwater_lag Messages of the stream that this exporter has not read yet, as far as it knows.
	// # TYPE headwater_lag gauge
	// headwater_lag{stream="objects"} 0
	// # HELP headwater_last_event_timestamp_seconds When the newest event of the kind was observed at the API server, in Unix seconds. A kind that does not change has none.
	// # TYPE headwater_last_event_timestamp_seconds gauge
	// headwater_last_event_timestamp_seconds{resource="pods"} 1.7672256e+09
	// # HELP headwater_last_heard_timestamp_seconds When the server of the stream was last heard of, in Unix seconds; it speaks at least twice a second.
	// # TYPE headwater_last_heard_timestamp_seconds gauge
	// # HELP headwater_objects Objects of the kind in this exporter's view.
	// # TYPE headwater_objects gauge
	// headwater_objects{resource="pods"} 17
	// # HELP headwater_position Sequence of the last message of the stream that this exporter has read. At the same position of objects, exporters show the same of them.
	// # TYPE headwater_position gauge
	// headwater_position{stream="objects"} 4711
	// # HELP headwater_resource_available Whether the API server gives the kind to Headwater: 1, or 0 with the reason why not.
	// # TYPE headwater_resource_available gauge
	// headwater_resource_available{resource="pods",reason=""} 1
}
