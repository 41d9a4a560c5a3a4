package apiserver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

// column is one column of a Table. Those of priority 1 show with `-o wide`.
type column struct {
	name     string
	priority int32
	cell     func(obj runtime.Object) any
}

var age = column{name: "Age", cell: func(obj runtime.Object) any { return ageOf(accessorOf(obj).GetCreationTimestamp()) }}

// columns are, by kind, those behind NAME. AGE comes behind the last of priority 0, unless it is named.
var columns = map[string][]column{
	"Pod": {
		{"Ready", 0, func(obj runtime.Object) any {
			ready, all, _ := podContainers(obj.(*corev1.Pod))
			return ratio(ready, all)
		}},
		{"Status", 0, func(obj runtime.Object) any { return podStatus(obj.(*corev1.Pod)) }},
		{"Restarts", 0, func(obj runtime.Object) any { return podRestarts(obj.(*corev1.Pod)) }},
		{"IP", 1, func(obj runtime.Object) any { return orNone(obj.(*corev1.Pod).Status.PodIP) }},
		{"Node", 1, func(obj runtime.Object) any { return orNone(obj.(*corev1.Pod).Spec.NodeName) }},
	},
	"Node": {
		{"Status", 0, func(obj runtime.Object) any { return nodeStatus(obj.(*corev1.Node)) }},
		{"Roles", 0, func(obj runtime.Object) any { return nodeRoles(obj.(*corev1.Node)) }},
		age,
		{"Version", 0, func(obj runtime.Object) any { return obj.(*corev1.Node).Status.NodeInfo.KubeletVersion }},
		{"Internal-IP", 1, func(obj runtime.Object) any { return orNone(nodeAddress(obj.(*corev1.Node))) }},
		{"OS-Image", 1, func(obj runtime.Object) any { return obj.(*corev1.Node).Status.NodeInfo.OSImage }},
		{"Kernel-Version", 1, func(obj runtime.Object) any { return obj.(*corev1.Node).Status.NodeInfo.KernelVersion }},
		{"Container-Runtime", 1, func(obj runtime.Object) any { return obj.(*corev1.Node).Status.NodeInfo.ContainerRuntimeVersion }},
	},
	"Deployment": {
		{"Ready", 0, func(obj runtime.Object) any {
			return ratio(obj.(*appsv1.Deployment).Status.ReadyReplicas, wantedReplicas(obj.(*appsv1.Deployment).Spec.Replicas))
		}},
		{"Up-to-date", 0, func(obj runtime.Object) any { return int64(obj.(*appsv1.Deployment).Status.UpdatedReplicas) }},
		{"Available", 0, func(obj runtime.Object) any { return int64(obj.(*appsv1.Deployment).Status.AvailableReplicas) }},
	},
	"ReplicaSet": {
		{"Desired", 0, func(obj runtime.Object) any { return int64(wantedReplicas(obj.(*appsv1.ReplicaSet).Spec.Replicas)) }},
		{"Current", 0, func(obj runtime.Object) any { return int64(obj.(*appsv1.ReplicaSet).Status.Replicas) }},
		{"Ready", 0, func(obj runtime.Object) any { return int64(obj.(*appsv1.ReplicaSet).Status.ReadyReplicas) }},
	},
	"StatefulSet": {
		{"Ready", 0, func(obj runtime.Object) any {
			return ratio(obj.(*appsv1.StatefulSet).Status.ReadyReplicas, wantedReplicas(obj.(*appsv1.StatefulSet).Spec.Replicas))
		}},
	},
	"DaemonSet": {
		{"Desired", 0, func(obj runtime.Object) any { return int64(obj.(*appsv1.DaemonSet).Status.DesiredNumberScheduled) }},
		{"Current", 0, func(obj runtime.Object) any { return int64(obj.(*appsv1.DaemonSet).Status.CurrentNumberScheduled) }},
		{"Ready", 0, func(obj runtime.Object) any { return int64(obj.(*appsv1.DaemonSet).Status.NumberReady) }},
	},
	"Job": {
		{"Completions", 0, func(obj runtime.Object) any {
			return ratio(obj.(*batchv1.Job).Status.Succeeded, wantedReplicas(obj.(*batchv1.Job).Spec.Completions))
		}},
	},
	"CronJob": {
		{"Schedule", 0, func(obj runtime.Object) any { return obj.(*batchv1.CronJob).Spec.Schedule }},
		{"Active", 0, func(obj runtime.Object) any { return int64(len(obj.(*batchv1.CronJob).Status.Active)) }},
	},
	"HorizontalPodAutoscaler": {
		{"Minpods", 0, func(obj runtime.Object) any {
			return int64(wantedReplicas(obj.(*autoscalingv2.HorizontalPodAutoscaler).Spec.MinReplicas))
		}},
		{"Maxpods", 0, func(obj runtime.Object) any {
			return int64(obj.(*autoscalingv2.HorizontalPodAutoscaler).Spec.MaxReplicas)
		}},
		{"Replicas", 0, func(obj runtime.Object) any {
			return int64(obj.(*autoscalingv2.HorizontalPodAutoscaler).Status.CurrentReplicas)
		}},
	},
	"Namespace": {
		{"Status", 0, func(obj runtime.Object) any { return string(obj.(*corev1.Namespace).Status.Phase) }},
	},
	"Service": {
		{"Type", 0, func(obj runtime.Object) any { return string(obj.(*corev1.Service).Spec.Type) }},
		{"Cluster-IP", 0, func(obj runtime.Object) any { return orNone(obj.(*corev1.Service).Spec.ClusterIP) }},
		{"Port(s)", 0, func(obj runtime.Object) any { return servicePorts(obj.(*corev1.Service)) }},
	},
	"ConfigMap": {
		{"Data", 0, func(obj runtime.Object) any {
			return int64(len(obj.(*corev1.ConfigMap).Data) + len(obj.(*corev1.ConfigMap).BinaryData))
		}},
	},
	"Secret": {
		{"Type", 0, func(obj runtime.Object) any { return string(obj.(*corev1.Secret).Type) }},
		{"Data", 0, func(obj runtime.Object) any { return int64(len(obj.(*corev1.Secret).Data)) }},
	},
	"PersistentVolumeClaim": {
		{"Status", 0, func(obj runtime.Object) any { return string(obj.(*corev1.PersistentVolumeClaim).Status.Phase) }},
		{"Volume", 0, func(obj runtime.Object) any { return obj.(*corev1.PersistentVolumeClaim).Spec.VolumeName }},
	},
	"PersistentVolume": {
		{"Status", 0, func(obj runtime.Object) any { return string(obj.(*corev1.PersistentVolume).Status.Phase) }},
	},
	"Lease": {
		{"Holder", 0, func(obj runtime.Object) any {
			if holder := obj.(*coordinationv1.Lease).Spec.HolderIdentity; holder != nil {
				return *holder
			}
			return "<none>"
		}},
	},
	"Event": {
		{"Type", 0, func(obj runtime.Object) any { return obj.(*corev1.Event).Type }},
		{"Reason", 0, func(obj runtime.Object) any { return obj.(*corev1.Event).Reason }},
		{"Message", 0, func(obj runtime.Object) any { return obj.(*corev1.Event).Message }},
	},
}

// newTable makes the Table that kubectl prints.
func newTable(f format, res *Resource, items []*item, listMeta metav1.ListMeta, withColumns bool) (*metav1.Table, error) {
	t := &metav1.Table{
		TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/" + cmp.Or(f.version, "v1")},
		ListMeta: listMeta,
		Rows:     make([]metav1.TableRow, 0, len(items)),
	}
	all := append([]column{{name: "Name", cell: func(obj runtime.Object) any { return accessorOf(obj).GetName() }}}, res.columns()...)
	if !slices.ContainsFunc(all, func(c column) bool { return c.name == age.name }) {
		at := slices.IndexFunc(all, func(c column) bool { return c.priority > 0 })
		if at < 0 {
			at = len(all)
		}
		all = slices.Insert(all, at, age)
	}
	if withColumns {
		for _, c := range all {
			t.ColumnDefinitions = append(t.ColumnDefinitions, c.definition())
		}
	}
	for _, it := range items {
		obj, err := it.decodeWithKind(res)
		if err != nil {
			return nil, err
		}
		row := metav1.TableRow{Cells: make([]any, 0, len(all))}
		for _, c := range all {
			row.Cells = append(row.Cells, c.cell(obj))
		}
		if row.Object.Raw, err = rowObject(f, it, obj); err != nil {
			return nil, err
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

// columns are those of a kind of the table; custom resources have none, whatever their kind is called.
func (r *Resource) columns() []column {
	if r.custom {
		return nil
	}
	return columns[r.Kind]
}

func (c column) definition() metav1.TableColumnDefinition {
	d := metav1.TableColumnDefinition{Name: c.name, Type: "string", Priority: c.priority, Description: c.name + " of the object"}
	switch c.name {
	case "Name":
		d.Format = "name"
	case "Desired", "Current", "Up-to-date", "Available", "Active", "Minpods", "Maxpods", "Replicas", "Data":
		d.Type = "integer"
	}
	return d
}

func rowObject(f format, it *item, obj runtime.Object) ([]byte, error) {
	switch f.include {
	case string(metav1.IncludeNone):
		return nil, nil
	case string(metav1.IncludeObject):
		return json.Marshal(obj)
	}
	partial, err := it.partial()
	if err != nil {
		return nil, err
	}
	return json.Marshal(partial)
}

func accessorOf(obj runtime.Object) metav1.Object {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return &metav1.ObjectMeta{}
	}
	return accessor
}

func ageOf(created metav1.Time) string {
	if created.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(created.Time))
}

func orNone(s string) string { return cmp.Or(s, "<none>") }

func ratio(ready, all int32) string { return fmt.Sprintf("%d/%d", ready, all) }

func wantedReplicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func podContainers(pod *corev1.Pod) (ready, all int32, restarts int32) {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Ready {
			ready++
		}
		restarts += status.RestartCount
	}
	return ready, int32(len(pod.Spec.Containers)), restarts
}

func podRestarts(pod *corev1.Pod) string {
	_, _, restarts := podContainers(pod)
	return strconv.Itoa(int(restarts))
}

// podStatus is the pod's phase, or why it isn't well.
func podStatus(pod *corev1.Pod) string {
	status := cmp.Or(pod.Status.Reason, string(pod.Status.Phase))
	for _, container := range pod.Status.ContainerStatuses {
		switch state := container.State; {
		case state.Waiting != nil && state.Waiting.Reason != "":
			status = state.Waiting.Reason
		case state.Terminated != nil && state.Terminated.Reason != "":
			status = state.Terminated.Reason
		}
	}
	if pod.DeletionTimestamp != nil {
		return "Terminating"
	}
	return status
}

func nodeStatus(node *corev1.Node) string {
	status := "Unknown"
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			status = "NotReady"
			if condition.Status == corev1.ConditionTrue {
				status = "Ready"
			}
		}
	}
	if node.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

func nodeRoles(node *corev1.Node) string {
	var roles []string
	for label := range node.Labels {
		if role, ok := strings.CutPrefix(label, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		}
	}
	slices.Sort(roles)
	return orNone(strings.Join(roles, ","))
}

func nodeAddress(node *corev1.Node) string {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return address.Address
		}
	}
	return ""
}

func servicePorts(service *corev1.Service) string {
	var ports []string
	for _, port := range service.Spec.Ports {
		ports = append(ports, fmt.Sprintf("%d/%s", port.Port, cmp.Or(port.Protocol, corev1.ProtocolTCP)))
	}
	return orNone(strings.Join(ports, ","))
}
