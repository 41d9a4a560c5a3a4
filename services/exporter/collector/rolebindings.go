package collector

func roleBindings() families {
	return tableOf(namespaced[*roleBinding]("rolebinding"), []family[*roleBinding]{
		{"kube_rolebinding_annotations", alpha, "Annotations of the RoleBinding that --metric-annotations-allowlist lets through; always 1.", annotations[*roleBinding]},
		{"kube_rolebinding_labels", alpha, "Labels of the RoleBinding that --metric-labels-allowlist lets through; always 1.", labels[*roleBinding]},
		{"kube_rolebinding_info", alpha, "The role that the RoleBinding grants; always 1.", func(b *roleBinding, s *Series) {
			s.Add(1, "roleref_kind", b.RoleRef.Kind, "roleref_name", b.RoleRef.Name)
		}},
		{"kube_rolebinding_created", alpha, "When the RoleBinding was created, in Unix seconds.", created[*roleBinding]},
		{"kube_rolebinding_metadata_resource_version", alpha, "Resource version of the RoleBinding as a number; it changes with every change.", resourceVersion[*roleBinding]},
	})
}
