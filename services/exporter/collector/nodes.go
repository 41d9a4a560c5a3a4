package collector

import (
	"bytes"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

type node struct {
	object
	Spec   nodeSpec   `json:"spec"`
	Status nodeStatus `json:"status"`
}

type nodeSpec struct {
	PodCIDR       string   `json:"podCIDR"`
	PodCIDRs      []string `json:"podCIDRs"`
	ProviderID    string   `json:"providerID"`
	Unschedulable bool     `json:"unschedulable"`
	Taints        []taint  `json:"taints"`
}

type taint struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Effect string `json:"effect"`
}

type nodeStatus struct {
	Addresses   []nodeAddress `json:"addresses"`
	Allocatable objects.Raw   `json:"allocatable"`
	Capacity    objects.Raw   `json:"capacity"`
	Conditions  []condition   `json:"conditions"`
	NodeInfo    nodeInfo      `json:"nodeInfo"`
}

type nodeAddress struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

type nodeInfo struct {
	KernelVersion           string `json:"kernelVersion"`
	OSImage                 string `json:"osImage"`
	ContainerRuntimeVersion string `json:"containerRuntimeVersion"`
	KubeletVersion          string `json:"kubeletVersion"`
	SystemUUID              string `json:"systemUUID"`
}

func nodes() families {
	return tableOf(clusterScoped[*node]("node"), []family[*node]{
		{"kube_node_annotations", alpha, "Annotations of the node that --metric-annotations-allowlist lets through; always 1.", annotations[*node]},
		{"kube_node_created", stable, "When the node was registered, in Unix seconds.", created[*node]},
		{"kube_node_deletion_timestamp", alpha, "When the node is to be gone after its deletion was asked for, in Unix seconds.", deletionTimestamp[*node]},
		{"kube_node_info", stable, "Software, address and identity of the node; always 1.", nodeInformation},
		{"kube_node_labels", stable, "Labels of the node that --metric-labels-allowlist lets through; always 1.", labels[*node]},
		{"kube_node_role", alpha, "A role of the node, as its node-role.kubernetes.io labels say; always 1.", nodeRoles},
		{"kube_node_spec_pod_cidrs", alpha, "An address range that the node's pods get theirs from; always 1.", nodePodCIDRs},
		{"kube_node_spec_taint", stable, "A taint of the node; always 1.", nodeTaints},
		{"kube_node_spec_unschedulable", stable, "Whether new pods are kept off the node (1) or not (0).", func(n *node, s *Series) { s.AddBool(n.Spec.Unschedulable) }},
		{"kube_node_status_allocatable", stable, "Amount of a resource that the node has for pods.", func(n *node, s *Series) { s.addNodeResources(n.Status.Allocatable) }},
		{"kube_node_status_capacity", stable, "Amount of a resource that the node has in all.", func(n *node, s *Series) { s.addNodeResources(n.Status.Capacity) }},
		{"kube_node_status_condition", stable, "The status that a condition of the node has (1), and those that it does not have (0).", nodeConditions},
		{"kube_node_status_addresses", alpha, "An address of the node; always 1.", nodeAddresses},
	})
}

func nodeInformation(n *node, s *Series) {
	internalIP := ""
	for i := range n.Status.Addresses {
		if a := &n.Status.Addresses[i]; a.Type == "InternalIP" {
			internalIP = a.Address // the last one counts
		}
	}
	info := &n.Status.NodeInfo
	s.Add(1, "kernel_version", info.KernelVersion, "os_image", info.OSImage,
		"container_runtime_version", info.ContainerRuntimeVersion, "kubelet_version", info.KubeletVersion,
		"kubeproxy_version", "deprecated", "provider_id", n.Spec.ProviderID, "pod_cidr", n.Spec.PodCIDR,
		"system_uuid", info.SystemUUID, "internal_ip", internalIP)
}

func nodeRoles(n *node, s *Series) {
	for _, label := range s.entriesOf(n.Metadata.Labels) {
		if role, ok := bytes.CutPrefix(label.key, []byte("node-role.kubernetes.io/")); ok {
			s.Add(1, "role", string(role))
		}
	}
}

func nodePodCIDRs(n *node, s *Series) {
	for _, cidr := range n.Spec.PodCIDRs {
		s.Add(1, "pod_cidr", cidr)
	}
}

func nodeTaints(n *node, s *Series) {
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		s.Add(1, "key", t.Key, "value", t.Value, "effect", t.Effect)
	}
}

func nodeConditions(n *node, s *Series) { s.addConditions(n.Status.Conditions) }

func nodeAddresses(n *node, s *Series) {
	for i := range n.Status.Addresses {
		a := &n.Status.Addresses[i]
		s.Add(1, "type", a.Type, "address", a.Address)
	}
}
