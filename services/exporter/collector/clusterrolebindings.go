package collector

// roleBinding is a RoleBinding or a ClusterRoleBinding.
type roleBinding struct {
	object
	RoleRef struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"roleRef"`
}

func clusterRoleBindings() families {
	return tableOf(clusterScoped[*roleBinding]("clusterrolebinding"), []family[*roleBinding]{
		{"kube_clusterrolebinding_annotations", alpha, "Annotations of the ClusterRoleBinding that --metric-annotations-allowlist lets through; always 1.", annotations[*roleBinding]},
		{"kube_clusterrolebinding_labels", alpha, "Labels of the ClusterRoleBinding that --metric-labels-allowlist lets through; always 1.", labels[*roleBinding]},
		{"kube_clusterrolebinding_info", alpha, "The role that the ClusterRoleBinding grants; always 1.", func(b *roleBinding, s *Series) {
			s.Add(1, "roleref_kind", b.RoleRef.Kind, "roleref_name", b.RoleRef.Name)
		}},
		{"kube_clusterrolebinding_created", alpha, "When the ClusterRoleBinding was created, in Unix seconds.", created[*roleBinding]},
		{"kube_clusterrolebinding_metadata_resource_version", alpha, "Resource version of the ClusterRoleBinding as a number; it changes with every change.", resourceVersion[*roleBinding]},
	})
}
