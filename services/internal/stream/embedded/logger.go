package embedded

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// logger passes the server's log on, and keeps the last error for Start to tell.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex
	last  string
	fatal chan struct{} // closed by the first fatal error
	once  sync.Once
}

// ready waits until the server takes connections; false where it does not in time, or has given up.
func (l *logger) ready(n *server.Server) bool {
	for end := time.Now().Add(startTimeout); time.Now().Before(end); {
		if n.ReadyForConnections(100 * time.Millisecond) {
			return true
		}
		select {
		case <-l.fatal:
			return false
		default:
		}
	}
	return false
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  {}
func (l *logger) Tracef(format string, v ...any)  {}
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn("NATS: " + fmt.Sprintf(format, v...)) }
func (l *logger) Errorf(format string, v ...any)  { l.failed(fmt.Sprintf(format, v...)) }

// Fatalf is where a server of its own would exit.
func (l *logger) Fatalf(format string, v ...any) {
	l.failed(fmt.Sprintf(format, v...))
	l.once.Do(func() { close(l.fatal) })
}

func (l *logger) failed(text string) {
	l.mu.Lock()
	l.last = text
	l.mu.Unlock()
	l.log.Error("NATS: " + text)
}

func (l *logger) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return or(l.last, "it did not become ready in time; its log tells more")
}
