package stream_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// An event of the log is gone, by hand or because the server lost power: nobody takes what can still be read for the
// whole. A reader waits for a snapshot beyond the hole and says so; a writer is told to begin a new log.
func TestHoleInTheLog(t *testing.T) {
	for _, hole := range []uint64{150, 200} { // in the middle, and the last event
		t.Run(fmt.Sprint(hole), func(t *testing.T) {
			cfg := testenv.NATS(t)
			c := connect(t, cfg)
			ensure(t, c)
			a := appender(t, c, stream.LogPosition{})
			w := newWorld(a, 100)
			sw := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: c, Cluster: cluster, Appender: a})
			fill(t, w, 100)
			writeSnapshot(t, sw, w)
			fill(t, w, 100)
			_, js := raw(t, cfg)
			log, err := js.Stream(t.Context(), "K8S_test_OBJECTS")
			if err != nil {
				t.Fatal(err)
			}
			if err := log.DeleteMsg(t.Context(), hole); err != nil {
				t.Fatal(err)
			}

			v := &views{}
			_, err = stream.ReplayOnce(t.Context(), stream.ReplayConfig{Conn: c, Cluster: cluster, Name: "writer", Begin: v.begin, Log: testenv.Logger(t)})
			if !errors.Is(err, stream.ErrTrimmed) {
				t.Errorf("ReplayOnce returns %v, want ErrTrimmed", err)
			}
			r, served := replay(t, c, "reader")
			testenv.Eventually(t, 10*time.Second, func() error {
				return saysNotReady(r, fmt.Sprintf("a snapshot that reaches to event %d", hole))
			})
			if n := served.begun(); n > 3 {
				t.Errorf("%d views were begun: it spins", n)
			}
			fill(t, w, 10)
			writeSnapshot(t, sw, w)
			testenv.Eventually(t, 10*time.Second, func() error { return reached(r, 210) })
			if err := served.served().check(w.at(210)); err != nil {
				t.Error(err)
			}
		})
	}
}
