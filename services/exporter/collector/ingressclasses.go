package collector

type ingressClass struct {
	object
	Spec struct {
		Controller string `json:"controller"`
	} `json:"spec"`
}

func ingressClasses() families {
	return tableOf(clusterScoped[*ingressClass]("ingressclass"), []family[*ingressClass]{
		{"kube_ingressclass_info", alpha, "The controller that serves the IngressClass; always 1.", func(c *ingressClass, s *Series) { s.Add(1, "controller", c.Spec.Controller) }},
		{"kube_ingressclass_created", alpha, "When the IngressClass was created, in Unix seconds.", created[*ingressClass]},
		{"kube_ingressclass_annotations", alpha, "Annotations of the IngressClass that --metric-annotations-allowlist lets through; always 1.", annotations[*ingressClass]},
		{"kube_ingressclass_labels", alpha, "Labels of the IngressClass that --metric-labels-allowlist lets through; always 1.", labels[*ingressClass]},
	})
}
