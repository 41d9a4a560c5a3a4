package schemas

// Operation says what a change did to its object.
type Operation uint8

const (
	// Applied: the object exists and is as Object says, whether it was created or updated.
	Applied Operation = 1
	// Deleted: the object is gone; Object is nil.
	Deleted Operation = 2
)

// ObjectChange is one change of one object of the API server: its whole new state, or its deletion.
//
// Wire: [version, operation, group, apiVersion, kind, resource, namespace, name, uid, resourceVersion, time,
// object|nil, dropped|nil], see SPEC.md.
type ObjectChange struct {
	Operation       Operation
	Group           string // "" for the legacy group; on the wire "" too (only subjects say "core")
	APIVersion      string // the version alone: "v1", not "apps/v1"
	Kind            string // "Pod"
	Resource        string // "pods"
	Namespace       string // "" for cluster-scoped objects
	Name            string
	UID             string
	ResourceVersion string // of a deletion: of the last state that was seen
	Time            int64  // when it was observed, Unix nanoseconds

	// Object is the object as one msgpack map with the API's own JSON field names, as `kubectl get -o json` would show
	// it after pruning (SPEC.md lists what is removed); nil for a deletion. It aliases the decoded message: whoever
	// keeps it longer than the message copies it.
	Object []byte

	// Dropped names the fields ("status", "metadata.annotations") that were left out because the object was larger
	// than the server takes; nil for nearly every object.
	Dropped []string
}

// Key is the identity of the object: what a table of objects is keyed by.
func (c *ObjectChange) Key() ObjectKey {
	return ObjectKey{Group: c.Group, Resource: c.Resource, Namespace: c.Namespace, Name: c.Name}
}

// ObjectKey identifies an object among all of a cluster. A deleted and recreated object has the same key and another UID.
type ObjectKey struct {
	Group, Resource, Namespace, Name string
}
