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
const (
	firstPort = 20000
	lastPort  = 31999
)

var (
	// portsMu guards ports.
	portsMu sync.Mutex

	// ports holds what FreePort has handed out. A program may be between two runs, so its port is never free again.
	ports = map[int]bool{}
)

// FreePort returns a TCP port on which nothing listens on this machine and which this process has not handed out before.
func FreePort() (int, error) {
	portsMu.Lock()
	defer portsMu.Unlock()
	const tries = 1000
	for range tries {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if ports[port] {
			continue
		}
		listener, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		listener.Close()
		ports[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("couldn't find a free port between %d and %d in %d tries: stop what occupies them", firstPort, lastPort, tries)
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
