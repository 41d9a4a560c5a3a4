package render

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
)

func run(t *testing.T, stdin string, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = Command(args, strings.NewReader(stdin), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

const twoDeployments = `
# A comment first.
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {replicas: 10, strategy: {rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}}
---
---
{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "db", "namespace": "shop"}, "spec": {"replicas": 1}}
`

func TestYAML(t *testing.T) {
	code, out, errs := run(t, twoDeployments, "--metric-labels-allowlist=deployments=[app]", "-")
	if code != 0 || errs != "" {
		t.Fatalf("code %d, stderr %q", code, errs)
	}
	for _, want := range []string{
		"# TYPE kube_deployment_spec_replicas gauge\n",
		`kube_deployment_spec_replicas{namespace="shop",deployment="web"} 10` + "\n",
		`kube_deployment_spec_replicas{namespace="shop",deployment="db"} 1` + "\n",
		`kube_deployment_spec_strategy_rollingupdate_max_surge{namespace="shop",deployment="web"} 3` + "\n",
		`kube_deployment_spec_strategy_rollingupdate_max_unavailable{namespace="shop",deployment="web"} 2` + "\n",
		`kube_deployment_labels{namespace="shop",deployment="web",label_app="web"} 1` + "\n",
		`kube_deployment_labels{namespace="shop",deployment="db"} 1` + "\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if strings.Contains(out, "kube_pod") {
		t.Error("there are families of pods, but no pods")
	}
}

func TestLists(t *testing.T) {
	pod, err := json.Marshal(specimen.Pod(1))
	if err != nil {
		t.Fatal(err)
	}
	typed := strings.Replace(string(pod), "{", `{"apiVersion":"v1","kind":"Pod",`, 1)
	for name, input := range map[string]string{
		"a List":              `{"apiVersion":"v1","kind":"List","items":[` + typed + `]}`,
		"a list of one kind":  `{"apiVersion":"v1","kind":"PodList","items":[` + string(pod) + `]}`,
		"a list in a list":    `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"PodList","items":[` + string(pod) + `]}]}`,
		"an array":            `[` + typed + `]`,
		"concatenated":        `{"apiVersion":"v1","kind":"List","items":[]}` + typed,
		"JSON with separator": "\ufeff{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[]}\n---\n" + typed,
		"YAML":                "apiVersion: v1\nkind: List\nitems:\n- " + typed,
	} {
		code, out, errs := run(t, input, "-")
		if code != 0 || errs != "" || !strings.Contains(out, `kube_pod_info{namespace="team-00",pod="service-0-5f000000-00001"`) {
			t.Errorf("%s: code %d, stderr %q, %d bytes", name, code, errs, len(out))
		}
	}
}

func TestFilesAndErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(twoDeployments+"---\nkind: [\n---\nfoo: bar\n---\napiVersion: v1\nkind: Pod\nspec: {containers: 7}\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop}}\n- 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := run(t, "", file, filepath.Join(t.TempDir(), "none"))
	if code != 1 {
		t.Errorf("code %d", code)
	}
	for _, want := range []string{
		"objects.yaml: document 3: couldn't parse it:", "objects.yaml: document 4: this is not a Kubernetes object: it lacks apiVersion or kind",
		"objects.yaml: document 5: couldn't read the Pod:", "objects.yaml: document 6, item 2: this is not a Kubernetes object", "couldn't open a file of objects",
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("stderr lacks %q:\n%s", want, errs)
		}
	}
	if !strings.Contains(out, `deployment="db"`) || !strings.Contains(out, `kube_pod_info{namespace="shop",pod="a"`) {
		t.Errorf("what can be read is not exported")
	}

	code, _, errs = run(t, `{"apiVersion":"v1","kind":"List","items":[]} {"apiVersion`, "-")
	if code != 1 || !strings.Contains(errs, "standard input: document 2: couldn't parse it") {
		t.Errorf("code %d, stderr %q", code, errs)
	}
}

func TestWhatIsLeftOut(t *testing.T) {
	input := `
apiVersion: example.com/v1
kind: Widget
metadata: {name: a}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: b}
---
apiVersion: v1
kind: Node
metadata: {name: n}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: other}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: shop}
`
	code, out, errs := run(t, input, "--resources=pods,deployments", "--namespaces=shop", "-")
	want := "left out 2 example.com/v1 Widget, a kind that is not known\n" +
		"left out 1 nodes, which the flags leave out\n" +
		"left out 1 pods in the namespace other, which the flags leave out\n" +
		"left out 1 series that the objects do not say enough for, or say again\n"
	if code != 0 || errs != want {
		t.Errorf("code %d, stderr:\n%s\nwant:\n%s", code, errs, want)
	}
	if !strings.Contains(out, "kube_deployment_created") || strings.Contains(out, "kube_pod") || strings.Contains(out, "kube_node") {
		t.Error(out)
	}
}

func TestWrongFlags(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--no-such-flag", "-"}, {"--resources=widgets", "-"}, {"--metric-allowlist=(", "-"}, {"--metric-allowlist=a", "--metric-denylist=b", "-"},
		{"--metric-labels-allowlist=pods", "-"}, {"--metric-labels-allowlist=widgets=[a]", "-"}, {"--metric-labels-allowlist=pods=[a*b*]", "-"}, {"--metric-opt-in-list=(?=a)", "-"},
	} {
		code, out, errs := run(t, "", args...)
		if code != 2 || out != "" || !strings.Contains(errs, "--help") {
			t.Errorf("%v: code %d, stderr %q", args, code, errs)
		}
	}
	if code, out, errs := run(t, "", "--help"); code != 0 || !strings.Contains(out, "--metric-denylist") || errs != "" {
		t.Errorf("--help: code %d, %q, %q", code, out, errs)
	}
}

// TestOutputIsValid renders realistic objects, and the odd ones of the cases, and has the output checked by all readers
// at hand.
func TestOutputIsValid(t *testing.T) {
	var realistic, odd strings.Builder
	add := func(kind, version string, object any) {
		data, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		realistic.WriteString(strings.Replace(string(data), "{", `{"kind":"`+kind+`","apiVersion":"`+version+`",`, 1))
	}
	for i := range 30 {
		add("Pod", "v1", specimen.Restarted(specimen.Pod(i)))
		add("Node", "v1", specimen.Node(i))
		add("Namespace", "v1", specimen.Namespace(i%40))
		add("Deployment", "apps/v1", specimen.Deployment(i))
		add("ReplicaSet", "apps/v1", specimen.ReplicaSet(i))
	}
	for _, resource := range collector.Names(false) {
		f, err := os.Open(filepath.Join("..", "collector", "testdata", "cases", resource+".jsonl.gz"))
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(z)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			var c struct {
				Object json.RawMessage `json:"object"`
			}
			if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
				t.Fatal(err)
			}
			odd.Write(c.Object)
		}
		f.Close()
	}
	flags := []string{"--resources=" + strings.Join(collector.Names(false), ","), "--metric-labels-allowlist=*=[*]", "--metric-annotations-allowlist=*=[*]", "--metric-opt-in-list=."}
	for name, input := range map[string]string{"realistic": realistic.String(), "odd": odd.String()} {
		t.Run(name, func(t *testing.T) {
			code, text, errs := run(t, input, append(flags, "-")...)
			if code != 0 {
				t.Fatalf("code %d, stderr %q", code, errs)
			}
			code, openMetrics, _ := run(t, input, append(flags, "--openmetrics", "-")...)
			if code != 0 {
				t.Fatal(code)
			}
			parser := expfmt.NewTextParser(model.LegacyValidation)
			families, err := parser.TextToMetricFamilies(strings.NewReader(text))
			if err != nil {
				t.Error(err)
			}
			if name == "odd" {
				return // the cases have containers of one name twice, which the API server refuses: so do strict readers
			}
			inText, err := strict.Text([]byte(text))
			if err != nil {
				t.Error(err)
			}
			inOpenMetrics, err := strict.OpenMetrics([]byte(openMetrics))
			if err != nil {
				t.Error(err)
			}
			if inText != inOpenMetrics || inText.Series == 0 {
				t.Errorf("text has %+v, OpenMetrics %+v", inText, inOpenMetrics)
			}
			problems, err := promlint.New(strings.NewReader(text)).Lint()
			if err != nil {
				t.Error(err)
			}
			for _, p := range problems {
				t.Errorf("promlint: %s: %s", p.Metric, p.Text)
			}
			if len(families) == 0 {
				t.Error("no families")
			}
		})
	}
}
