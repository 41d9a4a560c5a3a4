package collector_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

func familiesOf(t *testing.T, options collector.Options) []string {
	t.Helper()
	resources, err := collector.New(options)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range resources {
		for _, f := range r.Families {
			names = append(names, f.Name)
		}
	}
	return names
}

func TestFamilyLists(t *testing.T) {
	for name, test := range map[string]struct {
		options collector.Options
		has     []string
		hasNot  []string
	}{
		"allow matches anywhere": {collector.Options{Allow: []string{"kube_pod_info", "spec_replicas$"}}, []string{"kube_pod_info", "kube_deployment_spec_replicas"}, []string{"kube_pod_owner", "kube_node_info"}},
		"deny matches anywhere":  {collector.Options{Deny: []string{"kube_pod_status_ready"}}, []string{"kube_pod_status_phase"}, []string{"kube_pod_status_ready", "kube_pod_status_ready_time"}},
		"look-around":            {collector.Options{Deny: []string{"^kube_pod_(?!info$)"}}, []string{"kube_pod_info", "kube_node_info"}, []string{"kube_pod_owner"}},
		"opt-in":                 {collector.Options{OptIn: []string{"nodeselectors"}}, []string{"kube_pod_nodeselectors", "kube_pod_info"}, nil},
		"opt-in is not enough":   {collector.Options{OptIn: []string{"nodeselectors"}, Deny: []string{"kube_pod_"}}, nil, []string{"kube_pod_nodeselectors"}},
		"neither is allow":       {collector.Options{Allow: []string{"kube_pod_"}}, []string{"kube_pod_info"}, []string{"kube_pod_nodeselectors"}},
		"resources":              {collector.Options{Resources: []string{"nodes"}}, []string{"kube_node_info"}, []string{"kube_pod_info"}},
	} {
		names := familiesOf(t, test.options)
		for _, want := range test.has {
			if !slices.Contains(names, want) {
				t.Errorf("%s: lacks %s", name, want)
			}
		}
		for _, unwanted := range test.hasNot {
			if slices.Contains(names, unwanted) {
				t.Errorf("%s: has %s", name, unwanted)
			}
		}
	}
	resources, err := collector.New(collector.Options{Deny: []string{"kube_pod_"}})
	if err != nil || collector.Find(resources, "", "pods") != nil || collector.Find(resources, "", "nodes") == nil {
		t.Errorf("a resource without families is among the resources, error %v", err)
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for want, options := range map[string]collector.Options{
		`there is no resource "widgets"`:                       {Resources: []string{"widgets"}},
		"are both given":                                       {Allow: []string{"a"}, Deny: []string{"b"}},
		`deny-list of metrics: pattern "("`:                    {Deny: []string{"("}},
		`opt-in list of metrics: pattern "(?=a)"`:              {OptIn: []string{"(?=a)"}},
		`the allow-list of labels: there is no resource "x"`:   {Labels: map[string][]string{"x": {"a"}}},
		`the allow-list of annotations: pods: "a*b*" has more`: {Annotations: map[string][]string{"pods": {"a*b*"}}},
	} {
		if _, err := collector.New(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	slow := collector.Options{Deny: []string{strings.Repeat("(a|_|k|u|b|e)*", 1) + "$^"}}
	if _, err := collector.New(slow); err != nil {
		t.Errorf("%v", err)
	}
}

func TestStarCoversAllResourcesAndComesFirst(t *testing.T) {
	for _, test := range []struct {
		labels map[string][]string
		want   string
	}{
		{map[string][]string{"*": {"app"}, "namespaces": {"team"}}, `label_app="a"} 1`},
		{map[string][]string{"namespaces": {"team"}, "pods": {"app"}}, `label_team="t"} 1`},
		{map[string][]string{"pods": {"app"}}, ""},
		{map[string][]string{"namespaces": {}}, ""},
	} {
		renderer, resource := rendererOf(t, "namespaces", collector.Options{Labels: test.labels})
		out, err := renderer.Render(onTheWire(t, "namespaces", []byte(`{"metadata":{"name":"n","labels":{"app":"a","team":"t"}}}`)))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(resource.Families, func(f collector.Family) bool { return f.Name == "kube_namespace_labels" })
		if got := string(out.Of(i)); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%v: %s", test.labels, got)
		}
	}
}

func TestNamespaces(t *testing.T) {
	for _, test := range []struct {
		options collector.Options
		want    string
	}{
		{collector.Options{}, " a b c"},
		{collector.Options{Namespaces: []string{"a", "b"}}, " a b"},
		{collector.Options{NamespacesDenylist: []string{"a"}}, " b c"},
		{collector.Options{Namespaces: []string{"a", "b"}, NamespacesDenylist: []string{"a"}}, " b"},
	} {
		var got []string
		for _, namespace := range []string{"", "a", "b", "c"} {
			if test.options.WantsNamespace(namespace) {
				got = append(got, namespace)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%+v: %q", test.options, got)
		}
	}
}

func TestFlags(t *testing.T) {
	var options collector.Options
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	options.AddFlags(fs)
	err := fs.Parse([]string{
		"--resources=pods, nodes", "--resources=namespaces", "--metric-denylist=a, b,,", "--metric-opt-in-list=c", "--namespaces=x,y", "--namespaces-denylist=y",
		"--metric-labels-allowlist=pods=[a,b],nodes=[*]", "--metric-labels-allowlist=pods=[c]", "--metric-annotations-allowlist=*=[x]",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(options.Resources, " "); got != "pods nodes namespaces" {
		t.Error(got)
	}
	if got := strings.Join(options.Deny, " "); got != "a b" {
		t.Error(got)
	}
	if got := fs.Lookup("metric-labels-allowlist").Value.String(); got != "nodes=[*],pods=[a,b,c]" {
		t.Error(got)
	}
	if err := fs.Parse([]string{"--metric-annotations-allowlist=pods"}); err == nil || !strings.Contains(err.Error(), "pods=[app,team]") {
		t.Error(err)
	}
}
