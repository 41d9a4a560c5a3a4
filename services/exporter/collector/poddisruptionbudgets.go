package collector

type disruptionBudget struct {
	object
	Status struct {
		CurrentHealthy     int64 `json:"currentHealthy"`
		DesiredHealthy     int64 `json:"desiredHealthy"`
		DisruptionsAllowed int64 `json:"disruptionsAllowed"`
		ExpectedPods       int64 `json:"expectedPods"`
		ObservedGeneration int64 `json:"observedGeneration"`
	} `json:"status"`
}

func disruptionBudgets() families {
	return tableOf(namespaced[*disruptionBudget]("poddisruptionbudget"), []family[*disruptionBudget]{
		{"kube_poddisruptionbudget_annotations", alpha, "Annotations of the PodDisruptionBudget that --metric-annotations-allowlist lets through; always 1.", annotations[*disruptionBudget]},
		{"kube_poddisruptionbudget_labels", alpha, "Labels of the PodDisruptionBudget that --metric-labels-allowlist lets through; always 1.", labels[*disruptionBudget]},
		{"kube_poddisruptionbudget_created", stable, "When the PodDisruptionBudget was created, in Unix seconds.", created[*disruptionBudget]},
		{"kube_poddisruptionbudget_status_current_healthy", stable, "Healthy pods that the PodDisruptionBudget guards.", func(b *disruptionBudget, s *Series) { s.Add(float64(b.Status.CurrentHealthy)) }},
		{"kube_poddisruptionbudget_status_desired_healthy", stable, "Healthy pods that the PodDisruptionBudget wants at least.", func(b *disruptionBudget, s *Series) { s.Add(float64(b.Status.DesiredHealthy)) }},
		{"kube_poddisruptionbudget_status_pod_disruptions_allowed", stable, "Pods that the PodDisruptionBudget allows to be disrupted now.", func(b *disruptionBudget, s *Series) { s.Add(float64(b.Status.DisruptionsAllowed)) }},
		{"kube_poddisruptionbudget_status_expected_pods", stable, "Pods that the PodDisruptionBudget guards in all.", func(b *disruptionBudget, s *Series) { s.Add(float64(b.Status.ExpectedPods)) }},
		{"kube_poddisruptionbudget_status_observed_generation", stable, "Generation of the PodDisruptionBudget that its controller has acted on.", func(b *disruptionBudget, s *Series) { s.Add(float64(b.Status.ObservedGeneration)) }},
		{"kube_poddisruptionbudget_deletion_timestamp", alpha, "When the PodDisruptionBudget is to be gone after its deletion was asked for, in Unix seconds.", deletionTimestamp[*disruptionBudget]},
	})
}
