package daemon

import (
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// ErrorLog is what an http.Server tells its troubles. Most of them are of clients' making (no TLS where it is needed, a
// connection broken off), so that after the first few only some are logged, with the number of those left out; a panic
// always is.
func ErrorLog(to *slog.Logger) *log.Logger {
	return log.New(&errorLog{to: to, pace: rate.NewLimiter(rate.Every(10*time.Second), 10), now: time.Now}, "", 0)
}

// errorLog logs each line that is written to it, as far as its pace allows.
type errorLog struct {
	to   *slog.Logger
	pace *rate.Limiter
	now  func() time.Time

	mu      sync.Mutex
	leftOut int // since the last line that was logged
}

// Write implements io.Writer.
func (e *errorLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case strings.Contains(text, "panic serving"):
		e.to.Error(text)
	case !e.pace.AllowN(e.now(), 1):
		e.leftOut++
	case e.leftOut > 0:
		e.to.Warn(text, "others left out", e.leftOut)
		e.leftOut = 0
	default:
		e.to.Warn(text)
	}
	return len(line), nil
}
