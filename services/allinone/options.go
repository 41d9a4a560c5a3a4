package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/exporter/server"
	"github.com/headwater-metrics/headwater/services/ingest/scraper"
	"github.com/headwater-metrics/headwater/services/internal/customresource"
	"github.com/headwater-metrics/headwater/services/internal/daemon"
	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/metricsapi/api"
	"github.com/headwater-metrics/headwater/services/state/watcher"
)

// options are what the flags set.
type options struct {
	dataDir     string
	natsAddress string
	cluster     string

	simulated     bool // no kubeconfig of a real cluster was given; set by complete
	sim           sim.Options
	simKubeconfig string
	simOnly       bool
	simMetricsAPI string

	state    watcher.Config
	ingest   scraper.Config
	api      *api.Options
	exporter *server.Options
	memory   daemon.Memory
}

// newOptions has the defaults: everything on loopback, since the embedded NATS server asks nobody who they are.
func newOptions() *options {
	o := &options{
		dataDir: ".headwater", natsAddress: "127.0.0.1:4222",
		sim:   sim.Options{Nodes: 10, PodsPerNode: 10, Address: "127.0.0.1:7443", LeaseInterval: 10 * time.Second, Churn: 0.2},
		state: watcher.DefaultConfig(), ingest: scraper.DefaultConfig(), api: api.NewOptions(), exporter: server.NewOptions(),
	}
	o.api.SecureServing.BindAddress = net.IPv4(127, 0, 0, 1)
	o.api.SecureServing.BindPort = 8443
	o.api.SecureServing.ServerCert.CertDirectory = ""
	o.ingest.TotalShards = 1 // it has its NATS for itself, so there is nobody to share the nodes with
	o.exporter.ListenAddress = "127.0.0.1:8080"
	o.exporter.TelemetryAddress = "127.0.0.1:8081"
	return o
}

func (o *options) addFlags(cmd *daemon.Command) {
	own := cmd.Section("all in one")
	own.StringVar(&o.dataDir, "data-dir", o.dataDir, "Directory for the streams, certificates and the simulated cluster's kubeconfig. One process at a time. With it, a restart goes on where it was.")
	own.StringVar(&o.natsAddress, "nats-address", o.natsAddress, "Address on which other NATS clients can subscribe; empty for none. Whoever reaches it can read and write everything.")
	daemon.AddCluster(own, &o.cluster)
	o.memory.Add(cmd.Section("memory"))

	simulated := cmd.Section("simulated cluster")
	simulated.IntVar(&o.sim.Nodes, "sim-nodes", o.sim.Nodes, "Number of simulated nodes.")
	simulated.IntVar(&o.sim.PodsPerNode, "sim-pods-per-node", o.sim.PodsPerNode, "Number of pods on each.")
	simulated.Uint64Var(&o.sim.Seed, "sim-seed", o.sim.Seed, "Decides names and usage. The same seed gives the same cluster.")
	simulated.Float64Var(&o.sim.Churn, "sim-churn", o.sim.Churn, "How many things happen by themselves per second: restarts, replaced pods.")
	simulated.DurationVar(&o.sim.LeaseInterval, "sim-lease-interval", o.sim.LeaseInterval, "How often each simulated node renews its Lease; 0 for never.")
	simulated.StringVar(&o.sim.Address, "sim-address", o.sim.Address, "Address of the simulated API server.")
	simulated.StringVar(&o.sim.Host, "sim-advertise", o.sim.Host, "Name or address under which other machines reach the simulated API server and kubelets; they listen on all interfaces then. Empty for loopback.")
	simulated.StringVar(&o.simKubeconfig, "sim-kubeconfig", "", "File for the simulated cluster's kubeconfig (default DATA-DIR/kubeconfig).")
	simulated.BoolVar(&o.simOnly, "sim-only", false, "Run the simulated cluster alone, without NATS and services: for services in processes of their own.")
	simulated.StringVar(&o.simMetricsAPI, "sim-metrics-api", "", "With --sim-only: address of the metricsapi to which the simulated API server hands requests for metrics.k8s.io.")

	section := func(name string, add func(*pflag.FlagSet)) {
		fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
		add(fs)
		share(cmd, name, fs)
	}
	section("ingest", o.ingest.AddFlags)
	section("kubelet client", o.ingest.AddKubeletFlags)
	section("state", o.state.AddFlags)
	for _, sections := range []struct {
		service string
		named   func() (names []string, sets map[string]*pflag.FlagSet)
	}{
		{"metricsapi", func() ([]string, map[string]*pflag.FlagSet) { f := o.api.Flags(); return f.Order, f.FlagSets }},
		{"exporter", func() ([]string, map[string]*pflag.FlagSet) { f := o.exporter.Flags(); return f.Order, f.FlagSets }},
	} {
		names, sets := sections.named()
		for _, name := range names {
			if name == server.Sharding { // one exporter has everything; and --node is that of ingest
				continue
			}
			share(cmd, sections.service+" "+name, sets[name])
		}
	}
}

// complete puts the services on the cluster and checks what can be checked before anything starts.
func (o *options) complete() error {
	if o.api.SecureServing.ServerCert.CertDirectory == "" {
		o.api.SecureServing.ServerCert.CertDirectory = filepath.Join(o.dataDir, "certificates")
	}
	if o.simKubeconfig == "" {
		o.simKubeconfig = filepath.Join(o.dataDir, "kubeconfig")
	}
	o.sim.Dir = filepath.Join(o.dataDir, "sim")
	if o.simulated = o.ingest.Kubeconfig == ""; o.simulated {
		o.ingest.Kubeconfig = o.simKubeconfig
		// The simulated kubelets' certificates are signed by the authority in that kubeconfig; each has its own address.
		o.ingest.KubeletPreferredAddressTypes = []string{"InternalIP"}
		o.ingest.KubeletUseNodeStatusPort = true
	}
	o.state.Kubeconfig, o.api.Kubeconfig, o.exporter.Web.Kubeconfig = o.ingest.Kubeconfig, o.ingest.Kubeconfig, o.ingest.Kubeconfig
	// The exporter reads the configuration of custom resources, which its own file may name, and tells state.
	o.state.CustomResourceState = customresource.Options{}
	var errs []error
	if o.sim.Nodes < 1 || o.sim.PodsPerNode < 1 {
		errs = append(errs, fmt.Errorf("--sim-nodes is %d and --sim-pods-per-node %d; both must be at least 1", o.sim.Nodes, o.sim.PodsPerNode))
	}
	if o.simMetricsAPI != "" && !o.simOnly {
		errs = append(errs, errors.New("--sim-metrics-api makes sense with --sim-only alone: here the metricsapi of this process answers"))
	}
	return errors.Join(append(errs, o.api.Validate(), o.exporter.Validate(), o.ingest.Validate())...)
}
