package services_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/headwater-metrics/headwater/"

// rules say which packages may use an import; everything else may not. A path ending in "/" stands for all below it.
var rules = []struct {
	why     string
	imports []string // what is restricted
	by      []string // who may
}{
	{"only the stream layer knows JetStream",
		[]string{"github.com/nats-io/"},
		[]string{"services/internal/stream", "services/internal/stream/"}},
	{"no service imports another; only allinone joins them",
		[]string{module + "services/ingest/"},
		[]string{"services/ingest", "services/ingest/", "services/allinone", "services/allinone/"}},
	{"no service imports another; only allinone joins them",
		[]string{module + "services/state/"},
		[]string{"services/state", "services/state/", "services/allinone", "services/allinone/"}},
	{"no service imports another; only allinone joins them",
		[]string{module + "services/metricsapi/"},
		[]string{"services/metricsapi", "services/metricsapi/", "services/allinone", "services/allinone/"}},
	{"no service imports another; only allinone joins them",
		[]string{module + "services/exporter/"},
		[]string{"services/exporter", "services/exporter/", "services/allinone", "services/allinone/"}},
	{"the simulated cluster is not part of a service",
		[]string{module + "services/internal/sim"},
		[]string{"services/internal/sim", "services/internal/sim/", "services/internal/testenv", "services/allinone", "services/allinone/"}},
	{"only testenv imports testing outside tests",
		[]string{"testing", module + "services/internal/testenv"},
		[]string{"services/internal/testenv"}},
}

// never says what a package must not import at all, directly.
var never = []struct {
	why     string
	pkg     string
	imports []string
}{
	{"views know neither NATS nor Kubernetes", "services/internal/view", []string{"k8s.io/", "sigs.k8s.io/", "github.com/nats-io/", module + "services/internal/stream"}},
	{"the stream layer knows no Kubernetes", "services/internal/stream", []string{"k8s.io/", "sigs.k8s.io/"}},
	{"the simulated cluster knows nothing of Headwater", "services/internal/sim", []string{module}},
}

// schemasMayImport: other teams import schemas, so it brings nothing but msgpack along.
var schemasMayImport = []string{"github.com/vmihailenco/", module + "schemas/"}

type goPackage struct {
	ImportPath   string
	Name         string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Standard     bool
}

func TestWhoMayImportWhat(t *testing.T) {
	for _, p := range list(t, "./...", "../schemas/...") {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			for _, rule := range rules {
				if matches(imported, rule.imports) && !matches(path, rule.by) {
					t.Errorf("%s imports %s: %s", path, imported, rule.why)
				}
			}
			for _, rule := range never {
				if matches(path, []string{rule.pkg, rule.pkg + "/"}) && matches(imported, rule.imports) && !strings.HasPrefix(imported, module+rule.pkg) {
					t.Errorf("%s imports %s: %s", path, imported, rule.why)
				}
			}
			if strings.HasPrefix(path, "schemas") && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") && !matches(imported, schemasMayImport) && imported != module+"schemas" {
				t.Errorf("%s imports %s: schemas imports the standard library and msgpack only", path, imported)
			}
		}
	}
}

// matches tells whether path is one of names, or below one that ends in a slash or dot-less prefix.
func matches(path string, names []string) bool {
	for _, name := range names {
		if path == name || strings.HasSuffix(name, "/") && strings.HasPrefix(path, name) || strings.HasPrefix(path, name+"/") && strings.HasPrefix(name, module) {
			return true
		}
	}
	return false
}

func list(t *testing.T, patterns ...string) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Name,Imports"}, patterns...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p goPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 5 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	return packages
}
