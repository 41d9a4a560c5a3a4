package api

import (
	"context"
	"sync"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// heldTrust are the authorities of which the library tells its clients, as they were when it first asked, until the server
// accepts connections; what came meanwhile is told then. The library puts its TLS configuration together while the
// authorities are already being read, and copies what is not finished if they come in that moment. Nobody sees a
// difference: before the first connection there is no client to tell.
type heldTrust struct {
	dynamiccertificates.CAContentProvider
	accepting <-chan struct{}

	first func() []byte
	mu    sync.Mutex
	held  map[dynamiccertificates.Listener]bool // those that are to be told once accepting is closed
}

func holdTrust(authorities dynamiccertificates.CAContentProvider, accepting <-chan struct{}) dynamiccertificates.CAContentProvider {
	if authorities == nil {
		return nil
	}
	h := &heldTrust{CAContentProvider: authorities, accepting: accepting, held: make(map[dynamiccertificates.Listener]bool)}
	h.first = sync.OnceValue(authorities.CurrentCABundleContent)
	return h
}

// CurrentCABundleContent implements dynamiccertificates.CAContentProvider.
func (h *heldTrust) CurrentCABundleContent() []byte {
	select {
	case <-h.accepting:
		return h.CAContentProvider.CurrentCABundleContent()
	default:
		return h.first()
	}
}

// AddListener implements dynamiccertificates.Notifier.
func (h *heldTrust) AddListener(listener dynamiccertificates.Listener) {
	h.CAContentProvider.AddListener(heldListener{h, listener})
}

// RunOnce implements dynamiccertificates.ControllerRunner.
func (h *heldTrust) RunOnce(ctx context.Context) error {
	if c, ok := h.CAContentProvider.(dynamiccertificates.ControllerRunner); ok {
		return c.RunOnce(ctx)
	}
	return nil
}

// Run implements dynamiccertificates.ControllerRunner.
func (h *heldTrust) Run(ctx context.Context, workers int) {
	if c, ok := h.CAContentProvider.(dynamiccertificates.ControllerRunner); ok {
		go c.Run(ctx, workers)
	}
	select {
	case <-h.accepting:
		h.tell()
	case <-ctx.Done():
	}
}

// tell tells those who would have been told before.
func (h *heldTrust) tell() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for listener := range h.held {
		listener.Enqueue()
	}
	clear(h.held)
}

// heldListener is a listener that is told once the server accepts connections.
type heldListener struct {
	of       *heldTrust
	listener dynamiccertificates.Listener
}

// Enqueue implements dynamiccertificates.Listener.
func (l heldListener) Enqueue() {
	l.of.mu.Lock()
	l.of.held[l.listener] = true
	l.of.mu.Unlock()
	select {
	case <-l.of.accepting:
		l.of.tell()
	default:
	}
}
