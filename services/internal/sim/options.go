package sim

import (
	"fmt"
	"log/slog"
	"net"
	"time"
)

// SecretMarker stands in every value that must never leave the API server: data of Secrets and ConfigMaps, environment
// values, commands and arguments of containers, the last-applied annotation. A test looks for it in what came out.
const SecretMarker = "sim-must-not-leak"

// Options say what a simulated cluster is like. The zero value is a small cluster for tests.
type Options struct {
	// Nodes is the number of nodes. Default: 3.
	Nodes int
	// PodsPerNode is the number of running pods on each node, a third of them with two containers. Some pods that
	// aren't running come on top. Default: 5.
	PodsPerNode int
	// Bare leaves out all generated objects but the nodes, the system's namespaces and what authentication needs.
	Bare bool
	// Seed fixes names, UIDs, sizes and usage.
	Seed uint64
	// Epoch is when the cluster was first started; all times of generated objects lie before it. Default: the one kept
	// in Dir, else now. It is cut to seconds.
	Epoch time.Time
	// Dir keeps the certificate authorities, the administrator's token and the epoch over restarts. Default: none,
	// everything is new in every run.
	Dir string

	// Name is the cluster's name in kubeconfigs. Default: "sim".
	Name string
	// Address is where the API server listens. Default: any free port of 127.0.0.1; with Host, of all interfaces.
	Address string
	// KubeletPort is the port of all kubelets, or with Host of the first one, the others following. Default: any free.
	KubeletPort int
	// Host is a name or an address under which other machines reach the simulation, for a container of its own. Then
	// everything listens on all interfaces, which is only as safe as the network: the token is the only guard. Default:
	// none, everything is on loopback, and each node has an address of its own in 127.0.0.0/8.
	Host string

	// Housekeeping is how often kubelets read their counters; between, they repeat values and timestamps. 10 s is
	// realistic. Default 0: they read at every request.
	Housekeeping time.Duration
	// LeaseInterval is how often each node renews its Lease; a real one does every 10 s. Default 0: never.
	LeaseInterval time.Duration
	// Churn is how many things happen by themselves per second: restarts, replaced pods, changed statuses. Default: none.
	Churn float64
	// Window is how many changes of each resource a watch can go back at least. Default: 10,000.
	Window int
	// Bookmarks is the time between two bookmarks of a watch. Default: a minute.
	Bookmarks time.Duration
	// Now is the clock of the kubelets. Default: time.Now.
	Now func() time.Time
	// Log is for what goes wrong. Default: none.
	Log *slog.Logger
}

// maxNodes is what fits into the addresses that nodes are given.
const maxNodes = 50_000

func (o Options) complete() (Options, error) {
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.PodsPerNode == 0 {
		o.PodsPerNode = 5
	}
	switch {
	case o.Nodes < 0 || o.Nodes > maxNodes:
		return o, fmt.Errorf("couldn't simulate %d nodes: the number has to be between 1 and %d", o.Nodes, maxNodes)
	case o.PodsPerNode < 0 || o.PodsPerNode > 1000:
		return o, fmt.Errorf("couldn't simulate %d pods on a node: the number has to be between 1 and 1000", o.PodsPerNode)
	case o.Churn < 0:
		return o, fmt.Errorf("couldn't simulate a churn of %v per second: it can't be negative", o.Churn)
	}
	if o.Name == "" {
		o.Name = "sim"
	}
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
		if o.Host != "" {
			o.Address = ":0"
		}
	}
	if _, _, err := net.SplitHostPort(o.Address); err != nil {
		return o, fmt.Errorf("couldn't use %q as the simulated API server's address: %w; it has to look like 127.0.0.1:6443", o.Address, err)
	}
	if o.Window <= 0 {
		o.Window = 10_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Epoch = o.Epoch.Truncate(time.Second)
	return o, nil
}

// nodeAddress is the loopback address of the node with an index.
func nodeAddress(index int) string {
	return fmt.Sprintf("127.%d.%d.%d", 100+index/62500, index/250%250+1, index%250+1)
}
