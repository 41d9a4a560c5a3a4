package scraper

import (
	"errors"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// AddFlags binds what is scraped, and how often, to flags. The defaults are those that c holds.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.Var((*timeout)(&c.MetricResolution), "metric-resolution",
		"Time between two scrapes of a node; 1s to 24h. Kubelets refresh their figures every 10s to 15s.")
	fs.StringVarP(&c.NodeSelector, "node-selector", "l", c.NodeSelector,
		"Scrape only the nodes with these labels, for example \"pool=web,arch!=arm64\"; all where empty.")
	fs.StringVar(&c.Node, "node", c.Node,
		"Scrape only the node of this name: for one ingester per node (a DaemonSet, with spec.nodeName).")
	fs.StringVar(&c.Source, "source", c.Source,
		"What the kubelets are asked for: \"resource\" for CPU, memory and swap, \"summary\" for all that /stats/summary has besides: page faults, network, filesystems, volumes, pressure. It takes a second request a scrape, and get on nodes/stats.")
	fs.StringVar(&c.Kubeconfig, "kubeconfig", c.Kubeconfig,
		"Kubeconfig file whose credentials and CA are used with the kubelets; the pod's service account where empty.")
}

// AddSharingFlags binds how several ingesters divide the nodes to flags.
func (c *Config) AddSharingFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.Instance, "instance", c.Instance,
		"Name of this ingester among those that share the nodes; the host's name, which is the pod's, where empty.")
	fs.IntVar(&c.Shard, "shard", c.Shard,
		"Number of this ingester's fixed share of the nodes, from 0; with --total-shards.")
	fs.IntVar(&c.TotalShards, "total-shards", c.TotalShards,
		"Number of fixed shares, each scraped by the ingester with its --shard; 1 for an ingester that scrapes all nodes, whoever else is there. 0: all ingesters that are alive share the nodes by themselves.")
}

// AddKubeletFlags binds how a kubelet is reached to flags. The defaults are those that c holds.
func (c *Config) AddKubeletFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.KubeletAddress, "kubelet-address", c.KubeletAddress,
		"Address of the kubelet of --node, whatever the Node object says: for one ingester per node (a DaemonSet, with status.hostIP).")
	fs.Var((*port)(&c.KubeletPort), "kubelet-port",
		"Port of the kubelets' HTTPS endpoint.")
	fs.BoolVar(&c.KubeletUseNodeStatusPort, "kubelet-use-node-status-port", c.KubeletUseNodeStatusPort,
		"Take the port from the Node's status where it has one, before --kubelet-port.")
	fs.StringSliceVar(&c.KubeletPreferredAddressTypes, "kubelet-preferred-address-types", c.KubeletPreferredAddressTypes,
		"Types of node addresses, best first: the kubelet is reached at the node's first address of the first type that it has.")
	fs.Var((*timeout)(&c.KubeletRequestTimeout), "kubelet-request-timeout",
		"Time for one scrape, from the connection to the last byte. Default: 10s, or two thirds of --metric-resolution where that is shorter; at most nine tenths of it.")
	fs.Int64Var(&c.KubeletMaxBodyBytes, "kubelet-max-body-bytes", c.KubeletMaxBodyBytes,
		"Longest answer of a kubelet that is read, decompressed, in bytes. A longer one counts as a failed scrape.")
	fs.StringVar(&c.KubeletCertificateAuthority, "kubelet-certificate-authority", c.KubeletCertificateAuthority,
		"File with the CA certificates that kubelets' certificates are checked against; the kubeconfig's CA where empty.")
	fs.StringVar(&c.KubeletClientCertificate, "kubelet-client-certificate", c.KubeletClientCertificate,
		"File with the client certificate for the kubelets; --kubelet-client-key goes with it. Read again when it changes.")
	fs.StringVar(&c.KubeletClientKey, "kubelet-client-key", c.KubeletClientKey,
		"File with the client certificate's key.")
	fs.BoolVar(&c.KubeletInsecureTLS, "kubelet-insecure-tls", c.KubeletInsecureTLS,
		"Accept any certificate of a kubelet. Whoever answers in its place then gets the credentials: for test clusters only.")
	fs.BoolVar(&c.DeprecatedKubeletCompletelyInsecure, "deprecated-kubelet-completely-insecure", c.DeprecatedKubeletCompletelyInsecure,
		"Talk plain HTTP to the kubelets, without credentials. Anyone on the way can read and forge usage.")
}

// timeout is a duration above 0, or not given.
type timeout time.Duration

func (t *timeout) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	if d <= 0 {
		return errors.New("it must be more than 0")
	}
	*t = timeout(d)
	return nil
}

func (t *timeout) String() string {
	if *t == 0 {
		return ""
	}
	return time.Duration(*t).String()
}

func (t *timeout) Type() string { return "duration" }

// port is the number of a port. 0 would stand for the default.
type port int

func (p *port) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return errors.New("it must be a number")
	}
	if n == 0 {
		return errors.New("it must be 1 to 65535")
	}
	*p = port(n)
	return nil
}

func (p *port) String() string { return strconv.Itoa(int(*p)) }

func (p *port) Type() string { return "int" }
