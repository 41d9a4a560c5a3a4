package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"k8s.io/kube-state-metrics/v2/pkg/metric"
)

// What came after the pinned release, up to 2.20, told from its description: new families and new kinds, and families
// that changed, which take the place of the pinned release's. This is what Headwater is held to where the pinned
// release cannot tell. Left out is what needs a parser of cron schedules.

// value is a part of an object's JSON. What is not there is the zero value of what is asked for.
type value struct{ of any }

func (v value) at(path ...string) value {
	for _, key := range path {
		m, _ := v.of.(map[string]any)
		v.of = m[key]
	}
	return v
}

func (v value) text() string { s, _ := v.of.(string); return s }
func (v value) there() bool  { return v.of != nil }

// plain is a truth value or a number as it is written; nothing where there is none.
func (v value) plain() string {
	if v.of == nil {
		return ""
	}
	return fmt.Sprint(v.of)
}

func (v value) number() float64 {
	n, ok := v.of.(json.Number)
	if !ok {
		return 0
	}
	f, _ := n.Float64()
	return f
}

func (v value) each() []value {
	list, _ := v.of.([]any)
	all := make([]value, len(list))
	for i := range list {
		all[i] = value{list[i]}
	}
	return all
}

// seconds is a time in Unix seconds; one that is not set is Go's zero time.
func (v value) seconds() float64 {
	t, err := time.Parse(time.RFC3339Nano, v.text())
	if err != nil {
		return float64(time.Time{}.Unix())
	}
	return float64(t.Unix())
}

// series is one series without the identity: labels as name, value, name, value.
type series struct {
	value  float64
	labels []string
}

func one(labels ...string) []series { return []series{{1, labels}} }

// laterFamily is a family that the pinned release lacks, or has in another form.
type laterFamily struct {
	name   string
	series func(o value) []series
}

// later has the families by resource.
var later = map[string][]laterFamily{
	"cronjobs": {
		{"kube_cronjob_spec_suspend", func(o value) []series {
			suspended, _ := o.at("spec", "suspend").of.(bool)
			return []series{{number(suspended), nil}}
		}},
	},
	"endpointslices": {
		{"kube_endpointslice_endpoints", sliceEndpoints},
		{"kube_endpointslice_ports", func(o value) (all []series) {
			for _, port := range o.at("ports").each() {
				all = append(all, one("port_name", port.at("name").text(), "port_protocol", port.at("protocol").text(), "port_number", port.at("port").plain())...)
			}
			return all
		}},
	},
	"horizontalpodautoscalers": {
		{"kube_horizontalpodautoscaler_spec_target_metric", targets("spec", "metrics", "target")},
		{"kube_horizontalpodautoscaler_status_target_metric", targets("status", "currentMetrics", "current")},
		{"kube_horizontalpodautoscaler_spec_behavior_scale_down_tolerance", tolerance("scaleDown")},
		{"kube_horizontalpodautoscaler_spec_behavior_scale_up_tolerance", tolerance("scaleUp")},
	},
	"mutatingadmissionpolicies": {
		{"kube_mutatingadmissionpolicy_info", policy(true)},
		{"kube_mutatingadmissionpolicy_created", created},
	},
	"mutatingadmissionpolicybindings": {
		{"kube_mutatingadmissionpolicybinding_info", binding},
		{"kube_mutatingadmissionpolicybinding_created", created},
	},
	"validatingadmissionpolicies": {
		{"kube_validatingadmissionpolicy_info", policy(false)},
		{"kube_validatingadmissionpolicy_created", created},
	},
	"validatingadmissionpolicybindings": {
		{"kube_validatingadmissionpolicybinding_info", binding},
		{"kube_validatingadmissionpolicybinding_created", created},
		{"kube_validatingadmissionpolicybinding_validation_action", func(o value) (all []series) {
			for _, action := range o.at("spec", "validationActions").each() {
				all = append(all, one("action", action.text())...)
			}
			return all
		}},
	},
	"nodes": {
		{"kube_node_spec_pod_cidrs", func(o value) (all []series) {
			for _, cidr := range o.at("spec", "podCIDRs").each() {
				all = append(all, one("pod_cidr", cidr.text())...)
			}
			return all
		}},
	},
	"persistentvolumes": {
		{"kube_persistentvolume_access_mode", func(o value) (all []series) {
			for _, mode := range o.at("spec", "accessModes").each() {
				all = append(all, one("access_mode", mode.text())...)
			}
			return all
		}},
	},
	"pods": {
		{"kube_pod_init_container_state_started", func(o value) (all []series) {
			for _, c := range o.at("status", "initContainerStatuses").each() {
				for _, state := range []string{"running", "terminated"} {
					if s := c.at("state", state); s.there() {
						all = append(all, series{s.at("startedAt").seconds(), []string{"container", c.at("name").text()}})
						break
					}
				}
			}
			return all
		}},
		{"kube_pod_init_container_status_last_terminated_exitcode", lastTerminated(func(t value) float64 { return t.at("exitCode").number() })},
		{"kube_pod_init_container_status_last_terminated_timestamp", lastTerminated(func(t value) float64 { return t.at("finishedAt").seconds() })},
		{"kube_pod_spec_volumes_persistentvolumeclaims_info", volumeClaims(func(value) float64 { return 1 })},
		{"kube_pod_spec_volumes_persistentvolumeclaims_readonly", volumeClaims(func(volume value) float64 {
			readOnly, _ := volume.at("persistentVolumeClaim", "readOnly").of.(bool)
			return number(readOnly)
		})},
		{"kube_pod_resourceclaim_info", resourceClaims},
		{"kube_pod_status_disruption_reason", disruptions},
		{"kube_pod_status_reason", podReasons},
	},
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func created(o value) []series {
	at := o.at("metadata", "creationTimestamp")
	if !at.there() {
		return nil
	}
	return []series{{at.seconds(), nil}}
}

func tolerance(direction string) func(o value) []series {
	return func(o value) []series {
		q, err := resource.ParseQuantity(o.at("spec", "behavior", direction, "tolerance").text())
		if err != nil {
			return nil
		}
		return []series{{q.AsApproximateFloat64(), nil}}
	}
}

// targets are the values that an autoscaler wants or sees: up to three series for each metric.
func targets(part, list, which string) func(o value) []series {
	sources := map[string]string{"Object": "object", "Pods": "pods", "External": "external", "Resource": "resource", "ContainerResource": "containerResource"}
	return func(o value) (all []series) {
		for _, m := range o.at(part, list).each() {
			source := m.at(sources[m.at("type").text()])
			if !source.there() {
				continue
			}
			name := source.at("name").text()
			if metric := source.at("metric"); metric.there() {
				name = metric.at("name").text()
			}
			add := func(kind string, v float64) {
				all = append(all, series{v, []string{"metric_name", name, "metric_target_type", kind, "container", source.at("container").text()}})
			}
			if q, err := resource.ParseQuantity(source.at(which, "value").text()); err == nil {
				add("value", milli(q))
			}
			if q, err := resource.ParseQuantity(source.at(which, "averageValue").text()); err == nil {
				add("average", milli(q))
			}
			if u := source.at(which, "averageUtilization"); u.there() {
				add("utilization", u.number())
			}
		}
		return all
	}
}

// milli is a quantity in thousandths where these fit into an integer, else in whole units.
func milli(q resource.Quantity) float64 {
	if q.Value() > resource.MaxMilliValue {
		return float64(q.Value())
	}
	return float64(q.MilliValue()) / 1000
}

func sliceEndpoints(o value) (all []series) {
	for _, e := range o.at("endpoints").each() {
		for _, address := range e.at("addresses").each() {
			all = append(all, one("ready", e.at("conditions", "ready").plain(), "serving", e.at("conditions", "serving").plain(),
				"hostname", e.at("hostname").text(), "terminating", e.at("conditions", "terminating").plain(),
				"targetref_kind", e.at("targetRef", "kind").text(), "targetref_name", e.at("targetRef", "name").text(),
				"targetref_namespace", e.at("targetRef", "namespace").text(), "endpoint_nodename", e.at("nodeName").text(),
				"endpoint_zone", e.at("zone").text(), "address", address.text())...)
		}
	}
	return all
}

// volumeClaims is a series for each volume of a claim, be it named or made for the pod.
func volumeClaims(of func(volume value) float64) func(o value) []series {
	return func(o value) (all []series) {
		for _, volume := range o.at("spec", "volumes").each() {
			claim, ephemeral := volume.at("persistentVolumeClaim", "claimName").text(), "false"
			if !volume.at("persistentVolumeClaim").there() {
				if !volume.at("ephemeral").there() {
					continue
				}
				claim, ephemeral = o.at("metadata", "name").text()+"-"+volume.at("name").text(), "true"
			}
			all = append(all, series{of(volume), []string{"volume", volume.at("name").text(), "persistentvolumeclaim", claim, "ephemeral", ephemeral}})
		}
		return all
	}
}

func policy(mutating bool) func(o value) []series {
	return func(o value) []series {
		spec := o.at("spec")
		labels := []string{"param_api_version", spec.at("paramKind", "apiVersion").text(), "param_kind", spec.at("paramKind", "kind").text(),
			"failure_policy", spec.at("failurePolicy").text()}
		if mutating {
			labels = append(labels, "reinvocation_policy", spec.at("reinvocationPolicy").text())
		}
		return one(labels...)
	}
}

func binding(o value) []series {
	ref := o.at("spec", "paramRef")
	return one("policy_name", o.at("spec", "policyName").text(), "param_name", ref.at("name").text(),
		"param_namespace", ref.at("namespace").text(), "param_not_found_action", ref.at("parameterNotFoundAction").text())
}

func lastTerminated(of func(terminated value) float64) func(o value) []series {
	return func(o value) (all []series) {
		for _, c := range o.at("status", "initContainerStatuses").each() {
			if t := c.at("lastState", "terminated"); t.there() {
				all = append(all, series{of(t), []string{"container", c.at("name").text()}})
			}
		}
		return all
	}
}

func resourceClaims(o value) (all []series) {
	for _, claim := range o.at("spec", "resourceClaims").each() {
		direct, template := claim.at("resourceClaimName"), claim.at("resourceClaimTemplateName")
		name := direct.text()
		if !direct.there() && template.there() {
			for _, status := range o.at("status", "resourceClaimStatuses").each() {
				if status.at("name").text() == claim.at("name").text() && status.at("resourceClaimName").there() {
					name = status.at("resourceClaimName").text()
					break
				}
			}
		}
		if direct.there() || template.there() {
			all = append(all, one("claim_name", claim.at("name").text(), "resourceclaim_name", name, "resourceclaim_template_name", template.text())...)
		}
	}
	return all
}

func disruptions(o value) (all []series) {
	known := []string{"PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC", "TerminationByKubelet"}
	for _, c := range o.at("status", "conditions").each() {
		if c.at("type").text() != "DisruptionTarget" {
			continue
		}
		reason := c.at("reason").text()
		if !slices.Contains(known, reason) {
			reason = "Other"
		}
		all = append(all, one("reason", reason)...)
	}
	return all
}

func podReasons(o value) (all []series) {
	known := []string{"Evicted", "NodeAffinity", "NodeLost", "PreemptionByScheduler", "SchedulingGated", "Shutdown", "TerminationByKubelet", "UnexpectedAdmissionError"}
	status := o.at("status")
	for _, reason := range known {
		says := status.at("reason").text() == reason
		for _, c := range status.at("conditions").each() {
			says = says || c.at("reason").text() == reason
		}
		for _, c := range status.at("containerStatuses").each() {
			says = says || c.at("state", "terminated", "reason").text() == reason
		}
		if says {
			all = append(all, one("reason", reason)...)
		}
	}
	if reason := status.at("reason").text(); reason != "" && !slices.Contains(known, reason) {
		all = append(all, one("reason", "Other")...)
	}
	return all
}

// identity are the labels that every series of the resource's objects carries.
func identity(resource string, o value) (names, values []string) {
	meta := o.at("metadata")
	singular := strings.TrimSuffix(resource, "s")
	if strings.HasSuffix(resource, "policies") {
		singular = strings.TrimSuffix(resource, "ies") + "y"
	}
	switch resource {
	case "nodes", "persistentvolumes":
		return []string{singular}, []string{meta.at("name").text()}
	case "pods":
		return []string{"namespace", singular, "uid"}, []string{meta.at("namespace").text(), meta.at("name").text(), meta.at("uid").text()}
	}
	if resource == "endpointslices" {
		return []string{"endpointslice", "namespace"}, []string{meta.at("name").text(), meta.at("namespace").text()}
	}
	return []string{"namespace", singular}, []string{meta.at("namespace").text(), meta.at("name").text()}
}

// askLater renders the later families of an object.
func askLater(resource string, raw []byte) ([]family, error) {
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	var o value
	if err := decoder.Decode(&o.of); err != nil {
		return nil, err
	}
	all := []family{}
	for _, l := range later[resource] {
		f := metric.Family{Name: l.name}
		for _, s := range l.series(o) {
			names, values := identity(resource, o)
			for i := 0; i < len(s.labels); i += 2 {
				names, values = append(names, s.labels[i]), append(values, s.labels[i+1])
			}
			f.Metrics = append(f.Metrics, &metric.Metric{LabelKeys: names, LabelValues: values, Value: s.value})
		}
		if len(f.Metrics) > 0 {
			all = append(all, family{Name: l.name, Type: string(metric.Gauge), Text: string(f.ByteSlice())})
		}
	}
	return all, nil
}
