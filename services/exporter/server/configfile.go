package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/internal/yamlfile"
)

// configFile is the file of --config: the options of kube-state-metrics, under its names. What it doesn't give stays as the
// flags say.
type configFile struct {
	AnnotationsAllowList map[string][]string `yaml:"annotations_allow_list"`
	LabelsAllowList      map[string][]string `yaml:"labels_allow_list"`
	MetricAllowlist      names               `yaml:"metric_allowlist"`
	MetricDenylist       names               `yaml:"metric_denylist"`
	MetricOptInList      names               `yaml:"metric_opt_in_list"`
	Resources            names               `yaml:"resources"`
	Namespaces           names               `yaml:"namespaces"`
	NamespacesDenylist   names               `yaml:"namespaces_denylist"`

	CustomResourceConfig                    *string `yaml:"custom_resource_config"`
	CustomResourceConfigFile                *string `yaml:"custom_resource_state_config_file"`
	ContinueWithoutCustomResourceConfigFile *bool   `yaml:"continue_without_custom_resource_state_config_file"`
	CustomResourcesOnly                     *bool   `yaml:"custom_resources_only"`

	Node                 *string `yaml:"node"`
	TrackUnscheduledPods *bool   `yaml:"track_unscheduled_pods"`
	Shard                *int    `yaml:"shard"`
	TotalShards          *int    `yaml:"total_shards"`
	Pod                  *string `yaml:"pod"`
	PodNamespace         *string `yaml:"namespace"`

	Host                    *string        `yaml:"host"`
	Port                    *string        `yaml:"port"`
	TelemetryHost           *string        `yaml:"telemetry_host"`
	TelemetryPort           *string        `yaml:"telemetry_port"`
	EnableGZIPEncoding      *bool          `yaml:"enable_gzip_encoding"`
	ServerReadTimeout       *time.Duration `yaml:"server_read_timeout"`
	ServerWriteTimeout      *time.Duration `yaml:"server_write_timeout"`
	ServerIdleTimeout       *time.Duration `yaml:"server_idle_timeout"`
	ServerReadHeaderTimeout *time.Duration `yaml:"server_read_header_timeout"`

	TLSConfig  *string `yaml:"tls_config"`
	AuthFilter *bool   `yaml:"auth_filter"`
	Apiserver  *string `yaml:"apiserver"`
	Kubeconfig *string `yaml:"kubeconfig"`

	// These have no effect here, in the file at least.
	Config                any `yaml:"config"`
	ContinueWithoutConfig any `yaml:"continue_without_config"`
	Help                  any `yaml:"help"`
	UseAPIServerCache     any `yaml:"use_api_server_cache"`
	ObjectLimit           any `yaml:"object_limit"`
	AutoGoMemlimit        any `yaml:"auto-gomemlimit"`
	AutoGoMemlimitRatio   any `yaml:"auto-gomemlimit-ratio"`
}

// withoutEffect are the keys that are taken and mean nothing here, and what to do instead, if anything.
var withoutEffect = map[string]string{
	"config": "", "continue_without_config": "", "help": "", "use_api_server_cache": "", "object_limit": "",
	"auto-gomemlimit": "give the flag --auto-gomemlimit", "auto-gomemlimit-ratio": "give the flag --auto-gomemlimit-ratio",
}

// flagOf has the flags of those keys that are not the flag's name with underscores.
var flagOf = map[string]string{
	"annotations_allow_list": "metric-annotations-allowlist", "labels_allow_list": "metric-labels-allowlist", "namespace": "pod-namespace",
	"custom_resource_config": "custom-resource-state-config", "custom_resources_only": "custom-resource-state-only",
}

// fields are the keys whose options can be wrong together with others.
var fields = []string{
	"shard", "total_shards", "node", "track_unscheduled_pods", "resources", "pod", "namespace", "host", "port",
	"server_read_timeout", "server_write_timeout", "server_idle_timeout", "server_read_header_timeout",
}

// names are a list of them: as kube-state-metrics' file has it, a mapping whose keys they are; as a sequence; or as the flag
// has it, separated by commas.
type names struct {
	given  bool
	values []string
	lines  []int // where each stands
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (n *names) UnmarshalYAML(node *yaml.Node) error {
	n.given = true
	add := func(item *yaml.Node) error {
		line := item.Line
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		if item.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: couldn't read this as a name", line)
		}
		n.values, n.lines = append(n.values, item.Value), append(n.lines, line)
		return nil
	}
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			value := node.Content[i+1]
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			if empty := len(value.Content) == 0 && (value.Kind == yaml.MappingNode || value.ShortTag() == "!!null"); !empty {
				return fmt.Errorf("line %d: %s has a value; write {} there, or make the whole a list", node.Content[i].Line, node.Content[i].Value)
			}
			if err := add(node.Content[i]); err != nil {
				return err
			}
		}
	case yaml.SequenceNode:
		for _, item := range node.Content {
			if err := add(item); err != nil {
				return err
			}
		}
	default:
		for entry := range strings.SplitSeq(node.Value, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				n.values, n.lines = append(n.values, entry), append(n.lines, node.Line)
			}
		}
	}
	return nil
}

// override sets what the file gives.
func override[T any](to *T, by *T) {
	if by != nil {
		*to = *by
	}
}

func (n *names) override(to *[]string) {
	if n.given {
		*to = n.values
	}
}

// readConfig applies the file of --config to options. All that is wrong is told, each with file, line and field; options
// are of no use then. ignored are the keys that have no effect.
func readConfig(name string, data []byte, options *Options) (ignored []string, err error) {
	var f configFile
	document, err := yamlfile.Parse(name, data, &f)
	if err != nil {
		return nil, err
	}
	if err := f.check(document); err != nil {
		return nil, err
	}
	f.apply(options)
	var wrong []error
	for _, err := range parts(options.Validate()) {
		wrong = append(wrong, blame(document, err))
	}
	if len(options.Collector.Allow) > 0 && len(options.Collector.Deny) > 0 && (f.MetricAllowlist.given || f.MetricDenylist.given) {
		field := "metric_denylist"
		if !f.MetricDenylist.given {
			field = "metric_allowlist"
		}
		wrong = append(wrong, document.Error(field, errors.New("--metric-allowlist and --metric-denylist are both given, by the file or by a flag; give one of them")))
	}
	for key := range withoutEffect {
		if document.Has(key) {
			ignored = append(ignored, key)
		}
	}
	slices.Sort(ignored)
	return ignored, errors.Join(wrong...)
}

// parts are the errors that were joined.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, parts(e)...)
		}
		return all
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// blame puts the line of the field before an error that names its flag.
func blame(document *yamlfile.Document, err error) error {
	for _, field := range fields {
		flag := flagOf[field]
		if flag == "" {
			flag = strings.ReplaceAll(field, "_", "-")
		}
		if document.Has(field) && strings.Contains(err.Error(), "--"+flag) {
			return document.Error(field, err)
		}
	}
	return fmt.Errorf("%s, or the flags: %w", document.Name(), err)
}

func (f *configFile) apply(o *Options) {
	f.Resources.override(&o.Collector.Resources)
	f.MetricAllowlist.override(&o.Collector.Allow)
	f.MetricDenylist.override(&o.Collector.Deny)
	f.MetricOptInList.override(&o.Collector.OptIn)
	f.Namespaces.override(&o.Collector.Namespaces)
	f.NamespacesDenylist.override(&o.Collector.NamespacesDenylist)
	if f.LabelsAllowList != nil {
		o.Collector.Labels = f.LabelsAllowList
	}
	if f.AnnotationsAllowList != nil {
		o.Collector.Annotations = f.AnnotationsAllowList
	}
	override(&o.Custom.Config, f.CustomResourceConfig)
	override(&o.Custom.ConfigFile, f.CustomResourceConfigFile)
	override(&o.Custom.ContinueWithoutFile, f.ContinueWithoutCustomResourceConfigFile)
	override(&o.Custom.Only, f.CustomResourcesOnly)
	override(&o.Shard.Node, f.Node)
	override(&o.Shard.Unscheduled, f.TrackUnscheduledPods)
	override(&o.Shard.Shard, f.Shard)
	override(&o.Shard.Total, f.TotalShards)
	override(&o.Pod, f.Pod)
	override(&o.PodNamespace, f.PodNamespace)
	for _, part := range []struct {
		address *string
		part    int
		by      *string
	}{{&o.ListenAddress, 0, f.Host}, {&o.ListenAddress, 1, f.Port}, {&o.TelemetryAddress, 0, f.TelemetryHost}, {&o.TelemetryAddress, 1, f.TelemetryPort}} {
		if part.by != nil {
			_ = (&addressPart{part.address, part.part}).Set(*part.by) // it takes anything; Validate doesn't
		}
	}
	override(&o.Gzip, f.EnableGZIPEncoding)
	override(&o.ReadTimeout, f.ServerReadTimeout)
	override(&o.WriteTimeout, f.ServerWriteTimeout)
	override(&o.IdleTimeout, f.ServerIdleTimeout)
	override(&o.ReadHeaderTimeout, f.ServerReadHeaderTimeout)
	override(&o.Web.TLSConfig, f.TLSConfig)
	override(&o.Web.AuthFilter, f.AuthFilter)
	override(&o.Web.APIServer, f.Apiserver)
	override(&o.Web.Kubeconfig, f.Kubeconfig)
}

// check looks at each entry of the lists by itself, so that an error can name its line.
func (f *configFile) check(document *yamlfile.Document) error {
	var wrong []error
	for _, list := range []struct {
		field string
		names names
		try   func(entry string) error
	}{
		{"resources", f.Resources, func(entry string) error {
			_, err := collector.New(collector.Options{Resources: []string{entry}})
			return err
		}},
		{"metric_allowlist", f.MetricAllowlist, func(entry string) error {
			_, err := collector.FamilyFilter(collector.Options{Allow: []string{entry}})
			return err
		}},
		{"metric_denylist", f.MetricDenylist, func(entry string) error {
			_, err := collector.FamilyFilter(collector.Options{Deny: []string{entry}})
			return err
		}},
		{"metric_opt_in_list", f.MetricOptInList, func(entry string) error {
			_, err := collector.FamilyFilter(collector.Options{OptIn: []string{entry}})
			return err
		}},
	} {
		for i, entry := range list.names.values {
			if err := list.try(entry); err != nil {
				wrong = append(wrong, fmt.Errorf("%s:%d: %s: %w", document.Name(), list.names.lines[i], list.field, err))
			}
		}
	}
	for field, lists := range map[string]map[string][]string{"labels_allow_list": f.LabelsAllowList, "annotations_allow_list": f.AnnotationsAllowList} {
		for resource, entries := range lists {
			for i, entry := range append([]string{""}, entries...) { // the first tries the resource alone
				options, at := collector.Options{Resources: collector.Names(false), Labels: map[string][]string{resource: {entry}}}, fmt.Sprintf("%s.%s[%d]", field, resource, i-1)
				if i == 0 {
					options.Labels[resource], at = nil, field+"."+resource
				}
				if _, err := collector.New(options); err != nil {
					wrong = append(wrong, document.Error(at, errors.New(strings.TrimPrefix(err.Error(), "the allow-list of labels: "))))
					if i == 0 {
						break
					}
				}
			}
		}
	}
	slices.SortFunc(wrong, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(wrong...)
}
