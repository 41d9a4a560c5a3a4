package collector

type secret struct {
	object
	Type string `json:"type"`
}

func secrets() families {
	return tableOf(namespaced[*secret]("secret"), []family[*secret]{
		{"kube_secret_info", stable, "The Secret exists; always 1.", info[*secret]},
		{"kube_secret_type", stable, "What the Secret is for, as its type says; always 1.", func(o *secret, s *Series) { s.Add(1, "type", o.Type) }},
		{"kube_secret_annotations", alpha, "Annotations of the Secret that --metric-annotations-allowlist lets through; always 1.", annotations[*secret]},
		{"kube_secret_labels", stable, "Labels of the Secret that --metric-labels-allowlist lets through; always 1.", labels[*secret]},
		{"kube_secret_created", stable, "When the Secret was created, in Unix seconds.", created[*secret]},
		{"kube_secret_metadata_resource_version", alpha, "Resource version of the Secret as a number; it changes with every change.", resourceVersion[*secret]},
		{"kube_secret_owner", alpha, "An owner of the Secret; always 1.", owners[*secret]},
	})
}
