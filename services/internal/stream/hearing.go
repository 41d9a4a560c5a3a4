package stream

import (
	"sync/atomic"
	"time"
)

// Silent is how long a Replay may hear nothing before it counts as cut off, and the time as a Silence: five heartbeats.
const Silent = silence + heartbeat

// Silence is a time in which nothing was heard of the server, longer than Silent, or nothing but words: for less than Silent
// each, and for less than a minute in all. The zero value is none.
type Silence struct {
	// Since is when the server was heard last before, Until when it was heard again.
	Since, Until time.Time
}

// hearing notes when a server was heard, and when it was not. A nil one notes nothing. Anyone may read it.
type hearing struct {
	last    atomic.Int64            // when the server was last heard, Unix nanoseconds; 0 before
	silence atomic.Pointer[Silence] // the latest that has ended; nil for none
	words   time.Duration           // for how long the server was heard within it, in all; of the goroutine that notes
}

// wordsMost is how long the server may be heard within what counts as one silence, in all. Else one that is silent for a
// moment again and again would count as silent since the first of them, for ever, and whatever ended meanwhile as not heard.
const wordsMost = time.Minute

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
		silence, words := &Silence{Since: time.Unix(0, last), Until: now}, time.Duration(0)
		if before := h.silence.Load(); before != nil {
			word := silence.Since.Sub(before.Until)
			if words = h.words + word; word < Silent && words < wordsMost {
				silence.Since = before.Since
			} else {
				words = 0
			}
		}
		h.words = words
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
