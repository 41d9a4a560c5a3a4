// Command state watches the API server and writes every change of every object onto the log, once and in order.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/headwater-metrics/headwater/services/internal/daemon"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

func main() {
	var (
		cmd       = daemon.NewCommand("state", "Watches the objects of a cluster and writes every change onto the log on NATS, once and in order, with snapshots. Exactly one writes at a time.")
		cfg       = watcher.DefaultConfig()
		nats      daemon.NATS
		streams   daemon.LogStreams
		telemetry string
	)
	cmd.Section("state").StringVar(&cfg.Kubeconfig, "kubeconfig", "", "Kubeconfig file that says how the API server is reached; the pod's service account where empty.")
	cfg.AddFlags(cmd.Section("state"))
	cfg.AddLeaderElectionFlags(cmd.Section("leader election"))
	nats.Add(cmd.Section("NATS"))
	streams.Add(cmd.Section("streams"))
	daemon.AddTelemetryAddress(cmd.Section("telemetry"), &telemetry, ":8083")

	os.Exit(cmd.Execute(os.Args[1:], func(ctx context.Context, log *slog.Logger) error {
		conn, err := nats.Connect(ctx, "state", log)
		if err != nil {
			return err
		}
		defer conn.Close()
		registry := daemon.NewRegistry("state")
		cfg.Conn, cfg.Streams, cfg.Log, cfg.Registry = conn, streams.Settings(nats.Cluster), log, registry
		service, err := watcher.New(cfg)
		if err != nil {
			return err
		}
		go collect(ctx, service.Ready)
		return daemon.Run(ctx, service, telemetry, registry, log)
	}))
}
