package identity

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestKeepSurvives(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	first, err := LoadKeep(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Remember("port", 1234); err != nil {
		t.Fatal(err)
	}
	second, err := LoadKeep(dir, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if first.Token != second.Token || string(first.CA.PEM) != string(second.CA.PEM) || string(first.FrontProxy.PEM) != string(second.FrontProxy.PEM) {
		t.Error("the second run has other credentials")
	}
	if !second.Epoch.Equal(now.Truncate(time.Second)) || second.Recall("port") != 1234 || second.Recall("other") != 0 {
		t.Errorf("epoch %v, port %d", second.Epoch, second.Recall("port"))
	}
	info, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "epoch"), []byte("yesterday\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeep(dir, now); err == nil {
		t.Error("an epoch that isn't a time is taken")
	}
	other, err := LoadKeep("", now)
	if err != nil || other.Token == first.Token || other.Recall("port") != 0 || other.Remember("port", 1) != nil {
		t.Errorf("without a directory: %v", err)
	}
}

func TestAuthorize(t *testing.T) {
	r := NewRegistry()
	r.Add("t1", User{Name: "admin", Groups: []string{Masters}})
	r.Add("t2", User{Name: "scraper", Rules: []Rule{
		{Verbs: []string{"get"}, Groups: []string{""}, Resources: []string{"nodes/metrics"}},
		{Verbs: []string{"get"}, Paths: []string{"/metrics", "/logs/*"}},
	}})
	r.Forbid("secrets")
	r.Forbid("leases.coordination.k8s.io", "watch")
	for _, test := range []struct {
		token      string
		attributes Attributes
		want       bool
	}{
		{"t1", Attributes{Verb: "delete", Resource: "pods"}, true},
		{"t1", Attributes{Verb: "get", Resource: "secrets"}, false},
		{"t1", Attributes{Verb: "watch", Group: "coordination.k8s.io", Resource: "leases"}, false},
		{"t1", Attributes{Verb: "list", Group: "coordination.k8s.io", Resource: "leases"}, true},
		{"t2", Attributes{Verb: "get", Resource: "nodes", Subresource: "metrics"}, true},
		{"t2", Attributes{Verb: "get", Resource: "nodes"}, false},
		{"t2", Attributes{Verb: "get", Group: "other", Resource: "nodes", Subresource: "metrics"}, false},
		{"t2", Attributes{Verb: "get", Path: "/metrics"}, true},
		{"t2", Attributes{Verb: "get", Path: "/logs/x"}, true},
		{"t2", Attributes{Verb: "get", Path: "/other"}, false},
	} {
		request := &http.Request{Header: http.Header{"Authorization": {"bearer " + test.token}}}
		user, err := r.Authenticate(request)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Authorize(user, test.attributes); got != test.want {
			t.Errorf("%s may %+v: %v, want %v", user.Name, test.attributes, got, test.want)
		}
	}
	if _, err := r.Authenticate(&http.Request{Header: http.Header{"Authorization": {"Bearer t3"}}}); err != ErrBadCredentials {
		t.Errorf("an unknown token: %v", err)
	}
	if user, err := r.Authenticate(&http.Request{}); err != nil || r.Authorize(user, Attributes{Verb: "get", Resource: "pods"}) {
		t.Errorf("anonymous: %+v, %v", user, err)
	}
}
