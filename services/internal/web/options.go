package web

import (
	"fmt"

	"github.com/prometheus/exporter-toolkit/web"
	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/internal/files"
)

// Options are what the flags set. The zero value is plain HTTP for everyone.
type Options struct {
	// TLSConfig is the path of a web configuration file of Prometheus' exporter-toolkit: certificates, client certificates,
	// users with passwords, response headers. "" for plain HTTP.
	TLSConfig string
	// AuthFilter has the API server decide who may read.
	AuthFilter bool
	// APIServer is the API server's URL, where it is not the one that Kubeconfig or the service account gives. It is asked
	// with AuthFilter alone.
	APIServer string
	// Kubeconfig is a file; "" for the service account of the pod that the process runs in.
	Kubeconfig string
}

// AddFlags declares the flags that set o, named as those of kube-state-metrics. The defaults are what o holds.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.TLSConfig, "tls-config", o.TLSConfig, "Web configuration file as Prometheus' exporters have it, for all ports: certificate, client certificates, users with passwords. Certificates are read again when they change. Plain HTTP where empty.")
	fs.BoolVar(&o.AuthFilter, "auth-filter", o.AuthFilter, "Let only those read metrics and profiles whom the API server allows to: it reviews each client's token, and whether that user may get the path. Use --tls-config too, or tokens travel in the clear.")
	fs.StringVar(&o.APIServer, "apiserver", o.APIServer, "URL of the API server, instead of the kubeconfig's. Used by --auth-filter alone: objects come from NATS.")
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "Kubeconfig file for the API server; the pod's service account where empty. Used by --auth-filter alone.")
}

// Validate returns everything that is wrong with o, joined; nil if nothing is. It reads the files that o names.
func (o *Options) Validate() error {
	if o.TLSConfig == "" {
		return nil
	}
	config, err := read(o.TLSConfig) // before the toolkit, which would wait for a named pipe
	if err != nil {
		return err
	}
	err = files.Check(config.TLSConfig.TLSCertPath, config.TLSConfig.TLSKeyPath, config.TLSConfig.ClientCAs)
	if err == nil {
		err = web.Validate(o.TLSConfig)
	}
	if err != nil {
		return fmt.Errorf("couldn't use the web configuration %s: %w; check --tls-config", o.TLSConfig, err)
	}
	if o.AuthFilter && len(config.Users) > 0 {
		return fmt.Errorf("the web configuration %s has basic_auth_users, and --auth-filter is given: a request has room for one kind of credentials; choose one of the two", o.TLSConfig)
	}
	return nil
}
