package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func TestPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 3200, 1 << 20: 3200, 4 << 20: 3200, 32 << 20: 400, 128 << 20: 100, 255 << 20: 50, 256 << 20: 50, 10 << 30: 50,
	} {
		if got := percent(live); got != want {
			t.Errorf("%d MB live: %d, want %d", live>>20, got, want)
		}
	}
}

// TestPace builds views, so to speak: collections are far between, until they are whole and one more has come.
func TestPace(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	is := func() int {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return int(s[0].Value.Uint64())
	}
	t.Setenv("GOGC", "70")
	startPace().settle()
	if got := is(); got != 100 {
		t.Errorf("with GOGC set: %d", got)
	}
	t.Setenv("GOGC", "")
	p := startPace()
	runtime.GC()
	if got := is(); got <= often {
		t.Errorf("while the views are built: %d", got)
	}
	p.settle()
	testenv.Eventually(t, 10*time.Second, func() error {
		runtime.GC()
		if got := is(); got != often {
			return fmt.Errorf("when they are whole: %d", got)
		}
		return nil
	})
}
