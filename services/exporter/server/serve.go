package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/daemon"
	"github.com/headwater-metrics/headwater/services/internal/web"
)

// listen opens the port of /metrics.
func (s *Service) listen(ctx context.Context) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.options.ListenAddress)
	if err != nil {
		return nil, fmt.Errorf("couldn't listen on %s for /metrics: %w; stop what uses the port or choose another --listen-address", s.options.ListenAddress, err)
	}
	if address, ok := listener.Addr().(*net.TCPAddr); ok {
		s.listener.Store(address)
	}
	s.log.Info("listening", "for", "/metrics", "address", listener.Addr().String())
	return listener, nil
}

// serve answers on the listener until ctx ends; then running scrapes have a few seconds to end.
func (s *Service) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:     s.handler(),
		ReadTimeout: s.options.ReadTimeout, WriteTimeout: s.options.WriteTimeout,
		IdleTimeout: s.options.IdleTimeout, ReadHeaderTimeout: s.options.ReadHeaderTimeout,
		HTTP2:    &http.HTTP2Config{WriteByteTimeout: s.options.WriteTimeout}, // a stream's time-out leaves its connection open
		ErrorLog: daemon.ErrorLog(s.log),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if server.Shutdown(shutdown) != nil {
			server.Close()
		}
	})
	if err := s.guard.Serve(listener, server); !errors.Is(err, http.ErrServerClosed) {
		stop()
		listener.Close() // where the guard failed before it served
		return fmt.Errorf("couldn't go on serving /metrics: %w", err)
	}
	<-ended
	return nil
}

// Guard is what protects /metrics. The process's telemetry belongs behind it too.
func (s *Service) Guard() *web.Guard { return s.guard }

// Addr is the address on which /metrics is served; nil before Run has opened it.
func (s *Service) Addr() net.Addr {
	if address := s.listener.Load(); address != nil {
		return address
	}
	return nil
}
