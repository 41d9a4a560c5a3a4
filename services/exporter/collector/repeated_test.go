package collector_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

// TestSeriesAreSaidOnce is of objects that Kubernetes' API takes, and that say a series twice: the first one stays.
func TestSeriesAreSaidOnce(t *testing.T) {
	meta := `"metadata":{"namespace":"n","name":"u","uid":"u"}`
	external := func(value string, selector string) string {
		return `{"type":"External","external":{"metric":{"name":"queue","selector":{"matchLabels":{"q":"` + selector + `"}}},"target":{"type":"Value","value":"` + value + `"}}}`
	}
	for _, test := range []struct {
		resource, family, object, want string
		skipped                        int
	}{
		{"horizontalpodautoscalers", "kube_horizontalpodautoscaler_spec_target_metric",
			`{` + meta + `,"spec":{"metrics":[` + external("5", "a") + `,` + external("7", "b") + `]}}`,
			`metric_name="queue",metric_target_type="value",container=""} 5`, 1},
		{"pods", "kube_pod_owner",
			`{"metadata":{"namespace":"n","name":"p","uid":"u","ownerReferences":[{"kind":"Job","name":"a","uid":"1"},{"kind":"Job","name":"b","uid":"2"},{"kind":"Job","name":"a","uid":"3"}]}}`,
			`owner_kind="Job",owner_name="a",owner_is_controller="false"} 1` + "\n" + `owner_kind="Job",owner_name="b",owner_is_controller="false"} 1`, 1},
		{"services", "kube_service_spec_external_ip", `{` + meta + `,"spec":{"externalIPs":["10.0.0.1","10.0.0.1","10.0.0.2","10.0.0.1"]}}`,
			`external_ip="10.0.0.1"} 1` + "\n" + `external_ip="10.0.0.2"} 1`, 2},
		{"services", "kube_service_status_load_balancer_ingress", `{` + meta + `,"status":{"loadBalancer":{"ingress":[{"ip":"10.0.0.1","ports":[{"port":1}]},{"ip":"10.0.0.1"}]}}}`,
			`ip="10.0.0.1",hostname=""} 1`, 1},
		{"persistentvolumeclaims", "kube_persistentvolumeclaim_access_mode", `{` + meta + `,"spec":{"accessModes":["ReadWriteOnce","ReadWriteOnce"]}}`,
			`access_mode="ReadWriteOnce"} 1`, 1},
		{"ingresses", "kube_ingress_tls", `{` + meta + `,"spec":{"tls":[{"hosts":["a","a"],"secretName":"s"},{"hosts":["a"],"secretName":"s"}]}}`,
			`tls_host="a",secret="s"} 1`, 2},
		{"serviceaccounts", "kube_serviceaccount_image_pull_secret", `{` + meta + `,"imagePullSecrets":[{"name":"a"},{"name":"b"},{"name":"b"}]}`,
			`name="a"} 1` + "\n" + `name="b"} 1`, 1},
		{"endpoints", "kube_endpoint_address", `{` + meta + `,"subsets":[{"addresses":[{"ip":"10.0.0.1"}],"ports":[{"port":1},{"port":1}]}]}`,
			`port_protocol="",port_number="1",port_name="",ip="10.0.0.1",ready="true"} 1`, 2},
		{"endpointslices", "kube_endpointslice_endpoints", `{` + meta + `,"endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true}},{"addresses":["10.0.0.1"],"conditions":{"ready":true}}]}`,
			`ready="true",serving="",hostname="",terminating="",targetref_kind="",targetref_name="",targetref_namespace="",endpoint_nodename="",endpoint_zone="",address="10.0.0.1"} 1`, 1},
		{"pods", "kube_pod_status_ready", `{` + meta + `,"status":{"conditions":[{"type":"Ready","status":"False"},{"type":"Ready","status":"True"}]}}`,
			"condition=\"true\"} 0\ncondition=\"false\"} 1\ncondition=\"unknown\"} 0", 3},
		{"nodes", "kube_node_status_condition", `{` + meta + `,"status":{"conditions":[{"type":"A","status":"True"},{"type":"B","status":"True"},{"type":"A","status":"False"}]}}`,
			"condition=\"A\",status=\"true\"} 1\ncondition=\"A\",status=\"false\"} 0\ncondition=\"A\",status=\"unknown\"} 0\n" +
				"condition=\"B\",status=\"true\"} 1\ncondition=\"B\",status=\"false\"} 0\ncondition=\"B\",status=\"unknown\"} 0", 3},
		{"pods", "kube_pod_container_status_restarts_total", `{` + meta + `,"status":{"containerStatuses":[{"name":"a","restartCount":3},{"name":"b","restartCount":4},{"name":"a","restartCount":5}]}}`,
			"container=\"a\"} 3\ncontainer=\"b\"} 4", 5}, // ready, restarts, running, terminated, waiting
	} {
		renderer, r := rendererOf(t, test.resource, everything)
		out, err := renderer.Render(onTheWire(t, test.resource, []byte(test.object)))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(r.Families, func(f collector.Family) bool { return f.Name == test.family })
		var got []string
		for _, line := range lines(out.Of(i)) {
			got = append(got, line[strings.LastIndex(line, `="u"`)+len(`="u",`):])
		}
		if test.resource == "endpointslices" { // which has its namespace behind its name
			got[0] = strings.TrimPrefix(got[0], `namespace="n",`)
		}
		if got := strings.Join(got, "\n"); got != test.want {
			t.Errorf("%s of %s:\n%s\nwant\n%s", test.family, test.object, got, test.want)
		}
		if out.Skipped != test.skipped {
			t.Errorf("%s of %s: %d series are counted, want %d", test.family, test.object, out.Skipped, test.skipped)
		}
		checkSaidOnce(t, out)
	}
}

// TestRandomObjectsSaySeriesOnce repeats random elements of the lists of random objects.
func TestRandomObjectsSaySeriesOnce(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 11))
	for _, resource := range collector.Names(false) {
		renderer, _ := rendererOf(t, resource, everything)
		for _, c := range readCases(t, resource) {
			var object any
			if err := json.Unmarshal(c.Object, &object); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				object = repeatElements(rnd, object)
				repeated, err := json.Marshal(object)
				if err != nil {
					t.Fatal(err)
				}
				if len(repeated) > 1<<16 {
					break
				}
				out, err := renderer.Render(onTheWire(t, resource, repeated))
				if err != nil {
					t.Fatalf("%s: %v", repeated, err)
				}
				checkSaidOnce(t, out)
			}
		}
	}
}

// repeatElements returns the value with some elements of its lists behind the others again.
func repeatElements(rnd *rand.Rand, value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, field := range v {
			v[key] = repeatElements(rnd, field)
		}
	case []any:
		for i := range v {
			v[i] = repeatElements(rnd, v[i])
		}
		for n := len(v); n > 0 && rnd.IntN(2) == 0; {
			v = append(v, v[rnd.IntN(n)])
		}
		return v
	}
	return value
}

// TestManySeriesAreSaidOnce is of families with more lines than are compared each with each; in the time that it may take,
// 100,000 could not be.
func TestManySeriesAreSaidOnce(t *testing.T) {
	renderer, _ := rendererOf(t, "services", collector.Options{})
	for _, n := range []int{1, 2, 9, 10, 11, 12, 16, 17, 100, 1000, 100_000, 10} {
		var addresses, want []string
		for i := range n {
			addresses = append(addresses, fmt.Sprintf("%q", fmt.Sprint("address ", i)))
			want = append(want, fmt.Sprintf(`kube_service_spec_external_ip{namespace="n",service="s",uid="u",external_ip="address %d"} 1`, i))
		}
		for _, repeat := range []int{0, 1, n} {
			object := `{"metadata":{"namespace":"n","name":"s","uid":"u"},"spec":{"externalIPs":[` + strings.Join(append(slices.Clone(addresses), addresses[n-repeat:]...), ",") + `]}}`
			raw := onTheWire(t, "services", []byte(object))
			start := time.Now()
			out, err := renderer.Render(raw)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%d addresses and %d of them again took %v", n, repeat, took)
			}
			got := slices.DeleteFunc(lines(out.Text), func(line string) bool { return !strings.HasPrefix(line, "kube_service_spec_external_ip{") })
			if !slices.Equal(got, want) || out.Skipped != repeat {
				t.Errorf("%d addresses and %d of them again make %d series, and %d are counted", n, repeat, len(got), out.Skipped)
			}
		}
	}
}

// TestRenderedKnowsItsObject checks the identity, also where the next object has none.
func TestRenderedKnowsItsObject(t *testing.T) {
	renderer, _ := rendererOf(t, "pods", collector.Options{})
	for _, test := range []struct{ object, namespace, name string }{
		{`{"metadata":{"namespace":"shop","name":"web"}}`, "shop", "web"},
		{`{"metadata":{"name":"db"}}`, "", "db"},
		{`{}`, "", ""},
	} {
		out, err := renderer.Render(onTheWire(t, "pods", []byte(test.object)))
		if err != nil {
			t.Fatal(err)
		}
		if out.Namespace != test.namespace || out.Name != test.name {
			t.Errorf("%s is %s/%s, want %s/%s", test.object, out.Namespace, out.Name, test.namespace, test.name)
		}
	}
}

// checkSaidOnce fails if two lines of a rendering have the same labels.
func checkSaidOnce(t *testing.T, out *collector.Rendered) {
	t.Helper()
	seen := map[string]bool{}
	for line := range strings.Lines(string(out.Text)) {
		series := labelsOf(line)
		if seen[series] {
			t.Errorf("twice: %s", series)
		}
		seen[series] = true
	}
}
