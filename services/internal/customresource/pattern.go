package customresource

import (
	"fmt"
	"regexp"
	"strings"
)

// Any in a Pattern stands for everything; so does "".
const Any = "*"

// Pattern says which kinds of one group are meant.
type Pattern struct {
	Group   string // never a wildcard
	Version string // "v1", or Any
	Kind    string // "Foo", or Any
	Plural  string // "foos", or Any
}

// versionLike is how Kubernetes names versions.
var versionLike = regexp.MustCompile(`^v[0-9]+((alpha|beta)[0-9]+)?$`)

// ParsePattern reads a resource's name as kubectl takes it: "foos.example.com", "foos.v1.example.com", "*.example.com" for
// all resources of a group. What follows the plural is a version if it looks like one and a group is left behind it.
func ParsePattern(text string) (Pattern, error) {
	plural, group, _ := strings.Cut(strings.TrimSpace(text), ".")
	p := Pattern{Group: group, Version: Any, Kind: Any, Plural: plural}
	if version, rest, ok := strings.Cut(group, "."); ok && (versionLike.MatchString(version) || version == Any) {
		p.Version, p.Group = version, rest
	}
	if !nameLike(p.Plural) && p.Plural != Any || !groupLike(p.Group) {
		return Pattern{}, fmt.Errorf("%q is not a resource with its group, such as foos.example.com, foos.v1.example.com or *.example.com", text)
	}
	return p, nil
}

// groupLike tells whether text may be the group of custom resources: a DNS name.
func groupLike(text string) bool {
	for part := range strings.SplitSeq(text, ".") {
		if !nameLike(part) {
			return false
		}
	}
	return true
}

// nameLike tells whether text may be a part of a DNS name.
func nameLike(text string) bool {
	for _, c := range []byte(text) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return text != "" && len(text) <= 63
}

// Matches tells whether a kind is meant.
func (p Pattern) Matches(group, version, kind, plural string) bool {
	return p.Group == group && matches(p.Version, version) && matches(p.Kind, kind) && matches(p.Plural, plural)
}

func matches(pattern, name string) bool { return pattern == "" || pattern == Any || pattern == name }

// String shows the pattern for logs and errors: "foos.v1.example.com", "example.com/* Foo".
func (p Pattern) String() string {
	if orAny(p.Kind) != Any || orAny(p.Plural) == Any && orAny(p.Version) != Any {
		return p.Group + "/" + orAny(p.Version) + " " + orAny(p.Kind)
	}
	if orAny(p.Version) == Any {
		return orAny(p.Plural) + "." + p.Group
	}
	return p.Plural + "." + p.Version + "." + p.Group
}
