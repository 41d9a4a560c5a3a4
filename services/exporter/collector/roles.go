package collector

func roles() families {
	return tableOf(namespaced[*plain]("role"), []family[*plain]{
		{"kube_role_annotations", alpha, "Annotations of the Role that --metric-annotations-allowlist lets through; always 1.", annotations[*plain]},
		{"kube_role_labels", alpha, "Labels of the Role that --metric-labels-allowlist lets through; always 1.", labels[*plain]},
		{"kube_role_info", alpha, "The Role exists; always 1.", info[*plain]},
		{"kube_role_created", alpha, "When the Role was created, in Unix seconds.", created[*plain]},
		{"kube_role_metadata_resource_version", alpha, "Resource version of the Role as a number; it changes with every change.", resourceVersion[*plain]},
	})
}
