package collector_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/headwater-metrics/headwater/schemas/wire"
	"github.com/headwater-metrics/headwater/services/exporter/collector"
)

// family renders one object and returns the lines of one family without name and identity.
func family(t *testing.T, resource, object, name string) string {
	t.Helper()
	renderer, r := rendererOf(t, resource, everything)
	out, err := renderer.Render(onTheWire(t, resource, []byte(object)))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(r.Families, func(f collector.Family) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("there is no %s", name)
	}
	var short []string
	for _, line := range lines(out.Of(i)) {
		_, line, _ = strings.Cut(line, `"u"`)
		short = append(short, strings.TrimPrefix(line, ","))
	}
	return strings.Join(short, "\n")
}

// TestSemantics tries what the cases do not happen to show.
func TestSemantics(t *testing.T) {
	pod := func(rest string) string { return `{"metadata":{"namespace":"n","name":"p","uid":"u"},` + rest + `}` }
	for _, test := range []struct{ family, object, want string }{
		{"kube_pod_status_disruption_reason", pod(`"status":{"conditions":[{"type":"DisruptionTarget","status":"False","reason":"DeletionByPodGC"},{"type":"DisruptionTarget","status":"True","reason":"x"}]}`), "reason=\"DeletionByPodGC\"} 1\nreason=\"Other\"} 1"},
		{"kube_pod_status_reason", pod(`"status":{"reason":"Weird","conditions":[{"type":"a","reason":"SchedulingGated"},{"type":"b","reason":"Odd"}],"containerStatuses":[{"state":{"terminated":{"reason":"Evicted"}}}],"initContainerStatuses":[{"state":{"terminated":{"reason":"NodeLost"}}}]}`), "reason=\"Evicted\"} 1\nreason=\"SchedulingGated\"} 1\nreason=\"Other\"} 1"},
		{"kube_pod_status_reason", pod(`"status":{"conditions":[{"type":"b","reason":"Odd"}]}`), ""},
		{"kube_pod_status_unschedulable", pod(`"status":{"conditions":[{"type":"PodScheduled","status":"False","lastTransitionTime":"2026-01-01T00:00:00Z"}]}`), "} 1"},
		{"kube_pod_status_unschedulable", pod(`"status":{"conditions":[{"type":"PodScheduled","status":"True"}]}`), ""},
		{"kube_pod_status_unscheduled_time", pod(`"status":{"conditions":[{"type":"PodScheduled","status":"False","lastTransitionTime":"2026-01-01T00:00:00Z"}]}`), "} 1.7672256e+09"},
		{"kube_pod_status_ready_time", pod(`"status":{"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}`), "} 1.7672256e+09"},
		{"kube_pod_status_phase", pod(`"status":{"phase":"Lost"}`), "phase=\"Pending\"} 0\nphase=\"Succeeded\"} 0\nphase=\"Failed\"} 0\nphase=\"Unknown\"} 0\nphase=\"Running\"} 0"},
		{"kube_pod_completion_time", pod(`"status":{"containerStatuses":[{"state":{"terminated":{"finishedAt":"2026-01-01T00:00:05Z"}}},{"state":{"running":{}}},{"state":{"terminated":{"finishedAt":"2026-01-01T00:00:00Z"}}}]}`), "} 1.767225605e+09"},
		{"kube_pod_ips", pod(`"status":{"podIPs":[{"ip":"10.0.0.1"},{"ip":"::ffff:1.2.3.4"},{"ip":"fd00::1"},{"ip":"nonsense"},{"ip":"010.0.0.1"}]}`), "ip=\"10.0.0.1\",ip_family=\"4\"} 1\nip=\"::ffff:1.2.3.4\",ip_family=\"4\"} 1\nip=\"fd00::1\",ip_family=\"6\"} 1\nip=\"010.0.0.1\",ip_family=\"4\"} 1"},
		{"kube_pod_tolerations", pod(`"spec":{"tolerations":[{"key":"a","tolerationSeconds":3},{"key":"a","tolerationSeconds":3},{"key":"a"},{"operator":"Exists"}]}`), `key="a",operator="",value="",effect="",toleration_seconds="3"} 1` + "\n" + `key="a",operator="",value="",effect="",toleration_seconds=""} 1` + "\n" + `key="",operator="Exists",value="",effect="",toleration_seconds=""} 1`},
		{"kube_pod_spec_volumes_persistentvolumeclaims_info", pod(`"spec":{"volumes":[{"name":"v","ephemeral":{}},{"name":"w","persistentVolumeClaim":{"claimName":"c","readOnly":true}},{"name":"x","emptyDir":{}}]}`), `volume="v",persistentvolumeclaim="p-v",ephemeral="true"} 1` + "\n" + `volume="w",persistentvolumeclaim="c",ephemeral="false"} 1`},
		{"kube_pod_spec_volumes_persistentvolumeclaims_readonly", pod(`"spec":{"volumes":[{"name":"v","ephemeral":{}},{"name":"w","persistentVolumeClaim":{"claimName":"c","readOnly":true}}]}`), `volume="v",persistentvolumeclaim="p-v",ephemeral="true"} 0` + "\n" + `volume="w",persistentvolumeclaim="c",ephemeral="false"} 1`},
		{"kube_pod_resourceclaim_info", pod(`"spec":{"resourceClaims":[{"name":"a","resourceClaimName":"x"},{"name":"b","resourceClaimTemplateName":"t"},{"name":"c","resourceClaimTemplateName":"t"},{"name":"d"}]},"status":{"resourceClaimStatuses":[{"name":"b","resourceClaimName":"made"}]}`), `claim_name="a",resourceclaim_name="x",resourceclaim_template_name=""} 1` + "\n" + `claim_name="b",resourceclaim_name="made",resourceclaim_template_name="t"} 1` + "\n" + `claim_name="c",resourceclaim_name="",resourceclaim_template_name="t"} 1`},
		{"kube_pod_owner", pod(`"spec":{}`), `owner_kind="",owner_name="",owner_is_controller=""} 1`},
		{"kube_pod_created", pod(`"spec":{}`), ""},
	} {
		if got := family(t, "pods", test.object, test.family); got != test.want {
			t.Errorf("%s of %s:\n%s\nwant\n%s", test.family, test.object, got, test.want)
		}
	}
}

func TestPercentagesOfRollOuts(t *testing.T) {
	for _, test := range []struct{ spec, unavailable, surge string }{
		{`"replicas":10,"strategy":{"rollingUpdate":{"maxUnavailable":"25%","maxSurge":"25%"}}`, " 2", " 3"},
		{`"replicas":10,"strategy":{"rollingUpdate":{"maxUnavailable":3,"maxSurge":0}}`, " 3", " 0"},
		{`"replicas":0,"strategy":{"rollingUpdate":{"maxUnavailable":"100%","maxSurge":"1%"}}`, " 0", " 0"},
		{`"replicas":3,"strategy":{"rollingUpdate":{"maxUnavailable":"x%","maxSurge":"5"}}`, "", ""},
		{`"replicas":-1,"strategy":{"rollingUpdate":{"maxUnavailable":"1%","maxSurge":"1%"}}`, " -1", " 0"},
		{`"replicas":2147483647,"strategy":{"rollingUpdate":{"maxUnavailable":"100%","maxSurge":"99999999999%"}}`, " 2.147483647e+09", " 2.1474836469785252e+18"},
		{`"replicas":3,"strategy":{"rollingUpdate":{}}`, "", ""},
		{`"replicas":3,"strategy":{}`, "", ""},
		{`"strategy":{"rollingUpdate":{"maxUnavailable":"25%","maxSurge":1}}`, "", ""},
	} {
		object := `{"metadata":{"namespace":"n","name":"u"},"spec":{` + test.spec + `}}`
		unavailable := strings.TrimPrefix(family(t, "deployments", object, "kube_deployment_spec_strategy_rollingupdate_max_unavailable"), "}")
		surge := strings.TrimPrefix(family(t, "deployments", object, "kube_deployment_spec_strategy_rollingupdate_max_surge"), "}")
		if unavailable != test.unavailable || surge != test.surge {
			t.Errorf("%s: unavailable%s, surge%s; want%s and%s", test.spec, unavailable, surge, test.unavailable, test.surge)
		}
	}
}

func TestWhatKubeStateMetricsPanicsOnIsSkipped(t *testing.T) {
	for resource, object := range map[string]string{
		"deployments":    `{"metadata":{"name":"d"},"spec":{}}`,
		"endpointslices": `{"metadata":{"name":"e"},"endpoints":[{"addresses":[],"hints":{"forZones":[{"name":"z"}]}}]}`,
	} {
		renderer, _ := rendererOf(t, resource, everything)
		out, err := renderer.Render(onTheWire(t, resource, []byte(object)))
		if err != nil {
			t.Fatal(err)
		}
		if out.Skipped == 0 || len(out.Text) == 0 {
			t.Errorf("%s: %d series are counted as skipped, %d bytes are left", resource, out.Skipped, len(out.Text))
		}
	}
}

func TestObjectsOfTheWrongShapeAreErrors(t *testing.T) {
	renderer, _ := rendererOf(t, "pods", everything)
	for name, raw := range map[string][]byte{
		"nothing":          nil,
		"an array":         wire.AppendArrayLen(nil, 0),
		"a text as spec":   wire.AppendString(wire.AppendString(wire.AppendMapLen(nil, 1), "spec"), "x"),
		"a text as labels": wire.AppendString(wire.AppendString(wire.AppendMapLen(wire.AppendString(wire.AppendMapLen(nil, 1), "metadata"), 1), "labels"), "x"),
		"cut off":          wire.AppendMapLen(nil, 1),
	} {
		if out, err := renderer.Render(raw); err == nil {
			t.Errorf("%s gives %q", name, out.Text)
		}
	}
	// The renderer still works.
	if _, err := renderer.Render(onTheWire(t, "pods", []byte(`{"metadata":{"name":"p"}}`))); err != nil {
		t.Error(err)
	}
}

// FuzzRender gives any bytes to every kind: nothing may panic, and what is rendered must be whole lines, none of a series twice.
func FuzzRender(f *testing.F) {
	names := collector.Names(false)
	for i, resource := range names {
		for j, c := range readCases(f, resource) {
			if j < 3 {
				f.Add(byte(i), onTheWire(f, resource, c.Object))
			}
		}
	}
	renderers := make([]collector.Renderer, len(names))
	for i, resource := range names {
		renderers[i], _ = rendererOf(f, resource, everything)
	}
	f.Fuzz(func(t *testing.T, kind byte, raw []byte) {
		out, err := renderers[int(kind)%len(renderers)].Render(raw)
		if err != nil {
			return
		}
		if len(out.Text) > 0 && out.Text[len(out.Text)-1] != '\n' || out.Ends[len(out.Ends)-1] != len(out.Text) {
			t.Errorf("the text is not made of lines: %q", out.Text)
		}
		checkSaidOnce(t, out)
		before := string(out.Text)
		if again, err := renderers[int(kind)%len(renderers)].Render(raw); err != nil || string(again.Text) != before {
			t.Errorf("the same object renders differently: %v", err)
		}
	})
}
