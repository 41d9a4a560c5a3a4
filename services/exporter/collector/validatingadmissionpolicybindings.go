package collector

func validatingAdmissionPolicyBindings() families {
	return tableOf(namespaced[*policyBinding]("validatingadmissionpolicybinding"), []family[*policyBinding]{
		{"kube_validatingadmissionpolicybinding_info", alpha, "The policy that the ValidatingAdmissionPolicyBinding puts into force, and with which parameters; always 1.", policyBindingInfo},
		{"kube_validatingadmissionpolicybinding_created", alpha, "When the ValidatingAdmissionPolicyBinding was created, in Unix seconds.", created[*policyBinding]},
		{"kube_validatingadmissionpolicybinding_validation_action", alpha, "What is done when the policy is broken; always 1.", validationActions},
	})
}

func validationActions(b *policyBinding, s *Series) {
	for _, action := range b.Spec.ValidationActions {
		s.Add(1, "action", action)
	}
}
