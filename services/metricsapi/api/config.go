package api

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// Config is what the Metrics API server is made from.
type Config struct {
	// Options is what the flags set; nil for NewOptions. New completes it and keeps it: one Options makes one Service.
	Options *Options
	// Conn is the connection to NATS; each replay opens its own from it.
	Conn *stream.Conn
	// Cluster is the name of the cluster whose streams are read.
	Cluster string
	// Version is what /version and the OpenAPI documents say, "v1.2.3"; "" for the library's.
	Version string

	// Log receives what an operator needs to know; nil for none.
	Log *slog.Logger
	// Registry takes the self-metrics; nil for none. Those that are metrics-server's are on this server's /metrics only.
	Registry prometheus.Registerer
	// Gatherer is served on /metrics after the library's metrics, beside what it has of its own: usually the process's
	// registry, which Registry is. nil for none. Families that the library has too (go_*, process_*) are left out.
	Gatherer prometheus.Gatherer
}

// complete checks the configuration and fills in what follows from it.
func (c *Config) complete() error {
	if c.Options == nil {
		c.Options = NewOptions()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := stream.CheckCluster(c.Cluster); err != nil {
		return err
	}
	o := c.Options
	if err := o.Validate(); err != nil {
		return err
	}
	if err := o.Server.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("couldn't apply --feature-gates or --emulated-version: %w", err)
	}
	if o.Authentication.RemoteKubeConfigFile == "" {
		o.Authentication.RemoteKubeConfigFile = o.Kubeconfig
	}
	if o.Authorization.RemoteKubeConfigFile == "" {
		o.Authorization.RemoteKubeConfigFile = o.Kubeconfig
	}
	if _, err := clientFor(o.Authorization.RemoteKubeConfigFile, "authorization"); err != nil && !o.Authorization.RemoteKubeConfigFileOptional {
		return err
	}
	if _, err := clientFor(o.Authentication.RemoteKubeConfigFile, "authentication"); err != nil && !o.Authentication.RemoteKubeConfigFileOptional {
		return err
	}
	return nil
}

// clientFor makes a client from a kubeconfig file, or from the in-cluster configuration.
func clientFor(file, purpose string) (kubernetes.Interface, error) {
	config, err := loadConfig(file)
	switch {
	case errors.Is(err, rest.ErrNotInCluster):
		return nil, fmt.Errorf("couldn't find an API server for %s: not in a cluster, and neither --kubeconfig nor --%s-kubeconfig is given", purpose, purpose)
	case err != nil:
		return nil, fmt.Errorf("couldn't load the kubeconfig %q for %s: %w", file, purpose, err)
	}
	return kubernetes.NewForConfig(config)
}

func loadConfig(file string) (*rest.Config, error) {
	if file == "" {
		return rest.InClusterConfig()
	}
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: file}, &clientcmd.ConfigOverrides{}).ClientConfig()
}
