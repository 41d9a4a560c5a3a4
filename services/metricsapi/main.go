// Command metricsapi serves metrics.k8s.io, as metrics-server does, from the log.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/headwater-metrics/headwater/services/internal/daemon"
	"github.com/headwater-metrics/headwater/services/metricsapi/api"
)

func main() {
	var (
		cmd       = daemon.NewCommand("metricsapi", "Serves the Metrics API (metrics.k8s.io) for kubectl top and the autoscalers, from what state and ingest wrote onto NATS. Replaces metrics-server.")
		options   = api.NewOptions()
		nats      daemon.NATS
		telemetry string
	)
	cmd.AddSections(options.Flags())
	options.AddIneffective(cmd.Section("metrics server"))
	nats.Add(cmd.Section("NATS"))
	daemon.AddTelemetryAddress(cmd.Section("telemetry"), &telemetry, "")

	os.Exit(cmd.Execute(os.Args[1:], func(ctx context.Context, log *slog.Logger) error {
		conn, err := nats.Connect(ctx, "metricsapi", log)
		if err != nil {
			return err
		}
		defer conn.Close()
		pace := startPace()
		registry := daemon.NewRegistry("metricsapi")
		service, err := api.New(api.Config{
			Options: options, Conn: conn, Cluster: nats.Cluster, Version: daemon.Version(),
			Whole: pace.settle, Log: log, Registry: registry, Gatherer: registry,
		})
		if err != nil {
			return err
		}
		return daemon.Run(ctx, service, telemetry, registry, log)
	}))
}
