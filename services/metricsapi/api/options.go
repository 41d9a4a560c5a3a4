package api

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/util/cert"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/compatibility"

	"github.com/headwater-metrics/headwater/services/internal/files"
)

// Options are what the flags of metrics-server set that concern serving. NewOptions gives the defaults; Flags declares
// the flags; a test or allinone fills the fields itself.
type Options struct {
	// Resolution is how often kubelets are scraped, as the ingest service has it; default 15 s, 1 s to 24 h. Here it
	// only gives MaxSampleAge its default and says how often the views are swept.
	Resolution time.Duration
	// MaxSampleAge is the age beyond which a sample isn't served: its node, or its pods, are absent then. Default (0) 3
	// times Resolution. Too short a time makes nodes blink whose kubelets are slow; with too long a time the autoscaler acts
	// on what was.
	MaxSampleAge time.Duration
	// NodeSelector restricts which nodes have metrics, they and the pods on them; "" for all.
	NodeSelector string
	// ExtendedUsage adds what metrics-server doesn't serve to each usage: "swap", where the kubelet tells of it. Clients that
	// don't know it ignore it; Tables have another column.
	ExtendedUsage bool
	// EnableWatch lets clients watch nodes and pods, and gives answers a resourceVersion. Off, everything is as in
	// metrics-server, discovery too. It costs memory for each pod, and CPU for each sample.
	EnableWatch bool
	// Kubeconfig is the kubeconfig file for authentication and authorization where they have none of their own; "" for
	// in-cluster credentials.
	Kubeconfig string

	// SecureServing is where and how HTTPS is served. Port 0 takes any free one; Service.Addr tells which.
	SecureServing *genericoptions.SecureServingOptions
	// Authentication asks the API server who somebody is.
	Authentication *genericoptions.DelegatingAuthenticationOptions
	// Authorization asks the API server what somebody may do.
	Authorization *genericoptions.DelegatingAuthorizationOptions
	Audit         *genericoptions.AuditOptions
	// Features: profiling is as it says. Priority and fairness is accepted and has no effect, as in metrics-server: the
	// limit is --max-requests-inflight.
	Features *genericoptions.FeatureOptions
	Server   *genericoptions.ServerRunOptions

	ignored []string // flags that were given and have no effect here
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	return &Options{
		Resolution:     15 * time.Second,
		SecureServing:  genericoptions.NewSecureServingOptions(),
		Authentication: genericoptions.NewDelegatingAuthenticationOptions(),
		Authorization:  genericoptions.NewDelegatingAuthorizationOptions(),
		Audit:          genericoptions.NewAuditOptions(),
		Features:       genericoptions.NewFeatureOptions(),
		// A registry of its own, so that several servers in one process do not share versions and feature gates.
		Server: genericoptions.NewServerRunOptionsForComponent("headwater-metricsapi", compatibility.NewComponentGlobalsRegistry()),
	}
}

// Flags declares the flags that set o, in sections named as metrics-server's.
func (o *Options) Flags() (sections cliflag.NamedFlagSets) {
	own := sections.FlagSet("metrics server")
	own.DurationVar(&o.Resolution, "metric-resolution", o.Resolution, "How often kubelets are scraped: the same as ingest's, 1s to 24h.")
	own.DurationVar(&o.MaxSampleAge, "max-sample-age", o.MaxSampleAge, "Age beyond which a sample is no longer served; 0 means 3 times --metric-resolution.")
	own.StringVarP(&o.NodeSelector, "node-selector", "l", o.NodeSelector, "Label selector: only nodes that match have metrics, and the pods on them. Give it to ingest, too, which then scrapes no others.")
	own.BoolVar(&o.ExtendedUsage, "extended-usage", o.ExtendedUsage, "Serve swap beside CPU and memory, where kubelets tell of it: for kubectl top --show-swap.")
	own.BoolVar(&o.EnableWatch, "enable-watch", o.EnableWatch, "Serve watch beside get and list: kubectl get podmetrics -w, informers.")
	own.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "Kubeconfig file for requests to the API server; used for authentication and authorization where they have none of their own. In-cluster credentials where empty.")

	o.Server.AddUniversalFlags(sections.FlagSet("generic"))
	o.SecureServing.AddFlags(sections.FlagSet("apiserver secure serving"))
	o.Authentication.AddFlags(sections.FlagSet("apiserver authentication"))
	o.Authorization.AddFlags(sections.FlagSet("apiserver authorization"))
	o.Audit.AddFlags(sections.FlagSet("apiserver audit log"))
	o.Features.AddFlags(sections.FlagSet("features"))
	for name, text := range clearer {
		for _, section := range sections.FlagSets {
			if flag := section.Lookup(name); flag != nil {
				flag.Usage = text
			}
		}
	}
	return sections
}

// clearer says what some of the library's flags do here, where its own text is about kube-apiserver.
var clearer = map[string]string{
	"secure-port":                    "The port on which to serve HTTPS with authentication and authorization. 0 takes any free port.",
	"max-requests-inflight":          "Most requests that are answered at a time, watches not counted; more get 429. 0: no limit.",
	"max-mutating-requests-inflight": "The same for requests that would write, all of which are refused. 0: no limit.",
	"enable-priority-and-fairness":   "Has no effect, as in metrics-server: the limit is --max-requests-inflight.",
	"feature-gates":                  "Taken as by metrics-server, which has no gates here either: leave it empty.",
	"emulated-version":               "Taken as by metrics-server, which has no component here either: leave it empty.",
	"min-compatibility-version":      "Taken as by metrics-server, which has no component here either: leave it empty.",
	"storage-initialization-timeout": "Has no effect: nothing is stored here.",
	"cert-dir":                       "Folder for the self-signed serving certificate, which is made and renewed there where no --tls-cert-file is given; one that somebody else puts there is served, too.",
	"tls-cert-file":                  "File with the serving certificate, and those of its authorities behind it; read again when it changes. Without it the server signs one itself: see --cert-dir.",
	"tls-private-key-file":           "File with the key of --tls-cert-file; read again when it changes.",
	"client-ca-file":                 "File with the authorities whose client certificates are believed: the common name is the user, the organizations are the groups. Where empty, those that the cluster itself believes.",
	"authentication-kubeconfig":      "Kubeconfig file for asking the API server whose a token is (create tokenreviews.authentication.k8s.io); --kubeconfig where empty.",
	"authorization-kubeconfig":       "Kubeconfig file for asking the API server what somebody may do (create subjectaccessreviews.authorization.k8s.io); --kubeconfig where empty.",
}

// maxResolution bounds Resolution: what is some times as long has to fit into a duration, too.
const maxResolution = 24 * time.Hour

// Validate returns everything that is wrong with o, joined; nil if nothing is.
func (o *Options) Validate() error {
	var wrong []error
	if o.Resolution < time.Second || o.Resolution > maxResolution {
		wrong = append(wrong, fmt.Errorf("--metric-resolution is %v; it must be at least 1s and at most %v", o.Resolution, maxResolution))
	}
	if o.MaxSampleAge < 0 || o.MaxSampleAge > 0 && o.MaxSampleAge < o.Resolution {
		wrong = append(wrong, fmt.Errorf("--max-sample-age is %v; it must be at least --metric-resolution (%v), or 0 for 3 times that", o.MaxSampleAge, o.Resolution))
	}
	if _, err := o.nodeSelector(); err != nil {
		wrong = append(wrong, err)
	}
	wrong = append(wrong, o.checkTLS()...)
	wrong = append(wrong, o.checkFiles()...)
	wrong = append(wrong, o.Server.Validate()...)
	wrong = append(wrong, o.SecureServing.Validate()...)
	wrong = append(wrong, o.Authentication.Validate()...)
	wrong = append(wrong, o.Authorization.Validate()...)
	wrong = append(wrong, o.Audit.Validate()...)
	wrong = append(wrong, o.Features.Validate()...)
	return errors.Join(wrong...)
}

// checkTLS looks at what the library would complain of without naming the flag, or not before it serves.
func (o *Options) checkTLS() (wrong []error) {
	if version := o.SecureServing.MinTLSVersion; version != "" {
		if _, err := cliflag.TLSVersion(version); err != nil {
			wrong = append(wrong, fmt.Errorf("--tls-min-version is %q; give one of %s", version, strings.Join(cliflag.TLSPossibleVersions(), ", ")))
		}
	}
	if _, err := cliflag.TLSCipherSuites(o.SecureServing.CipherSuites); err != nil {
		wrong = append(wrong, fmt.Errorf("--tls-cipher-suites: %w; give some of %s", err, strings.Join(cliflag.PreferredTLSCipherNames(), ", ")))
	}
	return append(wrong,
		checkAuthorities("--client-ca-file", o.Authentication.ClientCert.ClientCA),
		checkAuthorities("--requestheader-client-ca-file", o.Authentication.RequestHeader.ClientCAFile))
}

// checkFiles looks at those that the library reads by itself, which would wait for ever for a named pipe. The others are
// looked at where they are read.
func (o *Options) checkFiles() (wrong []error) {
	named := map[string][]string{"--audit-policy-file": {o.Audit.PolicyFile}, "--audit-webhook-config-file": {o.Audit.WebhookOptions.ConfigFile}}
	for _, pair := range o.SecureServing.SNICertKeys {
		named["--tls-sni-cert-key"] = append(named["--tls-sni-cert-key"], pair.CertFile, pair.KeyFile)
	}
	for _, flag := range slices.Sorted(maps.Keys(named)) {
		if err := files.Check(named[flag]...); err != nil {
			wrong = append(wrong, fmt.Errorf("couldn't read what %s names: %w", flag, err))
		}
	}
	return wrong
}

// checkAuthorities looks whether a flag's file, "" for none, has certificates.
func checkAuthorities(flag, file string) error {
	if file == "" {
		return nil
	}
	text, err := files.Read(file, maxPEM)
	if err == nil {
		_, err = cert.ParseCertsPEM(text)
	}
	if err != nil {
		return fmt.Errorf("couldn't read certificates from %s %s: %w; give a PEM file with those of the authorities, or leave the flag out for the cluster's own", flag, file, err)
	}
	return nil
}

// maxSampleAge is MaxSampleAge or its default.
func (o *Options) maxSampleAge() time.Duration {
	if o.MaxSampleAge > 0 {
		return o.MaxSampleAge
	}
	return 3 * o.Resolution
}

// nodeSelector is NodeSelector parsed; nil where that is "".
func (o *Options) nodeSelector() (labels.Selector, error) {
	text := strings.TrimSpace(o.NodeSelector)
	if text == "" {
		return nil, nil
	}
	selector, err := labels.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("--node-selector %q is no label selector: %w", text, err)
	}
	return selector, nil
}
