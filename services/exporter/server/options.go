package server

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/internal/shard"
	"github.com/headwater-metrics/headwater/services/internal/customresource"
	"github.com/headwater-metrics/headwater/services/internal/daemon"
	"github.com/headwater-metrics/headwater/services/internal/peerflags"
	"github.com/headwater-metrics/headwater/services/internal/web"
)

// Options are what the flags set. NewOptions gives the defaults; Flags declares the flags; a test or allinone fills the
// fields itself. The file of ConfigFile overrides them: see Service.Options.
type Options struct {
	// ConfigFile is a YAML file with the options of kube-state-metrics under its own names; it is read again when it changes.
	// "" for none.
	ConfigFile string
	// ContinueWithoutConfig starts without the file if it doesn't exist, and reads it when it does.
	ContinueWithoutConfig bool
	// ListenAddress is where /metrics is served; default ":8080". Port 0 takes any free one; Service.Addr
	// tells which.
	ListenAddress string
	// TelemetryAddress is where the process serves its own metrics; default ":8081", empty for none. The service itself does
	// not use it: whoever runs it does, with Service.Ready.
	TelemetryAddress string
	// Collector says which families of which objects are exported.
	Collector collector.Options
	// Custom says which fields of custom resources are exported, too; its file is read again when it changes.
	Custom customresource.Options
	// Shard says which of the objects are this exporter's own.
	Shard shard.Filter
	// Pod and PodNamespace name this exporter's own pod, in a StatefulSet: its ordinal and the number of replicas then are the
	// shard, in place of Shard.Shard and Shard.Total. "" for none.
	Pod, PodNamespace string
	// Extras are what kube-state-metrics doesn't have.
	Extras Extras
	// Usage adds the usage of containers, pods and nodes; default on. Then /metrics waits for the usage stream too, which
	// an ingest service has to have created once.
	Usage bool
	// MaxSampleAge is the age beyond which a node's usage is left out; default 2 minutes. It should be at least three times
	// the interval at which ingest scrapes, or nodes blink.
	MaxSampleAge time.Duration
	// Gzip answers clients that accept it with gzip; default on. Off, every scrape unpacks what is held packed.
	Gzip bool
	// ReadTimeout bounds reading a whole request; default 1 minute.
	ReadTimeout time.Duration
	// WriteTimeout bounds a scrape from the request to the last byte read by the client; default 1 minute. A client that is
	// slower is cut off.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection is kept without a request; default 5 minutes.
	IdleTimeout time.Duration
	// ReadHeaderTimeout bounds reading a request's headers; default 5 seconds.
	ReadHeaderTimeout time.Duration
	// Web says over which connections, and to whom, /metrics and the telemetry are shown; default plain HTTP, to everyone.
	Web web.Options

	ignored []string // flags that were given and have no effect here
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	return &Options{
		ListenAddress: ":8080", TelemetryAddress: ":8081", Usage: true, MaxSampleAge: 2 * time.Minute, Gzip: true,
		ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: 5 * time.Minute, ReadHeaderTimeout: 5 * time.Second,
	}
}

// Sharding is the section of the flags by which several exporters divide the objects.
const Sharding = "sharding"

// Flags declares the flags that set o, named as those of kube-state-metrics where it has them.
func (o *Options) Flags() (sections cliflag.NamedFlagSets) {
	series := sections.FlagSet("series")
	o.Collector.AddFlags(series)
	series.StringVar(&o.ConfigFile, "config", o.ConfigFile, "YAML file with options as kube-state-metrics has them (metric_denylist, labels_allow_list...); they override the flags. A change takes effect at once; a file that can't be used leaves everything as it is.")
	series.BoolVar(&o.ContinueWithoutConfig, "continue-without-config", o.ContinueWithoutConfig, "Start without the file of --config if it doesn't exist, and read it when it does.")
	o.addIgnored(series)
	o.Custom.AddFlags(sections.FlagSet("custom resources"))

	sharding := sections.FlagSet(Sharding)
	o.Shard.AddFlags(sharding)
	sharding.StringVar(&o.Pod, "pod", o.Pod, "Name of this exporter's own pod: the ordinal and the replicas of its StatefulSet are --shard and --total-shards then, and change with it. Goes with --pod-namespace.")
	sharding.StringVar(&o.PodNamespace, "pod-namespace", o.PodNamespace, "Namespace of --pod.")

	o.Extras.AddFlags(sections.FlagSet("extras"))

	usage := sections.FlagSet("usage")
	usage.BoolVar(&o.Usage, "usage", o.Usage, "Export the usage of containers, pods and nodes beside the state of objects, under the names of the kubelets' resource endpoint. Needs an ingest service.")
	usage.DurationVar(&o.MaxSampleAge, "max-sample-age", o.MaxSampleAge, "Age beyond which a node's usage is left out: at least three times ingest's --metric-resolution.")

	serving := sections.FlagSet("serving")
	serving.StringVar(&o.ListenAddress, "listen-address", o.ListenAddress, "Address for /metrics, /livez and /readyz.")
	addHostAndPort(serving, &o.ListenAddress, "host", "port", "--listen-address")
	serving.BoolVar(&o.Gzip, "enable-gzip-encoding", o.Gzip, "Answer clients that accept it with gzip. It costs nothing: series are held compressed.")
	serving.DurationVar(&o.ReadTimeout, "server-read-timeout", o.ReadTimeout, "Longest time for reading a request.")
	serving.DurationVar(&o.WriteTimeout, "server-write-timeout", o.WriteTimeout, "Longest time from a request to the end of its answer; a client that reads more slowly is cut off. At least Prometheus' scrape_timeout.")
	serving.DurationVar(&o.IdleTimeout, "server-idle-timeout", o.IdleTimeout, "How long a connection without a request is kept.")
	serving.DurationVar(&o.ReadHeaderTimeout, "server-read-header-timeout", o.ReadHeaderTimeout, "Longest time for reading a request's headers.")

	o.Web.AddFlags(sections.FlagSet("access"))

	telemetry := sections.FlagSet("telemetry")
	telemetry.StringVar(&o.TelemetryAddress, "telemetry-address", o.TelemetryAddress, "Address for the exporter's own metrics, /livez, /readyz and /debug/pprof; empty for none.")
	addHostAndPort(telemetry, &o.TelemetryAddress, "telemetry-host", "telemetry-port", "--telemetry-address")
	return sections
}

// Validate checks what flags can't.
func (o *Options) Validate() error {
	var wrong []error
	if o.MaxSampleAge <= 0 {
		wrong = append(wrong, fmt.Errorf("--max-sample-age is %v; it must be more than 0", o.MaxSampleAge))
	}
	for _, timeout := range []struct {
		flag  string
		value time.Duration
	}{
		{"read", o.ReadTimeout}, {"write", o.WriteTimeout}, {"idle", o.IdleTimeout}, {"read-header", o.ReadHeaderTimeout},
	} {
		if timeout.value < 0 {
			wrong = append(wrong, fmt.Errorf("--server-%s-timeout is %v; it must not be negative", timeout.flag, timeout.value))
		}
	}
	if _, _, err := net.SplitHostPort(o.ListenAddress); err != nil {
		wrong = append(wrong, fmt.Errorf("--listen-address is %q: %w", o.ListenAddress, err))
	}
	if (o.Pod == "") != (o.PodNamespace == "") {
		wrong = append(wrong, errors.New("--pod and --pod-namespace go together; give both, for sharding by the StatefulSet, or none"))
	}
	wrong = append(wrong, o.Shard.Validate(o.Collector.Resources), o.Extras.validate())
	return errors.Join(wrong...)
}

// ineffective are flags of kube-state-metrics that mean nothing here, so that its arguments can be taken over: how it asks
// the API server, which this exporter never does, and how klog writes, where --v and --logging-format say that here.
// The value is the flag's own when it is given without one; "" where it takes one.
var ineffective = map[string]string{
	"use-apiserver-cache": "true", "object-limit": "",
	"add_dir_header": "true", "alsologtostderr": "true", "log_backtrace_at": "", "log_dir": "", "log_file": "", "log_file_max_size": "",
	"logtostderr": "true", "one_output": "true", "skip_headers": "true", "skip_log_headers": "true", "stderrthreshold": "", "vmodule": "",
	"legacy_stderr_threshold_behavior": "true", "alsologtostderrthreshold": "",
}

// addIgnored declares them, hidden.
func (o *Options) addIgnored(fs *pflag.FlagSet) {
	peerflags.AddIneffective(fs, ineffective, "kube-state-metrics", &o.ignored)
}

// addHostAndPort declares the flags by which kube-state-metrics sets the two parts of an address.
func addHostAndPort(fs *pflag.FlagSet, address *string, host, port, instead string) {
	fs.Var(&addressPart{address, 0}, host, "Host part of "+instead+", as in kube-state-metrics.")
	fs.Var(&addressPart{address, 1}, port, "Port part of "+instead+", as in kube-state-metrics.")
	for _, part := range []string{host, port} {
		daemon.PartOf(fs, part, strings.TrimPrefix(instead, "--"))
	}
}

// addressPart is a flag for the host (0) or the port (1) of an address.
type addressPart struct {
	address *string
	part    int
}

// Set implements pflag.Value.
func (a *addressPart) Set(value string) error {
	host, port, err := net.SplitHostPort(*a.address)
	if err != nil {
		host, port = "", "" // the address was emptied before: start anew
	}
	if a.part == 0 {
		host = value
	} else {
		port = value
	}
	*a.address = net.JoinHostPort(host, port)
	return nil
}

// String implements pflag.Value.
func (a *addressPart) String() string {
	if a.address == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(*a.address)
	if err != nil {
		return ""
	}
	if a.part == 0 {
		return host
	}
	return port
}

// Type implements pflag.Value.
func (a *addressPart) Type() string { return "string" }
