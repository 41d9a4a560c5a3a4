package daemon

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// repeatAfter is how long after a line of a library the same may be logged again.
	repeatAfter = 10 * time.Second
	// mostRepeats is how many lines are told apart; when there are more, those of long ago, or else all, are forgotten.
	mostRepeats = 500
	// lineKey is how much of a line's message tells it from others, in bytes.
	lineKey = 100
)

// lessRepeats is a handler for what libraries log. They log an error for each client that goes away, and for each request while
// the API server is away: of lines that say the same, but for numbers, one is logged in ten seconds, with how many were left
// out. A panic always is, and so is what is for debugging.
func lessRepeats(to slog.Handler) slog.Handler {
	return &repeats{Handler: to, told: &told{lines: map[string]*line{}}}
}

type repeats struct {
	slog.Handler
	told *told
}

// told is what was logged of late; all handlers that derive from one share it.
type told struct {
	mu    sync.Mutex
	lines map[string]*line
}

type line struct {
	last    time.Time // when it was last logged
	leftOut int       // how often it was not, since then
}

// Handle implements slog.Handler.
func (r *repeats) Handle(ctx context.Context, record slog.Record) error {
	if record.Level >= slog.LevelInfo && !strings.Contains(record.Message, "panic") {
		leftOut, ok := r.told.tell(record.Level.String()+" "+withoutDigits(record.Message), record.Time)
		if !ok {
			return nil
		}
		if leftOut > 0 {
			record = record.Clone()
			record.AddAttrs(slog.Int("repeats left out", leftOut))
		}
	}
	return r.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (r *repeats) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &repeats{r.Handler.WithAttrs(attrs), r.told}
}

// WithGroup implements slog.Handler.
func (r *repeats) WithGroup(name string) slog.Handler {
	return &repeats{r.Handler.WithGroup(name), r.told}
}

// tell says whether a line is to be logged now, and how often it was left out before.
func (t *told) tell(key string, now time.Time) (leftOut int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.lines[key]; l != nil {
		if since := now.Sub(l.last); since >= 0 && since < repeatAfter {
			l.leftOut++
			return 0, false
		}
		leftOut, l.leftOut, l.last = l.leftOut, 0, now
		return leftOut, true
	}
	if len(t.lines) >= mostRepeats {
		for key, l := range t.lines {
			if now.Sub(l.last) >= repeatAfter {
				delete(t.lines, key)
			}
		}
		if len(t.lines) >= mostRepeats {
			clear(t.lines)
		}
	}
	t.lines[key] = &line{last: now}
	return 0, true
}

// withoutDigits is the beginning of a message without what is different each time: ports, sequences, durations.
func withoutDigits(message string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, message[:min(len(message), lineKey)])
}
