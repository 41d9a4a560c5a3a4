package collector

import (
	"slices"
	"strconv"

	netutils "k8s.io/utils/net"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

type pod struct {
	object
	Spec   podSpec   `json:"spec"`
	Status podStatus `json:"status"`
}

type podSpec struct {
	NodeName           string          `json:"nodeName"`
	HostNetwork        bool            `json:"hostNetwork"`
	PriorityClassName  string          `json:"priorityClassName"`
	RestartPolicy      string          `json:"restartPolicy"`
	RuntimeClassName   *string         `json:"runtimeClassName"`
	SchedulerName      string          `json:"schedulerName"`
	ServiceAccountName string          `json:"serviceAccountName"`
	NodeSelector       objects.Raw     `json:"nodeSelector"`
	Overhead           objects.Raw     `json:"overhead"`
	Containers         []container     `json:"containers"`
	InitContainers     []container     `json:"initContainers"`
	Tolerations        []toleration    `json:"tolerations"`
	Volumes            []volume        `json:"volumes"`
	ResourceClaims     []resourceClaim `json:"resourceClaims"`
}

type toleration struct {
	Key               string `json:"key"`
	Operator          string `json:"operator"`
	Value             string `json:"value"`
	Effect            string `json:"effect"`
	TolerationSeconds *int64 `json:"tolerationSeconds"`
}

type volume struct {
	Name                  string       `json:"name"`
	PersistentVolumeClaim *claimVolume `json:"persistentVolumeClaim"`
	Ephemeral             *struct{}    `json:"ephemeral"`
}

type claimVolume struct {
	ClaimName string `json:"claimName"`
	ReadOnly  bool   `json:"readOnly"`
}

type resourceClaim struct {
	Name                      string  `json:"name"`
	ResourceClaimName         *string `json:"resourceClaimName"`
	ResourceClaimTemplateName *string `json:"resourceClaimTemplateName"`
}

type podStatus struct {
	Phase                 string            `json:"phase"`
	Reason                string            `json:"reason"`
	HostIP                string            `json:"hostIP"`
	PodIP                 string            `json:"podIP"`
	PodIPs                []podIP           `json:"podIPs"`
	QOSClass              string            `json:"qosClass"`
	StartTime             objects.Time      `json:"startTime"`
	Conditions            []condition       `json:"conditions"`
	ContainerStatuses     []containerStatus `json:"containerStatuses"`
	InitContainerStatuses []containerStatus `json:"initContainerStatuses"`
	ResourceClaimStatuses []claimStatus     `json:"resourceClaimStatuses"`
}

type podIP struct {
	IP string `json:"ip"`
}

type claimStatus struct {
	Name              string  `json:"name"`
	ResourceClaimName *string `json:"resourceClaimName"`
}

// pods is the table of pods. What each of a pod's containers exports stands in pods_containers.go.
func pods() families {
	return tableOf(namespacedWithUID[*pod]("pod"), []family[*pod]{
		{"kube_pod_completion_time", stable, "When the last of the pod's containers that have ended did so, in Unix seconds.", podCompletionTime},
		{"kube_pod_container_info", stable, "A container of the pod: its image as asked for and as it runs; always 1.", containerInfo},
		{"kube_pod_container_resource_limits", stable, "Upper bound of a resource that a container may use.", eachContainer(containerLimits)},
		{"kube_pod_container_resource_requests", stable, "Amount of a resource that a container asks to be set aside for it.", eachContainer(containerRequests)},
		{"kube_pod_container_state_started", stable, "When the container's current or ended run began, in Unix seconds.", eachStatus(containerStarted)},
		{"kube_pod_container_status_last_terminated_reason", alpha, "Why the container's previous run ended; always 1.", eachStatus(containerLastReason)},
		{"kube_pod_container_status_last_terminated_exitcode", alpha, "Exit code of the container's previous run.", eachStatus(containerLastExitCode)},
		{"kube_pod_container_status_last_terminated_timestamp", alpha, "When the container's previous run ended, in Unix seconds.", eachStatus(containerLastFinished)},
		{"kube_pod_container_status_ready", stable, "Whether the container passes its readiness check (1) or not (0).", eachStatus(containerReady)},
		{"kube_pod_container_status_restarts_total", stable | counter, "How often the container was started again.", eachStatus(containerRestarts)},
		{"kube_pod_container_status_running", stable, "Whether the container runs (1) or not (0).", eachStatus(containerRunning)},
		{"kube_pod_container_status_terminated", stable, "Whether the container has ended (1) or not (0).", eachStatus(containerTerminated)},
		{"kube_pod_container_status_terminated_reason", alpha, "Why the container has ended; always 1.", eachStatus(containerTerminatedReason)},
		{"kube_pod_container_status_waiting", stable, "Whether the container waits to start (1) or not (0).", eachStatus(containerWaiting)},
		{"kube_pod_container_status_waiting_reason", stable, "Why the container waits to start; always 1.", eachStatus(containerWaitingReason)},
		{"kube_pod_created", stable, "When the pod was created, in Unix seconds.", created[*pod]},
		{"kube_pod_deletion_timestamp", alpha, "When the pod is to be gone after its deletion was asked for, in Unix seconds.", deletionTimestamp[*pod]},
		{"kube_pod_info", stable, "Where the pod runs and what made it; always 1.", podInfo},
		{"kube_pod_ips", alpha, "An address of the pod and its IP family; always 1.", podIPs},
		{"kube_pod_init_container_info", stable, "An init container of the pod: its image as asked for and as it runs; always 1.", initContainerInfo},
		{"kube_pod_init_container_resource_limits", alpha, "Upper bound of a resource that an init container may use.", eachInitContainer(containerLimits)},
		{"kube_pod_init_container_resource_requests", alpha, "Amount of a resource that an init container asks to be set aside for it.", eachInitContainer(containerRequests)},
		{"kube_pod_init_container_state_started", alpha, "When the init container's current or ended run began, in Unix seconds.", eachInitStatus(containerStarted)},
		{"kube_pod_init_container_status_last_terminated_reason", alpha, "Why the init container's previous run ended; always 1.", eachInitStatus(containerLastReason)},
		{"kube_pod_init_container_status_last_terminated_exitcode", alpha, "Exit code of the init container's previous run.", eachInitStatus(containerLastExitCode)},
		{"kube_pod_init_container_status_last_terminated_timestamp", alpha, "When the init container's previous run ended, in Unix seconds.", eachInitStatus(containerLastFinished)},
		{"kube_pod_init_container_status_ready", stable, "Whether the init container is done, or ready if it goes on beside the others (1), or not (0).", eachInitStatus(containerReady)},
		{"kube_pod_init_container_status_restarts_total", stable | counter, "How often the init container was started again.", eachInitStatus(containerRestarts)},
		{"kube_pod_init_container_status_running", stable, "Whether the init container runs (1) or not (0).", eachInitStatus(containerRunning)},
		{"kube_pod_init_container_status_terminated", stable, "Whether the init container has ended (1) or not (0).", eachInitStatus(containerTerminated)},
		{"kube_pod_init_container_status_terminated_reason", alpha, "Why the init container has ended; always 1.", eachInitStatus(containerTerminatedReason)},
		{"kube_pod_init_container_status_waiting", stable, "Whether the init container waits to start (1) or not (0).", eachInitStatus(containerWaiting)},
		{"kube_pod_init_container_status_waiting_reason", alpha, "Why the init container waits to start; always 1.", eachInitStatus(containerWaitingReason)},
		{"kube_pod_annotations", alpha, "Annotations of the pod that --metric-annotations-allowlist lets through; always 1.", annotations[*pod]},
		{"kube_pod_labels", stable, "Labels of the pod that --metric-labels-allowlist lets through; always 1.", labels[*pod]},
		{"kube_pod_overhead_cpu_cores", alpha, "CPU that running the pod takes beyond its containers, in cores.", podOverhead("cpu", milliUnits)},
		{"kube_pod_overhead_memory_bytes", alpha, "Memory that running the pod takes beyond its containers, in bytes.", podOverhead("memory", wholeUnits)},
		{"kube_pod_owner", stable, "An owner of the pod; always 1.", owners[*pod]},
		{"kube_pod_resourceclaim_info", alpha, "A resource claim that the pod uses; always 1.", podResourceClaims},
		{"kube_pod_restart_policy", stable, "What is done when a container of the pod ends; always 1.", func(p *pod, s *Series) { s.Add(1, "type", p.Spec.RestartPolicy) }},
		{"kube_pod_runtimeclass_name_info", alpha, "The RuntimeClass that the pod asks for; always 1.", podRuntimeClass},
		{"kube_pod_spec_volumes_persistentvolumeclaims_info", stable, "A volume of the pod that is backed by a PersistentVolumeClaim; always 1.", podClaims},
		{"kube_pod_spec_volumes_persistentvolumeclaims_readonly", stable, "Whether the pod mounts a PersistentVolumeClaim for reading only (1) or not (0).", podClaimsReadOnly},
		{"kube_pod_start_time", stable, "When the kubelet took the pod on, in Unix seconds.", func(p *pod, s *Series) { s.AddTime(p.Status.StartTime) }},
		{"kube_pod_status_phase", stable, "The phase that the pod is in (1), and those that it is not in (0).", podPhase},
		{"kube_pod_status_qos_class", alpha, "The quality of service class that the pod has (1), and those that it does not have (0).", podQOSClass},
		{"kube_pod_status_ready", stable, "The status of the pod's Ready condition (1), and those that it does not have (0).", podConditionStatus("Ready")},
		{"kube_pod_status_ready_time", alpha, "When the pod became ready, in Unix seconds.", podConditionTime("Ready", "True")},
		{"kube_pod_status_initialized_time", alpha, "When the pod's init containers were done, in Unix seconds.", podConditionTime("Initialized", "True")},
		{"kube_pod_status_container_ready_time", alpha, "When all of the pod's containers were ready, in Unix seconds.", podConditionTime("ContainersReady", "True")},
		{"kube_pod_status_reason", alpha, "A reason of note that the pod, its conditions or its ended containers give; always 1.", podReasons},
		{"kube_pod_status_disruption_reason", alpha, "Why the pod is, or was, about to be disrupted; always 1.", podDisruptions},
		{"kube_pod_status_scheduled", stable, "The status of the pod's PodScheduled condition (1), and those that it does not have (0).", podConditionStatus("PodScheduled")},
		{"kube_pod_status_scheduled_time", stable, "When the pod was given a node, in Unix seconds.", podConditionTime("PodScheduled", "True")},
		{"kube_pod_status_unschedulable", stable, "No node can take the pod; always 1.", podUnschedulable},
		{"kube_pod_status_unscheduled_time", alpha, "Since when the pod has had no node, in Unix seconds.", podConditionTime("PodScheduled", "False")},
		{"kube_pod_tolerations", alpha, "A taint that the pod puts up with; always 1.", podTolerations},
		{"kube_pod_nodeselectors", alpha | optIn, "Node labels that the pod asks for; always 1.", func(p *pod, s *Series) { s.AddMap("nodeselector", p.Spec.NodeSelector) }},
		{"kube_pod_service_account", alpha, "The service account that the pod runs as; always 1.", func(p *pod, s *Series) { s.Add(1, "service_account", p.Spec.ServiceAccountName) }},
		{"kube_pod_scheduler", alpha, "The scheduler that is to place the pod; always 1.", func(p *pod, s *Series) { s.Add(1, "name", p.Spec.SchedulerName) }},
	})
}

func podCompletionTime(p *pod, s *Series) {
	var last int64
	for i := range p.Status.ContainerStatuses {
		if ended := p.Status.ContainerStatuses[i].State.Terminated; ended != nil && ended.FinishedAt.Valid {
			last = max(last, ended.FinishedAt.Unix)
		}
	}
	if last > 0 {
		s.Add(float64(last))
	}
}

func podInfo(p *pod, s *Series) {
	var creator owner
	for i := range p.Metadata.OwnerReferences {
		if o := &p.Metadata.OwnerReferences[i]; o.Controller != nil && *o.Controller {
			creator = *o
			break
		}
	}
	s.Add(1, "host_ip", p.Status.HostIP, "pod_ip", p.Status.PodIP, "node", p.Spec.NodeName,
		"created_by_kind", creator.Kind, "created_by_name", creator.Name,
		"priority_class", p.Spec.PriorityClassName, "host_network", strconv.FormatBool(p.Spec.HostNetwork))
}

func podIPs(p *pod, s *Series) {
	for i := range p.Status.PodIPs {
		text := p.Status.PodIPs[i].IP
		switch ip := netutils.ParseIPSloppy(text); {
		case ip == nil:
		case ip.To4() != nil:
			s.Add(1, "ip", text, "ip_family", "4")
		default:
			s.Add(1, "ip", text, "ip_family", "6")
		}
	}
}

func podOverhead(resource string, read func(string) (float64, bool)) func(*pod, *Series) {
	return func(p *pod, s *Series) {
		for _, e := range s.entriesOf(p.Spec.Overhead) {
			if string(e.key) == resource {
				s.addQuantity(read, string(e.value))
			}
		}
	}
}

func podResourceClaims(p *pod, s *Series) {
	for i := range p.Spec.ResourceClaims {
		claim := &p.Spec.ResourceClaims[i]
		if claim.ResourceClaimName == nil && claim.ResourceClaimTemplateName == nil {
			continue
		}
		name, template := "", ""
		if claim.ResourceClaimTemplateName != nil {
			template = *claim.ResourceClaimTemplateName
			for j := range p.Status.ResourceClaimStatuses {
				if status := &p.Status.ResourceClaimStatuses[j]; status.Name == claim.Name && status.ResourceClaimName != nil {
					name = *status.ResourceClaimName
					break
				}
			}
		}
		if claim.ResourceClaimName != nil {
			name = *claim.ResourceClaimName
		}
		s.Add(1, "claim_name", claim.Name, "resourceclaim_name", name, "resourceclaim_template_name", template)
	}
}

func podRuntimeClass(p *pod, s *Series) {
	if p.Spec.RuntimeClassName != nil {
		s.Add(1, "runtimeclass_name", *p.Spec.RuntimeClassName)
	}
}

func podClaims(p *pod, s *Series) {
	podVolumeClaims(p, func(volume, claim, ephemeral string, _ bool) {
		s.Add(1, "volume", volume, "persistentvolumeclaim", claim, "ephemeral", ephemeral)
	})
}

func podClaimsReadOnly(p *pod, s *Series) {
	podVolumeClaims(p, func(volume, claim, ephemeral string, readOnly bool) {
		s.AddBool(readOnly, "volume", volume, "persistentvolumeclaim", claim, "ephemeral", ephemeral)
	})
}

// podVolumeClaims yields the claims behind the pod's volumes: those it names, and those made for it alone.
func podVolumeClaims(p *pod, yield func(volume, claim, ephemeral string, readOnly bool)) {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.PersistentVolumeClaim != nil {
			yield(v.Name, v.PersistentVolumeClaim.ClaimName, "false", v.PersistentVolumeClaim.ReadOnly)
		} else if v.Ephemeral != nil {
			yield(v.Name, p.Metadata.Name+"-"+v.Name, "true", false)
		}
	}
}

func podPhase(p *pod, s *Series) {
	if p.Status.Phase != "" {
		s.AddOneOf(p.Status.Phase, "phase", "Pending", "Succeeded", "Failed", "Unknown", "Running")
	}
}

func podQOSClass(p *pod, s *Series) {
	if p.Status.QOSClass != "" {
		s.AddOneOf(p.Status.QOSClass, "qos_class", "BestEffort", "Burstable", "Guaranteed")
	}
}

func podConditionStatus(kind string) func(*pod, *Series) {
	return func(p *pod, s *Series) {
		for i := range p.Status.Conditions {
			if c := &p.Status.Conditions[i]; c.Type == kind {
				s.AddCondition(c.Status, "condition")
			}
		}
	}
}

func podConditionTime(kind, status string) func(*pod, *Series) {
	return func(p *pod, s *Series) {
		for i := range p.Status.Conditions {
			if c := &p.Status.Conditions[i]; c.Type == kind && c.Status == status {
				s.AddZeroTime(c.LastTransitionTime)
			}
		}
	}
}

var podStatusReasons = [...]string{"Evicted", "NodeAffinity", "NodeLost", "PreemptionByScheduler", "SchedulingGated", "Shutdown", "TerminationByKubelet", "UnexpectedAdmissionError"}

func podReasons(p *pod, s *Series) {
	for _, reason := range podStatusReasons {
		if podGivesReason(p, reason) {
			s.Add(1, "reason", reason)
		}
	}
	if p.Status.Reason != "" && !slices.Contains(podStatusReasons[:], p.Status.Reason) {
		s.Add(1, "reason", "Other")
	}
}

func podGivesReason(p *pod, reason string) bool {
	if p.Status.Reason == reason {
		return true
	}
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Reason == reason {
			return true
		}
	}
	for i := range p.Status.ContainerStatuses {
		if ended := p.Status.ContainerStatuses[i].State.Terminated; ended != nil && ended.Reason == reason {
			return true
		}
	}
	return false
}

var podDisruptionReasons = [...]string{"PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC", "TerminationByKubelet"}

func podDisruptions(p *pod, s *Series) {
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		if c.Type != "DisruptionTarget" {
			continue
		}
		reason := c.Reason
		if !slices.Contains(podDisruptionReasons[:], reason) {
			reason = "Other"
		}
		s.Add(1, "reason", reason)
	}
}

func podUnschedulable(p *pod, s *Series) {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == "PodScheduled" && c.Status == "False" {
			s.Add(1)
		}
	}
}

func podTolerations(p *pod, s *Series) {
	all := p.Spec.Tolerations
	for i := range all {
		if slices.ContainsFunc(all[:i], func(t toleration) bool { return sameToleration(&t, &all[i]) }) {
			continue
		}
		t := &all[i]
		seconds := ""
		if t.TolerationSeconds != nil {
			seconds = strconv.FormatInt(*t.TolerationSeconds, 10)
		}
		s.Add(1, "key", t.Key, "operator", t.Operator, "value", t.Value, "effect", t.Effect, "toleration_seconds", seconds)
	}
}

func sameToleration(a, b *toleration) bool {
	sameSeconds := a.TolerationSeconds == b.TolerationSeconds ||
		a.TolerationSeconds != nil && b.TolerationSeconds != nil && *a.TolerationSeconds == *b.TolerationSeconds
	return sameSeconds && a.Key == b.Key && a.Operator == b.Operator && a.Value == b.Value && a.Effect == b.Effect
}
