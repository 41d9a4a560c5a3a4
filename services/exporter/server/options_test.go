package server

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func parse(t *testing.T, args ...string) (*Options, error) {
	t.Helper()
	options := NewOptions()
	sections := options.Flags()
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, name := range sections.Order {
		fs.AddFlagSet(sections.FlagSets[name])
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return options, options.Validate()
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct{ args, listen, telemetry string }{
		{"", ":8080", ":8081"},
		{"--listen-address=127.0.0.1:9", "127.0.0.1:9", ":8081"},
		{"--host=::1 --port=9", "[::1]:9", ":8081"},
		{"--port=9 --host=10.0.0.1 --telemetry-host=127.0.0.1 --telemetry-port=10", "10.0.0.1:9", "127.0.0.1:10"},
		{"--telemetry-address=", ":8080", ""},
	} {
		options, err := parse(t, strings.Fields(test.args)...)
		if err != nil || options.ListenAddress != test.listen || options.TelemetryAddress != test.telemetry {
			t.Errorf("%s: %q and %q, error %v", test.args, options.ListenAddress, options.TelemetryAddress, err)
		}
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for args, want := range map[string]string{
		"--max-sample-age=0s":        "--max-sample-age is 0s; it must be more than 0",
		"--server-write-timeout=-1s": "--server-write-timeout is -1s; it must not be negative",
		"--listen-address=8080":      `--listen-address is "8080"`,
	} {
		if _, err := parse(t, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
	for want, configure := range map[string]func(*Config){
		"cluster":                      func(c *Config) { c.Cluster = "not a token" },
		`there is no resource "wrong"`: func(c *Config) { c.Options.Collector.Resources = []string{"wrong"} },
		"--max-sample-age":             func(c *Config) { c.Options.MaxSampleAge = -time.Second },
	} {
		cfg := Config{Options: NewOptions(), Cluster: cluster}
		configure(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestFlagsOfKubeStateMetricsAreTaken(t *testing.T) {
	options, err := parse(t, "--use-apiserver-cache", "--object-limit=5", "--logtostderr=false", "--log_dir=x", "--apiserver=https://x", "--kubeconfig=y")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(options.ignored, " "); got != "--use-apiserver-cache --object-limit --logtostderr --log_dir" {
		t.Errorf("ignored are %s", got)
	}
	for args, want := range map[string]string{
		"--pod=a":                        "--pod and --pod-namespace go together",
		"--shard=2 --total-shards=2":     "it must be 0 to 1",
		"--node=a --resources=pods,jobs": "--node is for pods alone",
	} {
		if _, err := parse(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
