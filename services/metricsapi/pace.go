package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// pace is how often the garbage collector comes: when the heap has grown by a half instead of by its whole. It is mostly views,
// and to look at them costs a hundredth of a core.
//
// While the views are built, which is one allocation after the other, the heap may always grow by room: else a sixth of
// the CPU time goes into a dozen looks at views that are still small. A heap of more than twice the room has as much room as
// it would have anyway.
type pace struct{ settled atomic.Bool }

const (
	often = 50        // percent
	room  = 128 << 20 // bytes
)

// startPace begins the building of the views. The environment variable GOGC wins.
func startPace() *pace {
	p := new(pace)
	if os.Getenv("GOGC") == "" {
		p.set()
	}
	return p
}

// settle is called when the views are whole. The next collection is the last that comes late: one more right now would be in
// the way of those who have waited for the views.
func (p *pace) settle() { p.settled.Store(true) }

// set decides when the next collection comes, and is called again after it.
func (p *pace) set() {
	if p.settled.Load() {
		debug.SetGCPercent(often)
		debug.FreeOSMemory() // what is needed no more
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(percent(live[0].Value.Uint64()))
	runtime.AddCleanup(new(*pace), func(p *pace) { p.set() }, p) // nobody has it, so the next collection finds it
}

// percent is by how much the heap may grow beyond what the last collection has left, bytes, while the views are built.
func percent(live uint64) int {
	const least = 4 << 20 // the runtime doesn't collect a heap that is smaller, times the percentage
	return max(often, int(100*room/max(live, least)))
}
