package cluster

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
)

// leasePeriod is how often a kubelet renews its Lease.
const leasePeriod = 10 * time.Second

// nodeLabels returns the labels that a kubelet and a cloud would set.
func nodeLabels(name string, index int) map[string]string {
	return map[string]string{
		corev1.LabelHostname:           name,
		corev1.LabelOSStable:           "linux",
		corev1.LabelArchStable:         "amd64",
		corev1.LabelTopologyZone:       "zone-" + strconv.Itoa(index%3+1),
		corev1.LabelInstanceTypeStable: "played",
	}
}

// register creates the Node objects.
func (k *Kubelets) register(ctx context.Context) error {
	for i, n := range k.nodes {
		if _, err := k.client.CoreV1().Nodes().Create(ctx, n.object(i), metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("couldn't register node %s: %w", n.name, err)
		}
	}
	return nil
}

// object returns the Node as a kubelet registers it.
func (n *node) object(index int) *corev1.Node {
	room := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("8"),
		corev1.ResourceMemory:           resource.MustParse("32Gi"),
		corev1.ResourcePods:             resource.MustParse("110"),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	allocatable := room.DeepCopy()
	allocatable[corev1.ResourceCPU] = resource.MustParse("7800m")
	allocatable[corev1.ResourceMemory] = resource.MustParse("31Gi")
	now := metav1.Now()
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	cidr := (&net.IPNet{IP: net.IPv4(10, 244, byte(index), 0), Mask: net.CIDRMask(24, 32)}).String()
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: n.labels},
		Spec:       corev1.NodeSpec{PodCIDR: cidr, PodCIDRs: []string{cidr}, ProviderID: "played://" + n.name},
		Status: corev1.NodeStatus{
			Capacity:    room,
			Allocatable: allocatable,
			Conditions: []corev1.NodeCondition{
				condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
				condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
				condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
				condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
			},
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: "127.0.0.1"},
				{Type: corev1.NodeHostName, Address: n.name},
			},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(n.port)}},
			NodeInfo: corev1.NodeSystemInfo{
				MachineID:               fmt.Sprintf("%032x", index+1),
				SystemUUID:              fmt.Sprintf("00000000-0000-4000-8000-%012x", index+1),
				BootID:                  fmt.Sprintf("00000000-0000-4000-9000-%012x", index+1),
				KernelVersion:           "6.12.0",
				OSImage:                 "Played Linux",
				ContainerRuntimeVersion: "containerd://2.1.0",
				KubeletVersion:          "v1.36.3",
				OperatingSystem:         "linux",
				Architecture:            "amd64",
			},
		},
	}
}

// UpdateNodeStatus changes the status of a Node object, for example its Ready condition.
func (k *Kubelets) UpdateNodeStatus(ctx context.Context, name string, change func(*corev1.NodeStatus)) error {
	nodes := k.client.CoreV1().Nodes()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		object, err := nodes.Get(ctx, name, getOptions)
		if err != nil {
			return err
		}
		change(&object.Status)
		_, err = nodes.UpdateStatus(ctx, object, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("couldn't update the status of node %s: %w", name, err)
	}
	return nil
}

// renewLeases keeps a Lease per node fresh, as kubelets do, until ctx is done.
func (k *Kubelets) renewLeases(ctx context.Context) {
	tick := time.NewTicker(leasePeriod)
	defer tick.Stop()
	for {
		for _, n := range k.nodes {
			if err := k.renewLease(ctx, n); err != nil && ctx.Err() == nil {
				k.log("couldn't renew the lease of %s: %v", n.name, err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// renewLease creates or renews the Lease of a node.
func (k *Kubelets) renewLease(ctx context.Context, n *node) error {
	leases := k.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NowMicro()
	patch := fmt.Appendf(nil, `{"spec":{"renewTime":%q}}`, now.UTC().Format(metav1.RFC3339Micro))
	_, err := leases.Patch(ctx, n.name, types.MergePatchType, patch, metav1.PatchOptions{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	seconds := int32(40)
	_, err = leases.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: n.name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &n.name, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}, metav1.CreateOptions{})
	return err
}
