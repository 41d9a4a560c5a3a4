package schemas

import (
	"fmt"
	"strconv"
	"strings"
)

// The fixed tokens of every subject.
const (
	prefix        = "k8s.v1."
	coreGroup     = "core"
	coreEscaped   = "%63ore" // a group that is literally named "core"
	manifestToken = "manifest"
	chunkToken    = "chunk"
)

// MaxSubject is the longest subject, in bytes, that may be published: a NATS server closes the connection of a client
// that sends a longer control line than 4,096 bytes. Builders do not check it: no valid Kubernetes name comes near it.
const MaxSubject = 4000

// UsageSubject is where the usage samples of one node travel: k8s.v1.<cluster>.usage.<node>.
type UsageSubject struct {
	Cluster string
	Node    string
}

// String builds the subject. Neither field should be empty: ParseUsageSubject refuses such a subject.
func (s UsageSubject) String() string {
	return prefix + EscapeToken(s.Cluster) + ".usage." + EscapeToken(s.Node)
}

// ParseUsageSubject reads what UsageSubject.String wrote, and nothing else: whatever it accepts builds the same text
// again. Its errors wrap ErrSubject, or ErrVersion where the subject is of another version.
func ParseUsageSubject(subject string) (UsageSubject, error) {
	t, err := parse(subject, "usage", 1)
	if err != nil {
		return UsageSubject{}, err
	}
	s := UsageSubject{Cluster: t.name(t.cluster), Node: t.name(t.rest[0])}
	return s, t.err
}

// ObjectSubject is where the changes of one object travel: k8s.v1.<cluster>.object.<group>.<resource>.<namespace>.<name>.
type ObjectSubject struct {
	Cluster   string
	Group     string // "" for the legacy group, which is "core" in the subject
	Resource  string // "pods"
	Namespace string // "" for cluster-scoped objects, which is "_" in the subject
	Name      string
}

// String builds the subject. Cluster, Resource and Name should not be empty: ParseObjectSubject refuses such a subject.
func (s ObjectSubject) String() string {
	return prefix + EscapeToken(s.Cluster) + ".object." + escapeGroup(s.Group) + "." + EscapeToken(s.Resource) +
		"." + EscapeToken(s.Namespace) + "." + EscapeToken(s.Name)
}

// Key is the identity of the object within its cluster.
func (s ObjectSubject) Key() ObjectKey {
	return ObjectKey{Group: s.Group, Resource: s.Resource, Namespace: s.Namespace, Name: s.Name}
}

// ParseObjectSubject reads what ObjectSubject.String wrote, and nothing else: whatever it accepts builds the same text
// again. Its errors wrap ErrSubject, or ErrVersion where the subject is of another version.
func ParseObjectSubject(subject string) (ObjectSubject, error) {
	t, err := parse(subject, "object", 4)
	if err != nil {
		return ObjectSubject{}, err
	}
	s := ObjectSubject{
		Cluster:   t.name(t.cluster),
		Group:     t.group(t.rest[0]),
		Resource:  t.name(t.rest[1]),
		Namespace: t.token(t.rest[2]),
		Name:      t.name(t.rest[3]),
	}
	return s, t.err
}

// SnapshotSubject is where a part of the state service's snapshot travels: k8s.v1.<cluster>.snapshot.manifest or
// k8s.v1.<cluster>.snapshot.chunk.<id>. Internal to Headwater: no other reader should depend on it.
type SnapshotSubject struct {
	Cluster  string
	Manifest bool   // the manifest; Chunk is 0 then
	Chunk    uint32 // the chunk's number, decimal without leading zeros in the subject
}

// String builds the subject. Cluster should not be empty.
func (s SnapshotSubject) String() string {
	p := prefix + EscapeToken(s.Cluster) + ".snapshot."
	if s.Manifest {
		return p + manifestToken
	}
	return p + chunkToken + "." + strconv.FormatUint(uint64(s.Chunk), 10)
}

// ParseSnapshotSubject reads what SnapshotSubject.String wrote, and nothing else. Its errors wrap ErrSubject, or
// ErrVersion where the subject is of another version.
func ParseSnapshotSubject(subject string) (SnapshotSubject, error) {
	if t, err := parse(subject, "snapshot", 1); err == nil {
		if t.rest[0] != manifestToken {
			return SnapshotSubject{}, fmt.Errorf("%w: %q: %q is neither the manifest nor a chunk", ErrSubject, subject, t.rest[0])
		}
		s := SnapshotSubject{Cluster: t.name(t.cluster), Manifest: true}
		return s, t.err
	}
	t, err := parse(subject, "snapshot", 2)
	if err != nil {
		return SnapshotSubject{}, err
	}
	id, err := strconv.ParseUint(t.rest[1], 10, 32)
	if err != nil || t.rest[0] != chunkToken || strconv.FormatUint(id, 10) != t.rest[1] {
		return SnapshotSubject{}, fmt.Errorf("%w: %q: %q is not the number of a chunk", ErrSubject, subject, t.rest[1])
	}
	s := SnapshotSubject{Cluster: t.name(t.cluster), Chunk: uint32(id)}
	return s, t.err
}

// AllOf matches everything about a cluster.
func AllOf(cluster string) string { return prefix + EscapeToken(cluster) + ".>" }

// AllUsage matches the usage samples of every node of a cluster.
func AllUsage(cluster string) string { return prefix + EscapeToken(cluster) + ".usage.>" }

// AllObjects matches every change of every object of a cluster.
func AllObjects(cluster string) string { return prefix + EscapeToken(cluster) + ".object.>" }

// AllSnapshots matches the snapshots of a cluster. Internal to Headwater.
func AllSnapshots(cluster string) string { return prefix + EscapeToken(cluster) + ".snapshot.>" }

// ObjectsOfResource matches the changes of every object of one resource, in all namespaces.
func ObjectsOfResource(cluster, group, resource string) string {
	return prefix + EscapeToken(cluster) + ".object." + escapeGroup(group) + "." + EscapeToken(resource) + ".*.*"
}

// ObjectsOfNamespace matches the changes of every object of one namespace; of all cluster-scoped ones for "".
func ObjectsOfNamespace(cluster, namespace string) string {
	return prefix + EscapeToken(cluster) + ".object.*.*." + EscapeToken(namespace) + ".*"
}

// ObjectsOfResourceInNamespace matches the changes of one resource's objects in one namespace: all pods of "shop".
func ObjectsOfResourceInNamespace(cluster, group, resource, namespace string) string {
	return prefix + EscapeToken(cluster) + ".object." + escapeGroup(group) + "." + EscapeToken(resource) +
		"." + EscapeToken(namespace) + ".*"
}

// tokens are the parts of a subject between its fixed ones. The first error of its methods stays in err.
type tokens struct {
	subject string
	cluster string
	rest    [4]string
	err     error
}

// parse splits a subject of the given family, which must have exactly n tokens after it.
func parse(subject, family string, n int) (tokens, error) {
	t := tokens{subject: subject}
	s, ok := strings.CutPrefix(subject, prefix)
	if !ok {
		if v, ok := strings.CutPrefix(subject, "k8s.v"); ok {
			if v, _, ok := strings.Cut(v, "."); ok && isNumber(v) {
				return t, fmt.Errorf("%w: the subject %q is of version %s, this code reads version %d", ErrVersion, subject, v, Version)
			}
		}
		return t, fmt.Errorf("%w: %q does not begin with %q", ErrSubject, subject, prefix)
	}
	t.cluster, s, _ = strings.Cut(s, ".")
	s, ok = strings.CutPrefix(s, family)
	if !ok || len(s) == 0 || s[0] != '.' {
		return t, fmt.Errorf("%w: %q does not begin with k8s.v1, a cluster and %s", ErrSubject, subject, family)
	}
	for i := range n {
		s = s[1:] // the dot
		end := strings.IndexByte(s, '.')
		if last := i == n-1; last != (end < 0) {
			return t, fmt.Errorf("%w: %q does not have %d tokens after %q", ErrSubject, subject, n, family)
		}
		if end < 0 {
			end = len(s)
		}
		t.rest[i], s = s[:end], s[end:]
	}
	return t, nil
}

// token unescapes a token that may stand for the empty name.
func (t *tokens) token(token string) string {
	s, err := UnescapeToken(token)
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("%w (in the subject %q)", err, t.subject)
	}
	return s
}

// name unescapes a token that must not stand for the empty name.
func (t *tokens) name(token string) string {
	if token == "_" && t.err == nil {
		t.err = fmt.Errorf("%w: %q has an empty name where one is needed", ErrSubject, t.subject)
	}
	return t.token(token)
}

// group unescapes the token of an API group.
func (t *tokens) group(token string) string {
	switch token {
	case coreGroup:
		return ""
	case coreEscaped:
		return coreGroup
	}
	return t.name(token) // "" has only one form, "core"
}
