package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/headwater-metrics/headwater/test/pins"
)

// MetricsServer is the real metrics-server, outside the cluster and on the cluster's kubelets.
type MetricsServer struct {
	*Process

	// Port is where it serves the Metrics API, for RegisterAPIService.
	Port int
}

// StartMetricsServer starts metrics-server with the given resolution (at least 10 seconds) and further arguments, and
// returns when it serves. It has no metrics then: it needs two scrapes, and its /readyz says when it has them. The second
// one is called metrics-server-2, and so on.
func (c *Cluster) StartMetricsServer(ctx context.Context, resolution time.Duration, args ...string) (*MetricsServer, error) {
	paths, err := pins.Build(ctx, lineWriter(c.config.Log), "metrics-server")
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	name := "metrics-server"
	c.mu.Lock()
	c.metricsServers++
	if c.metricsServers > 1 {
		name = fmt.Sprintf("%s-%d", name, c.metricsServers)
	}
	c.mu.Unlock()
	p, err := c.Run(ctx, Spec{
		Name: name,
		Path: paths["metrics-server"],
		Args: append([]string{
			"--kubeconfig=" + c.Kubeconfig,
			"--authentication-kubeconfig=" + c.Kubeconfig,
			"--authorization-kubeconfig=" + c.Kubeconfig,
			"--bind-address=127.0.0.1",
			fmt.Sprintf("--secure-port=%d", port),
			"--cert-dir=" + filepath.Join(c.Dir, name),
			"--kubelet-insecure-tls",
			"--kubelet-use-node-status-port",
			"--kubelet-preferred-address-types=InternalIP",
			// It refuses a request time-out of more than 0.9 times the resolution.
			"--kubelet-request-timeout=5s",
			"--metric-resolution=" + resolution.String(),
		}, args...),
		Ready: HTTPReady("https://" + loopback(port) + "/livez"),
	})
	if err != nil {
		return nil, err
	}
	return &MetricsServer{Process: p, Port: port}, nil
}
