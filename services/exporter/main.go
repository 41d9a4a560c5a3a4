// Command exporter serves the series of kube-state-metrics, and usage, from the log; `exporter render` prints what given
// objects would export.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/headwater-metrics/headwater/services/exporter/render"
	"github.com/headwater-metrics/headwater/services/exporter/server"
	"github.com/headwater-metrics/headwater/services/internal/daemon"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "render" {
		os.Exit(render.Command(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	var (
		cmd     = daemon.NewCommand("exporter", "Serves the state of a cluster's objects, and usage, to Prometheus, from what state and ingest wrote onto NATS. Replaces kube-state-metrics.")
		options = server.NewOptions()
		nats    daemon.NATS
	)
	cmd.Commands = []daemon.Subcommand{{Usage: "render [flags] FILE...|-", Does: "prints what objects in JSON or YAML would export, without a server"}}
	cmd.AddSections(options.Flags())
	nats.Add(cmd.Section("NATS"))

	os.Exit(cmd.Execute(os.Args[1:], func(ctx context.Context, log *slog.Logger) error {
		conn, err := nats.Connect(ctx, "exporter", log)
		if err != nil {
			return err
		}
		defer conn.Close()
		registry := daemon.NewRegistry("exporter")
		service, err := server.New(server.Config{Options: options, Conn: conn, Cluster: nats.Cluster, Log: log, Registry: registry})
		if err != nil {
			return err
		}
		return daemon.Run(ctx, service, options.TelemetryAddress, registry, log)
	}))
}
