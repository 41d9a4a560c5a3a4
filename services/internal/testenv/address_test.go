package testenv

import (
	"net"
	"strconv"
	"testing"
)

func TestPorts(t *testing.T) {
	given := map[int]bool{}
	for range 2 * blockSize {
		port := Port(t)
		if given[port] || port < firstPort || port >= firstPort+blocks*blockSize {
			t.Fatalf("port %d: given before: %v", port, given[port])
		}
		given[port] = true
	}
	// Another process finds the blocks taken.
	for _, claim := range ports.claims {
		first := claim.Addr().(*net.TCPAddr).Port
		if l, err := net.Listen("tcp", ":"+strconv.Itoa(first)); err == nil {
			l.Close()
			t.Errorf("nobody holds the block from %d on", first)
		}
		if given[first] {
			t.Errorf("port %d was given and is this process's own", first)
		}
	}
	if len(ports.claims) < 2 {
		t.Errorf("%d blocks hold %d ports", len(ports.claims), len(given))
	}
}
