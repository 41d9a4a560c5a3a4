package collector

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// Options say what is exported. The zero Options export what kube-state-metrics does without flags.
type Options struct {
	// Resources are the kinds to export, by resource name; empty means those that are on by default.
	Resources []string
	// Allow keeps only families whose name matches one of these ECMAScript patterns (look-around is allowed), anywhere in
	// the name. Not together with Deny.
	Allow []string
	// Deny drops the families whose name matches one of these ECMAScript patterns, anywhere in the name.
	Deny []string
	// OptIn turns on the families that are off by default and whose name matches one of these RE2 patterns. Allow and Deny
	// hold for them too.
	OptIn []string
	// Labels are the Kubernetes labels that become labels of the kube_*_labels families, by resource name. An entry is a
	// key, a key with one *, or * for all; the resource name * covers all exported resources, and comes before all others.
	Labels map[string][]string
	// Annotations is the same for the kube_*_annotations families.
	Annotations map[string][]string
	// Namespaces are the only ones whose objects are exported; empty means all. Objects that are in no namespace, the
	// Namespaces themselves among them, are always exported.
	Namespaces []string
	// NamespacesDenylist are the namespaces whose objects are not exported.
	NamespacesDenylist []string
}

// WantsNamespace tells whether objects of a namespace are exported; "" stands for objects in none.
func (o *Options) WantsNamespace(namespace string) bool {
	return namespace == "" ||
		(len(o.Namespaces) == 0 || slices.Contains(o.Namespaces, namespace)) && !slices.Contains(o.NamespacesDenylist, namespace)
}

// New applies options to the table of kinds. The result is in the order of the exposition; a resource none of whose
// families is left is not among it. Errors name the option and what is wrong with it.
func New(options Options) ([]*Resource, error) {
	keep, err := nameFilter(options)
	if err != nil {
		return nil, err
	}
	wanted, err := wantedResources(options.Resources)
	if err != nil {
		return nil, err
	}
	for flag, list := range map[string]map[string][]string{"labels": options.Labels, "annotations": options.Annotations} {
		if err := knownResources(slices.Sorted(maps.Keys(list)), "*"); err != nil {
			return nil, fmt.Errorf("the allow-list of %s: %w", flag, err)
		}
	}
	var resources []*Resource
	for _, k := range Kinds() {
		if !wanted(k) {
			continue
		}
		r := &Resource{Name: k.Resource, Group: k.Group, families: k.families}
		if r.settings.labels, err = allowlistOf(options.Labels, k.Resource); err != nil {
			return nil, fmt.Errorf("the allow-list of labels: %w", err)
		}
		if r.settings.annotations, err = allowlistOf(options.Annotations, k.Resource); err != nil {
			return nil, fmt.Errorf("the allow-list of annotations: %w", err)
		}
		for i, f := range k.families.describe() {
			kept, err := keep(&f)
			if err != nil {
				return nil, err
			}
			if kept {
				r.chosen = append(r.chosen, i)
				r.Families = append(r.Families, f)
			}
		}
		if len(r.Families) > 0 {
			resources = append(resources, r)
		}
	}
	return resources, nil
}

func wantedResources(names []string) (func(Kind) bool, error) {
	if len(names) == 0 {
		return func(k Kind) bool { return k.Default }, nil
	}
	if err := knownResources(names); err != nil {
		return nil, err
	}
	return func(k Kind) bool { return slices.Contains(names, k.Resource) }, nil
}

func knownResources(names []string, also ...string) error {
	known := Names(false)
	for _, name := range names {
		if !slices.Contains(known, name) && !slices.Contains(also, name) {
			return fmt.Errorf("there is no resource %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

func allowlistOf(lists map[string][]string, resource string) (*allowlist, error) {
	entries, ok := lists["*"]
	if !ok {
		entries, ok = lists[resource]
	}
	if !ok || len(entries) == 0 {
		return nil, nil
	}
	list, err := newAllowlist(entries)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", resource, err)
	}
	return list, nil
}

// FamilyFilter is the filter of names that the options make: which families of custom resources are kept, too. An error of
// the filter is that of a pattern that takes too long.
func FamilyFilter(options Options) (keep func(*Family) (bool, error), err error) {
	return nameFilter(options)
}

// nameFilter says which families are kept.
func nameFilter(options Options) (func(*Family) (bool, error), error) {
	if len(options.Allow) > 0 && len(options.Deny) > 0 {
		return nil, errors.New("an allow-list and a deny-list of metrics are both given; give one of them")
	}
	patterns, err := compile("the allow- or deny-list of metrics", append(slices.Clone(options.Allow), options.Deny...), ecmaScript)
	if err != nil {
		return nil, err
	}
	optIn, err := compile("the opt-in list of metrics", options.OptIn, re2)
	if err != nil {
		return nil, err
	}
	return func(f *Family) (bool, error) {
		if f.OptIn {
			if in, err := anyMatch(optIn, f.Name); !in || err != nil {
				return false, err
			}
		}
		matched, err := anyMatch(patterns, f.Name)
		return matched == (len(options.Allow) > 0), err
	}, nil
}

// matcher tells whether a pattern matches somewhere in a name.
type matcher func(name string) (bool, error)

func anyMatch(patterns []matcher, name string) (bool, error) {
	for _, matches := range patterns {
		if ok, err := matches(name); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func compile(what string, patterns []string, one func(string) (matcher, error)) ([]matcher, error) {
	var all []matcher
	for _, p := range patterns {
		m, err := one(p)
		if err != nil {
			return nil, fmt.Errorf("%s: pattern %q: %w", what, p, err)
		}
		all = append(all, m)
	}
	return all, nil
}

func re2(pattern string) (matcher, error) {
	r, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	return func(name string) (bool, error) { return r.MatchString(name), nil }, nil
}

// ecmaScript patterns may look around, and so may take long; one that does is an error, not a hang.
func ecmaScript(pattern string) (matcher, error) {
	r, err := regexp2.Compile(pattern, regexp2.ECMAScript)
	if err != nil {
		return nil, err
	}
	r.MatchTimeout = 10 * time.Second
	return func(name string) (bool, error) {
		ok, err := r.MatchString(name)
		if err != nil {
			return false, fmt.Errorf("couldn't match %q: %w", name, err)
		}
		return ok, nil
	}, nil
}

// ParseAllowlists reads the value of --metric-labels-allowlist and --metric-annotations-allowlist:
// "pods=[app,team.*],nodes=[*]".
func ParseAllowlists(value string) (map[string][]string, error) {
	lists := map[string][]string{}
	for rest := strings.TrimSpace(value); rest != ""; {
		name, after, ok := strings.Cut(rest, "=[")
		entries, next, closed := strings.Cut(after, "]")
		name = strings.TrimSpace(name)
		if next = strings.TrimSpace(next); !ok || !closed || name == "" || strings.ContainsAny(name, ",[]=") || next != "" && next[0] != ',' {
			return nil, fmt.Errorf("%q is not a list such as pods=[app,team],nodes=[*]", value)
		}
		lists[name] = lists[name][:len(lists[name]):len(lists[name])]
		for entry := range strings.SplitSeq(entries, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				lists[name] = append(lists[name], entry)
			}
		}
		rest = strings.TrimSpace(strings.TrimPrefix(next, ","))
	}
	return lists, nil
}
