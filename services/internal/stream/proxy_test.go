package stream_test

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// proxy stands between a client and its server, to hold back what either sends, or to cut the line.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	free  *sync.Cond
	held  map[direction]bool
	conns map[net.Conn]bool
	down  bool // new connections are refused
	// trigger holds back what a client sends from these bytes on, once; triggered is closed then.
	trigger   string
	triggered chan struct{}
}

type direction int

const (
	toServer direction = iota
	toClient
)

// newProxy gives a proxy to the server of cfg, and how to connect through it.
func newProxy(t testing.TB, cfg stream.ConnConfig) (*proxy, stream.ConnConfig) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: strings.TrimPrefix(cfg.URL, "nats://"), held: map[direction]bool{}, conns: map[net.Conn]bool{}}
	p.free = sync.NewCond(&p.mu)
	t.Cleanup(func() {
		l.Close()
		p.release()
		p.cut()
	})
	go p.accept()
	cfg.URL = "nats://" + l.Addr().String()
	return p, cfg
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		p.mu.Lock()
		refuse := err != nil || p.down
		if !refuse {
			p.conns[client], p.conns[server] = true, true
		}
		p.mu.Unlock()
		if refuse {
			client.Close()
			if server != nil {
				server.Close()
			}
			continue
		}
		go p.copy(server, client, toServer)
		go p.copy(client, server, toClient)
	}
}

// copy passes bytes on, but those that were read while their direction is held only after its release.
func (p *proxy) copy(to, from net.Conn, d direction) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		if d == toServer && p.trigger != "" && strings.Contains(string(buffer[:n]), p.trigger) {
			p.trigger, p.held[toServer] = "", true
			close(p.triggered)
		}
		for p.held[d] && p.conns[from] {
			p.free.Wait()
		}
		cut := !p.conns[from]
		p.mu.Unlock()
		if cut {
			return // what was held back is lost
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// hold keeps back everything that is sent in the direction from now on.
func (p *proxy) hold(d direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[d] = true
}

// holdAt holds back everything that is sent to the server from the first read on with these bytes in it. The channel that
// it returns is closed at that moment.
func (p *proxy) holdAt(bytes string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trigger, p.triggered = bytes, make(chan struct{})
	return p.triggered
}

// release lets everything pass again, what was kept back first.
func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.held)
	p.free.Broadcast()
}

// cut ends all connections. What is held back is lost.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
	clear(p.held)
	p.free.Broadcast()
}

// refuse makes the server unreachable, or reachable again.
func (p *proxy) refuse(down bool) {
	p.mu.Lock()
	p.down = down
	p.mu.Unlock()
	if down {
		p.cut()
	}
}
