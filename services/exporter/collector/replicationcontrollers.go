package collector

// A ReplicationController has what a ReplicaSet has.

func replicationControllers() families {
	return tableOf(namespaced[*replicaSet]("replicationcontroller"), []family[*replicaSet]{
		{"kube_replicationcontroller_created", stable, "When the ReplicationController was created, in Unix seconds.", created[*replicaSet]},
		{"kube_replicationcontroller_status_replicas", stable, "Pods of the ReplicationController that have not ended.", func(r *replicaSet, s *Series) { s.Add(float64(r.Status.Replicas)) }},
		{"kube_replicationcontroller_status_fully_labeled_replicas", stable, "Pods of the ReplicationController that carry all labels of its template.", func(r *replicaSet, s *Series) { s.Add(float64(r.Status.FullyLabeledReplicas)) }},
		{"kube_replicationcontroller_status_ready_replicas", stable, "Pods of the ReplicationController that are ready.", func(r *replicaSet, s *Series) { s.Add(float64(r.Status.ReadyReplicas)) }},
		{"kube_replicationcontroller_status_available_replicas", stable, "Pods of the ReplicationController that have been ready for as long as it asks.", func(r *replicaSet, s *Series) { s.Add(float64(r.Status.AvailableReplicas)) }},
		{"kube_replicationcontroller_status_observed_generation", stable, "Generation of the ReplicationController that its controller has acted on.", func(r *replicaSet, s *Series) { s.Add(float64(r.Status.ObservedGeneration)) }},
		{"kube_replicationcontroller_spec_replicas", stable, "Pods that the ReplicationController is to have.", func(r *replicaSet, s *Series) { s.AddInt(r.Spec.Replicas) }},
		{"kube_replicationcontroller_metadata_generation", stable, "Generation of the ReplicationController's desired state.", generation[*replicaSet]},
		{"kube_replicationcontroller_owner", alpha, "An owner of the ReplicationController; always 1.", owners[*replicaSet]},
	})
}
