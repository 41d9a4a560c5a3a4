package collector

type replicaSet struct {
	object
	Spec   replicaSetSpec   `json:"spec"`
	Status replicaSetStatus `json:"status"`
}

type replicaSetSpec struct {
	Replicas *int64 `json:"replicas"`
}

type replicaSetStatus struct {
	Replicas             int64  `json:"replicas"`
	FullyLabeledReplicas int64  `json:"fullyLabeledReplicas"`
	ReadyReplicas        int64  `json:"readyReplicas"`
	AvailableReplicas    int64  `json:"availableReplicas"` // ReplicationControllers tell it
	TerminatingReplicas  *int64 `json:"terminatingReplicas"`
	ObservedGeneration   int64  `json:"observedGeneration"`
}

func replicaSets() families {
	return tableOf(namespaced[*replicaSet]("replicaset"), []family[*replicaSet]{
		{"kube_replicaset_created", stable, "When the ReplicaSet was created, in Unix seconds.", created[*replicaSet]},
		{"kube_replicaset_status_replicas", stable, "Pods of the ReplicaSet that have not ended.", func(r *replicaSet, s *Series) { s.Add(float64(r.Status.Replicas)) }},
		{"kube_replicaset_status_fully_labeled_replicas", stable, "Pods of the ReplicaSet that carry all labels of its template.", func(r *replicaSet, s *Series) { s.Add(float64(r.Status.FullyLabeledReplicas)) }},
		{"kube_replicaset_status_ready_replicas", stable, "Pods of the ReplicaSet that are ready.", func(r *replicaSet, s *Series) { s.Add(float64(r.Status.ReadyReplicas)) }},
		{"kube_replicaset_status_terminating_replicas", alpha, "Pods of the ReplicaSet that are being deleted and have not ended yet.", func(r *replicaSet, s *Series) { s.AddInt(r.Status.TerminatingReplicas) }},
		{"kube_replicaset_status_observed_generation", stable, "Generation of the ReplicaSet that its controller has acted on.", func(r *replicaSet, s *Series) { s.Add(float64(r.Status.ObservedGeneration)) }},
		{"kube_replicaset_spec_replicas", stable, "Pods that the ReplicaSet is to have.", func(r *replicaSet, s *Series) { s.AddInt(r.Spec.Replicas) }},
		{"kube_replicaset_metadata_generation", stable, "Generation of the ReplicaSet's desired state.", generation[*replicaSet]},
		{"kube_replicaset_owner", stable, "An owner of the ReplicaSet; always 1.", owners[*replicaSet]},
		{"kube_replicaset_annotations", alpha, "Annotations of the ReplicaSet that --metric-annotations-allowlist lets through; always 1.", annotations[*replicaSet]},
		{"kube_replicaset_labels", stable, "Labels of the ReplicaSet that --metric-labels-allowlist lets through; always 1.", labels[*replicaSet]},
	})
}
