package daemon

import (
	"context"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Service is what every service of Headwater is: something that runs until its context ends, and says whether it is
// ready.
type Service interface {
	Run(ctx context.Context) error
	Ready() error
}

// Paged is a Service that has pages of its own to show on the telemetry address, to those whom the guard lets through.
type Paged interface {
	Service
	// Pages are the pages by their paths: "/debug/nodes". It is called once, before Run.
	Pages() map[string]http.Handler
}

// Guard decides over which connections, and to whom, metrics and profiles are shown.
type Guard interface {
	// Protect lets requests through to next, or answers them itself.
	Protect(next http.Handler) http.Handler
	// Serve is server.Serve, perhaps over TLS.
	Serve(listener net.Listener, server *http.Server) error
}

// Open is the Guard that lets everything through.
type Open struct{}

// Protect implements Guard.
func (Open) Protect(next http.Handler) http.Handler { return next }

// Serve implements Guard.
func (Open) Serve(listener net.Listener, server *http.Server) error { return server.Serve(listener) }

// Run runs a service beside its telemetry server. The first of them to end ends the other; an address in use is an
// error before the service starts.
func Run(ctx context.Context, service Service, telemetry string, gatherer prometheus.Gatherer, log *slog.Logger) error {
	return RunGuarded(ctx, service, telemetry, gatherer, Open{}, log)
}

// RunGuarded is Run with a telemetry server behind a guard. Whether the process is alive and ready is told to everyone
// that the guard lets connect.
func RunGuarded(ctx context.Context, service Service, telemetry string, gatherer prometheus.Gatherer, guard Guard, log *slog.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	handler := telemetryHandler(gatherer, service.Ready, guard)
	if paged, ok := service.(Paged); ok {
		for path, page := range paged.Pages() {
			handler.Handle(path, guard.Protect(page))
		}
	}
	wait, err := Serve(ctx, telemetry, "telemetry", handler, guard, log)
	if err != nil {
		return err
	}
	group.Go(wait)
	group.Go(func() error { return service.Run(ctx) })
	return group.Wait()
}
