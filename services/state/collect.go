package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

// How much the heap may grow, in percent of what lasts, before garbage is collected. While the service starts, what it
// decodes is nearly all garbage, and little lasts yet; later there is little garbage, and most of the heap is packed objects,
// which cost the collector nothing.
const (
	growthStarting = 200
	growthReady    = 75
)

// settling is how long the service has to be ready for that: the snapshot that ends the start is written meanwhile.
const settling = 10 * time.Second

// collect has the garbage collector come rarely until the service is ready, and more often as long as it is. It returns when ctx
// ends. The environment variable GOGC wins.
func collect(ctx context.Context, ready func() error) {
	if os.Getenv("GOGC") != "" {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	now, since := 0, time.Time{} // as it is set; since when the service is ready
	for {
		growth := growthStarting
		switch {
		case ready() != nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= settling:
			growth = growthReady
		}
		if growth != now {
			debug.SetGCPercent(growth)
			now = growth
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
