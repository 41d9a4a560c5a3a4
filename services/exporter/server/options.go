package server

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

// Options are what the flags set. NewOptions gives the defaults; Flags declares the flags; a test or allinone fills the
// fields itself.
type Options struct {
	// ListenAddress is where /metrics is served, without TLS; default ":8080". Port 0 takes any free one; Service.Addr
	// tells which.
	ListenAddress string
	// TelemetryAddress is where the process serves its own metrics; default ":8081", empty for none. The service itself does
	// not use it: whoever runs it does, with Service.Ready.
	TelemetryAddress string
	// Collector says which families of which objects are exported.
	Collector collector.Options
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
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	return &Options{
		ListenAddress: ":8080", TelemetryAddress: ":8081", Usage: true, MaxSampleAge: 2 * time.Minute, Gzip: true,
		ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: 5 * time.Minute, ReadHeaderTimeout: 5 * time.Second,
	}
}

// Flags declares the flags that set o, named as those of kube-state-metrics where it has them.
func (o *Options) Flags() (sections cliflag.NamedFlagSets) {
	o.Collector.AddFlags(sections.FlagSet("series"))

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
	return errors.Join(wrong...)
}

// addHostAndPort declares the flags by which kube-state-metrics sets the two parts of an address.
func addHostAndPort(fs *pflag.FlagSet, address *string, host, port, instead string) {
	fs.Var(&addressPart{address, 0}, host, "Host part of "+instead+", as in kube-state-metrics.")
	fs.Var(&addressPart{address, 1}, port, "Port part of "+instead+", as in kube-state-metrics.")
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
