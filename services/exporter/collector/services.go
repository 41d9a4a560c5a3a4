package collector

type service struct {
	object
	Spec   serviceSpec `json:"spec"`
	Status struct {
		LoadBalancer struct {
			Ingress []loadBalancerIngress `json:"ingress"`
		} `json:"loadBalancer"`
	} `json:"status"`
}

type serviceSpec struct {
	Type                  string   `json:"type"`
	ClusterIP             string   `json:"clusterIP"`
	ExternalIPs           []string `json:"externalIPs"`
	ExternalName          string   `json:"externalName"`
	LoadBalancerIP        string   `json:"loadBalancerIP"`
	ExternalTrafficPolicy string   `json:"externalTrafficPolicy"`
}

type loadBalancerIngress struct {
	IP       string `json:"ip"`
	Hostname string `json:"hostname"`
}

func services() families {
	return tableOf(namespacedWithUID[*service]("service"), []family[*service]{
		{"kube_service_info", stable, "Addresses of the Service; always 1.", serviceInfo},
		{"kube_service_created", stable, "When the Service was created, in Unix seconds.", created[*service]},
		{"kube_service_spec_type", stable, "How the Service can be reached, as its type says; always 1.", func(o *service, s *Series) { s.Add(1, "type", o.Spec.Type) }},
		{"kube_service_annotations", alpha, "Annotations of the Service that --metric-annotations-allowlist lets through; always 1.", annotations[*service]},
		{"kube_service_labels", stable, "Labels of the Service that --metric-labels-allowlist lets through; always 1.", labels[*service]},
		{"kube_service_spec_external_ip", stable, "An external address that the Service also answers on; always 1.", serviceExternalIPs},
		{"kube_service_status_load_balancer_ingress", stable, "An address at which the Service's load balancer answers; always 1.", serviceIngress},
		{"kube_service_deletion_timestamp", alpha, "When the Service is to be gone after its deletion was asked for, in Unix seconds.", deletionTimestamp[*service]},
	})
}

func serviceInfo(o *service, s *Series) {
	s.Add(1, "cluster_ip", o.Spec.ClusterIP, "external_name", o.Spec.ExternalName, "load_balancer_ip", o.Spec.LoadBalancerIP,
		"external_traffic_policy", o.Spec.ExternalTrafficPolicy)
}

func serviceExternalIPs(o *service, s *Series) {
	for _, ip := range o.Spec.ExternalIPs {
		s.Add(1, "external_ip", ip)
	}
}

func serviceIngress(o *service, s *Series) {
	for i := range o.Status.LoadBalancer.Ingress {
		ingress := &o.Status.LoadBalancer.Ingress[i]
		s.Add(1, "ip", ingress.IP, "hostname", ingress.Hostname)
	}
}
