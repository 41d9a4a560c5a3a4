package api

import (
	"context"
	"crypto/x509"
	"sync"
	"testing"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// authorities is a bundle that a test changes.
type authorities struct {
	mu        sync.Mutex
	bundle    string
	listeners []dynamiccertificates.Listener
	ran       chan struct{}
}

func (a *authorities) Name() string                              { return "test" }
func (a *authorities) VerifyOptions() (x509.VerifyOptions, bool) { return x509.VerifyOptions{}, false }
func (a *authorities) RunOnce(context.Context) error             { return nil }
func (a *authorities) Run(context.Context, int)                  { close(a.ran) }

func (a *authorities) CurrentCABundleContent() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return []byte(a.bundle)
}

func (a *authorities) AddListener(l dynamiccertificates.Listener) {
	a.listeners = append(a.listeners, l)
}

func (a *authorities) set(bundle string) {
	a.mu.Lock()
	a.bundle = bundle
	a.mu.Unlock()
	for _, l := range a.listeners {
		l.Enqueue()
	}
}

// told counts how often it was told of a change.
type told chan struct{}

func (t told) Enqueue() { t <- struct{}{} }

// TestTrustIsHeld: until the server accepts connections the library sees one bundle and is told of no other.
func TestTrustIsHeld(t *testing.T) {
	inner, accepting, listener := &authorities{bundle: "a", ran: make(chan struct{})}, make(chan struct{}), make(told, 10)
	held := holdTrust(inner, accepting)
	held.AddListener(listener)
	sees := func(want string, notes int) {
		t.Helper()
		if got := string(held.CurrentCABundleContent()); got != want || len(listener) != notes {
			t.Errorf("the bundle is %q, told %d times; want %q, %d", got, len(listener), want, notes)
		}
	}
	sees("a", 0)
	inner.set("b")
	inner.set("c")
	sees("a", 0)
	ended := make(chan struct{})
	go func() {
		held.(dynamiccertificates.ControllerRunner).Run(t.Context(), 1)
		close(ended)
	}()
	<-inner.ran
	close(accepting)
	<-ended
	sees("c", 1) // of both changes together
	inner.set("d")
	sees("d", 2)
	if holdTrust(nil, accepting) != nil {
		t.Error("authorities out of nothing")
	}
}
