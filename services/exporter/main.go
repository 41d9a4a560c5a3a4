// Command exporter serves the series of kube-state-metrics, and usage, from the log; `exporter render` prints what given
// objects would export.
package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"

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
		memory  daemon.Memory
	)
	cmd.Commands = []daemon.Subcommand{{Usage: "render [flags] FILE...|-", Does: "prints what objects in JSON or YAML would export, without a server"}}
	cmd.AddSections(options.Flags())
	nats.Add(cmd.Section("NATS"))
	memory.Add(cmd.Section("memory"))

	os.Exit(cmd.Execute(os.Args[1:], func(ctx context.Context, log *slog.Logger) error {
		collectOften()
		if err := memory.Apply(log); err != nil {
			return err
		}
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
		return daemon.RunGuarded(ctx, service, service.Options().TelemetryAddress, registry, service.Guard(), log)
	}))
}

// collectOften has the garbage collector come when the heap has grown by a quarter instead of by its whole. Nearly all of
// it is packed pages, which cost the collector nothing. The environment variable GOGC wins.
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(25)
	}
}
