package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken from below the range from which operating systems pick ports for outgoing connections (32768 and up on
// Linux). A port from that range, which is what listening on port 0 gives, may become some connection's local port
// between the moment it is found free and the moment a program listens on it.
//
// Several of these processes may run at once, as go test runs packages side by side, so each claims blocks of ports for
// itself: it listens on the first port of a block for as long as it lives.
const (
	firstPort = 20000
	lastPort  = 31999
	blockSize = 100
)

var (
	// portsMu guards what follows.
	portsMu sync.Mutex

	// claims are the listeners that hold this process's blocks.
	claims []net.Listener

	// nextPort and endPort are what is left of the latest block. A port is given out once only: a program may be between
	// two runs, so its port is never free again.
	nextPort, endPort int
)

// FreePort returns a TCP port on which nothing listens on this machine, and which neither this process nor another that
// uses this function has been given.
func FreePort() (int, error) {
	portsMu.Lock()
	defer portsMu.Unlock()
	for {
		for ; nextPort < endPort; nextPort++ {
			if listener, err := net.Listen("tcp", ":"+strconv.Itoa(nextPort)); err == nil {
				listener.Close()
				nextPort++
				return nextPort - 1, nil
			}
		}
		if err := claim(); err != nil {
			return 0, err
		}
	}
}

// claim takes the next block, beginning anywhere, so that what others occupy is soon passed.
func claim() error {
	const blocks = (lastPort + 1 - firstPort) / blockSize
	for _, block := range rand.Perm(blocks) {
		first := firstPort + block*blockSize
		listener, err := net.Listen("tcp", ":"+strconv.Itoa(first))
		if err != nil {
			continue
		}
		claims = append(claims, listener)
		nextPort, endPort = first+1, first+blockSize
		return nil
	}
	return fmt.Errorf("couldn't find free ports between %d and %d: stop what occupies them", firstPort, lastPort)
}

// freePorts fills each of the given variables with a free port.
func freePorts(into ...*int) error {
	for _, p := range into {
		port, err := FreePort()
		if err != nil {
			return err
		}
		*p = port
	}
	return nil
}

// loopback returns the address of a port on this machine, as host:port.
func loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
