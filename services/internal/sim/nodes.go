package sim

import (
	"fmt"
	"net"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/services/internal/sim/apiserver"
)

// node makes the object of a node whose kubelet listens at an address and a port.
func (b *builder) node(index int, name, address string, byName bool, port, podsPerNode int, created time.Time) *corev1.Node {
	zone := string(rune('a' + index%3))
	labels := map[string]string{
		"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
		"topology.kubernetes.io/region": "sim", "topology.kubernetes.io/zone": "sim-" + zone,
		"node.kubernetes.io/instance-type": "sim.4xlarge", "node-role.kubernetes.io/worker": "",
	}
	if index == 0 {
		delete(labels, "node-role.kubernetes.io/worker")
		labels["node-role.kubernetes.io/control-plane"] = ""
	}
	node := &corev1.Node{ObjectMeta: b.meta("Node", "", name, created, labels)}
	node.Annotations = map[string]string{"node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true"}
	node.ManagedFields = managed("kubelet", "v1", created, nodeFields)
	node.Spec = corev1.NodeSpec{
		PodCIDR: fmt.Sprintf("10.%d.%d.0/24", 64+index/256%128, index%256), ProviderID: "sim:///" + zone + "/" + name,
	}
	node.Spec.PodCIDRs = []string{node.Spec.PodCIDR}
	cores := int64(max(4, podsPerNode/4))
	capacity := func(reserved int64) corev1.ResourceList {
		return corev1.ResourceList{
			corev1.ResourceCPU:              *resource.NewMilliQuantity(cores*1000-reserved, resource.DecimalSI),
			corev1.ResourceMemory:           *resource.NewQuantity(cores<<32-reserved<<20, resource.BinarySI),
			corev1.ResourcePods:             *resource.NewQuantity(int64(max(110, podsPerNode*2)), resource.DecimalSI),
			corev1.ResourceEphemeralStorage: *resource.NewQuantity(100<<30, resource.BinarySI),
			"hugepages-2Mi":                 *resource.NewQuantity(0, resource.BinarySI),
		}
	}
	at := metav1.NewTime(created.Truncate(time.Second))
	node.Status = corev1.NodeStatus{
		Capacity: capacity(0), Allocatable: capacity(100),
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(port)}},
		NodeInfo: corev1.NodeSystemInfo{
			MachineID: string(b.uid("machine", name)), SystemUUID: string(b.uid("system", name)), BootID: string(b.uid("boot", name)),
			KernelVersion: "6.12.0-sim", OSImage: "Simulated Linux 1", ContainerRuntimeVersion: "containerd://2.1.4",
			KubeletVersion: apiserver.Version, OperatingSystem: "linux", Architecture: "amd64",
		},
		Images: []corev1.ContainerImage{{Names: []string{"registry.example/platform/proxy:v1.9.2"}, SizeBytes: 52_428_800}},
	}
	first := corev1.NodeInternalIP
	if byName {
		first = corev1.NodeInternalDNS
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: first, Address: address}, {Type: corev1.NodeHostName, Address: address}}
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{
			Type: kind, Status: corev1.ConditionFalse, LastHeartbeatTime: at, LastTransitionTime: at, Reason: "KubeletHasEnough", Message: "kubelet has enough",
		})
	}
	node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: at, LastTransitionTime: at, Reason: "KubeletReady", Message: "kubelet is posting ready status",
	})
	return node
}

// nodeLease makes the Lease by which a kubelet shows that it is alive.
func (b *builder) nodeLease(node *corev1.Node) *coordinationv1.Lease {
	lease := &coordinationv1.Lease{ObjectMeta: b.meta("Lease", "kube-node-lease", node.Name, node.CreationTimestamp.Time, nil)}
	lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
	renewed := metav1.NewMicroTime(node.CreationTimestamp.Time)
	lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: ptr(node.Name), LeaseDurationSeconds: ptr[int32](40), RenewTime: &renewed}
	return lease
}

func nodeName(index int) string { return fmt.Sprintf("node-%04d", index+1) }

// KubeletURL is where a node's kubelet is reached, as the node itself says.
func KubeletURL(node *corev1.Node) string {
	address := addressOf(node)
	for _, other := range node.Status.Addresses {
		if other.Type == corev1.NodeInternalDNS {
			address = other.Address
		}
	}
	return "https://" + net.JoinHostPort(address, strconv.Itoa(int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)))
}

// addressOf is a node's IP address, or a loopback one when the node is known by name.
func addressOf(node *corev1.Node) string {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return address.Address
		}
	}
	return "127.0.0.1"
}

const nodeFields = `{"f:metadata":{"f:annotations":{".":{},"f:volumes.kubernetes.io/controller-managed-attach-detach":{}},"f:labels":{".":{},"f:kubernetes.io/arch":{},"f:kubernetes.io/hostname":{},"f:kubernetes.io/os":{}}},` +
	`"f:status":{"f:conditions":{"k:{\"type\":\"Ready\"}":{"f:lastHeartbeatTime":{},"f:lastTransitionTime":{},"f:message":{},"f:reason":{},"f:status":{}}},"f:nodeInfo":{"f:kubeletVersion":{}}}}`
