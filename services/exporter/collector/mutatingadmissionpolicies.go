package collector

// admissionPolicy is a MutatingAdmissionPolicy or a ValidatingAdmissionPolicy.
type admissionPolicy struct {
	object
	Spec struct {
		ParamKind struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		} `json:"paramKind"`
		FailurePolicy      string `json:"failurePolicy"`
		ReinvocationPolicy string `json:"reinvocationPolicy"` // of a MutatingAdmissionPolicy
	} `json:"spec"`
}

func mutatingAdmissionPolicies() families {
	return tableOf(namespaced[*admissionPolicy]("mutatingadmissionpolicy"), []family[*admissionPolicy]{
		{"kube_mutatingadmissionpolicy_info", alpha, "What the MutatingAdmissionPolicy takes as parameters, and what happens when it fails; always 1.", mutatingPolicyInfo},
		{"kube_mutatingadmissionpolicy_created", alpha, "When the MutatingAdmissionPolicy was created, in Unix seconds.", created[*admissionPolicy]},
	})
}

func mutatingPolicyInfo(p *admissionPolicy, s *Series) {
	s.Add(1, "param_api_version", p.Spec.ParamKind.APIVersion, "param_kind", p.Spec.ParamKind.Kind,
		"failure_policy", p.Spec.FailurePolicy, "reinvocation_policy", p.Spec.ReinvocationPolicy)
}
