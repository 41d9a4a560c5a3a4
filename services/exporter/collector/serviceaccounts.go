package collector

type serviceAccount struct {
	object
	AutomountToken   *bool       `json:"automountServiceAccountToken"`
	Secrets          []reference `json:"secrets"`
	ImagePullSecrets []reference `json:"imagePullSecrets"`
}

type reference struct {
	Name string `json:"name"`
}

func serviceAccounts() families {
	return tableOf(namespacedWithUID[*serviceAccount]("serviceaccount"), []family[*serviceAccount]{
		{"kube_serviceaccount_info", alpha, "Whether pods get the ServiceAccount's token unless they say otherwise; always 1.", func(a *serviceAccount, s *Series) { s.Add(1, "automount_token", boolOrNothing(a.AutomountToken)) }},
		{"kube_serviceaccount_created", alpha, "When the ServiceAccount was created, in Unix seconds.", created[*serviceAccount]},
		{"kube_serviceaccount_deleted", alpha, "When the ServiceAccount is to be gone after its deletion was asked for, in Unix seconds.", deletionTimestamp[*serviceAccount]},
		{"kube_serviceaccount_secret", alpha, "A Secret that pods of the ServiceAccount may use; always 1.", func(a *serviceAccount, s *Series) { s.addNames(a.Secrets) }},
		{"kube_serviceaccount_image_pull_secret", alpha, "A Secret with which images are pulled for pods of the ServiceAccount; always 1.", func(a *serviceAccount, s *Series) { s.addNames(a.ImagePullSecrets) }},
		{"kube_serviceaccount_annotations", alpha, "Annotations of the ServiceAccount that --metric-annotations-allowlist lets through; always 1.", annotations[*serviceAccount]},
		{"kube_serviceaccount_labels", alpha, "Labels of the ServiceAccount that --metric-labels-allowlist lets through; always 1.", labels[*serviceAccount]},
	})
}

func (s *Series) addNames(all []reference) {
	for i := range all {
		s.Add(1, "name", all[i].Name)
	}
}
