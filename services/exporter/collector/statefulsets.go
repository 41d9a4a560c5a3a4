package collector

type statefulSet struct {
	object
	Spec   statefulSetSpec   `json:"spec"`
	Status statefulSetStatus `json:"status"`
}

type statefulSetSpec struct {
	Replicas *int64 `json:"replicas"`
	Ordinals *struct {
		Start int64 `json:"start"`
	} `json:"ordinals"`
	RetentionPolicy struct {
		WhenDeleted string `json:"whenDeleted"`
		WhenScaled  string `json:"whenScaled"`
	} `json:"persistentVolumeClaimRetentionPolicy"`
}

type statefulSetStatus struct {
	Replicas           int64  `json:"replicas"`
	AvailableReplicas  int64  `json:"availableReplicas"`
	CurrentReplicas    int64  `json:"currentReplicas"`
	ReadyReplicas      int64  `json:"readyReplicas"`
	UpdatedReplicas    int64  `json:"updatedReplicas"`
	ObservedGeneration int64  `json:"observedGeneration"`
	CurrentRevision    string `json:"currentRevision"`
	UpdateRevision     string `json:"updateRevision"`
}

func statefulSets() families {
	return tableOf(namespaced[*statefulSet]("statefulset"), []family[*statefulSet]{
		{"kube_statefulset_created", stable, "When the StatefulSet was created, in Unix seconds.", created[*statefulSet]},
		{"kube_statefulset_status_replicas", stable, "Pods of the StatefulSet.", func(o *statefulSet, s *Series) { s.Add(float64(o.Status.Replicas)) }},
		{"kube_statefulset_status_replicas_available", stable, "Pods of the StatefulSet that have been ready for as long as it asks.", func(o *statefulSet, s *Series) { s.Add(float64(o.Status.AvailableReplicas)) }},
		{"kube_statefulset_status_replicas_current", stable, "Pods of the StatefulSet that are made of the revision it comes from.", func(o *statefulSet, s *Series) { s.Add(float64(o.Status.CurrentReplicas)) }},
		{"kube_statefulset_status_replicas_ready", stable, "Pods of the StatefulSet that are ready.", func(o *statefulSet, s *Series) { s.Add(float64(o.Status.ReadyReplicas)) }},
		{"kube_statefulset_status_replicas_updated", stable, "Pods of the StatefulSet that are made of the revision it goes to.", func(o *statefulSet, s *Series) { s.Add(float64(o.Status.UpdatedReplicas)) }},
		{"kube_statefulset_status_observed_generation", stable, "Generation of the StatefulSet that its controller has acted on.", func(o *statefulSet, s *Series) { s.Add(float64(o.Status.ObservedGeneration)) }},
		{"kube_statefulset_replicas", stable, "Pods that the StatefulSet is to have.", func(o *statefulSet, s *Series) { s.AddInt(o.Spec.Replicas) }},
		{"kube_statefulset_ordinals_start", stable, "Number of the StatefulSet's first pod.", statefulSetStart},
		{"kube_statefulset_metadata_generation", stable, "Generation of the StatefulSet's desired state.", generation[*statefulSet]},
		{"kube_statefulset_persistentvolumeclaim_retention_policy", stable, "What becomes of the StatefulSet's claims when it is deleted or shrinks; always 1.", statefulSetRetention},
		{"kube_statefulset_annotations", stable, "Annotations of the StatefulSet that --metric-annotations-allowlist lets through; always 1.", annotations[*statefulSet]},
		{"kube_statefulset_labels", stable, "Labels of the StatefulSet that --metric-labels-allowlist lets through; always 1.", labels[*statefulSet]},
		{"kube_statefulset_status_current_revision", stable, "The revision that the StatefulSet comes from; always 1.", func(o *statefulSet, s *Series) { s.Add(1, "revision", o.Status.CurrentRevision) }},
		{"kube_statefulset_status_update_revision", stable, "The revision that the StatefulSet goes to; always 1.", func(o *statefulSet, s *Series) { s.Add(1, "revision", o.Status.UpdateRevision) }},
		{"kube_statefulset_deletion_timestamp", stable, "When the StatefulSet is to be gone after its deletion was asked for, in Unix seconds.", deletionTimestamp[*statefulSet]},
	})
}

func statefulSetStart(o *statefulSet, s *Series) {
	if o.Spec.Ordinals != nil {
		s.Add(float64(o.Spec.Ordinals.Start))
	}
}

func statefulSetRetention(o *statefulSet, s *Series) {
	if policy := &o.Spec.RetentionPolicy; policy.WhenDeleted != "" || policy.WhenScaled != "" {
		s.Add(1, "when_deleted", policy.WhenDeleted, "when_scaled", policy.WhenScaled)
	}
}
