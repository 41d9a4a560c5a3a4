package collector

// plain is an object of a kind of which nothing but metadata is exported.
type plain struct{ object }

func clusterRoles() families {
	return tableOf(clusterScoped[*plain]("clusterrole"), []family[*plain]{
		{"kube_clusterrole_annotations", alpha, "Annotations of the ClusterRole that --metric-annotations-allowlist lets through; always 1.", annotations[*plain]},
		{"kube_clusterrole_labels", alpha, "Labels of the ClusterRole that --metric-labels-allowlist lets through; always 1.", labels[*plain]},
		{"kube_clusterrole_info", alpha, "The ClusterRole exists; always 1.", info[*plain]},
		{"kube_clusterrole_created", alpha, "When the ClusterRole was created, in Unix seconds.", created[*plain]},
		{"kube_clusterrole_metadata_resource_version", alpha, "Resource version of the ClusterRole as a number; it changes with every change.", resourceVersion[*plain]},
	})
}
