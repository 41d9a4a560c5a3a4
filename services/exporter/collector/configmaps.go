package collector

func configMaps() families {
	return tableOf(namespaced[*plain]("configmap"), []family[*plain]{
		{"kube_configmap_annotations", alpha, "Annotations of the ConfigMap that --metric-annotations-allowlist lets through; always 1.", annotations[*plain]},
		{"kube_configmap_labels", stable, "Labels of the ConfigMap that --metric-labels-allowlist lets through; always 1.", labels[*plain]},
		{"kube_configmap_info", stable, "The ConfigMap exists; always 1.", info[*plain]},
		{"kube_configmap_created", stable, "When the ConfigMap was created, in Unix seconds.", created[*plain]},
		{"kube_configmap_metadata_resource_version", alpha, "Resource version of the ConfigMap as a number; it changes with every change.", resourceVersion[*plain]},
	})
}
