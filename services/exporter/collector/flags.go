package collector

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// AddFlags declares the flags that set o, named as those of kube-state-metrics.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	others := slices.DeleteFunc(Names(false), func(name string) bool { return slices.Contains(Names(true), name) })
	fs.Var((*list)(&o.Resources), "resources", "Comma-separated resources to export, in place of those that are on by default: "+strings.Join(Names(true), ", ")+". The others are "+strings.Join(others, ", ")+".")
	fs.Var((*list)(&o.Allow), "metric-allowlist", "Comma-separated ECMAScript patterns: only families whose name matches one somewhere are exported. Not together with --metric-denylist.")
	fs.Var((*list)(&o.Deny), "metric-denylist", "Comma-separated ECMAScript patterns: families whose name matches one somewhere are not exported.")
	fs.Var((*list)(&o.OptIn), "metric-opt-in-list", "Comma-separated patterns that turn on families that are off by default. --metric-allowlist and --metric-denylist hold for these too.")
	fs.Var(&lists{&o.Labels}, "metric-labels-allowlist", "Kubernetes labels to export as labels of the kube_*_labels families: pods=[app,team-*],nodes=[*]. The resource * stands for all; beside it, the others are not looked at.")
	fs.Var(&lists{&o.Annotations}, "metric-annotations-allowlist", "Annotations to export as labels of the kube_*_annotations families, in the form of --metric-labels-allowlist.")
	fs.Var((*list)(&o.Namespaces), "namespaces", "Comma-separated namespaces: only their objects are exported, beside those that are in no namespace. All where empty.")
	fs.Var((*list)(&o.NamespacesDenylist), "namespaces-denylist", "Comma-separated namespaces whose objects are not exported.")
}

// list is a comma-separated flag. Given several times it adds up.
type list []string

// Set implements pflag.Value.
func (l *list) Set(value string) error {
	for entry := range strings.SplitSeq(value, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			*l = append(*l, entry)
		}
	}
	return nil
}

// String implements pflag.Value.
func (l *list) String() string { return strings.Join(*l, ",") }

// Type implements pflag.Value.
func (l *list) Type() string { return "strings" }

// lists is a flag of lists by resource. Given several times it adds up.
type lists struct{ of *map[string][]string }

// Set implements pflag.Value.
func (l *lists) Set(value string) error {
	parsed, err := ParseAllowlists(value)
	if err != nil {
		return err
	}
	if *l.of == nil {
		*l.of = map[string][]string{}
	}
	for resource, entries := range parsed {
		(*l.of)[resource] = append((*l.of)[resource], entries...)
	}
	return nil
}

// String implements pflag.Value.
func (l *lists) String() string {
	if l.of == nil {
		return ""
	}
	var all []string
	for _, resource := range slices.Sorted(maps.Keys(*l.of)) {
		all = append(all, resource+"=["+strings.Join((*l.of)[resource], ",")+"]")
	}
	return strings.Join(all, ",")
}

// Type implements pflag.Value.
func (l *lists) Type() string { return "resource=[keys]" }
