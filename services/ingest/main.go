// Command ingest scrapes the kubelets of a cluster and publishes what they say, one message per node and scrape.
package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/headwater-metrics/headwater/services/ingest/scraper"
	"github.com/headwater-metrics/headwater/services/internal/daemon"
)

func main() {
	var (
		cmd       = daemon.NewCommand("ingest", "Scrapes the kubelets of a cluster and publishes each node's usage to NATS, for metricsapi, exporter and anyone who subscribes.")
		cfg       = scraper.DefaultConfig()
		nats      daemon.NATS
		streams   daemon.UsageStream
		telemetry string
	)
	cfg.AddFlags(cmd.Section("ingest"))
	cfg.AddSharingFlags(cmd.Section("sharing"))
	cfg.AddKubeletFlags(cmd.Section("kubelet client"))
	nats.Add(cmd.Section("NATS"))
	streams.Add(cmd.Section("streams"))
	daemon.AddTelemetryAddress(cmd.Section("telemetry"), &telemetry, ":8082")

	os.Exit(cmd.Execute(os.Args[1:], func(ctx context.Context, log *slog.Logger) error {
		collectOften()
		conn, err := nats.Connect(ctx, "ingest", log)
		if err != nil {
			return err
		}
		defer conn.Close()
		registry := daemon.NewRegistry("ingest")
		cfg.Conn, cfg.Streams, cfg.Log, cfg.Registry = conn, streams.Settings(nats.Cluster), log, registry
		service, err := scraper.New(cfg)
		if err != nil {
			return err
		}
		return daemon.Run(ctx, service, telemetry, registry, log)
	}))
}

// collectOften has the garbage collector come when the heap has grown by a half instead of by its whole: most of the heap is
// what lasts, connections and nodes' histories. The environment variable GOGC wins.
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}
