package customresource

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/internal/customresource"
)

// The labels that tell the kind. A metric's own common labels may override them, a resource's may not.
const (
	groupLabel   = "customresource_group"
	versionLabel = "customresource_version"
	kindLabel    = "customresource_kind"
)

// entry is one resource of the configuration: the families of the kinds that it matches.
type entry struct {
	pattern  customresource.Pattern
	plural   string
	common   map[string]string // of the resource
	families []family
}

// family is one metric of the configuration.
type family struct {
	describe collector.Family
	common   map[string]string // of the metric; they override those of the resource
	base     labelPaths        // from the object's root, of the resource and of the metric
	each     each
}

// each is what a family's series are.
type each struct {
	kind         collector.Type
	path         path
	labels       labelPaths // from the target
	valueFrom    path
	direct       string   // of a gauge: valueFrom, if it is one key; "" otherwise
	labelFromKey string   // "" for none
	nilIsZero    bool     // of a gauge
	labelName    string   // of a state set
	list         []string // of a state set
}

// Compile checks a configuration, of which nil is an empty one, and makes a Set of it. keep tells which families are
// exported; nil keeps all. All errors are returned, joined; each names the file, the line and the field.
func Compile(config *customresource.Config, keep func(*collector.Family) (bool, error)) (*Set, error) {
	s := &Set{made: map[made]*collector.Resource{}}
	if config == nil {
		return s, nil
	}
	c := compiler{config: config, keep: keep, builtIn: map[string]collector.Type{}}
	for _, kind := range collector.Kinds() {
		for _, f := range kind.Families() {
			c.builtIn[f.Name] = f.Type
		}
	}
	for i := range config.Spec.Resources {
		if e := c.resource(fmt.Sprintf("spec.resources[%d]", i), &config.Spec.Resources[i]); len(e.families) > 0 {
			s.entries = append(s.entries, e)
		}
	}
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return s, nil
}

type compiler struct {
	config  *customresource.Config
	keep    func(*collector.Family) (bool, error)
	builtIn map[string]collector.Type // by the name of the family
	errs    []error
}

func (c *compiler) fail(field, format string, args ...any) {
	c.errs = append(c.errs, c.config.Error(field, fmt.Errorf(format, args...)))
}

func (c *compiler) resource(field string, r *customresource.Resource) entry {
	e := entry{pattern: r.Pattern(), plural: r.ResourcePlural, common: r.CommonLabels}
	c.commonLabels(field, r.CommonLabels)
	c.labels(field+".labelsFromPath", r.LabelsFromPath)
	prefix := customresource.DefaultPrefix
	if r.MetricNamePrefix != nil {
		prefix = *r.MetricNamePrefix
	}
	if prefix != "" {
		if prefix += "_"; !familyName.MatchString(prefix) {
			c.fail(field+".metricNamePrefix", "%q can't begin the name of a metric, which is made of letters, digits, _ and :, no digit first", *r.MetricNamePrefix)
			prefix = ""
		}
	}
	for i := range r.Metrics {
		f, ok := c.family(fmt.Sprintf("%s.metrics[%d]", field, i), prefix, r.LabelsFromPath, &r.Metrics[i])
		if ok {
			e.families = append(e.families, f)
		}
	}
	return e
}

var familyName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)

// family compiles a metric; paths are the resource's labels. It returns false where the family isn't kept, or is wrong.
func (c *compiler) family(field, prefix string, paths map[string][]string, m *customresource.Metric) (family, bool) {
	before := len(c.errs)
	f := family{describe: collector.Family{Name: prefix + m.Name, Help: m.Help}, common: m.CommonLabels}
	switch {
	case m.Name == "":
		c.fail(field+".name", "a metric needs a name")
	case !familyName.MatchString(f.describe.Name):
		c.fail(field+".name", "%q can't be the name of a metric, which is made of letters, digits, _ and :, no digit first", f.describe.Name)
	case c.builtIn[f.describe.Name] == collector.Counter: // all types of the configuration are gauges to Prometheus
		c.fail(field+".name", "a built-in family has this name, %s, and the type counter; choose another name or metricNamePrefix", f.describe.Name)
	}
	c.commonLabels(field, m.CommonLabels)
	c.labels(field+".labelsFromPath", m.LabelsFromPath)
	f.each = c.each(field+".each", &m.Each)
	f.describe.Type = f.each.kind
	if len(c.errs) > before {
		return f, false
	}
	merged := maps.Clone(paths)
	if merged == nil {
		merged = map[string][]string{}
	}
	maps.Copy(merged, m.LabelsFromPath)
	f.base, _, _ = compileLabels(merged) // both were checked
	if c.keep == nil {
		return f, true
	}
	kept, err := c.keep(&f.describe)
	if err != nil {
		c.fail(field+".name", "%w", err)
	}
	return f, kept && err == nil
}

func (c *compiler) each(field string, m *customresource.Each) each {
	missing := func(name string) {
		c.fail(field+"."+name, "it is missing; the type %s needs it", m.Type)
	}
	switch collector.Type(strings.ToLower(m.Type)) {
	case collector.Gauge:
		if m.Gauge == nil {
			missing("gauge")
			return each{}
		}
		field += ".gauge"
		e := c.target(field, collector.Gauge, &m.Gauge.Target)
		e.valueFrom = c.path(field+".valueFrom", m.Gauge.ValueFrom)
		if from := m.Gauge.ValueFrom; len(from) == 1 && !strings.Contains(from[0], ",") {
			e.direct = from[0]
		}
		e.nilIsZero = m.Gauge.NilIsZero
		e.labelFromKey = c.label(field+".labelFromKey", m.Gauge.LabelFromKey)
		return e
	case collector.Info:
		if m.Info == nil {
			missing("info")
			return each{}
		}
		field += ".info"
		e := c.target(field, collector.Info, &m.Info.Target)
		e.labelFromKey = c.label(field+".labelFromKey", m.Info.LabelFromKey)
		return e
	case collector.StateSet:
		if m.StateSet == nil {
			missing("stateSet")
			return each{}
		}
		field += ".stateSet"
		e := c.target(field, collector.StateSet, &m.StateSet.Target)
		e.valueFrom = c.path(field+".valueFrom", m.StateSet.ValueFrom)
		e.list = m.StateSet.List
		if e.labelName = c.label(field+".labelName", m.StateSet.LabelName); m.StateSet.LabelName == "" {
			c.fail(field+".labelName", "it is missing; it names the label that tells the state")
		}
		return e
	case "":
		c.fail(field+".type", "it is missing; it is one of Gauge, Info and StateSet")
	default:
		c.fail(field+".type", "there is no type %q; there are Gauge, Info and StateSet", m.Type)
	}
	return each{}
}

func (c *compiler) target(field string, kind collector.Type, t *customresource.Target) each {
	return each{kind: kind, path: c.path(field+".path", t.Path), labels: c.labels(field+".labelsFromPath", t.LabelsFromPath)}
}

func (c *compiler) path(field string, parts []string) path {
	p, err := compilePath(parts)
	if err != nil {
		c.fail(field, "%w", err)
	}
	return p
}

func (c *compiler) labels(field string, paths map[string][]string) labelPaths {
	labels, name, err := compileLabels(paths)
	if err != nil {
		c.fail(field+"."+name, "%w", err)
	}
	return labels
}

func (c *compiler) commonLabels(field string, labels map[string]string) {
	for _, name := range sortedKeys(labels) {
		c.label(field+".commonLabels."+name, name)
		if name == "" {
			c.fail(field+".commonLabels", "a label needs a name")
		}
	}
}

// label checks the name of a label, "" for none.
func (c *compiler) label(field, name string) string {
	if name != "" && !validLabel(name) {
		c.fail(field, "%q can't be the name of a label, which is made of letters, digits and _, no digit first", name)
	}
	return name
}
