package collector_test

import (
	"bytes"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/internal/specimen"
	"github.com/headwater-metrics/headwater/services/exporter/internal/strict"
	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// commonFamilies are what the usual dashboards and alerts read, each with its type and, of one of its series, the labels
// that they join and filter by: the 50 families of kubernetes-mixin, and 22 more of the dashboards of dotdc. Their type is
// gauge but for one. A family with a flag has series only where that flag is given.
var commonFamilies = []struct{ name, labels, flag string }{
	// kubernetes-mixin
	{"kube_daemonset_status_current_number_scheduled", `namespace="shop",daemonset="agent"`, ""},
	{"kube_daemonset_status_desired_number_scheduled", `namespace="shop",daemonset="agent"`, ""},
	{"kube_daemonset_status_number_available", `namespace="shop",daemonset="agent"`, ""},
	{"kube_daemonset_status_number_misscheduled", `namespace="shop",daemonset="agent"`, ""},
	{"kube_daemonset_status_updated_number_scheduled", `namespace="shop",daemonset="agent"`, ""},
	{"kube_deployment_metadata_generation", `namespace="team-00",deployment="service-0"`, ""},
	{"kube_deployment_spec_replicas", `namespace="team-00",deployment="service-0"`, ""},
	{"kube_deployment_status_condition", `namespace="team-00",deployment="service-0",reason="MinimumReplicasAvailable",condition="Available",status="true"`, ""},
	{"kube_deployment_status_observed_generation", `namespace="team-00",deployment="service-0"`, ""},
	{"kube_deployment_status_replicas_available", `namespace="team-00",deployment="service-0"`, ""},
	{"kube_deployment_status_replicas_updated", `namespace="team-00",deployment="service-0"`, ""},
	{"kube_horizontalpodautoscaler_spec_max_replicas", `namespace="shop",horizontalpodautoscaler="web"`, ""},
	{"kube_horizontalpodautoscaler_spec_min_replicas", `namespace="shop",horizontalpodautoscaler="web"`, ""},
	{"kube_horizontalpodautoscaler_status_current_replicas", `namespace="shop",horizontalpodautoscaler="web"`, ""},
	{"kube_horizontalpodautoscaler_status_desired_replicas", `namespace="shop",horizontalpodautoscaler="web"`, ""},
	{"kube_job_failed", `namespace="shop",job_name="backup",condition="true"`, ""},
	{"kube_job_owner", `namespace="shop",job_name="backup",owner_kind="",owner_name="",owner_is_controller=""`, ""},
	{"kube_job_status_active", `namespace="shop",job_name="backup"`, ""},
	{"kube_job_status_start_time", `namespace="shop",job_name="backup"`, ""},
	{"kube_namespace_status_phase", `namespace="team-00",phase="Active"`, ""},
	{"kube_node_info", `node="ip-10-0-0-0.example.internal",`, ""},
	{"kube_node_role", `node="ip-10-0-0-0.example.internal",role="worker"`, ""},
	{"kube_node_spec_taint", `node="ip-10-0-0-0.example.internal",key="dedicated",value="shop",effect="NoSchedule"`, ""},
	{"kube_node_spec_unschedulable", `node="ip-10-0-0-0.example.internal"`, ""},
	{"kube_node_status_allocatable", `node="ip-10-0-0-0.example.internal",resource="cpu",unit="core"`, ""},
	{"kube_node_status_capacity", `node="ip-10-0-0-0.example.internal",resource="memory",unit="byte"`, ""},
	{"kube_node_status_condition", `node="ip-10-0-0-0.example.internal",condition="Ready",status="true"`, ""},
	{"kube_persistentvolume_status_phase", `persistentvolume="disk",phase="Bound"`, ""},
	{"kube_persistentvolumeclaim_access_mode", `namespace="shop",persistentvolumeclaim="data",access_mode="ReadWriteOnce"`, ""},
	{"kube_persistentvolumeclaim_labels", `namespace="shop",persistentvolumeclaim="data",label_app="web"`, "--metric-labels-allowlist"},
	{"kube_pod_container_info", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",container="main"`, ""},
	{"kube_pod_container_resource_limits", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",container="main",node="ip-10-0-0-0.example.internal",resource="memory",unit="byte"`, ""},
	{"kube_pod_container_resource_requests", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",container="main",node="ip-10-0-0-0.example.internal",resource="cpu",unit="core"`, ""},
	{"kube_pod_container_status_waiting_reason", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",container="proxy",reason="CrashLoopBackOff"`, ""},
	{"kube_pod_info", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",`, ""},
	{"kube_pod_owner", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",owner_kind="ReplicaSet",owner_name="service-0-5f000000",owner_is_controller="true"`, ""},
	{"kube_pod_status_phase", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",phase="Running"`, ""},
	{"kube_pod_status_ready", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",condition="true"`, ""},
	{"kube_pod_status_reason", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",reason="Evicted"`, ""},
	{"kube_poddisruptionbudget_status_current_healthy", `namespace="shop",poddisruptionbudget="web"`, ""},
	{"kube_poddisruptionbudget_status_desired_healthy", `namespace="shop",poddisruptionbudget="web"`, ""},
	{"kube_replicaset_owner", `namespace="team-00",replicaset="service-0-5f000000",owner_kind="Deployment",owner_name="service-0",owner_is_controller="true"`, ""},
	{"kube_resourcequota", `namespace="shop",resourcequota="limits",resource="requests.cpu",type="hard"`, ""},
	{"kube_statefulset_metadata_generation", `namespace="shop",statefulset="db"`, ""},
	{"kube_statefulset_replicas", `namespace="shop",statefulset="db"`, ""},
	{"kube_statefulset_status_current_revision", `namespace="shop",statefulset="db",revision="db-1"`, ""},
	{"kube_statefulset_status_observed_generation", `namespace="shop",statefulset="db"`, ""},
	{"kube_statefulset_status_replicas_ready", `namespace="shop",statefulset="db"`, ""},
	{"kube_statefulset_status_replicas_updated", `namespace="shop",statefulset="db"`, ""},
	{"kube_statefulset_status_update_revision", `namespace="shop",statefulset="db",revision="db-2"`, ""},
	// the dashboards' own
	{"kube_configmap_info", `namespace="shop",configmap="settings"`, ""},
	{"kube_daemonset_labels", `namespace="shop",daemonset="agent",label_app="web"`, "--metric-labels-allowlist"},
	{"kube_deployment_labels", `namespace="team-00",deployment="service-0",label_app="web"`, "--metric-labels-allowlist"},
	{"kube_deployment_status_replicas_unavailable", `namespace="team-00",deployment="service-0"`, ""},
	{"kube_endpoint_info", `namespace="shop",endpoint="web"`, "--resources"},
	{"kube_ingress_info", `namespace="shop",ingress="web",ingressclass="public"`, ""},
	{"kube_namespace_created", `namespace="team-00"`, ""},
	{"kube_namespace_labels", `namespace="team-00",label_app="web"`, "--metric-labels-allowlist"},
	{"kube_networkpolicy_labels", `namespace="shop",networkpolicy="web",label_app="web"`, "--metric-labels-allowlist"},
	{"kube_persistentvolumeclaim_info", `namespace="shop",persistentvolumeclaim="data",storageclass="fast",volumename="disk",`, ""},
	{"kube_pod_container_status_last_terminated_exitcode", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",container="main"`, ""},
	{"kube_pod_container_status_last_terminated_reason", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",container="main",reason="OOMKilled"`, ""},
	{"kube_pod_container_status_ready", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",container="main"`, ""},
	{"kube_pod_container_status_restarts_total", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",container="main"`, ""},
	{"kube_pod_container_status_running", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",container="main"`, ""},
	{"kube_pod_container_status_terminated", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",container="main"`, ""},
	{"kube_pod_container_status_waiting", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",container="proxy"`, ""},
	{"kube_pod_status_qos_class", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",qos_class="Burstable"`, ""},
	{"kube_pod_status_scheduled", `namespace="team-00",pod="service-0-5f000000-00000",uid="UID",condition="true"`, ""},
	{"kube_secret_info", `namespace="shop",secret="token"`, ""},
	{"kube_service_info", `namespace="shop",service="web",uid="uid-service",cluster_ip="10.0.0.7",`, ""},
	{"kube_statefulset_labels", `namespace="shop",statefulset="db",label_app="web"`, "--metric-labels-allowlist"},
}

// TestCommonFamilies finds each of the common families in one scrape of a small cluster, with default flags; those that
// need a flag in another one.
func TestCommonFamilies(t *testing.T) {
	if len(commonFamilies) != 72 {
		t.Errorf("%d families are listed, not 72", len(commonFamilies))
	}
	uid := string(specimen.Pod(0).UID)
	byDefault := scrapeOf(t, collector.Options{}, specimens()...)
	flagged := scrapeOf(t, collector.Options{
		Resources: append(collector.Names(true), "endpoints"),
		Labels:    map[string][]string{"*": {"app"}},
	}, specimens()...)
	listed := map[string]bool{}
	for _, f := range commonFamilies {
		if listed[f.name] {
			t.Errorf("%s is listed twice", f.name)
		}
		listed[f.name] = true
		kind := "gauge"
		if f.name == "kube_pod_container_status_restarts_total" {
			kind = "counter"
		}
		header := "\n# TYPE " + f.name + " " + kind + "\n"
		series := "\n" + f.name + "{" + strings.ReplaceAll(f.labels, "UID", uid)
		if f.flag != "--resources" && !strings.Contains(byDefault, header) {
			t.Errorf("a scrape with default flags has no %s of type %s", f.name, kind)
		}
		if got := strings.Contains(byDefault, series); got != (f.flag == "") {
			t.Errorf("a scrape with default flags has%s series that begins with %s", map[bool]string{true: " a", false: " no"}[got], series[1:])
		}
		if !strings.Contains(flagged, header) || !strings.Contains(flagged, series) {
			t.Errorf("a scrape with flags has no %s of type %s with a series that begins with %s", f.name, kind, series[1:])
		}
	}
}

// scrapeOf is the text of a scrape when these objects exist.
func scrapeOf(t *testing.T, options collector.Options, cluster ...runtime.Object) string {
	t.Helper()
	resources, err := collector.New(options)
	if err != nil {
		t.Fatal(err)
	}
	store := exposition.NewStore(resources)
	for _, object := range cluster {
		for i, r := range resources {
			kind, _ := objects.ByResource(r.Name)
			encoder, err := objects.NewEncoder(kind)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := encoder.Append(nil, object)
			if err != nil {
				continue // it is of another kind
			}
			renderer, err := r.NewRenderer()
			if err != nil {
				t.Fatal(err)
			}
			lines, err := renderer.Render(raw)
			if err != nil {
				t.Fatalf("%T: %v", object, err)
			}
			store.Table(i).Put(object.(metav1.Object).GetName(), "", lines.Text, lines.Ends)
		}
	}
	var out bytes.Buffer
	if err := exposition.NewAnswer(exposition.Text, store.Snapshot().Groups()).Write(&out); err != nil {
		t.Fatal(err)
	}
	if _, err := strict.Text(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	return "\n" + out.String()
}

// specimens are a small cluster with one object of each kind that the common families are of.
func specimens() []runtime.Object {
	app := map[string]string{"app": "web"}
	named := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "uid-service", Generation: 2, Labels: app, CreationTimestamp: metav1.Unix(1_767_225_600, 0)}
	}
	clusterWide := named("disk")
	clusterWide.Namespace = ""
	three, fast, public := int32(3), "fast", "public"
	now := metav1.Unix(1_767_225_700, 0)
	quantity := resource.MustParse("4")

	namespace, node, deployment, replicaSet := specimen.Namespace(0), specimen.Node(0), specimen.Deployment(0), specimen.ReplicaSet(0)
	namespace.Labels, deployment.Labels = app, app
	node.Spec.Taints = []corev1.Taint{{Key: "dedicated", Value: "shop", Effect: corev1.TaintEffectNoSchedule}}
	pod := specimen.Restarted(specimen.Pod(0))
	pod.Status.Reason = "Evicted"
	pod.Status.ContainerStatuses[1].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}

	//lint:ignore SA1019 it is one of the kinds that are exported
	endpoints := &corev1.Endpoints{ObjectMeta: named("web")}

	return []runtime.Object{
		namespace, node, deployment, replicaSet, pod,
		&corev1.ConfigMap{ObjectMeta: named("settings")},
		&appsv1.DaemonSet{ObjectMeta: named("agent")},
		endpoints,
		&autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: named("web"), Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MinReplicas: &three, MaxReplicas: 9}, Status: autoscalingv2.HorizontalPodAutoscalerStatus{CurrentReplicas: 3, DesiredReplicas: 4}},
		&networkingv1.Ingress{ObjectMeta: named("web"), Spec: networkingv1.IngressSpec{IngressClassName: &public}},
		&batchv1.Job{ObjectMeta: named("backup"), Status: batchv1.JobStatus{StartTime: &now, Active: 1, Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded"}}}},
		&networkingv1.NetworkPolicy{ObjectMeta: named("web")},
		&corev1.PersistentVolume{ObjectMeta: clusterWide, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound}},
		&corev1.PersistentVolumeClaim{ObjectMeta: named("data"), Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &fast, VolumeName: "disk"}},
		&policyv1.PodDisruptionBudget{ObjectMeta: named("web"), Status: policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 3, DesiredHealthy: 2}},
		&corev1.ResourceQuota{ObjectMeta: named("limits"), Status: corev1.ResourceQuotaStatus{Hard: corev1.ResourceList{"requests.cpu": quantity}}},
		&corev1.Secret{ObjectMeta: named("token")},
		&corev1.Service{ObjectMeta: named("web"), Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.7"}},
		&appsv1.StatefulSet{ObjectMeta: named("db"), Spec: appsv1.StatefulSetSpec{Replicas: &three}, Status: appsv1.StatefulSetStatus{ObservedGeneration: 2, ReadyReplicas: 3, UpdatedReplicas: 1, CurrentRevision: "db-1", UpdateRevision: "db-2"}},
	}
}
