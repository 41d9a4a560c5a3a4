package collector

func validatingAdmissionPolicies() families {
	return tableOf(namespaced[*admissionPolicy]("validatingadmissionpolicy"), []family[*admissionPolicy]{
		{"kube_validatingadmissionpolicy_info", alpha, "What the ValidatingAdmissionPolicy takes as parameters, and what happens when it fails; always 1.", validatingPolicyInfo},
		{"kube_validatingadmissionpolicy_created", alpha, "When the ValidatingAdmissionPolicy was created, in Unix seconds.", created[*admissionPolicy]},
	})
}

func validatingPolicyInfo(p *admissionPolicy, s *Series) {
	s.Add(1, "param_api_version", p.Spec.ParamKind.APIVersion, "param_kind", p.Spec.ParamKind.Kind, "failure_policy", p.Spec.FailurePolicy)
}
