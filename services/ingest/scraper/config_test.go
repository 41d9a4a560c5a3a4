package scraper

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func parsed(t *testing.T, args ...string) (Config, error) {
	t.Helper()
	c := DefaultConfig()
	fs := pflag.NewFlagSet("ingest", pflag.ContinueOnError)
	c.AddFlags(fs)
	c.AddSharingFlags(fs)
	c.AddKubeletFlags(fs)
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	return c, c.Validate()
}

func TestFlags(t *testing.T) {
	got, err := parsed(t)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultConfig(), got); diff != "" {
		t.Error(diff)
	}
	got, err = parsed(t, "--metric-resolution=30s", "-l", "pool=web", "--node=n1", "--kubeconfig=k", "--source=summary",
		"--kubelet-port=10255", "--kubelet-use-node-status-port", "--kubelet-preferred-address-types=InternalIP,Hostname",
		"--kubelet-request-timeout=20s", "--kubelet-max-body-bytes=4096", "--kubelet-certificate-authority=ca",
		"--kubelet-client-certificate=crt", "--kubelet-client-key=key", "--kubelet-address=10.1.2.3", "--instance=ingest-0")
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		MetricResolution: 30 * time.Second, NodeSelector: "pool=web", Node: "n1", Kubeconfig: "k", Source: SourceSummary,
		KubeletPort: 10255, KubeletUseNodeStatusPort: true, KubeletPreferredAddressTypes: []string{"InternalIP", "Hostname"},
		KubeletRequestTimeout: 20 * time.Second, KubeletMaxBodyBytes: 4096, KubeletCertificateAuthority: "ca",
		KubeletClientCertificate: "crt", KubeletClientKey: "key", KubeletAddress: "10.1.2.3", Instance: "ingest-0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestValidate(t *testing.T) {
	for args, want := range map[string]string{
		"":                               "",
		"--metric-resolution=1s":         "", // the time-out follows
		"--metric-resolution=60s":        "",
		"--kubelet-request-timeout=13s":  "",
		"--kubelet-insecure-tls":         "",
		"--source=summary":               "",
		"--source=cadvisor":              "it must be resource or summary",
		"--metric-resolution=999ms":      "at least 1s",
		"--metric-resolution=-1s":        "more than 0",
		"--metric-resolution=0s":         "--metric-resolution",
		"--metric-resolution=24h":        "",
		"--metric-resolution=24h1s":      "at most 24h",
		"--metric-resolution=2000000h":   "at most 24h",
		"--kubelet-request-timeout=14s":  "9/10 of --metric-resolution",
		"--kubelet-request-timeout=0":    "more than 0",
		"--kubelet-request-timeout=-1s":  "more than 0",
		"--kubelet-request-timeout=soon": "invalid duration",
		"--kubelet-port=0":               "--kubelet-port",
		"--kubelet-port=x":               "--kubelet-port",
		"--kubelet-port=70000":           "--kubelet-port",
		"--kubelet-preferred-address-types=InternalIP,,Hostname":                                             "--kubelet-preferred-address-types",
		"--kubelet-max-body-bytes=1":                                                                         "--kubelet-max-body-bytes",
		"--kubelet-max-body-bytes=9223372036854775807":                                                       "at most 1099511627776",
		"--node-selector=a=b=c":                                                                              "--node-selector",
		"--kubelet-insecure-tls --kubelet-certificate-authority=ca":                                          "--kubelet-certificate-authority",
		"--kubelet-client-certificate=crt":                                                                   "--kubelet-client-key",
		"--kubelet-client-key=key":                                                                           "--kubelet-client-certificate",
		"--deprecated-kubelet-completely-insecure":                                                           "",
		"--deprecated-kubelet-completely-insecure --kubelet-insecure-tls":                                    "--deprecated-kubelet-completely-insecure",
		"--deprecated-kubelet-completely-insecure --kubelet-certificate-authority=ca":                        "--deprecated-kubelet-completely-insecure",
		"--deprecated-kubelet-completely-insecure --kubelet-client-certificate=crt --kubelet-client-key=key": "--deprecated-kubelet-completely-insecure",
		"--shard=0 --total-shards=1":                                                                         "",
		"--shard=2 --total-shards=3":                                                                         "",
		"--shard=3 --total-shards=3":                                                                         "--shard",
		"--shard=-1 --total-shards=3":                                                                        "--shard",
		"--shard=1":                                                                                          "--total-shards",
		"--total-shards=-1":                                                                                  "--total-shards",
		"--total-shards=10001":                                                                               "--total-shards",
		"--total-shards=2 --node=n":                                                                          "--node",
		"--node=n --kubelet-address=fd00::1":                                                                 "",
		"--node=n --kubelet-address=node.example":                                                            "",
		"--node=n --kubelet-address=a/b":                                                                     "--kubelet-address",
		"--node=n --kubelet-address=10.0.0.1:10250":                                                          "--kubelet-port",
		"--node=n --kubelet-address=-x":                                                                      "--kubelet-address",
		"--kubelet-address=10.0.0.1":                                                                         "--node",
		"--instance=" + strings.Repeat("x", 254):                                                             "--instance",
		"--instance=a\x01b":                                                                                  "--instance",
		"--metric-resolution=5ms --kubelet-port=-1":                                                          "--kubelet-port", // all that is wrong is told
	} {
		_, err := parsed(t, strings.Fields(args)...)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", args, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want it to say %q", args, err, want)
		}
	}
}

func TestDefaultTimeout(t *testing.T) {
	for resolution, want := range map[time.Duration]time.Duration{
		time.Minute: 10 * time.Second, 15 * time.Second: 10 * time.Second, 9 * time.Second: 6 * time.Second, 1500 * time.Millisecond: time.Second,
	} {
		c := Config{MetricResolution: resolution}
		if got := c.complete().KubeletRequestTimeout; got != want {
			t.Errorf("at a resolution of %v: %v, want %v", resolution, got, want)
		}
	}
}

// NATS keeps a sample beyond the scrape that should have replaced it.
func TestUsageMaxAge(t *testing.T) {
	for _, test := range []struct {
		resolution, given, want time.Duration
	}{
		{15 * time.Second, 0, 10 * time.Minute},
		{15 * time.Second, 10 * time.Minute, 10 * time.Minute},
		{15 * time.Second, time.Minute, time.Minute},
		{30 * time.Second, time.Minute, time.Minute},
		{31 * time.Second, time.Minute, 0},
		{10 * time.Minute, 0, 30 * time.Minute},
		{10 * time.Minute, 10 * time.Minute, 30 * time.Minute}, // the flag's default
		{10 * time.Minute, 11 * time.Minute, 0},
		{24 * time.Hour, 0, 72 * time.Hour},
	} {
		c := Config{MetricResolution: test.resolution}
		c.Streams.UsageMaxAge = test.given
		err := c.Validate()
		if got := c.complete().Streams.UsageMaxAge; test.want != 0 && (err != nil || got != test.want) {
			t.Errorf("%+v: %v, %v", test, got, err)
		}
		if test.want == 0 && (err == nil || !strings.Contains(err.Error(), "--usage-max-age")) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

func TestTarget(t *testing.T) {
	n := func(change func(*node)) *node {
		var n node
		n.Metadata.Name = "node-1"
		n.Metadata.Labels = map[string]string{"pool": "web"}
		for _, a := range [][2]string{{"InternalIP", "10.0.0.1"}, {"InternalIP", "fd00::1"}, {"ExternalIP", "fd00::2"}, {"Hostname", "node-1"}} {
			n.Status.Addresses = append(n.Status.Addresses, struct {
				Type    string `json:"type"`
				Address string `json:"address"`
			}{a[0], a[1]})
		}
		n.Status.DaemonEndpoints.KubeletEndpoint.Port = 10251
		n.Metadata.Annotations = map[string]string{pathAnnotation: ""}
		if change != nil {
			change(&n)
		}
		return &n
	}
	for name, test := range map[string]struct {
		args   string
		change func(*node)
		want   string // "": not scraped
	}{
		"default":              {"", nil, "https://node-1:10250/metrics/resource"},
		"types in their order": {"--kubelet-preferred-address-types=ExternalDNS,InternalIP,Hostname", nil, "https://10.0.0.1:10250/metrics/resource"},
		"IPv6":                 {"--kubelet-preferred-address-types=ExternalIP", nil, "https://[fd00::2]:10250/metrics/resource"},
		"no such address":      {"--kubelet-preferred-address-types=ExternalDNS,InternalDNS", nil, "couldn't find an address of the types [ExternalDNS InternalDNS]"},
		"port":                 {"--kubelet-port=1", nil, "https://node-1:1/metrics/resource"},
		"port of the status":   {"--kubelet-use-node-status-port --kubelet-port=1", nil, "https://node-1:10251/metrics/resource"},
		"none in the status":   {"--kubelet-use-node-status-port", func(n *node) { n.Status.DaemonEndpoints.KubeletEndpoint.Port = 0 }, "https://node-1:10250/metrics/resource"},
		"path":                 {"", func(n *node) { n.Metadata.Annotations[pathAnnotation] = "/a b?c" }, "https://node-1:10250/a%20b%3Fc"},
		"path without a slash": {"", func(n *node) { n.Metadata.Annotations[pathAnnotation] = "metrics" }, "https://node-1:10250/metrics"},
		"selected":             {"--node-selector=pool in (web,db)", nil, "https://node-1:10250/metrics/resource"},
		"not selected":         {"--node-selector=pool!=web", nil, ""},
		"this node":            {"--node=node-1", nil, "https://node-1:10250/metrics/resource"},
		"another node":         {"--node=node-2", nil, ""},
		"this node, elsewhere": {"--node=node-1 --kubelet-address=10.9.9.9", nil, "https://10.9.9.9:10250/metrics/resource"},
		"elsewhere, IPv6":      {"--node=node-1 --kubelet-address=fd00::9 --kubelet-use-node-status-port", nil, "https://[fd00::9]:10251/metrics/resource"},
		"elsewhere, brackets":  {"--node=node-1 --kubelet-address=[fd00::9]", nil, "https://[fd00::9]:10250/metrics/resource"},
		"only elsewhere":       {"--node=node-1 --kubelet-address=10.9.9.9", func(n *node) { n.Status.Addresses = nil }, "https://10.9.9.9:10250/metrics/resource"},
		"empty address":        {"", func(n *node) { n.Status.Addresses[3].Address = "" }, "https://10.0.0.1:10250/metrics/resource"},
		"zone":                 {"--kubelet-preferred-address-types=InternalIP", func(n *node) { n.Status.Addresses[0].Address = "fe80::1%eth0" }, "https://[fe80::1%25eth0]:10250/metrics/resource"},
		"completely insecure":  {"--deprecated-kubelet-completely-insecure", nil, "http://node-1:10250/metrics/resource"},
	} {
		var args []string
		for _, arg := range strings.Split(test.args, " --") {
			if arg != "" {
				args = append(args, "--"+strings.TrimPrefix(arg, "--"))
			}
		}
		c, err := parsed(t, args...)
		if err != nil {
			t.Fatal(err)
		}
		a, err := newAddressing(&c)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if target, ok := a.target(n(test.change)); ok && target.Err != nil {
			got = target.Err.Error()
		} else if ok {
			got = target.URL.String()
			if path := target.URL.RequestURI(); !strings.HasPrefix(path, "/") || !strings.HasSuffix(got, path) {
				t.Errorf("%s: the request would be for %q", name, path)
			}
		}
		if test.want == "" && got != "" || !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
