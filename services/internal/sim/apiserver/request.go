package apiserver

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
)

// request is what a path and a method ask for. res is nil for everything that isn't an object of the table.
type request struct {
	res                   *Resource
	group, version        string
	namespace, name       string
	resource, subresource string
	verb                  string
	// isAPI says that the path is below /api or /apis, with the segments behind it.
	isAPI    bool
	segments []string
}

var verbs = map[string]string{
	http.MethodPost:   "create",
	http.MethodPut:    "update",
	http.MethodPatch:  "patch",
	http.MethodDelete: "delete",
}

// parse reads /api/v1/... and /apis/GROUP/VERSION/..., with [namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]].
func parse(r *http.Request, query url.Values, row func(group, version, name string) *Resource) request {
	out := request{verb: strings.ToLower(r.Method)}
	segments := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	prefix := 0
	switch {
	case segments[0] == "api" && len(segments) >= 2:
		out.version, prefix = segments[1], 2
	case segments[0] == "apis" && len(segments) >= 3:
		out.group, out.version, prefix = segments[1], segments[2], 3
	}
	out.isAPI = segments[0] == "api" || segments[0] == "apis"
	out.segments = segments[1:]
	rest := segments[prefix:]
	if prefix == 0 || len(rest) == 0 {
		return out
	}
	if rest[0] == "namespaces" && len(rest) >= 3 && !(out.group == "" && slices.Contains([]string{"status", "finalize"}, rest[2])) {
		out.namespace, rest = rest[1], rest[2:]
	}
	out.resource = rest[0]
	if len(rest) > 1 {
		out.name = rest[1]
	}
	if len(rest) > 2 {
		out.subresource = strings.Join(rest[2:], "/")
	}
	if res := row(out.group, out.version, out.resource); res != nil && (res.Namespaced || out.namespace == "") {
		out.res = res
	}
	out.verb = verbs[r.Method]
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		switch {
		case isTrue(query.Get("watch")):
			out.verb = "watch"
		case out.name != "":
			out.verb = "get"
		default:
			out.verb = "list"
		}
	}
	if out.verb == "delete" && out.name == "" {
		out.verb = "deletecollection"
	}
	return out
}

func isTrue(s string) bool { return s == "1" || s == "true" || s == "True" }

func (q request) attributes(path string) identity.Attributes {
	if q.resource == "" {
		return identity.Attributes{Verb: q.verb, Path: path}
	}
	return identity.Attributes{
		Verb: q.verb, Group: q.group, Version: q.version, Resource: q.resource, Subresource: q.subresource,
		Namespace: q.namespace, Name: q.name,
	}
}
