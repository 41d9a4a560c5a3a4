package e2e

import (
	"net"
	"strconv"
	"sync"
	"testing"
)

// line is a TCP connection's way that can be cut: nothing gets through then, and neither end is told.
type line struct {
	port int

	// gate is held by what passes, and for as long as the line is cut by cut.
	gate sync.RWMutex

	mu    sync.Mutex
	conns []net.Conn
	isCut bool
	ended bool
}

// newLine leads from a port of its own to an address, until the test ends.
func newLine(t *testing.T, to string) *line {
	t.Helper()
	l := &line{}
	if err := ports(&l.port); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", hostPort(l.port))
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { l.carry(near, to) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		l.heal()
		l.mu.Lock()
		l.ended = true
		for _, c := range l.conns {
			c.Close()
		}
		l.mu.Unlock()
		running.Wait()
	})
	return l
}

func (l *line) carry(near net.Conn, to string) {
	defer near.Close()
	l.gate.RLock()
	far, err := net.Dial("tcp", to)
	l.gate.RUnlock()
	if err != nil {
		return
	}
	defer far.Close()
	l.mu.Lock()
	ended := l.ended
	l.conns = append(l.conns, near, far)
	l.mu.Unlock()
	if ended {
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			defer way[1].Close()
			b := make([]byte, 64<<10)
			for {
				n, err := way[0].Read(b)
				l.gate.RLock()
				if n > 0 {
					_, _ = way[1].Write(b[:n])
				}
				l.gate.RUnlock()
				if err != nil {
					return
				}
			}
		})
	}
	both.Wait()
}

// cut lets nothing through any more.
func (l *line) cut() {
	l.gate.Lock()
	l.mu.Lock()
	l.isCut = true
	l.mu.Unlock()
}

// heal undoes cut.
func (l *line) heal() {
	l.mu.Lock()
	was := l.isCut
	l.isCut = false
	l.mu.Unlock()
	if was {
		l.gate.Unlock()
	}
}

func hostPort(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
