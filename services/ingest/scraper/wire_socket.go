package scraper

import (
	"net"
	"sync"
)

// socket reads a connection in pieces as large as they come: TLS would ask the system for each record twice.
type socket struct {
	net.Conn
	buffer *[]byte // nil while nothing has come that isn't read
	from   int     // where the rest begins
}

var pieces = sync.Pool{New: func() any {
	b := make([]byte, 0, 16<<10)
	return &b
}}

// Read implements io.Reader.
func (s *socket) Read(p []byte) (int, error) {
	if s.buffer == nil {
		s.buffer = pieces.Get().(*[]byte)
		*s.buffer, s.from = (*s.buffer)[:0], 0
	}
	if s.from == len(*s.buffer) {
		n, err := s.Conn.Read((*s.buffer)[:cap(*s.buffer)])
		*s.buffer, s.from = (*s.buffer)[:n], 0
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, (*s.buffer)[s.from:])
	s.from += n
	return n, nil
}

// release gives the memory back, if nothing is in it.
func (s *socket) release() {
	if s.buffer != nil && s.from == len(*s.buffer) {
		pieces.Put(s.buffer)
		s.buffer = nil
	}
}
