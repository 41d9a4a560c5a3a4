package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/headwater-metrics/headwater/services/internal/sim"
)

// startSim starts the simulated cluster and writes its kubeconfig. Its API server hands requests for metrics.k8s.io to
// the metricsapi, as a real one's aggregation layer does. It lives until stop is called: who uses it ends first.
func startSim(o *options, log *slog.Logger) (cluster *sim.Cluster, stop func(), err error) {
	settings := o.sim
	settings.Log = log.With("service", "sim")
	if cluster, err = sim.New(settings); err != nil {
		return nil, nil, fmt.Errorf("couldn't start the simulated cluster: %w", err)
	}
	metricsAPI := o.simMetricsAPI
	if metricsAPI == "" && !o.simOnly {
		metricsAPI = fmt.Sprintf("https://127.0.0.1:%d", o.api.SecureServing.BindPort)
	}
	if metricsAPI != "" {
		if err := cluster.SetMetricsAPI(metricsAPI, nil); err != nil {
			cluster.Close()
			return nil, nil, fmt.Errorf("couldn't use %q for the Metrics API: %w", metricsAPI, err)
		}
	}
	if err := cluster.WriteKubeconfig(o.simKubeconfig); err != nil {
		cluster.Close()
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := cluster.Run(ctx); err != nil {
			log.Warn("the simulated cluster didn't end well", "error", err)
		}
	}()
	return cluster, func() { cancel(); <-over }, nil
}

// runSim runs the simulated cluster alone.
func runSim(ctx context.Context, o *options, log *slog.Logger) error {
	if err := o.complete(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.dataDir, 0o700); err != nil {
		return fmt.Errorf("couldn't make the data directory: %w; choose another --data-dir", err)
	}
	cluster, stop, err := startSim(o, log)
	if err != nil {
		return err
	}
	defer stop()
	log.Info("the simulated cluster is up", "url", cluster.URL(), "kubeconfig", o.simKubeconfig, "nodes", o.sim.Nodes, "podsPerNode", o.sim.PodsPerNode)
	<-ctx.Done()
	return nil
}
