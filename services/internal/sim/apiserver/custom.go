package apiserver

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"
)

// definitions is the row of the objects that say which custom resources there are.
var definitions = &Resource{
	Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition", Name: "customresourcedefinitions",
	ShortNames: []string{"crd", "crds"}, Status: true, custom: true,
}

// Definitions is the row of CustomResourceDefinitions.
func Definitions() *Resource { return definitions }

// Custom is an object without a type of its own: of a custom resource, or the definition of one. Such objects travel as
// JSON. Whoever puts one gives it apiVersion and kind.
type Custom struct{ unstructured.Unstructured }

// NewCustom makes an object of its fields, "apiVersion" and "kind" among them.
func NewCustom(fields map[string]any) *Custom {
	return &Custom{unstructured.Unstructured{Object: fields}}
}

// DefinedVersion is a version of a custom resource, for NewDefinition.
type DefinedVersion struct {
	Name     string
	Unserved bool
}

// NewDefinition makes a CustomResourceDefinition whose first version is the one that is stored. The server establishes it
// when it is put, unless it has conditions already.
func NewDefinition(group, plural, kind string, namespaced bool, versions ...DefinedVersion) *Custom {
	scope := "Cluster"
	if namespaced {
		scope = "Namespaced"
	}
	var list []any
	for i, v := range versions {
		list = append(list, map[string]any{
			"name": v.Name, "served": !v.Unserved, "storage": i == 0, "subresources": map[string]any{"status": map[string]any{}},
			"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
		})
	}
	return NewCustom(map[string]any{
		"apiVersion": definitions.APIVersion(), "kind": definitions.Kind,
		"metadata": map[string]any{"name": plural + "." + group},
		"spec": map[string]any{
			"group": group, "scope": scope, "versions": list,
			"names": map[string]any{"plural": plural, "singular": strings.ToLower(kind), "kind": kind, "listKind": kind + "List"},
		},
	})
}

// DeepCopyObject copies the object.
func (c *Custom) DeepCopyObject() runtime.Object { return &Custom{*c.DeepCopy()} }

// Marshal writes the object as the store keeps it: field 1 is the metadata in protobuf, as in every object, field 2 the
// object without apiVersion and kind in JSON.
func (c *Custom) Marshal() ([]byte, error) {
	var m metav1.ObjectMeta
	if fields, ok := c.Object["metadata"].(map[string]any); ok {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &m); err != nil {
			return nil, err
		}
	}
	raw, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	kept := map[string]any{}
	for name, value := range c.Object {
		if name != "apiVersion" && name != "kind" {
			kept[name] = value
		}
	}
	body, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	b := append(appendFieldHeader(nil, 1, len(raw)), raw...)
	return append(appendFieldHeader(b, 2, len(body)), body...), nil
}

// Unmarshal reads what Marshal wrote. The kind that the object has stays.
func (c *Custom) Unmarshal(b []byte) error {
	gvk := c.GroupVersionKind()
	var body []byte
	for number := byte(1); number <= 2; number++ {
		if len(b) == 0 || b[0] != number<<3|2 {
			return fmt.Errorf("field %d is missing", number)
		}
		size, n := uvarint(b[1:])
		if n <= 0 || uint64(len(b)-1-n) < size {
			return fmt.Errorf("field %d is cut off", number)
		}
		body, b = b[1+n:1+n+int(size)], b[1+n+int(size):]
	}
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		return err
	}
	c.Object = wholeNumbers(fields).(map[string]any)
	c.SetGroupVersionKind(gvk)
	return nil
}

// wholeNumbers makes the numbers of decoded JSON those of unstructured objects, which know int64 and float64.
func wholeNumbers(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = wholeNumbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = wholeNumbers(v[i])
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return value
}

// readCustom decodes a request's body, in JSON or YAML, of the given kind unless it says another one itself.
func readCustom(r *http.Request, gvk schema.GroupVersionKind) (runtime.Object, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, bodyLimit))
	if err != nil {
		return nil, errors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", bodyLimit))
	}
	var fields map[string]any
	if err := yaml.Unmarshal(body, &fields); err != nil || fields == nil {
		return nil, errors.NewBadRequest(fmt.Sprintf("the body is not an object: %v", err))
	}
	c := NewCustom(wholeNumbers(fields).(map[string]any))
	if c.GetKind() == "" {
		c.SetGroupVersionKind(gvk)
	}
	return c, nil
}

// jsonOnly is the request without the formats that objects without a type can't be sent in.
func jsonOnly(r *http.Request) *http.Request {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	var left []string
	for clause := range strings.SplitSeq(accept, ",") {
		mediaType, parameters, err := mime.ParseMediaType(strings.TrimSpace(clause))
		if err == nil && mediaType == runtime.ContentTypeProtobuf && parameters["as"] == "" {
			continue
		}
		left = append(left, clause)
	}
	if len(left) == 0 {
		left = []string{"application/x-nothing"}
	}
	r = r.Clone(r.Context())
	r.Header.Set("Accept", strings.Join(left, ","))
	return r
}

// definition is what the server reads of a CustomResourceDefinition.
type definition struct {
	Spec struct {
		Group string
		Scope string
		Names struct {
			Plural, Kind string
			ShortNames   []string
		}
		Versions []struct {
			Name            string
			Served, Storage bool
			Subresources    struct{ Status *struct{} }
		}
	}
	Status struct {
		Conditions []struct{ Type, Status string }
	}
}

func definitionOf(obj object) (d definition, ok bool) {
	body, err := json.Marshal(obj)
	if err == nil {
		err = json.Unmarshal(body, &d)
	}
	return d, err == nil && d.Spec.Group != "" && d.Spec.Names.Plural != "" && d.Spec.Names.Kind != ""
}

func (d *definition) established() bool {
	return slices.ContainsFunc(d.Status.Conditions, func(c struct{ Type, Status string }) bool {
		return c.Type == "Established" && c.Status == "True"
	})
}

// establish gives a definition the conditions that a controller would, if it has none.
func establish(obj object) {
	c, ok := obj.(*Custom)
	if !ok {
		return
	}
	if conditions, _, _ := unstructured.NestedSlice(c.Object, "status", "conditions"); len(conditions) > 0 {
		return
	}
	condition := func(name string) map[string]any {
		return map[string]any{"type": name, "status": "True", "reason": "Simulated", "message": ""}
	}
	_ = unstructured.SetNestedSlice(c.Object, []any{condition("NamesAccepted"), condition("Established")}, "status", "conditions") // no status is a map's, or is replaced
}

// define serves what a definition says. The caller holds mu.
func (s *Store) define(obj object) {
	d, ok := definitionOf(obj)
	if !ok {
		return
	}
	gr := schema.GroupResource{Group: d.Spec.Group, Resource: d.Spec.Names.Plural}
	c := s.byName[gr]
	if c != nil && !c.defined {
		return // the server's own come first
	}
	if c == nil {
		c = &collection{defined: true, items: map[string]*item{}, changed: make(chan struct{}), watchers: map[*watcher]struct{}{}, floor: s.version}
		s.byName[gr] = c
	}
	before := c.rows
	c.rows = nil
	for _, v := range d.Spec.Versions {
		row := &Resource{
			Group: gr.Group, Version: v.Name, Kind: d.Spec.Names.Kind, Name: gr.Resource, ShortNames: d.Spec.Names.ShortNames,
			Namespaced: d.Spec.Scope == "Namespaced", Status: v.Subresources.Status != nil, custom: true,
		}
		if v.Storage || c.res == nil {
			c.res = row
		}
		if v.Served && d.established() {
			c.rows = append(c.rows, row)
		}
	}
	if c.res != nil {
		s.byKind[c.res.GVK().GroupKind()] = c
	}
	lost := func(old *Resource) bool {
		return !slices.ContainsFunc(c.rows, func(row *Resource) bool { return row.Version == old.Version })
	}
	if slices.ContainsFunc(before, lost) {
		c.endWatches(nil)
	}
}

// undefine deletes what a definition defined, and serves it no more. The caller holds mu.
func (s *Store) undefine(obj object) error {
	d, ok := definitionOf(obj)
	c := s.byName[schema.GroupResource{Group: d.Spec.Group, Resource: d.Spec.Names.Plural}]
	if !ok || c == nil || !c.defined || c.res == nil {
		return nil
	}
	for _, old := range c.items {
		last, err := old.at(c.res, s.version+1)
		if err != nil {
			return err
		}
		s.version++
		s.record(c, event{Type: watch.Deleted, version: s.version, now: last, old: old})
	}
	clear(c.items)
	c.rows, c.sorted = nil, nil
	delete(s.byKind, c.res.GVK().GroupKind())
	c.endWatches(nil)
	return nil
}

// endWatches ends the running watches and says how many there were. The caller holds mu.
func (c *collection) endWatches(status *metav1.Status) (count int) {
	for w := range c.watchers {
		select {
		case w.end <- status:
			count++
		default:
		}
	}
	return count
}

// row finds what is served under a group, version and plural; nil for nothing.
func (s *Store) row(group, version, name string) *Resource {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.byName[schema.GroupResource{Group: group, Resource: name}]
	switch {
	case c == nil:
		return nil
	case !c.defined && c.res.Version == version:
		return c.res
	}
	for _, row := range c.rows {
		if row.Version == version {
			return row
		}
	}
	return nil
}

// served lists what is served: the table, the definitions, and each version of each custom resource.
func (s *Store) served() []*Resource {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := append(slices.Clone(resources), definitions)
	var custom []*Resource
	for _, c := range s.byName {
		custom = append(custom, c.rows...)
	}
	slices.SortFunc(custom, func(a, b *Resource) int {
		return strings.Compare(a.Group+" "+a.Name+" "+a.Version, b.Group+" "+b.Name+" "+b.Version)
	})
	return append(all, custom...)
}

// Resources lists what the store has: the table's rows, the definitions', and one of each custom resource.
func (s *Store) Resources() []*Resource {
	var all []*Resource
	for _, res := range s.served() {
		if n := len(all); n == 0 || all[n-1].GR() != res.GR() {
			all = append(all, res)
		}
	}
	return all
}

// CustomResource finds a version of a custom resource that is served; nil for none.
func (s *Store) CustomResource(group, version, plural string) *Resource {
	if res := s.row(group, version, plural); res != nil && res.custom {
		return res
	}
	return nil
}
