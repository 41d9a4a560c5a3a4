package scraper

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/kubeconfig"
	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// Config is what the ingest service needs to know. DefaultConfig gives the defaults; AddFlags and AddKubeletFlags bind
// the rest to flags that are named as metrics-server's.
type Config struct {
	// Conn is the connection to NATS. The service doesn't close it.
	Conn *stream.Conn
	// Streams are the settings of the cluster's streams. The service creates the usage stream, or changes it to these. Where
	// UsageMaxAge is its default, it is that or 3 times MetricResolution, whichever is longer; otherwise it must be at least
	// twice MetricResolution.
	Streams stream.Streams

	// Rest is whose credentials and CA the kubelets are asked with; nil: those of Kubeconfig. The API server that it
	// names is never called.
	Rest *rest.Config
	// Kubeconfig is a file; "" for the service account of the pod that the process runs in.
	Kubeconfig string

	// MetricResolution is the time between two scrapes of a node; default 15 s, 1 s to 24 h. A kubelet refreshes its own
	// figures every 10 to 15 s, so less only helps with other sources.
	MetricResolution time.Duration
	// NodeSelector restricts the nodes by their labels ("pool=web,arch!=arm64"); "" for all.
	NodeSelector string
	// Node restricts the service to the node of that name, for one ingester per node; "" for all.
	Node string
	// KubeletAddress is where the kubelet of Node is reached, an IP address or a name, whatever the Node object says:
	// status.hostIP of a pod. "" for what the Node object says. Only with Node.
	KubeletAddress string

	// Shard and TotalShards restrict the service to a fixed part of the nodes: those whose names hash to Shard, 0 to
	// TotalShards-1. TotalShards 0, the default: all ingesters of the cluster that are alive divide the nodes among them.
	Shard, TotalShards int
	// Instance is this ingester's name for the others and for operators; default: the host's name, which is the pod's.
	Instance string

	// Source is what the kubelets are asked for: SourceResource, the default, or SourceSummary.
	Source string

	// KubeletPort is the kubelets' HTTPS port; default 10250.
	KubeletPort int
	// KubeletUseNodeStatusPort takes the port that the Node's status gives, where it gives one.
	KubeletUseNodeStatusPort bool
	// KubeletPreferredAddressTypes are the types of a Node's addresses, best first: the first address of the first type
	// that the node has is the one. Default: Hostname, InternalDNS, InternalIP, ExternalDNS, ExternalIP.
	KubeletPreferredAddressTypes []string
	// KubeletRequestTimeout bounds one scrape, from the connection to the last byte. Default: 10 s, or two thirds of
	// MetricResolution where that is less. It may not exceed 0.9 of MetricResolution.
	KubeletRequestTimeout time.Duration
	// KubeletMaxBodyBytes bounds a kubelet's answer, decompressed; default 32 MiB. A longer one is a failed scrape.
	// A node with 110 pods answers 100 kB.
	KubeletMaxBodyBytes int64

	// KubeletInsecureTLS accepts any certificate of a kubelet. Danger: whoever can answer in a kubelet's place gets the
	// credentials; for test clusters only.
	KubeletInsecureTLS bool
	// KubeletCertificateAuthority is a file with the CA certificates that kubelets' certificates are checked against, in
	// place of Rest's.
	KubeletCertificateAuthority string
	// KubeletClientCertificate and KubeletClientKey are files that the kubelets are shown, in place of Rest's
	// certificate; both or neither. All files are read again when they change.
	KubeletClientCertificate, KubeletClientKey string
	// DeprecatedKubeletCompletelyInsecure talks plain HTTP to the kubelets, without credentials. Danger: anyone on the
	// way can read and forge usage.
	DeprecatedKubeletCompletelyInsecure bool

	// Log receives what an operator should know; nil for none.
	Log *slog.Logger
	// Registry receives the self-metrics, headwater_ingest_*; nil for none.
	Registry prometheus.Registerer
}

// DefaultConfig returns a Config with every default filled in, but for KubeletRequestTimeout, which depends on
// MetricResolution and which New fills in.
func DefaultConfig() Config {
	return Config{
		MetricResolution:             15 * time.Second,
		Source:                       SourceResource,
		KubeletPort:                  10250,
		KubeletPreferredAddressTypes: []string{"Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"},
		KubeletMaxBodyBytes:          32 << 20,
	}
}

// defaultTimeout is the KubeletRequestTimeout of those who give none: metrics-server's, unless the resolution is short.
func defaultTimeout(resolution time.Duration) time.Duration {
	return min(10*time.Second, resolution*2/3)
}

// complete returns c with the defaults in the place of what is zero.
func (c Config) complete() Config {
	d := DefaultConfig()
	c.MetricResolution = or(c.MetricResolution, d.MetricResolution)
	if c.Streams.UsageMaxAge == 0 || c.Streams.UsageMaxAge == stream.DefaultUsageMaxAge {
		c.Streams.UsageMaxAge = max(stream.DefaultUsageMaxAge, keptScrapes*c.MetricResolution)
	}
	c.KubeletRequestTimeout = or(c.KubeletRequestTimeout, defaultTimeout(c.MetricResolution))
	c.Source = or(c.Source, d.Source)
	c.Instance = or(c.Instance, hostName())
	c.KubeletPort = or(c.KubeletPort, d.KubeletPort)
	c.KubeletMaxBodyBytes = or(c.KubeletMaxBodyBytes, d.KubeletMaxBodyBytes)
	if len(c.KubeletPreferredAddressTypes) == 0 {
		c.KubeletPreferredAddressTypes = d.KubeletPreferredAddressTypes
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// keptScrapes is for how many resolutions samples are kept by default: as long as metricsapi answers from them by default.
const keptScrapes = 3

// maxResolution bounds MetricResolution: what is some times as long has to fit into a duration, too.
const maxResolution = 24 * time.Hour

// Validate says everything that is wrong with c, in the words of the flags; nil where nothing is.
func (c *Config) Validate() error {
	full := c.complete()
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if full.MetricResolution < time.Second || full.MetricResolution > maxResolution {
		wrong("--metric-resolution is %v; it must be at least 1s and at most %v", full.MetricResolution, maxResolution)
	}
	switch timeout := full.KubeletRequestTimeout; {
	case timeout <= 0:
		wrong("--kubelet-request-timeout is %v; it must be more than 0", timeout)
	case timeout > full.MetricResolution*9/10:
		wrong("--kubelet-request-timeout is %v; it must not be more than 9/10 of --metric-resolution (%v), so that a scrape is over before the next one is due: leave it out or raise the resolution",
			timeout, full.MetricResolution)
	}
	if full.Streams.UsageMaxAge < 2*full.MetricResolution {
		wrong("--usage-max-age is %v; it must be at least twice --metric-resolution (%v), or a node has no usage from one missed scrape to the next: leave it out or give %v, for which metricsapi answers from a sample by default",
			full.Streams.UsageMaxAge, full.MetricResolution, keptScrapes*full.MetricResolution)
	}
	full.sharing(wrong)
	if full.Source != SourceResource && full.Source != SourceSummary {
		wrong("--source is %q; it must be %s or %s", full.Source, SourceResource, SourceSummary)
	}
	if full.KubeletPort < 1 || full.KubeletPort > 65535 {
		wrong("--kubelet-port is %d; it must be 1 to 65535", full.KubeletPort)
	}
	for _, t := range full.KubeletPreferredAddressTypes {
		if t == "" {
			wrong("--kubelet-preferred-address-types has an empty entry; give types such as InternalIP, comma-separated")
			break
		}
	}
	if full.KubeletMaxBodyBytes < 1<<10 || full.KubeletMaxBodyBytes > 1<<40 {
		wrong("--kubelet-max-body-bytes is %d; it must be at least 1024 and at most %d", full.KubeletMaxBodyBytes, int64(1<<40))
	}
	if _, err := labels.Parse(full.NodeSelector); err != nil {
		wrong("--node-selector is no label selector: %w", err)
	}
	if full.KubeletInsecureTLS && full.KubeletCertificateAuthority != "" {
		wrong("--kubelet-insecure-tls checks no certificate, so --kubelet-certificate-authority makes no sense beside it: give one of them")
	}
	if (full.KubeletClientCertificate == "") != (full.KubeletClientKey == "") {
		wrong("--kubelet-client-certificate and --kubelet-client-key go together: give both or neither")
	}
	if full.DeprecatedKubeletCompletelyInsecure && (full.KubeletInsecureTLS || full.KubeletCertificateAuthority != "" ||
		full.KubeletClientCertificate != "" || full.KubeletClientKey != "") {
		wrong("--deprecated-kubelet-completely-insecure uses no TLS, so no other --kubelet flag about TLS makes sense beside it")
	}
	return errors.Join(errs...)
}

// credentials returns whose identity and CA the kubelets are asked with.
func (c *Config) credentials() (*rest.Config, error) {
	switch {
	case c.DeprecatedKubeletCompletelyInsecure:
		return &rest.Config{}, nil
	case c.Rest != nil:
		return rest.CopyConfig(c.Rest), nil
	}
	return kubeconfig.Load(c.Kubeconfig, "--kubeconfig")
}
