package daemon

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Service is what every service of Headwater is: something that runs until its context ends, and says whether it is
// ready.
type Service interface {
	Run(ctx context.Context) error
	Ready() error
}

// Run runs a service beside its telemetry server. The first of them to end ends the other; an address in use is an
// error before the service starts.
func Run(ctx context.Context, service Service, telemetry string, gatherer prometheus.Gatherer, log *slog.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	wait, err := Serve(ctx, telemetry, "telemetry", TelemetryHandler(gatherer, service.Ready), log)
	if err != nil {
		return err
	}
	group.Go(wait)
	group.Go(func() error { return service.Run(ctx) })
	return group.Wait()
}
