package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/headwater-metrics/headwater/services/internal/sim"
)

// startSim starts the simulated cluster and writes its kubeconfig. Its API server hands requests for metrics.k8s.io to
// the metricsapi, as a real one's aggregation layer does.
func startSim(ctx context.Context, o *options, log *slog.Logger) (*sim.Cluster, error) {
	settings := o.sim
	settings.Log = log.With("service", "sim")
	cluster, err := sim.New(settings)
	if err != nil {
		return nil, fmt.Errorf("couldn't start the simulated cluster: %w", err)
	}
	metricsAPI := o.simMetricsAPI
	if metricsAPI == "" && !o.simOnly {
		metricsAPI = fmt.Sprintf("https://127.0.0.1:%d", o.api.SecureServing.BindPort)
	}
	if metricsAPI != "" {
		if err := cluster.SetMetricsAPI(metricsAPI, nil); err != nil {
			cluster.Close()
			return nil, fmt.Errorf("couldn't use %q for the Metrics API: %w", metricsAPI, err)
		}
	}
	if err := cluster.WriteKubeconfig(o.simKubeconfig); err != nil {
		cluster.Close()
		return nil, err
	}
	go func() {
		if err := cluster.Run(ctx); err != nil && ctx.Err() == nil {
			log.Error("the simulated cluster stands still", "error", err)
		}
	}()
	return cluster, nil
}

// runSim runs the simulated cluster alone.
func runSim(ctx context.Context, o *options, log *slog.Logger) error {
	if err := o.complete(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.dataDir, 0o700); err != nil {
		return fmt.Errorf("couldn't make the data directory: %w; choose another --data-dir", err)
	}
	cluster, err := startSim(ctx, o, log)
	if err != nil {
		return err
	}
	defer cluster.Close()
	log.Info("the simulated cluster is up", "url", cluster.URL(), "kubeconfig", o.simKubeconfig, "nodes", o.sim.Nodes, "podsPerNode", o.sim.PodsPerNode)
	<-ctx.Done()
	return nil
}
