package apiserver

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
)

func newTestServer(t testing.TB) *Server {
	t.Helper()
	store := NewStore(100)
	for _, obj := range []runtime.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", Labels: map[string]string{"x": "y"}}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}},
	} {
		if err := store.Load(obj); err != nil {
			t.Fatal(err)
		}
	}
	users := identity.NewRegistry()
	users.Add("token", identity.User{Name: "admin", Groups: []string{identity.Masters}})
	return NewServer(Config{Store: store, Users: users, Log: slog.New(slog.DiscardHandler)})
}

// No request brings the server down, or leaves it without an answer.
func FuzzRequest(f *testing.F) {
	for _, seed := range []struct{ method, path, query, accept, contentType, body string }{
		{"GET", "/api/v1/pods", "limit=1", "application/json", "", ""},
		{"GET", "/api/v1/pods", "limit=1&continue=eyJ2IjotMSwiYWZ0ZXIiOiIifQ", "application/vnd.kubernetes.protobuf", "", ""},
		{"GET", "/api/v1/namespaces/default/pods/a", "", "application/json;as=Table;g=meta.k8s.io;v=v1", "", ""},
		{"GET", "/api/v1/pods", "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1", "application/json", "", ""},
		{"GET", "/apis/apps/v1", "", "", "", ""},
		{"GET", "/openapi/v2", "", "protobuf", "", ""},
		{"POST", "/api/v1/namespaces/default/pods", "", "application/yaml", "application/json", `{"metadata":{"generateName":"x"}}`},
		{"POST", "/api/v1/namespaces/default/pods", "dryRun=All", "", "", "k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x02\x0a\x00"},
		{"PUT", "/api/v1/namespaces/default/pods/a", "", "", "application/json", `{"metadata":{"name":"a","resourceVersion":"2"}}`},
		{"PATCH", "/api/v1/namespaces/default/pods/a", "", "", "application/merge-patch+json", `{"metadata":{"labels":{"x":null}}}`},
		{"PATCH", "/api/v1/namespaces/default/pods/a", "", "", "application/json-patch+json", `[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]`},
		{"PATCH", "/api/v1/namespaces/default/pods/a/status", "", "", "application/strategic-merge-patch+json", `{"status":{"phase":"Running"}}`},
		{"PATCH", "/api/v1/namespaces/default/pods/c", "", "", "application/apply-patch+yaml", "metadata: {name: c}"},
		{"DELETE", "/api/v1/namespaces/default/pods", "labelSelector=x%3Dy&fieldSelector=status.phase!%3DRunning", "", "", `{"propagationPolicy":"Background"}`},
		{"POST", "/apis/authentication.k8s.io/v1/tokenreviews", "", "", "application/json", `{"spec":{"token":"token"}}`},
		{"POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "", "", "application/json", `{"spec":{"user":"x","resourceAttributes":{"verb":"get"}}}`},
		{"GET", "/apis/metrics.k8s.io/v1beta1/pods", "", "", "", ""},
		{"GET", "//api///v1/pods/", "", "", "", ""},
	} {
		f.Add(seed.method, seed.path, seed.query, seed.accept, seed.contentType, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, method, path, query, accept, contentType string, body []byte) {
		values, err := url.ParseQuery(query)
		if err == nil && isTrue(values.Get("watch")) {
			values.Del("watch") // would not end by itself
			query = values.Encode()
		}
		request, err := http.NewRequestWithContext(t.Context(), method, "https://localhost", bytes.NewReader(body))
		if err != nil {
			return
		}
		request.URL.Path, request.URL.RawQuery = path, query
		request.Header = http.Header{"Accept": {accept}, "Content-Type": {contentType}, "Authorization": {"Bearer token"}}
		answer := httptest.NewRecorder()
		newTestServer(t).ServeHTTP(answer, request)
		if answer.Code < 200 || answer.Code > 599 {
			t.Errorf("%s %s: %d", method, path, answer.Code)
		}
		if answer.Code == http.StatusInternalServerError {
			t.Errorf("%s %s: %s", method, path, answer.Body)
		}
	})
}

// The table of resources is sorted, and every row has types.
func TestResources(t *testing.T) {
	last := ""
	for _, res := range Resources() {
		if res.Name <= last {
			t.Errorf("%s comes after %s", res.Name, last)
		}
		last = res.Name
		if _, err := res.newObject(); err != nil {
			t.Error(err)
		}
	}
}

// The window is bounded: what is older is forgotten, and said to be.
func TestWindow(t *testing.T) {
	store := NewStore(10)
	var first uint64
	for i := range 100 {
		if _, err := store.Put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", Generation: int64(i + 1), CreationTimestamp: metav1.NewTime(time.Unix(1, 0))}}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = store.Version()
		}
	}
	pods := store.byKind[corev1.SchemeGroupVersion.WithKind("Pod").GroupKind()].res
	if ok, _ := store.reach(pods, first); ok {
		t.Error("a watch may start 100 changes back in a window of 10")
	}
	if _, _, _, ok := store.after(pods, first); ok {
		t.Error("a watcher that is 100 changes behind doesn't notice")
	}
	now := store.Version()
	if ok, _ := store.reach(pods, now-10); !ok {
		t.Error("a watch can't start 10 changes back")
	}
	events, version, _, ok := store.after(pods, now-10)
	if !ok || len(events) != 10 || version != now {
		t.Errorf("%d events up to %d, %v", len(events), version, ok)
	}
	if n := len(store.byName[pods.GR()].events); n > 20 {
		t.Errorf("%d events are kept", n)
	}
}
