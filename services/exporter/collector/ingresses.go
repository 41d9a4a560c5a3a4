package collector

import "strconv"

type ingress struct {
	object
	Spec ingressSpec `json:"spec"`
}

type ingressSpec struct {
	IngressClassName *string       `json:"ingressClassName"`
	Rules            []ingressRule `json:"rules"`
	TLS              []ingressTLS  `json:"tls"`
}

type ingressRule struct {
	Host string `json:"host"`
	HTTP struct {
		Paths []ingressPath `json:"paths"`
	} `json:"http"`
}

type ingressPath struct {
	Path     string         `json:"path"`
	PathType string         `json:"pathType"`
	Backend  ingressBackend `json:"backend"`
}

type ingressBackend struct {
	Service *struct {
		Name string `json:"name"`
		Port struct {
			Number int64 `json:"number"`
		} `json:"port"`
	} `json:"service"`
	Resource *struct {
		APIGroup string `json:"apiGroup"`
		Kind     string `json:"kind"`
		Name     string `json:"name"`
	} `json:"resource"`
}

type ingressTLS struct {
	Hosts      []string `json:"hosts"`
	SecretName string   `json:"secretName"`
}

func ingresses() families {
	return tableOf(namespaced[*ingress]("ingress"), []family[*ingress]{
		{"kube_ingress_info", stable, "The class of the Ingress; always 1.", ingressInfo},
		{"kube_ingress_annotations", alpha, "Annotations of the Ingress that --metric-annotations-allowlist lets through; always 1.", annotations[*ingress]},
		{"kube_ingress_labels", stable, "Labels of the Ingress that --metric-labels-allowlist lets through; always 1.", labels[*ingress]},
		{"kube_ingress_created", stable, "When the Ingress was created, in Unix seconds.", created[*ingress]},
		{"kube_ingress_metadata_resource_version", alpha, "Resource version of the Ingress as a number; it changes with every change.", resourceVersion[*ingress]},
		{"kube_ingress_path", stable, "A path of the Ingress, and what serves it; always 1.", ingressPaths},
		{"kube_ingress_tls", stable, "A host for which the Ingress has a certificate; always 1.", ingressHosts},
	})
}

// ingressInfo: the annotation that came before the field wins.
func ingressInfo(i *ingress, s *Series) {
	class := "_default"
	if i.Spec.IngressClassName != nil {
		class = *i.Spec.IngressClassName
	}
	if old, ok := s.valueOf(i.Metadata.Annotations, "kubernetes.io/ingress.class"); ok {
		class = old
	}
	s.Add(1, "ingressclass", class)
}

func ingressPaths(i *ingress, s *Series) {
	for j := range i.Spec.Rules {
		rule := &i.Spec.Rules[j]
		for k := range rule.HTTP.Paths {
			path := &rule.HTTP.Paths[k]
			switch service, resource := path.Backend.Service, path.Backend.Resource; {
			case service != nil:
				s.Add(1, "host", rule.Host, "path", path.Path, "path_type", path.PathType,
					"service_name", service.Name, "service_port", strconv.FormatInt(service.Port.Number, 10))
			case resource != nil:
				s.Add(1, "host", rule.Host, "path", path.Path, "path_type", path.PathType,
					"resource_api_group", resource.APIGroup, "resource_kind", resource.Kind, "resource_name", resource.Name)
			default:
				s.Skip()
			}
		}
	}
}

func ingressHosts(i *ingress, s *Series) {
	for _, tls := range i.Spec.TLS {
		for _, host := range tls.Hosts {
			s.Add(1, "tls_host", host, "secret", tls.SecretName)
		}
	}
}
