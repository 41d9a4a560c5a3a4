package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	healthInterval = 2 * time.Second
	restartPause   = time.Minute // between restarts that did not help, at most
	probeSize      = 16 << 20    // bytes that must be free again
)

// Health says why the server can't store what it gets: its disk is full, for one. nil where it can.
func (s *Server) Health() error {
	if h := s.current().Healthz(nil); h.Error != "" {
		return fmt.Errorf("the embedded NATS server is not healthy: %s", h.Error)
	}
	return nil
}

// heal restarts the server, in this process, when it can write again after a failure. A NATS server that could not write
// to a stream's files takes nothing for that stream until it is restarted. Clients reconnect, and repeat what was not
// acknowledged.
func (s *Server) heal() {
	defer close(s.done)
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	var next time.Time
	pause := healthInterval
	failed, stopped := false, false
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		err := s.Health()
		if err == nil && failed {
			s.log.Info("the embedded NATS server can write again")
			failed, pause = false, healthInterval
		}
		if !stopped && (err == nil || !strings.Contains(err.Error(), "write error")) {
			continue
		}
		// A server that can't read one of its own files would not come up again. The whole phrase: a directory or
		// a cluster may be called corrupt.
		damaged := err != nil && strings.Contains(err.Error(), "malformed or corrupt message")
		if !failed {
			failed = true
			if damaged {
				s.log.Error("a file of the embedded NATS server is damaged, and its stream takes nothing: stop this process, delete the directory, and start it again; everything is written again",
					"directory", filepath.Join(s.cfg.Dir, "jetstream"), "error", err)
			} else {
				s.log.Error("the embedded NATS server can't write: free some space on its disk; it goes on by itself then", "directory", s.cfg.Dir, "error", err)
			}
		}
		if damaged || time.Now().Before(next) || s.probe() != nil {
			continue
		}
		pause = min(2*pause, restartPause)
		next = time.Now().Add(pause)
		if err := s.restart(); err != nil {
			s.log.Error("couldn't restart the embedded NATS server, trying again", "error", err)
			stopped = true
		} else {
			stopped = false
		}
	}
}

// probe tells whether there is room on the disk.
func (s *Server) probe() error {
	path := filepath.Join(s.cfg.Dir, "headwater.probe")
	defer os.Remove(path)
	return os.WriteFile(path, make([]byte, probeSize), 0o600)
}

// restart replaces the server by a new one on the same directory and port.
func (s *Server) restart() error {
	old := s.current()
	old.Shutdown()
	old.WaitForShutdown()
	n, err := start(s.cfg, s.log)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nats = n
	return nil
}
