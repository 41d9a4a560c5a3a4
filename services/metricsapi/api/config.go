package api

import (
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/kubeconfig"
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

	// Whole is called once, when both views are whole for the first time; nil for none.
	Whole func()

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
		return fmt.Errorf("couldn't apply --feature-gates, --emulated-version or --min-compatibility-version: %w; there is nothing to choose here, leave them out", err)
	}
	if o.Authentication.RemoteKubeConfigFile == "" {
		o.Authentication.RemoteKubeConfigFile = o.Kubeconfig
	}
	if o.Authorization.RemoteKubeConfigFile == "" {
		o.Authorization.RemoteKubeConfigFile = o.Kubeconfig
	}
	authorization, err := restConfigFor(o.Authorization.RemoteKubeConfigFile, "authorization")
	if err == nil {
		o.Authorization.CustomRoundTripperFn = followToken(authorization.BearerTokenFile)
	} else if !o.Authorization.RemoteKubeConfigFileOptional {
		return err
	}
	authentication, err := restConfigFor(o.Authentication.RemoteKubeConfigFile, "authentication")
	if err == nil {
		o.Authentication.CustomRoundTripperFn = followToken(authentication.BearerTokenFile)
	} else if !o.Authentication.RemoteKubeConfigFileOptional {
		return err
	}
	return nil
}

// restConfigFor says how the API server is reached, from a kubeconfig file or the in-cluster configuration.
func restConfigFor(file, purpose string) (*rest.Config, error) {
	config, err := kubeconfig.Load(file, "--kubeconfig or --"+purpose+"-kubeconfig")
	if err != nil {
		return nil, fmt.Errorf("%s has to ask the API server: %w", purpose, err)
	}
	return config, nil
}

// clientFor makes a client from a kubeconfig file, or from the in-cluster configuration.
func clientFor(file, purpose string) (kubernetes.Interface, error) {
	config, err := restConfigFor(file, purpose)
	if err != nil {
		return nil, err
	}
	if wrapper := followToken(config.BearerTokenFile); wrapper != nil {
		config.Wrap(wrapper)
	}
	return kubernetes.NewForConfig(config)
}
