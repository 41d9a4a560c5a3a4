package collector

type networkPolicy struct {
	object
	Spec struct {
		Ingress []struct{} `json:"ingress"`
		Egress  []struct{} `json:"egress"`
	} `json:"spec"`
}

func networkPolicies() families {
	return tableOf(namespaced[*networkPolicy]("networkpolicy"), []family[*networkPolicy]{
		{"kube_networkpolicy_created", alpha, "When the NetworkPolicy was created, in Unix seconds.", func(p *networkPolicy, s *Series) { s.AddZeroTime(p.Metadata.CreationTimestamp) }},
		{"kube_networkpolicy_annotations", alpha, "Annotations of the NetworkPolicy that --metric-annotations-allowlist lets through; always 1.", annotations[*networkPolicy]},
		{"kube_networkpolicy_labels", alpha, "Labels of the NetworkPolicy that --metric-labels-allowlist lets through; always 1.", labels[*networkPolicy]},
		{"kube_networkpolicy_spec_ingress_rules", alpha, "Rules of the NetworkPolicy for what may come in.", func(p *networkPolicy, s *Series) { s.Add(float64(len(p.Spec.Ingress))) }},
		{"kube_networkpolicy_spec_egress_rules", alpha, "Rules of the NetworkPolicy for what may go out.", func(p *networkPolicy, s *Series) { s.Add(float64(len(p.Spec.Egress))) }},
	})
}
