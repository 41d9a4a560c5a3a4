package collector

type namespace struct {
	object
	Status namespaceStatus `json:"status"`
}

type namespaceStatus struct {
	Phase      string      `json:"phase"`
	Conditions []condition `json:"conditions"`
}

func namespaces() families {
	return tableOf(clusterScoped[*namespace]("namespace"), []family[*namespace]{
		{"kube_namespace_created", stable, "When the namespace was created, in Unix seconds.", created[*namespace]},
		{"kube_namespace_annotations", alpha, "Annotations of the namespace that --metric-annotations-allowlist lets through; always 1.", annotations[*namespace]},
		{"kube_namespace_labels", stable, "Labels of the namespace that --metric-labels-allowlist lets through; always 1.", labels[*namespace]},
		{"kube_namespace_status_phase", stable, "The phase that the namespace is in (1), and the one that it is not in (0).", namespacePhase},
		{"kube_namespace_status_condition", alpha, "The status that a condition of the namespace has (1), and those that it does not have (0).", namespaceConditions},
	})
}

func namespacePhase(n *namespace, s *Series) {
	s.AddOneOf(n.Status.Phase, "phase", "Active", "Terminating")
}

func namespaceConditions(n *namespace, s *Series) { s.addConditions(n.Status.Conditions) }
