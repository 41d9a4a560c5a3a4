//lint:file-ignore SA1019 Endpoints are deprecated, but kube-state-metrics exports them, and there are clusters that use them.

package sim

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// sliceSize is the most endpoints in one EndpointSlice.
const sliceSize = 100

// service makes a workload's Service, with its Endpoints and EndpointSlices.
func (g *generator) service(namespace, name string, labels map[string]string, pods []*corev1.Pod, created time.Time) error {
	g.services++
	service := &corev1.Service{ObjectMeta: g.meta("Service", namespace, name, created, labels)}
	service.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: fmt.Sprintf("10.96.%d.%d", g.services/250%250, g.services%250+1), Selector: labels,
		Ports:           []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("http")}},
		SessionAffinity: corev1.ServiceAffinityNone, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: ptr(corev1.IPFamilyPolicySingleStack),
	}
	service.Spec.ClusterIPs = []string{service.Spec.ClusterIP}
	if err := g.emit(applied(service)); err != nil {
		return err
	}
	endpoints := &corev1.Endpoints{ObjectMeta: g.meta("Endpoints", namespace, name, created, labels)}
	var subset corev1.EndpointSubset
	for _, pod := range pods[:min(len(pods), 1000)] {
		subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{
			IP: pod.Status.PodIP, NodeName: ptr(pod.Spec.NodeName),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		})
	}
	if len(pods) > 0 {
		subset.Ports = []corev1.EndpointPort{{Name: "http", Port: 8080, Protocol: corev1.ProtocolTCP}}
		endpoints.Subsets = []corev1.EndpointSubset{subset}
	}
	if err := g.emit(endpoints); err != nil {
		return err
	}
	for start := 0; start == 0 || start < len(pods); start += sliceSize {
		if err := g.emit(g.endpointSlice(service, pods[start:min(start+sliceSize, len(pods))], created)); err != nil {
			return err
		}
	}
	return nil
}

func (g *generator) endpointSlice(service *corev1.Service, pods []*corev1.Pod, created time.Time) runtime.Object {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: g.meta("EndpointSlice", service.Namespace, service.Name+"-"+g.suffix(5), created, map[string]string{
		discoveryv1.LabelServiceName: service.Name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io",
	})}
	slice.OwnerReferences = ownedBy("v1", "Service", service)
	slice.AddressType = discoveryv1.AddressTypeIPv4
	slice.Ports = []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr[int32](8080), Protocol: ptr(corev1.ProtocolTCP)}}
	for _, pod := range pods {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{pod.Status.PodIP}, NodeName: ptr(pod.Spec.NodeName),
			Conditions: discoveryv1.EndpointConditions{Ready: ptr(true), Serving: ptr(true), Terminating: ptr(false)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		})
	}
	return slice
}

// configuration makes a workload's ConfigMap and Secret. Their data carry the marker, so that a leak is found.
func (g *generator) configuration(namespace, name string, labels map[string]string, created time.Time) error {
	settings := &corev1.ConfigMap{
		ObjectMeta: g.meta("ConfigMap", namespace, name+"-config", created, labels),
		Data:       map[string]string{"config.yaml": "password: " + SecretMarker + "\nlisten: :8080\n", "motd": SecretMarker},
	}
	secret := &corev1.Secret{
		ObjectMeta: g.meta("Secret", namespace, name+"-credentials", created, labels), Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{"password": []byte(SecretMarker), "token": []byte(SecretMarker + "-" + g.suffix(16))},
	}
	if err := g.emit(applied(settings)); err != nil {
		return err
	}
	return g.emit(applied(secret))
}
