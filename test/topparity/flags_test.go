package topparity

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/headwater-metrics/headwater/test/pins"
)

// TestFlags gives metricsapi and ingest the flags that metrics-server tells of, so that arguments can be copied. All of them
// are metricsapi's; those about scraping are ingest's as well.
func TestFlags(t *testing.T) {
	paths, err := pins.Build(t.Context(), os.Stderr, "metrics-server")
	if err != nil {
		t.Fatal(err)
	}
	help, err := exec.CommandContext(t.Context(), paths["metrics-server"], "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, help)
	}
	// A value for each type of flag, as the help calls it.
	values := map[string]string{"": "true", "string": "x", "strings": "x", "stringArray": "x", "duration": "20s", "int": "5", "int32": "5", "float": "0.1", "float32": "0.1", "ip": "127.0.0.1",
		"namedCertKey": "a,b", "quantity": "1Ki", "int32Slice": "23", "colonSeparatedMultimapStringString": "AllAlpha=false", "Level": "2", "pattern=N,...": "a=1"}
	scraping := regexp.MustCompile(`^(kubelet-.*|deprecated-kubelet-.*|kubeconfig|metric-resolution|node-selector)$`)
	known := map[string]int{}
	for _, found := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([\w-]+)(?: ([^ \n]+))?(?:   *|$)`).FindAllStringSubmatch(string(help), -1) {
		name, kind := found[1], found[2]
		if name == "help" || name == "version" { // they end a program
			continue
		}
		value, ok := values[kind]
		if !ok {
			t.Errorf("--%s is of the type %q, which this test doesn't know", name, kind)
			continue
		}
		for _, program := range []string{"metricsapi", "ingest"} {
			if program == "ingest" && !scraping.MatchString(name) {
				continue
			}
			known[program]++
			if out, err := exec.CommandContext(t.Context(), filepath.Join(*binaries, program), "--"+name+"="+value, "--help").CombinedOutput(); err != nil {
				t.Errorf("%s --%s=%s: %v: %s", program, name, value, err, strings.TrimSpace(string(out)))
			}
		}
	}
	if known["metricsapi"] < 90 || known["ingest"] < 12 {
		t.Errorf("only %v flags were tried: is the help read rightly?", known)
	}
	for _, program := range []string{"metricsapi", "ingest"} {
		if err := exec.CommandContext(t.Context(), filepath.Join(*binaries, program), "--no-such-flag=1", "--help").Run(); err == nil {
			t.Errorf("%s takes a flag that doesn't exist", program)
		}
	}
}
