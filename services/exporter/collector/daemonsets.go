package collector

type daemonSet struct {
	object
	Status daemonSetStatus `json:"status"`
}

type daemonSetStatus struct {
	CurrentNumberScheduled int64 `json:"currentNumberScheduled"`
	DesiredNumberScheduled int64 `json:"desiredNumberScheduled"`
	NumberAvailable        int64 `json:"numberAvailable"`
	NumberMisscheduled     int64 `json:"numberMisscheduled"`
	NumberReady            int64 `json:"numberReady"`
	NumberUnavailable      int64 `json:"numberUnavailable"`
	UpdatedNumberScheduled int64 `json:"updatedNumberScheduled"`
	ObservedGeneration     int64 `json:"observedGeneration"`
}

func daemonSets() families {
	return tableOf(namespaced[*daemonSet]("daemonset"), []family[*daemonSet]{
		{"kube_daemonset_created", stable, "When the DaemonSet was created, in Unix seconds.", created[*daemonSet]},
		{"kube_daemonset_status_current_number_scheduled", stable, "Nodes that run a pod of the DaemonSet and should.", func(d *daemonSet, s *Series) { s.Add(float64(d.Status.CurrentNumberScheduled)) }},
		{"kube_daemonset_status_desired_number_scheduled", stable, "Nodes that should run a pod of the DaemonSet.", func(d *daemonSet, s *Series) { s.Add(float64(d.Status.DesiredNumberScheduled)) }},
		{"kube_daemonset_status_number_available", stable, "Nodes that should run a pod of the DaemonSet and have one that has been ready for as long as it asks.", func(d *daemonSet, s *Series) { s.Add(float64(d.Status.NumberAvailable)) }},
		{"kube_daemonset_status_number_misscheduled", stable, "Nodes that run a pod of the DaemonSet and should not.", func(d *daemonSet, s *Series) { s.Add(float64(d.Status.NumberMisscheduled)) }},
		{"kube_daemonset_status_number_ready", stable, "Nodes that should run a pod of the DaemonSet and have one that is ready.", func(d *daemonSet, s *Series) { s.Add(float64(d.Status.NumberReady)) }},
		{"kube_daemonset_status_number_unavailable", stable, "Nodes that should run a pod of the DaemonSet and have none that is available.", func(d *daemonSet, s *Series) { s.Add(float64(d.Status.NumberUnavailable)) }},
		{"kube_daemonset_status_observed_generation", stable, "Generation of the DaemonSet that its controller has acted on.", func(d *daemonSet, s *Series) { s.Add(float64(d.Status.ObservedGeneration)) }},
		{"kube_daemonset_status_updated_number_scheduled", stable, "Nodes that run a pod of the DaemonSet's current template.", func(d *daemonSet, s *Series) { s.Add(float64(d.Status.UpdatedNumberScheduled)) }},
		{"kube_daemonset_metadata_generation", stable, "Generation of the DaemonSet's desired state.", generation[*daemonSet]},
		{"kube_daemonset_deletion_timestamp", alpha, "When the DaemonSet is to be gone after its deletion was asked for, in Unix seconds.", deletionTimestamp[*daemonSet]},
		{"kube_daemonset_annotations", alpha, "Annotations of the DaemonSet that --metric-annotations-allowlist lets through; always 1.", annotations[*daemonSet]},
		{"kube_daemonset_labels", stable, "Labels of the DaemonSet that --metric-labels-allowlist lets through; always 1.", labels[*daemonSet]},
	})
}
