package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Version is the Kubernetes version that the server claims to be, which is the one of the types it is built with.
const Version = "v1.37.2"

func (s *Server) writeVersion(w http.ResponseWriter) {
	s.writeDocument(w, map[string]string{
		"major": "1", "minor": "37", "gitVersion": Version, "gitCommit": "simulated", "gitTreeState": "clean",
		"buildDate": "2026-01-01T00:00:00Z", "goVersion": runtime.Version(), "compiler": runtime.Compiler,
		"platform": runtime.GOOS + "/" + runtime.GOARCH,
	})
}

// writeDocument sends something that isn't an API object.
func (s *Server) writeDocument(w http.ResponseWriter, document any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(document)
}

// discover answers /api, /apis, /apis/GROUP, /api/v1 and /apis/GROUP/VERSION.
func (s *Server) discover(w http.ResponseWriter, r *http.Request, q request) {
	f, ok := s.accept(w, r)
	if !ok {
		return
	}
	f.shape = whole
	legacy := r.URL.Path == "/api" || r.URL.Path == "/api/"
	switch {
	case legacy:
		s.write(w, f, http.StatusOK, &metav1.APIVersions{
			TypeMeta: metav1.TypeMeta{Kind: "APIVersions", APIVersion: "v1"},
			Versions: []string{"v1"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{
				{ClientCIDR: "0.0.0.0/0", ServerAddress: r.Host},
			},
		})
	case len(q.segments) == 0:
		s.write(w, f, http.StatusOK, &metav1.APIGroupList{
			TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"},
			Groups:   s.groups(),
		})
	case len(q.segments) == 1 && q.version == "":
		for _, group := range s.groups() {
			if group.Name == q.segments[0] {
				group.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
				s.write(w, f, http.StatusOK, &group)
				return
			}
		}
		s.fail(w, r, notServed())
	default:
		list := s.resourceList(schema.GroupVersion{Group: q.group, Version: q.version})
		if len(list.APIResources) == 0 {
			s.fail(w, r, notServed())
			return
		}
		s.write(w, f, http.StatusOK, list)
	}
}

// groups lists every group that is served but the core one, which has no name.
func (s *Server) groups() []metav1.APIGroup {
	versions := map[string][]string{}
	for _, res := range s.store.served() {
		if res.Group != "" && !slices.Contains(versions[res.Group], res.Version) {
			versions[res.Group] = append(versions[res.Group], res.Version)
		}
	}
	for group := range reviews {
		versions[group] = []string{"v1"}
	}
	if metrics := s.metrics.Load(); metrics != nil {
		versions[metricsGroup] = metrics.versions
	}
	var groups []metav1.APIGroup
	for name, list := range versions {
		group := metav1.APIGroup{Name: name}
		for _, version := range list {
			group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + version, Version: version})
		}
		group.PreferredVersion = group.Versions[0]
		groups = append(groups, group)
	}
	slices.SortFunc(groups, func(a, b metav1.APIGroup) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return groups
}

// resourceList lists the resources of a group and version, with their subresources.
func (s *Server) resourceList(gv schema.GroupVersion) *metav1.APIResourceList {
	list := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String()}
	for _, res := range s.store.served() {
		if res.Group != gv.Group || res.Version != gv.Version || s.store.isHidden(res) {
			continue
		}
		row := metav1.APIResource{
			Name: res.Name, SingularName: res.SingularName(), Namespaced: res.Namespaced, Kind: res.Kind, ShortNames: res.ShortNames,
			Verbs: metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
		}
		if res.All {
			row.Categories = []string{"all"}
		}
		list.APIResources = append(list.APIResources, row)
		if res.Scale {
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: res.Name + "/scale", Namespaced: true, Group: "autoscaling", Version: "v1", Kind: "Scale",
				Verbs: metav1.Verbs{"get", "patch", "update"},
			})
		}
		if res.Status {
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: res.Name + "/status", Namespaced: res.Namespaced, Kind: res.Kind, Verbs: metav1.Verbs{"get", "patch", "update"},
			})
		}
		if res.Name == "pods" {
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: "pods/eviction", Namespaced: true, Group: "policy", Version: "v1", Kind: "Eviction", Verbs: metav1.Verbs{"create"},
			})
		}
	}
	if gv.Version == "v1" {
		for _, name := range reviewResources(gv.Group) {
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: name, Kind: reviews[gv.Group][name], Namespaced: name == "localsubjectaccessreviews", Verbs: metav1.Verbs{"create"},
			})
		}
	}
	return list
}

// openapi answers with documents that name no schema: enough for kubectl, which then leaves validation to the server.
func (s *Server) openapi(w http.ResponseWriter, r *http.Request) {
	info := map[string]string{"title": "Kubernetes (simulated)", "version": Version}
	switch path := r.URL.Path; path {
	case "/openapi/v2":
		s.openapiV2(w, r)
	case "/openapi/v3":
		paths := map[string]any{}
		for _, res := range s.store.served() {
			at := "apis/" + res.Group + "/" + res.Version
			if res.Group == "" {
				at = "api/v1"
			}
			paths[at] = map[string]string{"serverRelativeURL": "/openapi/v3/" + at + "?hash=simulated"}
		}
		s.writeDocument(w, map[string]any{"paths": paths})
	default:
		s.writeDocument(w, map[string]any{"openapi": "3.0.0", "info": info, "paths": s.openapiPaths(path), "components": map[string]any{"schemas": map[string]any{}}})
	}
}

// openapiPaths describes the patch request of each resource, by which kubectl learns that fieldValidation and dryRun
// are known.
func (s *Server) openapiPaths(path string) map[string]any {
	paths := map[string]any{}
	parameter := func(name string) map[string]any {
		return map[string]any{"name": name, "in": "query", "schema": map[string]any{"type": "string", "uniqueItems": true}}
	}
	for _, res := range s.store.served() {
		at := "/apis/" + res.Group + "/" + res.Version
		if res.Group == "" {
			at = "/api/v1"
		}
		if path != "/openapi/v3"+at {
			continue
		}
		object := at + "/" + res.Name + "/{name}"
		if res.Namespaced {
			object = at + "/namespaces/{namespace}/" + res.Name + "/{name}"
		}
		operation := map[string]any{
			"operationId":         fmt.Sprintf("patch%s", res.Kind),
			"parameters":          []any{parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation"), parameter("force")},
			"responses":           map[string]any{"200": map[string]any{"description": "OK"}},
			"x-kubernetes-action": "patch",
			"x-kubernetes-group-version-kind": map[string]string{
				"group": res.Group, "version": res.Version, "kind": res.Kind,
			},
		}
		paths[object] = map[string]any{"patch": operation}
	}
	return paths
}
