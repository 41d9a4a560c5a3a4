package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheFileOverridesTheFlags(t *testing.T) {
	options := NewOptions()
	options.Collector.Resources = []string{"nodes"}
	options.Collector.Labels = map[string][]string{"nodes": {"a"}}
	options.Collector.NamespacesDenylist = []string{"kept"}
	ignored, err := readConfig("config.yaml", []byte(`
resources: {pods: {}, services: }
metric_denylist: [ "^kube_pod_labels$", kube_pod_info ]
metric_opt_in_list: kube_a, kube_b
labels_allow_list:
  pods: [app, "team-*"]
namespaces: [shop]
shard: 1
total_shards: 3
port: 9090
telemetry_host: 127.0.0.1
server_write_timeout: 90s
enable_gzip_encoding: false
custom_resources_only: true
custom_resource_state_config_file: custom.yaml
auth_filter: true
use_api_server_cache: true
auto-gomemlimit: true
`), options)
	if err != nil {
		t.Fatal(err)
	}
	c := options.Collector
	for _, test := range []struct{ got, want any }{
		{c.Resources, []string{"pods", "services"}}, {c.Deny, []string{"^kube_pod_labels$", "kube_pod_info"}}, {c.OptIn, []string{"kube_a", "kube_b"}},
		{c.Labels, map[string][]string{"pods": {"app", "team-*"}}}, {c.Namespaces, []string{"shop"}}, {c.NamespacesDenylist, []string{"kept"}},
		{[]int{options.Shard.Shard, options.Shard.Total}, []int{1, 3}}, {options.ListenAddress, ":9090"}, {options.TelemetryAddress, "127.0.0.1:8081"},
		{options.WriteTimeout, 90 * time.Second}, {options.Gzip, false}, {options.Custom.Only, true}, {options.Custom.ConfigFile, "custom.yaml"},
		{options.Web.AuthFilter, true}, {ignored, []string{"auto-gomemlimit", "use_api_server_cache"}},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	begun := NewOptions()
	want := []string{"host and port", "telemetry-host and telemetry-port", "server-write-timeout", "tls-config, auth-filter, apiserver and kubeconfig"}
	if got := needRestart(begun, options); !slices.Equal(got, want) {
		t.Errorf("a restart is needed for %q", got)
	}
	for _, empty := range []string{"", "---\n", "# nothing\n", "shard:\n"} {
		options := NewOptions()
		if _, err := readConfig("config.yaml", []byte(empty), options); err != nil || !cmp.Equal(options, NewOptions(), cmp.AllowUnexported(Options{})) {
			t.Errorf("%q: error %v", empty, err)
		}
	}
}

func TestErrorsOfTheFileNameLineAndField(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{"metric_denylst: []\n", []string{"c.yaml:1: metric_denylst: "}},
		{"\nshard: one\n", []string{"c.yaml:2: shard: "}},
		{"resources:\n  pods: {}\n  widgets: {}\n", []string{`c.yaml:3: resources: there is no resource "widgets"`}},
		{"resources:\n- pods\n- [x]\n", []string{"c.yaml:2: resources: ", "line 3"}},
		{"resources:\n  pods: yes\n", []string{"c.yaml:2: resources: ", "pods has a value"}},
		{"metric_allowlist:\n- kube_pod\n- '('\n", []string{"c.yaml:3: metric_allowlist: ", `pattern "("`}},
		{"metric_denylist: '('\nmetric_opt_in_list:\n- a\n- '(?!b)'\n", []string{"c.yaml:1: metric_denylist: ", `c.yaml:4: metric_opt_in_list: `}},
		{"labels_allow_list:\n  pods: [app]\n  widgets: [x]\n", []string{`c.yaml:3: labels_allow_list.widgets: there is no resource "widgets"`}},
		{"annotations_allow_list:\n  pods:\n  - a\n  - 'a*b*'\n", []string{"c.yaml:4: annotations_allow_list.pods[1]: pods: "}},
		{"metric_allowlist: [a]\nmetric_denylist: [b]\n", []string{"c.yaml:2: metric_denylist: "}},
		{"total_shards: 2\nshard: 2\n", []string{"c.yaml:2: shard: --shard is 2; with --total-shards=2"}},
		{"node: a\n", []string{"c.yaml:1: node: --node is for pods alone"}},
		{"server_read_timeout: -1s\nserver_idle_timeout: never\n", []string{"c.yaml:2: server_idle_timeout: "}},
		{"server_read_timeout: -1s\n", []string{"c.yaml:1: server_read_timeout: --server-read-timeout is -1s"}},
		{"pod: a\n", []string{"c.yaml:1: pod: --pod and --pod-namespace go together"}},
		{"shard: 0\nshard: 1\n", []string{"c.yaml:2: shard: "}},
		{"a: [\n", []string{"c.yaml:"}},
		{"shard: 1\n---\nshard: 2\n", []string{"c.yaml:3: "}},
	} {
		_, err := readConfig("c.yaml", []byte(test.text), NewOptions())
		if err == nil {
			t.Errorf("%q is taken", test.text)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", test.text, err, want)
			}
		}
	}
}

func FuzzConfigFile(f *testing.F) {
	f.Add([]byte("resources: {pods: {}}\nmetric_denylist: [a, b]\nlabels_allow_list: {pods: [x]}\n"))
	f.Add([]byte("resources: &a [*a]\nshard: 0x10\n<<: {node: x}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		options := NewOptions()
		if _, err := readConfig("c.yaml", data, options); err == nil {
			if err := options.Validate(); err != nil {
				t.Errorf("it was taken, but %v", err)
			}
		} else if !strings.HasPrefix(err.Error(), "c.yaml") {
			t.Errorf("%v", err)
		}
	})
}
