package collector

type storageClass struct {
	object
	Provisioner       string  `json:"provisioner"`
	ReclaimPolicy     *string `json:"reclaimPolicy"`
	VolumeBindingMode *string `json:"volumeBindingMode"`
}

func storageClasses() families {
	return tableOf(clusterScoped[*storageClass]("storageclass"), []family[*storageClass]{
		{"kube_storageclass_info", stable, "What provisions volumes of the StorageClass, and how; always 1.", storageClassInfo},
		{"kube_storageclass_created", stable, "When the StorageClass was created, in Unix seconds.", created[*storageClass]},
		{"kube_storageclass_annotations", alpha, "Annotations of the StorageClass that --metric-annotations-allowlist lets through; always 1.", annotations[*storageClass]},
		{"kube_storageclass_labels", stable, "Labels of the StorageClass that --metric-labels-allowlist lets through; always 1.", labels[*storageClass]},
	})
}

// storageClassInfo fills in what the API server takes for granted.
func storageClassInfo(c *storageClass, s *Series) {
	reclaim, binding := "Delete", "Immediate"
	if c.ReclaimPolicy != nil {
		reclaim = *c.ReclaimPolicy
	}
	if c.VolumeBindingMode != nil {
		binding = *c.VolumeBindingMode
	}
	s.Add(1, "provisioner", c.Provisioner, "reclaim_policy", reclaim, "volume_binding_mode", binding)
}
