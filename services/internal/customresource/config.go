package customresource

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/headwater-metrics/headwater/services/internal/yamlfile"
)

// FileKind is the kind that a configuration says it is.
const FileKind = "CustomResourceStateMetrics"

// Config is a configuration. A nil Config is an empty one.
type Config struct {
	APIVersion string `yaml:"apiVersion"` // not looked at
	Kind       string `yaml:"kind"`       // FileKind, or ""
	Metadata   any    `yaml:"metadata"`   // not looked at
	Spec       Spec   `yaml:"spec"`

	document *yamlfile.Document
}

// Spec holds the resources. A kind may be matched by several.
type Spec struct {
	Resources []Resource `yaml:"resources"`
}

// Resource is the metrics of one kind, or of all kinds that a pattern matches.
type Resource struct {
	Labels           `yaml:",inline"`
	MetricNamePrefix *string          `yaml:"metricNamePrefix"` // nil means DefaultPrefix, "" none
	GroupVersionKind GroupVersionKind `yaml:"groupVersionKind"`
	ResourcePlural   string           `yaml:"resourcePlural"` // for `exporter render` only: the CRD knows it otherwise
	Metrics          []Metric         `yaml:"metrics"`
	ErrorLogV        int32            `yaml:"errorLogV"` // without effect: what is not exported is counted, not logged
}

// DefaultPrefix is what the names of metrics begin with where metricNamePrefix isn't given.
const DefaultPrefix = "kube_customresource"

// GroupVersionKind says which kinds are meant. "" and "*" mean any version, any kind.
type GroupVersionKind struct {
	Group   string `yaml:"group"`
	Version string `yaml:"version"`
	Kind    string `yaml:"kind"`
}

// Labels are labels that all series of a resource or of a metric get.
type Labels struct {
	CommonLabels   map[string]string   `yaml:"commonLabels"`   // by name
	LabelsFromPath map[string][]string `yaml:"labelsFromPath"` // paths from the object's root, by name; names with a star copy maps
}

// Metric is one family.
type Metric struct {
	Labels    `yaml:",inline"`
	Name      string `yaml:"name"` // without the resource's prefix
	Help      string `yaml:"help"`
	Each      Each   `yaml:"each"`
	ErrorLogV int32  `yaml:"errorLogV"` // without effect
}

// Each says what the series are. Type chooses one of the others.
type Each struct {
	Type     string    `yaml:"type"` // Gauge, Info or StateSet in upper or lower case
	Gauge    *Gauge    `yaml:"gauge"`
	Info     *Info     `yaml:"info"`
	StateSet *StateSet `yaml:"stateSet"`
}

// Target is where in an object the series come from: the value at Path, or each of its elements.
type Target struct {
	Path           []string            `yaml:"path"`
	LabelsFromPath map[string][]string `yaml:"labelsFromPath"` // paths from there
}

// Gauge exports numbers.
type Gauge struct {
	Target       `yaml:",inline"`
	ValueFrom    []string `yaml:"valueFrom"`    // from the target to the number
	LabelFromKey string   `yaml:"labelFromKey"` // the label that takes the keys where the target is a map
	NilIsZero    bool     `yaml:"nilIsZero"`    // a number that is missing is 0
}

// Info exports labels, with the value 1.
type Info struct {
	Target       `yaml:",inline"`
	LabelFromKey string `yaml:"labelFromKey"` // the label that takes the keys where the target is a map
}

// StateSet exports one series for each of List: 1 for the one that the target is, 0 for the others.
type StateSet struct {
	Target    `yaml:",inline"`
	ValueFrom []string `yaml:"valueFrom"` // from the target to the text
	LabelName string   `yaml:"labelName"` // the label that takes the entries of List
	List      []string `yaml:"list"`
}

// Parse reads a configuration. name is for errors only. An empty file is none: it may be one that is just being written.
func Parse(name string, data []byte) (*Config, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, fmt.Errorf("%s:1: the configuration of custom resources is empty; write \"spec: {}\" for one without resources", name)
	}
	c := &Config{}
	document, err := yamlfile.Parse(name, data, c)
	if err != nil {
		return nil, err
	}
	c.document = document
	var errs []error
	if c.Kind != "" && c.Kind != FileKind {
		errs = append(errs, c.Error("kind", fmt.Errorf("it is %q; a configuration of custom resources is of kind %s", c.Kind, FileKind)))
	}
	for i, r := range c.Spec.Resources {
		if r.GroupVersionKind.Group == "" || r.GroupVersionKind.Group == Any {
			errs = append(errs, c.Error(fmt.Sprintf("spec.resources[%d].groupVersionKind.group", i), errors.New("a group is needed, such as example.com; only version and kind may be *")))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}

// Error puts the file, the line and the field, such as "spec.resources[0].metrics[1].name", before an error.
func (c *Config) Error(field string, err error) error {
	if c.document == nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return c.document.Error(field, err)
}

// Kinds returns which kinds the configuration is about, a pattern for each resource.
func (c *Config) Kinds() []Pattern {
	if c == nil {
		return nil
	}
	var all []Pattern
	for _, r := range c.Spec.Resources {
		all = append(all, r.Pattern())
	}
	return all
}

// Pattern returns which kinds the resource is about. It leaves the plural open: the kind says it all.
func (r *Resource) Pattern() Pattern {
	gvk := r.GroupVersionKind
	return Pattern{Group: gvk.Group, Version: orAny(gvk.Version), Kind: orAny(gvk.Kind), Plural: Any}
}

func orAny(name string) string {
	if name == "" {
		return Any
	}
	return name
}
