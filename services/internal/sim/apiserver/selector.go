package apiserver

import (
	"fmt"
	"net/url"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// selection is what a list or a watch asks for: a namespace, and selectors over labels and fields.
type selection struct {
	res       *Resource
	namespace string
	labels    labels.Selector
	fields    fields.Selector
}

// newSelection reads labelSelector and fieldSelector.
func newSelection(res *Resource, namespace, name string, query url.Values) (selection, error) {
	sel := selection{res: res, namespace: namespace, labels: labels.Everything(), fields: fields.Everything()}
	var err error
	if text := query.Get("labelSelector"); text != "" {
		if sel.labels, err = labels.Parse(text); err != nil {
			return sel, errors.NewBadRequest(fmt.Sprintf("unable to parse labelSelector %q: %v", text, err))
		}
	}
	if text := query.Get("fieldSelector"); text != "" {
		if sel.fields, err = fields.ParseSelector(text); err != nil {
			return sel, errors.NewBadRequest(fmt.Sprintf("unable to parse fieldSelector %q: %v", text, err))
		}
	}
	if name != "" {
		sel.fields = fields.AndSelectors(sel.fields, fields.OneTermEqualSelector("metadata.name", name))
	}
	for _, term := range sel.fields.Requirements() {
		if !res.hasField(term.Field) {
			return sel, errors.NewBadRequest("field label not supported: " + term.Field)
		}
	}
	return sel, nil
}

// everything says that no object of the namespace is left out.
func (sel selection) everything() bool { return sel.labels.Empty() && sel.fields.Empty() }

// matches says whether an item is selected.
func (sel selection) matches(it *item) bool {
	if sel.namespace != "" && it.namespace() != sel.namespace {
		return false
	}
	if !sel.labels.Empty() && !sel.labels.Matches(labels.Set(it.labels)) {
		return false
	}
	return sel.fields.Empty() || sel.fields.Matches(&itemFields{res: sel.res, it: it})
}

// filter returns the selected ones of items that are sorted by key.
func (sel selection) filter(items []*item) []*item {
	items = within(items, sel.namespace)
	if sel.everything() {
		return items
	}
	var out []*item
	for _, it := range items {
		if sel.matches(it) {
			out = append(out, it)
		}
	}
	return out
}

// extra are the fields of each kind that can be selected by beside metadata.name and metadata.namespace.
var extra = map[string]map[string]func(obj runtime.Object) string{
	"Pod": {
		"spec.nodeName":           nil, // kept in the item
		"status.phase":            nil,
		"spec.restartPolicy":      func(obj runtime.Object) string { return string(obj.(*corev1.Pod).Spec.RestartPolicy) },
		"spec.schedulerName":      func(obj runtime.Object) string { return obj.(*corev1.Pod).Spec.SchedulerName },
		"spec.serviceAccountName": func(obj runtime.Object) string { return obj.(*corev1.Pod).Spec.ServiceAccountName },
		"spec.hostNetwork":        func(obj runtime.Object) string { return strconv.FormatBool(obj.(*corev1.Pod).Spec.HostNetwork) },
		"status.podIP":            func(obj runtime.Object) string { return obj.(*corev1.Pod).Status.PodIP },
		"status.nominatedNodeName": func(obj runtime.Object) string {
			return obj.(*corev1.Pod).Status.NominatedNodeName
		},
	},
	"Node": {
		"spec.unschedulable": func(obj runtime.Object) string { return strconv.FormatBool(obj.(*corev1.Node).Spec.Unschedulable) },
	},
	"Namespace": {
		"status.phase": func(obj runtime.Object) string { return string(obj.(*corev1.Namespace).Status.Phase) },
	},
	"Secret": {
		"type": func(obj runtime.Object) string { return string(obj.(*corev1.Secret).Type) },
	},
	"Job": {
		"status.successful": func(obj runtime.Object) string { return strconv.Itoa(int(obj.(*batchv1.Job).Status.Succeeded)) },
	},
	"Event": {
		"involvedObject.kind":            func(obj runtime.Object) string { return obj.(*corev1.Event).InvolvedObject.Kind },
		"involvedObject.namespace":       func(obj runtime.Object) string { return obj.(*corev1.Event).InvolvedObject.Namespace },
		"involvedObject.name":            func(obj runtime.Object) string { return obj.(*corev1.Event).InvolvedObject.Name },
		"involvedObject.uid":             func(obj runtime.Object) string { return string(obj.(*corev1.Event).InvolvedObject.UID) },
		"involvedObject.apiVersion":      func(obj runtime.Object) string { return obj.(*corev1.Event).InvolvedObject.APIVersion },
		"involvedObject.resourceVersion": func(obj runtime.Object) string { return obj.(*corev1.Event).InvolvedObject.ResourceVersion },
		"involvedObject.fieldPath":       func(obj runtime.Object) string { return obj.(*corev1.Event).InvolvedObject.FieldPath },
		"reason":                         func(obj runtime.Object) string { return obj.(*corev1.Event).Reason },
		"source":                         func(obj runtime.Object) string { return obj.(*corev1.Event).Source.Component },
		"type":                           func(obj runtime.Object) string { return obj.(*corev1.Event).Type },
	},
}

func (r *Resource) hasField(label string) bool {
	if label == "metadata.name" || label == "metadata.namespace" && r.Namespaced {
		return true
	}
	_, ok := extra[r.Kind][label]
	return ok && !r.custom
}

// itemFields answers field selectors for one item, and decodes it only for the rare fields.
type itemFields struct {
	res *Resource
	it  *item
	obj runtime.Object
}

func (f *itemFields) Has(label string) bool { return f.res.hasField(label) }

func (f *itemFields) Get(label string) string {
	switch label {
	case "metadata.name":
		return f.it.name()
	case "metadata.namespace":
		return f.it.namespace()
	}
	read, ok := extra[f.res.Kind][label]
	switch {
	case !ok:
		return ""
	case read == nil && label == "spec.nodeName":
		return f.it.node
	case read == nil:
		return f.it.phase
	}
	if f.obj == nil {
		obj, err := f.it.decode(f.res)
		if err != nil {
			return ""
		}
		f.obj = obj
	}
	return read(f.obj)
}
