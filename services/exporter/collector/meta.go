package collector

import (
	"strconv"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// metadata is what the families need of an object's metadata.
type metadata struct {
	Name              string       `json:"name"`
	Namespace         string       `json:"namespace"`
	UID               string       `json:"uid"`
	ResourceVersion   string       `json:"resourceVersion"`
	Generation        int64        `json:"generation"`
	CreationTimestamp objects.Time `json:"creationTimestamp"`
	DeletionTimestamp objects.Time `json:"deletionTimestamp"`
	Labels            objects.Raw  `json:"labels"`
	Annotations       objects.Raw  `json:"annotations"`
	OwnerReferences   []owner      `json:"ownerReferences"`
}

// object is the part that the structs of all kinds have in common; they embed it.
type object struct {
	Metadata metadata `json:"metadata"`
}

func (o *object) meta() *metadata { return &o.Metadata }

// owner is an owner reference.
type owner struct {
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Controller *bool  `json:"controller"`
}

// condition is a status condition of any kind.
type condition struct {
	Type               string       `json:"type"`
	Status             string       `json:"status"`
	Reason             string       `json:"reason"`
	LastTransitionTime objects.Time `json:"lastTransitionTime"`
}

// unix is a time in seconds as kube-state-metrics shows it: one that is not set is Go's zero time, of year 1.
func unix(t objects.Time) float64 {
	if !t.Valid {
		return -62135596800
	}
	return float64(t.Unix)
}

// The families that many kinds have.

// created is when the object was created.
func created[O kind](o O, s *Series) { s.AddTime(o.meta().CreationTimestamp) }

// deletionTimestamp is when the object is to be gone; there is none before somebody deletes it.
func deletionTimestamp[O kind](o O, s *Series) { s.AddTime(o.meta().DeletionTimestamp) }

// generation is the number of the desired state.
func generation[O kind](o O, s *Series) { s.Add(float64(o.meta().Generation)) }

// resourceVersion is the version as a number, where it is one.
func resourceVersion[O kind](o O, s *Series) {
	if v, err := strconv.ParseFloat(o.meta().ResourceVersion, 64); err == nil {
		s.Add(v)
	}
}

// labels is one series with the labels that the allow-list lets through.
func labels[O kind](o O, s *Series) { s.AddAllowed("label", o.meta().Labels, s.allowLabels) }

// annotations is one series with the annotations that the allow-list lets through.
func annotations[O kind](o O, s *Series) {
	s.AddAllowed("annotation", o.meta().Annotations, s.allowAnnotations)
}

// info is one series with the identity alone.
func info[O kind](_ O, s *Series) { s.Add(1) }

// owners is a series for each owner, or one with empty labels.
func owners[O kind](o O, s *Series) {
	owners := o.meta().OwnerReferences
	for i := range owners {
		owner := &owners[i]
		s.Add(1, "owner_kind", owner.Kind, "owner_name", owner.Name,
			"owner_is_controller", strconv.FormatBool(owner.Controller != nil && *owner.Controller))
	}
	if len(owners) == 0 {
		s.Add(1, "owner_kind", "", "owner_name", "", "owner_is_controller", "")
	}
}

// boolOrNothing is "true" or "false", or nothing where the object doesn't say.
func boolOrNothing(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}

// The usual identities: a label named after the kind, and the namespace in front of it.

func namespaced[O kind](label string) func(O, *Series) {
	return func(o O, s *Series) {
		s.Identify("namespace", o.meta().Namespace)
		s.Identify(label, o.meta().Name)
	}
}

func namespacedWithUID[O kind](label string) func(O, *Series) {
	return func(o O, s *Series) {
		s.Identify("namespace", o.meta().Namespace)
		s.Identify(label, o.meta().Name)
		s.Identify("uid", o.meta().UID)
	}
}

func clusterScoped[O kind](label string) func(O, *Series) {
	return func(o O, s *Series) { s.Identify(label, o.meta().Name) }
}

// addConditions is three series for each condition: its type, and each status that it may have.
func (s *Series) addConditions(conditions []condition) {
	for i := range conditions {
		s.AddCondition(conditions[i].Status, "status", "condition", conditions[i].Type)
	}
}
