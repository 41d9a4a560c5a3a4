package collector

type volumeClaim struct {
	object
	Spec   volumeClaimSpec   `json:"spec"`
	Status volumeClaimStatus `json:"status"`
}

type volumeClaimSpec struct {
	AccessModes      []string           `json:"accessModes"`
	Resources        containerResources `json:"resources"`
	StorageClassName string             `json:"storageClassName"`
	VolumeMode       string             `json:"volumeMode"`
	VolumeName       string             `json:"volumeName"`
}

type volumeClaimStatus struct {
	Phase      string      `json:"phase"`
	Conditions []condition `json:"conditions"`
}

func volumeClaims() families {
	return tableOf(namespaced[*volumeClaim]("persistentvolumeclaim"), []family[*volumeClaim]{
		{"kube_persistentvolumeclaim_labels", stable, "Labels of the PersistentVolumeClaim that --metric-labels-allowlist lets through; always 1.", labels[*volumeClaim]},
		{"kube_persistentvolumeclaim_annotations", alpha, "Annotations of the PersistentVolumeClaim that --metric-annotations-allowlist lets through; always 1.", annotations[*volumeClaim]},
		{"kube_persistentvolumeclaim_info", stable, "The storage class and the volume of the PersistentVolumeClaim; always 1.", volumeClaimInfo},
		{"kube_persistentvolumeclaim_status_phase", stable, "The phase that the PersistentVolumeClaim is in (1), and those that it is not in (0).", volumeClaimPhase},
		{"kube_persistentvolumeclaim_resource_requests_storage_bytes", stable, "Storage that the PersistentVolumeClaim asks for, in bytes.", volumeClaimStorage},
		{"kube_persistentvolumeclaim_access_mode", stable, "A way in which the PersistentVolumeClaim wants its volume mounted; always 1.", func(c *volumeClaim, s *Series) { s.addAccessModes(c.Spec.AccessModes) }},
		{"kube_persistentvolumeclaim_status_condition", alpha, "The status that a condition of the PersistentVolumeClaim has (1), and those that it does not have (0).", func(c *volumeClaim, s *Series) { s.addConditions(c.Status.Conditions) }},
		{"kube_persistentvolumeclaim_created", alpha, "When the PersistentVolumeClaim was created, in Unix seconds.", created[*volumeClaim]},
		{"kube_persistentvolumeclaim_deletion_timestamp", alpha, "When the PersistentVolumeClaim is to be gone after its deletion was asked for, in Unix seconds.", deletionTimestamp[*volumeClaim]},
	})
}

// volumeClaimInfo: the annotation that came before the field wins.
func volumeClaimInfo(c *volumeClaim, s *Series) {
	class := c.Spec.StorageClassName
	if old, ok := s.valueOf(c.Metadata.Annotations, "volume.beta.kubernetes.io/storage-class"); ok {
		class = old
	}
	s.Add(1, "storageclass", class, "volumename", c.Spec.VolumeName, "volumemode", c.Spec.VolumeMode)
}

func volumeClaimPhase(c *volumeClaim, s *Series) {
	if c.Status.Phase != "" {
		s.AddOneOf(c.Status.Phase, "phase", "Lost", "Bound", "Pending")
	}
}

func volumeClaimStorage(c *volumeClaim, s *Series) {
	if storage, ok := s.valueOf(c.Spec.Resources.Requests, "storage"); ok {
		s.addQuantity(wholeUnits, storage)
	}
}

func (s *Series) addAccessModes(modes []string) {
	for _, mode := range modes {
		s.Add(1, "access_mode", mode)
	}
}
