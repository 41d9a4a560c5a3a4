package pins

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestListNeedsNoBuild(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HEADWATER_CACHE", dir)
	list, err := List()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.Built || !strings.HasPrefix(s.Path, dir) || !strings.HasPrefix(s.Version, "v") {
			t.Errorf("in an empty cache: %+v", s)
		}
		if s.Name == "kube-state-metrics" {
			t.Error("an optional program is listed unasked")
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("List left %v behind", left)
	}
}

func TestEveryModuleHasARelease(t *testing.T) {
	for _, p := range Programs {
		if releases[p.Module].path == "" {
			t.Errorf("%s has no release", p.Name)
		}
	}
}

func TestUnknownProgram(t *testing.T) {
	_, err := Build(t.Context(), &bytes.Buffer{}, "kubelet")
	if err == nil || !strings.Contains(err.Error(), "kube-apiserver") {
		t.Errorf("the error doesn't say what there is: %v", err)
	}
}

func TestBuildBelievesWhatIsThere(t *testing.T) {
	t.Setenv("HEADWATER_CACHE", t.TempDir())
	list, err := List("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(list[0].Path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list[0].Path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	paths, err := Build(t.Context(), &log, "kubectl")
	if err != nil || paths["kubectl"] != list[0].Path || log.Len() > 0 {
		t.Errorf("Build returned %v, %v and said %q", paths, err, log.String())
	}
}

func TestHashCoversSourcesAndFlags(t *testing.T) {
	dir := t.TempDir()
	hash := func(flag, gosum string) string {
		if err := os.WriteFile(filepath.Join(dir, "go.sum"), []byte(gosum), 0o644); err != nil {
			t.Fatal(err)
		}
		sum, err := (&target{source: dir, flags: []string{flag}}).hash()
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	first := hash("-a", "x")
	if again := hash("-a", "x"); again != first {
		t.Error("the same has two hashes")
	}
	if hash("-a", "y") == first || hash("-b", "x") == first {
		t.Error("a change doesn't change the hash")
	}
}

func TestRequired(t *testing.T) {
	file := filepath.Join(t.TempDir(), "go.mod")
	if err := os.WriteFile(file, []byte("module m\n\ntool a.b/c/cmd\n\nrequire (\n\ta.b/c v1.2.3 // indirect\n\ta.b/d v0.1.0\n)\n\nrequire e.f/g v2.0.0\n\nreplace a.b/d => a.b/d v0.2.0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"a.b/c": "v1.2.3", "a.b/d": "v0.1.0", "e.f/g": "v2.0.0", "x.y/z": ""} {
		if got, err := required(file, path); got != want || (err == nil) != (want != "") {
			t.Errorf("required(%q) = %q, %v, want %q", path, got, err, want)
		}
	}
}

func TestStamps(t *testing.T) {
	if got := kubernetesStamps("v1.36.3"); !slices.Contains(got, "k8s.io/component-base/version.gitMinor=36") {
		t.Errorf("the minor version isn't in %v", got)
	}
	if got := stagingStamps("v0.37.2"); !slices.Equal(got, kubernetesStamps("v1.37.2")) {
		t.Errorf("kubectl v0.37.2 is stamped %v", got)
	}
	if got := clientGoStamps("v0.9.0"); !slices.Equal(got, []string{"k8s.io/client-go/pkg/version.gitVersion=v0.9.0"}) {
		t.Errorf("metrics-server: %v", got)
	}
	if got := prometheusStamps("v0.315.0"); got[0] != "github.com/prometheus/common/version.Version=3.15.0" {
		t.Errorf("Prometheus v0.315.0 is stamped %v", got)
	}
}

func TestLockExcludes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), &bytes.Buffer{}, path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	var log bytes.Buffer
	if _, err := lock(ctx, &log, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second lock was given, or failed otherwise: %v", err)
	}
	if !strings.Contains(log.String(), "waiting") {
		t.Error("waiting wasn't said")
	}
	unlock()
	again, err := lock(t.Context(), &log, path)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
