package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// gate is a listener that lets nobody in until the server knows whom to trust. The library opens its port first and
// loads the certificates that it trusts afterwards; whoever comes between is taken for anonymous and, though he may read
// everything, told that he may not. Behind the gate he waits for these milliseconds.
type gate struct {
	net.Listener
	probes    chan net.Conn // connections of our own, let in before it opens
	accepting chan struct{} // closed when Accept is called first
	opened    chan struct{}
	closed    chan struct{}
	accept    func()
	open      func()
	close     func()
}

func newGate(l net.Listener) *gate {
	g := &gate{Listener: l, probes: make(chan net.Conn), accepting: make(chan struct{}), opened: make(chan struct{}), closed: make(chan struct{})}
	g.accept = sync.OnceFunc(func() { close(g.accepting) })
	g.open = sync.OnceFunc(func() { close(g.opened) })
	g.close = sync.OnceFunc(func() { close(g.closed) })
	return g
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	g.accept()
	select {
	case <-g.opened:
		return g.Listener.Accept()
	case connection := <-g.probes:
		return connection, nil
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (g *gate) Close() error {
	g.close()
	return g.Listener.Close()
}

// openWhenTrusting opens the gate as soon as the server asks its clients for certificates of all of the authorities,
// which are subjects as in certificates. It returns at once where there is none, else when that is so or ctx has ended.
func (g *gate) openWhenTrusting(ctx context.Context, authorities [][]byte) error {
	defer g.open()
	var err error
	for wait := time.Millisecond; len(authorities) > 0; wait = min(2*wait, 50*time.Millisecond) {
		var asked [][]byte
		if asked, err = g.probe(ctx); err == nil && containsAll(asked, authorities) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("couldn't see the server trust the certificate authorities that it should: %w", ctx.Err()), err)
		case <-time.After(wait):
		}
	}
	return nil
}

// probe shakes hands with the server, in memory, and returns the subjects whose certificates it asks for.
func (g *gate) probe(ctx context.Context) (authorities [][]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	ours, theirs := net.Pipe()
	defer ours.Close()
	select {
	case g.probes <- theirs:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	client := tls.Client(ours, &tls.Config{
		InsecureSkipVerify: true, // it is ourselves, over a pipe
		GetClientCertificate: func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			authorities = request.AcceptableCAs
			return &tls.Certificate{}, nil
		},
	})
	return authorities, client.HandshakeContext(ctx)
}

func containsAll(all, some [][]byte) bool {
	have := make(map[string]bool, len(all))
	for _, subject := range all {
		have[string(subject)] = true
	}
	for _, subject := range some {
		if !have[string(subject)] {
			return false
		}
	}
	return true
}

// subjects returns those of a bundle of certificates, passing over what is none.
func subjects(bundle string) (subjects [][]byte) {
	for rest := []byte(bundle); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return subjects
		}
		if certificate, err := x509.ParseCertificate(block.Bytes); err == nil {
			subjects = append(subjects, certificate.RawSubject)
		}
	}
}
