package testenv

import (
	"errors"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// FirstSnapshot writes what the state service writes when it has finished its first pass: an (empty) snapshot as of the
// log's beginning. Servers wait for it.
func FirstSnapshot(t testing.TB, conn *stream.Conn, cluster string, log *stream.Appender) {
	t.Helper()
	Eventually(t, 10*time.Second, func() error {
		if log.Acked().Log.IsZero() {
			return errors.New("the appender doesn't know yet which log it writes to")
		}
		return nil
	})
	writer := stream.NewSnapshotWriter(stream.SnapshotConfig{Conn: conn, Cluster: cluster, Appender: log, Log: Logger(t)})
	if _, err := writer.Write(t.Context(), 0, func(func(stream.Chunk) bool) {}); err != nil {
		t.Fatal(err)
	}
}
