package api

import (
	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/internal/peerflags"
)

// ineffective are flags of metrics-server that mean nothing here, so that its arguments can be taken over as they are: how
// kubelets are reached, which is ingest's, and how klog writes. The value is the flag's own when it is given without one;
// "" where it takes one.
var ineffective = map[string]string{
	"kubelet-port": "", "kubelet-use-node-status-port": "true", "kubelet-preferred-address-types": "", "kubelet-request-timeout": "",
	"kubelet-insecure-tls": "true", "kubelet-certificate-authority": "", "kubelet-client-certificate": "", "kubelet-client-key": "",
	"deprecated-kubelet-completely-insecure": "true",
	"log-flush-frequency":                    "", "log-json-info-buffer-size": "", "log-json-split-stream": "true", "log-text-info-buffer-size": "",
	"log-text-split-stream": "true", "vmodule": "",
}

// AddIneffective declares the flags of metrics-server that have no effect on this server, hidden. New warns of those given.
// A process that scrapes kubelets too has flags of these names already, and doesn't call it.
func (o *Options) AddIneffective(fs *pflag.FlagSet) {
	peerflags.AddIneffective(fs, ineffective, "metrics-server", &o.ignored)
}
