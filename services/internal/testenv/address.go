package testenv

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// The ports that Port gives are from below the range from which operating systems pick ports for outgoing connections
// (32768 and up on Linux) and for those who listen on port 0. A port from that range may be somebody else's as soon as
// nobody listens on it. Tests of several packages run at once, so each process claims blocks of ports for itself: it listens
// on the first port of a block for as long as it lives.
const firstPort, blocks, blockSize = 20000, 120, 100

var ports struct {
	mu        sync.Mutex
	next, end int            // what is left of the latest block
	claims    []net.Listener // that hold the blocks
}

// Address returns a loopback address, as host:port, whose port is one of Port.
func Address(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(Port(t)))
}

// Port returns a TCP port that nobody listens on and that no test is given again: for servers that are stopped and started
// again, or started by others.
func Port(t testing.TB) int {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for {
		for ; ports.next < ports.end; ports.next++ {
			if l, err := net.Listen("tcp", ":"+strconv.Itoa(ports.next)); err == nil {
				l.Close()
				ports.next++
				return ports.next - 1
			}
		}
		if !claim() {
			t.Fatalf("no block of %d ports is free between %d and %d; stop what occupies them", blockSize, firstPort, firstPort+blocks*blockSize-1)
		}
	}
}

// claim takes a block that nobody holds. The caller holds the lock.
func claim() bool {
	for _, block := range rand.Perm(blocks) {
		first := firstPort + block*blockSize
		if l, err := net.Listen("tcp", ":"+strconv.Itoa(first)); err == nil {
			ports.claims = append(ports.claims, l)
			ports.next, ports.end = first+1, first+blockSize
			return true
		}
	}
	return false
}
