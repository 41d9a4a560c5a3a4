package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The files of testdata/metrics-server are what the real metrics-server said: test/cmd/contract wrote them.

// reference returns one of them.
func reference(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "metrics-server", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// document parses JSON.
func document(t *testing.T, text string) any {
	t.Helper()
	var parsed any
	if err := json.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return parsed
}

// without returns a parsed document without what is only there because of version v1: definitions, paths, entries of lists.
func without(value any) any {
	const v1 = "metrics.k8s.io/v1"
	mine := func(text string) bool {
		return text == v1 || strings.Contains(text, v1+"/") || strings.Contains(text, "metrics.v1.") || strings.Contains(text, "MetricsV1") && !strings.Contains(text, "MetricsV1beta1")
	}
	switch v := value.(type) {
	case map[string]any:
		kept := map[string]any{}
		for key, child := range v {
			if !mine(key) {
				kept[key] = without(child)
			}
		}
		return kept
	case []any:
		kept := []any{}
		for _, child := range v {
			if of, ok := child.(map[string]any); ok {
				if name, _ := of["groupVersion"].(string); mine(name) || of["version"] == "v1" && (of["resources"] != nil || of["group"] == "metrics.k8s.io") {
					continue
				}
			}
			kept = append(kept, without(child))
		}
		return kept
	}
	return value
}

// TestDocumentsAreThoseOfMetricsServer compares bytes where nothing but version v1beta1 is spoken of, and else what is left
// when version v1 is taken out.
func TestDocumentsAreThoseOfMetricsServer(t *testing.T) {
	s := start(t, small)
	const beta, aggregated, table = "/apis/metrics.k8s.io/v1beta1", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "application/json;as=Table;g=meta.k8s.io;v=v1"
	port := regexp.MustCompile(`:[0-9]+"\n`)
	release := regexp.MustCompile(`("title": "Kubernetes metrics-server",\s*"version": )"[^"]*"`)
	for _, c := range []struct {
		file, path, accept string
		code               int
		withV1             bool // compare without it
	}{
		{file: "discovery.json", path: beta, code: 200},
		{file: "discovery-group.json", path: "/apis/metrics.k8s.io", code: 200, withV1: true},
		{file: "apis.json", path: "/apis", code: 200, withV1: true},
		{file: "discovery-aggregated.json", path: "/apis", accept: aggregated, code: 200, withV1: true},
		{file: "openapi-v2.json", path: "/openapi/v2", code: 200, withV1: true},
		{file: "openapi-v3.json", path: "/openapi/v3" + beta, code: 200},
		{file: "healthz.txt", path: "/healthz?verbose", accept: "*/*", code: 200},
		{file: "livez.txt", path: "/livez?verbose", accept: "*/*", code: 200},
		{file: "readyz.txt", path: "/readyz?verbose", accept: "*/*", code: 200},
		{file: "node-unknown.json", path: beta + "/nodes/nothing", code: 404},
		{file: "pod-unknown.json", path: beta + "/namespaces/default/pods/nothing", code: 404},
		{file: "error-field.json", path: beta + "/pods?fieldSelector=spec.nodeName%3Dx", code: 400},
		{file: "error-label.json", path: beta + "/pods?labelSelector=a%3D%3D%3Db", code: 400},
		{file: "error-watch.json", path: beta + "/pods?watch=true", code: 405},
		{file: "error-watch-nodes.json", path: beta + "/nodes?watch=1", code: 405},
		{file: "error-watch-value.json", path: beta + "/pods?watch=perhaps", code: 405},
		{file: "error-resource.json", path: beta + "/things", code: 404},
		{file: "error-name.json", path: beta + "/nodes/..%2fx", code: 404},
		{file: "error-limit.json", path: beta + "/pods?limit=x", code: 400},
		{file: "error-timeout.json", path: beta + "/pods?timeoutSeconds=x", code: 400},
		{file: "error-timeout-param.json", path: beta + "/pods?timeout=never", code: 400},
		{file: "error-match.json", path: beta + "/pods?resourceVersionMatch=Nearly", code: 422},
		{file: "error-initial-events.json", path: beta + "/pods?sendInitialEvents=true", code: 422},
		{file: "error-include.json", path: beta + "/nodes?includeObject=Perhaps", accept: table, code: 400},
		{file: "error-accept.json", path: beta + "/pods", accept: "application/toml", code: 406},
		{file: "pods-version-ignored.json", path: beta + "/namespaces/nowhere/pods?resourceVersion=garbage&continue=x&limit=1", code: 200},
		{file: "pods-unknown-parameter.json", path: beta + "/namespaces/nowhere/pods?nothing=x&labelSelector=", code: 200},
		{file: "table-empty.json", path: beta + "/namespaces/nowhere/pods", accept: table, code: 200},
	} {
		t.Run(c.file, func(t *testing.T) {
			if c.accept == "" {
				c.accept = "application/json"
			}
			code, got := s.get(c.path, header{"Accept", c.accept})
			if code != c.code {
				t.Errorf("code %d, want %d", code, c.code)
			}
			want := reference(t, c.file)
			if filepath.Ext(c.file) == ".txt" {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				return
			}
			got = indented(t, got)
			want, got = release.ReplaceAllString(want, `${1}"RELEASE"`), release.ReplaceAllString(got, `${1}"RELEASE"`)
			want, got = port.ReplaceAllString(want, `:PORT"`+"\n"), port.ReplaceAllString(got, `:PORT"`+"\n")
			if c.withV1 {
				if cmp.Diff(document(t, want), document(t, got)) == "" {
					t.Error("there is no version v1 in it")
				}
				if diff := cmp.Diff(document(t, want), without(document(t, got))); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			} else if got != want {
				t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
			}
		})
	}
}
