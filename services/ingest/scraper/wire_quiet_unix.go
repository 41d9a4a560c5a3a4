//go:build unix

package scraper

import (
	"syscall"
)

// quiet tells whether nothing has come over a connection that nobody reads: neither its end nor bytes that would be taken
// for the next answer. It doesn't wait, and reads nothing.
func (s *socket) quiet() bool {
	connection, ok := s.Conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := connection.SyscallConn()
	if err != nil {
		return false
	}
	var b [1]byte
	var came error
	err = raw.Read(func(fd uintptr) bool {
		_, _, came = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return err == nil && (came == syscall.EAGAIN || came == syscall.EWOULDBLOCK)
}
