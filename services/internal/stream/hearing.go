package stream

import (
	"sync/atomic"
	"time"
)

// Silent is how long a Replay may hear nothing before it counts as cut off, and the time as a Silence: five heartbeats.
const Silent = silence + heartbeat

// Silence is a time in which nothing was heard of the server, longer than Silent. The zero value is none.
type Silence struct {
	// Since is when the server was heard last before, Until when it was heard again.
	Since, Until time.Time
}

// hearing notes when a server was heard, and when it was not. A nil one notes nothing. Anyone may read it.
type hearing struct {
	last    atomic.Int64            // when the server was last heard, Unix nanoseconds; 0 before
	silence atomic.Pointer[Silence] // the latest that has ended; nil for none
}

// note says that the server was heard right now. It is for one goroutine.
func (h *hearing) note() {
	if h != nil {
		h.noteAt(time.Now())
	}
}

// noteAt is note with the time given. Two silences with only a word between them, of a server that isn't really back, are one.
func (h *hearing) noteAt(now time.Time) {
	last := h.last.Load()
	if last != 0 && now.UnixNano()-last > int64(Silent) {
		silence := &Silence{Since: time.Unix(0, last), Until: now}
		if before := h.silence.Load(); before != nil && silence.Since.Sub(before.Until) < Silent {
			silence.Since = before.Since
		}
		h.silence.Store(silence) // first, so that who sees that it is over sees what was
	}
	h.last.Store(now.UnixNano())
}

// tell enters it in a position.
func (h *hearing) tell(p *Position) {
	if last := h.last.Load(); last != 0 { // first: see noteAt
		p.Heard = time.Unix(0, last)
	}
	if silence := h.silence.Load(); silence != nil {
		p.Silence = *silence
	}
}
