package objects

import (
	"fmt"
	"reflect"
	"strings"
)

// Everywhere returns the paths that are pruned from every kind, custom resources too.
//
// A path names JSON fields from the object's root, joined by dots. "[]" after a name means every element of that list,
// `["key"]` one key of a map, "{a,b}" either. What a path names is left out as if the object had never had it; a map
// that is empty for that reason is left out too.
//
// Besides managedFields (large, and nobody's metric) these are the annotations in which tools keep a copy of the whole
// object, a Secret's data included: kubectl apply, Carvel kapp, Rancher's apply, Banzai's object matcher.
func Everywhere() []string {
	return []string{
		`metadata.managedFields`,
		`metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]`,
		`metadata.annotations["kapp.k14s.io/original"]`,
		`metadata.annotations["kapp.k14s.io/original-diff"]`,
		`metadata.annotations["kapp.k14s.io/original-diff-full"]`,
		`metadata.annotations["objectset.rio.cattle.io/applied"]`,
		`metadata.annotations["banzaicloud.com/last-applied"]`,
	}
}

// podSpec are the prune paths of a pod's spec that is found at prefix: what a container is told to run and with which
// values. Names of environment variables and references (valueFrom, envFrom: which Secret, which key) stay, they are
// names and no values. Commands of probes and hooks are commands; headers of probes carry tokens; options of a
// FlexVolume carry whatever its driver takes, passwords too.
func podSpec(prefix string) []string {
	const containers = ".{containers,initContainers,ephemeralContainers}[]"
	return []string{
		prefix + containers + ".{command,args}",
		prefix + containers + ".env[].value",
		prefix + containers + ".{livenessProbe,readinessProbe,startupProbe}.{exec.command,httpGet.httpHeaders[].value}",
		prefix + containers + ".lifecycle.{postStart,preStop}.{exec.command,httpGet.httpHeaders[].value}",
		prefix + ".volumes[].flexVolume.options",
	}
}

// PruneTable renders the prune table of the given kinds as Markdown, one row a path: what SPEC.md shows to readers.
func PruneTable(kinds []Kind) string {
	var b strings.Builder
	b.WriteString("| never travels | of |\n|---|---|\n")
	for _, path := range Everywhere() {
		fmt.Fprintf(&b, "| `%s` | every kind |\n", path)
	}
	var paths []string
	resources := map[string][]string{}
	for _, k := range kinds {
		for _, path := range k.Prune {
			if resources[path] == nil {
				paths = append(paths, path)
			}
			resources[path] = append(resources[path], k.Resource)
		}
	}
	for _, path := range paths {
		fmt.Fprintf(&b, "| `%s` | %s |\n", path, strings.Join(resources[path], ", "))
	}
	return b.String()
}

// prune is a tree of paths: what is to be left out below one place of an object. A nil *prune leaves out nothing.
type prune struct {
	drop   bool              // this value itself is left out
	keyed  bool              // this value is a map, and fields are keys of it: it goes when they were all it had
	fields map[string]*prune // below this value, by field name or map key; "[]" for the elements of a list
}

// elements is the key of the tree's edge from a list to its elements. No JSON field has this name.
const elements = "[]"

// at is the tree below a field or key; nil when nothing below it is pruned.
func (p *prune) at(name string) *prune {
	if p == nil {
		return nil
	}
	return p.fields[name]
}

// drops tells whether the field or key is to be left out.
func (p *prune) drops(name string) bool {
	child := p.at(name)
	return child != nil && child.drop
}

// parsePrune builds the tree of the given paths.
func parsePrune(paths ...string) (*prune, error) {
	root := &prune{}
	for _, path := range paths {
		alternatives, err := expandBraces(path)
		if err != nil {
			return nil, err
		}
		for _, alternative := range alternatives {
			steps, err := splitPath(alternative)
			if err != nil {
				return nil, fmt.Errorf("prune path %q: %w", path, err)
			}
			node := root
			for _, step := range steps {
				if node.fields == nil {
					node.fields = map[string]*prune{}
				}
				if node.fields[step.name] == nil {
					node.fields[step.name] = &prune{}
				}
				node.keyed = step.key
				node = node.fields[step.name]
			}
			node.drop = true
		}
	}
	return root, nil
}

// expandBraces turns "a.{b,c}.d" into "a.b.d" and "a.c.d". Braces don't nest.
func expandBraces(path string) ([]string, error) {
	open := strings.IndexByte(path, '{')
	if open < 0 {
		return []string{path}, nil
	}
	size := strings.IndexByte(path[open:], '}')
	if size < 0 {
		return nil, fmt.Errorf("prune path %q: a brace isn't closed", path)
	}
	head, tail := path[:open], path[open+size+1:]
	var all []string
	for choice := range strings.SplitSeq(path[open+1:open+size], ",") {
		rest, err := expandBraces(head + choice + tail)
		if err != nil {
			return nil, err
		}
		all = append(all, rest...)
	}
	return all, nil
}

// step is one step of a path: into a field, into a list's elements, or to a map's key.
type step struct {
	name string
	key  bool
}

// splitPath turns `a[].b["c.d"]` into a, [], b and the key c.d.
func splitPath(path string) ([]step, error) {
	var steps []step
	for path != "" {
		switch {
		case strings.HasPrefix(path, elements):
			steps = append(steps, step{name: elements})
			path = path[len(elements):]
		case strings.HasPrefix(path, `["`):
			key, rest, ok := strings.Cut(path[2:], `"]`)
			if !ok || key == "" {
				return nil, fmt.Errorf(`a key isn't closed with "]`)
			}
			steps = append(steps, step{name: key, key: true})
			path = rest
		default:
			path = strings.TrimPrefix(path, ".")
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			if end == 0 {
				return nil, fmt.Errorf("a field has no name")
			}
			steps = append(steps, step{name: path[:end]})
			path = path[end:]
		}
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("it is empty")
	}
	return steps, nil
}

func typeName[T any]() string { return reflect.TypeFor[T]().Name() }
