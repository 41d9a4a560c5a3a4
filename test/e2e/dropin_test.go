package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestArgumentsOfKubeStateMetrics: arguments as people have them for kube-state-metrics, from its own manifests, from
// kube-prometheus, from the Helm chart and from OpenShift. The exporter starts with each, and does what it is told.
// $(NAME) stands for what differs here: ports, names and files.
func TestArgumentsOfKubeStateMetrics(t *testing.T) {
	w := shared
	w.quiet(t)
	w.apply(t, `
apiVersion: v1
kind: Namespace
metadata: {name: dropin}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {namespace: dropin, name: kube-state-metrics}
spec:
  replicas: 1
  serviceName: kube-state-metrics
  selector: {matchLabels: {app: kube-state-metrics}}
  template:
    metadata: {labels: {app: kube-state-metrics}, annotations: {example.com/team: observability}}
    spec: {containers: [{name: kube-state-metrics, image: registry.example/kube-state-metrics:1}]}
`)
	w.running(t, "dropin", 1)
	dir := t.TempDir()
	foos := write(t, filepath.Join(dir, "config.yaml"), foosConfig)
	kubeconfig, err := w.KubeconfigFor("kube-state-metrics")
	if err != nil {
		t.Fatal(err)
	}
	node := w.Kubelets.Nodes()[0]

	const (
		allButPods    = "--resources=certificatesigningrequests,configmaps,cronjobs,daemonsets,deployments,endpointslices,horizontalpodautoscalers,ingresses,jobs,leases,limitranges,mutatingwebhookconfigurations,namespaces,networkpolicies,nodes,persistentvolumeclaims,persistentvolumes,poddisruptionbudgets,replicasets,replicationcontrollers,resourcequotas,secrets,services,statefulsets,storageclasses,validatingwebhookconfigurations,volumeattachments"
		theChart      = "--resources=certificatesigningrequests,configmaps,cronjobs,daemonsets,deployments,endpointslices,horizontalpodautoscalers,ingresses,jobs,leases,limitranges,mutatingwebhookconfigurations,namespaces,networkpolicies,nodes,persistentvolumeclaims,persistentvolumes,poddisruptionbudgets,pods,replicasets,replicationcontrollers,resourcequotas,secrets,services,statefulsets,storageclasses,validatingwebhookconfigurations,volumeattachments"
		pod           = `kube_pod_info{namespace="still"`
		configMap     = `kube_configmap_info{namespace="still"`
		nodeInfo      = "kube_node_info{"
		kubeSystem    = `namespace="kube-system"`
		created       = "kube_pod_created{"
		appLabel      = `label_app="web"`
		statefulSet   = `kube_statefulset_replicas{namespace="dropin"`
		secretInfo    = `kube_secret_info{namespace="still"`
		secretLabels  = "kube_secret_labels{"
		runningStatus = "kube_pod_container_status_running{"
		version       = "kube_configmap_metadata_resource_version{"
	)
	for _, c := range []struct {
		name        string
		args        []string
		has, hasNot []string
		pods        int // of kube_pod_info in the namespace still
	}{
		{name: "examples/standard", args: nil,
			has: []string{pod, configMap, nodeInfo, secretInfo, version}, hasNot: []string{appLabel, "kube_pod_labels{"}, pods: stillPods},
		{name: "examples/autosharding", args: []string{"--pod=$(POD_NAME)", "--pod-namespace=$(POD_NAMESPACE)"},
			has: []string{pod, configMap, nodeInfo, statefulSet}, pods: stillPods},
		{name: "examples/daemonsetsharding, DaemonSet", args: []string{"--resources=pods", "--node=$(NODE_NAME)"},
			has: []string{"kube_pod_info{", `node="` + node + `"`}, hasNot: []string{configMap, nodeInfo, `node="` + w.Kubelets.Nodes()[1] + `"`}, pods: -1},
		{name: "examples/daemonsetsharding, Deployment", args: []string{allButPods},
			has: []string{configMap, nodeInfo}, hasNot: []string{"kube_pod_info{"}},
		{name: "examples/daemonsetsharding, unscheduled pods", args: []string{"--resources=pods", "--track-unscheduled-pods"},
			hasNot: []string{pod, configMap, nodeInfo}},
		{name: "README, sharding", args: []string{"--shard=0", "--total-shards=1"},
			has: []string{pod, configMap}, pods: stillPods},
		{name: "README, namespaces", args: []string{"--namespaces=still,default", "--resources=pods"},
			has: []string{pod}, hasNot: []string{configMap, kubeSystem, "dropin"}, pods: stillPods},
		{name: "docs, custom resources", args: []string{"--custom-resource-state-config", foosConfig, "--custom-resource-state-only=true"},
			hasNot: []string{pod, configMap, nodeInfo, "container_cpu_usage_seconds_total"}},
		{name: "docs, flags", args: []string{"--kubeconfig=$(KUBECONFIG)", "--apiserver=https://127.0.0.1:1", "--use-apiserver-cache", "--object-limit=500", "--enable-gzip-encoding",
			"--auto-gomemlimit", "--auto-gomemlimit-ratio=0.8", "--server-read-timeout=30s", "--server-write-timeout=30s", "--server-idle-timeout=1m", "--server-read-header-timeout=5s",
			"--logtostderr=true", "--stderrthreshold=ERROR", "-v=2", "--metric-opt-in-list=", "--namespaces-denylist=kube-system"},
			has: []string{pod, configMap}, hasNot: []string{`kube_pod_info{namespace="kube-system"`, `kube_configmap_info{namespace="kube-system"`}, pods: stillPods},
		{name: "kube-prometheus", args: []string{"--host=127.0.0.1", "--port=$(PORT)", "--telemetry-host=127.0.0.1", "--telemetry-port=$(TELEMETRY_PORT)"},
			has: []string{pod, configMap, nodeInfo, created}, pods: stillPods},
		{name: "kube-prometheus, ksm-lite", args: []string{"--host=127.0.0.1", "--port=$(PORT)", "--telemetry-host=127.0.0.1", "--telemetry-port=$(TELEMETRY_PORT)",
			"--metric-denylist=\n^kube_.+_created$,\n^kube_.+_metadata_resource_version$,\n^kube_replicaset_metadata_generation$,\n^kube_replicaset_status_observed_generation$,\n^kube_pod_restart_policy$,\n^kube_pod_init_container_status_terminated$,\n^kube_pod_init_container_status_running$,\n^kube_pod_container_status_terminated$,\n^kube_pod_container_status_running$,\n^kube_pod_completion_time$,\n^kube_pod_status_scheduled$\n"},
			has: []string{pod, configMap, "kube_pod_container_status_ready{"}, pods: stillPods,
			hasNot: []string{created, "kube_configmap_created{", version, "kube_pod_restart_policy", runningStatus, "kube_pod_status_scheduled{", "kube_replicaset_metadata_generation"}},
		{name: "OpenShift", args: []string{"--host=127.0.0.1", "--port=$(PORT)", "--telemetry-host=127.0.0.1", "--telemetry-port=$(TELEMETRY_PORT)",
			"--metric-denylist=\n^kube_secret_labels$,\n^kube_.+_annotations$\n^kube_customresource_.+_annotations_info$,\n^kube_customresource_.+_labels_info$,\n",
			"--metric-labels-allowlist=pods=[*],nodes=[*],namespaces=[*],persistentvolumes=[*],persistentvolumeclaims=[*],poddisruptionbudgets=[*],jobs=[*],cronjobs=[*]",
			"--metric-denylist=\n^kube_.+_created$,\n^kube_.+_metadata_resource_version$\n"},
			has: []string{pod, appLabel, "kube_node_labels{", secretInfo}, hasNot: []string{secretLabels, created, version}, pods: stillPods},
		{name: "Helm chart", args: []string{"--port=$(PORT)", theChart, "--metric-labels-allowlist=pods=[*], nodes=[kubernetes.io/hostname,topology.kubernetes.io/zone]",
			"--metric-annotations-allowlist=pods=[example.com/team]", "--metric-denylist=kube_secret_labels", "--namespaces-denylist=kube-node-lease",
			"--telemetry-port=$(TELEMETRY_PORT)", "--custom-resource-state-config-file=$(CUSTOM)"},
			has: []string{pod, configMap, appLabel, `annotation_example_com_team="observability"`}, hasNot: []string{secretLabels}, pods: stillPods},
		{name: "Helm chart with kube-rbac-proxy", args: []string{"--port=$(PORT)", theChart, "--telemetry-host=127.0.0.1", "--telemetry-port=$(TELEMETRY_PORT)"},
			has: []string{pod, configMap}, pods: stillPods},
		{name: "all labels of all", args: []string{"--metric-labels-allowlist=*=[*]", "--metric-annotations-allowlist=*=[*]"},
			has: []string{pod, appLabel, `annotation_example_com_team="observability"`}, pods: stillPods},
		{name: "some families", args: []string{"--metric-allowlist=kube_pod_status_phase,kube_pod_info,kube_deployment_.*", "--resources=pods,deployments", "--enable-gzip-encoding=false"},
			has: []string{pod, "kube_pod_status_phase{", "kube_deployment_spec_replicas{"}, hasNot: []string{created, "kube_pod_owner", configMap, "container_cpu"}, pods: stillPods},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := w.replicaBare(t, "exporter", func(port, telemetry int) []string {
				known := strings.NewReplacer("$(PORT)", strconv.Itoa(port), "$(TELEMETRY_PORT)", strconv.Itoa(telemetry), "$(NODE_NAME)", node, "$(CUSTOM)", foos,
					"$(KUBECONFIG)", kubeconfig, "$(POD_NAME)", "kube-state-metrics-0", "$(POD_NAMESPACE)", "dropin")
				args := []string{"--cluster=e2e"}
				for _, arg := range c.args {
					args = append(args, known.Replace(arg))
				}
				if !slices.ContainsFunc(c.args, func(arg string) bool { return strings.HasPrefix(arg, "--port=") }) { // the defaults may be taken
					args = append(args, fmt.Sprintf("--port=%d", port), fmt.Sprintf("--telemetry-port=%d", telemetry))
				}
				return args
			})
			serve(t, r)
			eventually(t, 5*time.Second, func() error { _, err := get(strings.Replace(r.metrics, "/metrics", "/livez", 1)); return err })
			body := fetch(t, r.metrics)
			lines := filter(body, func(string) bool { return true })
			shows := func(text string) bool {
				return slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, text) })
			}
			for _, text := range c.has {
				if !shows(text) {
					t.Errorf("it lacks %s", text)
				}
			}
			for _, text := range c.hasNot {
				if shows(text) {
					t.Errorf("it has %s", text)
				}
			}
			if n := count(ofNamespaces(still)(body), "kube_pod_info"); c.pods >= 0 && n != c.pods {
				t.Errorf("%d pods, want %d", n, c.pods)
			}
		})
	}
}
