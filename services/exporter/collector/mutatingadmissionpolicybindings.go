package collector

// policyBinding is a MutatingAdmissionPolicyBinding or a ValidatingAdmissionPolicyBinding.
type policyBinding struct {
	object
	Spec struct {
		PolicyName string `json:"policyName"`
		ParamRef   struct {
			Name                    string `json:"name"`
			Namespace               string `json:"namespace"`
			ParameterNotFoundAction string `json:"parameterNotFoundAction"`
		} `json:"paramRef"`
		ValidationActions []string `json:"validationActions"` // of a ValidatingAdmissionPolicyBinding
	} `json:"spec"`
}

func mutatingAdmissionPolicyBindings() families {
	return tableOf(namespaced[*policyBinding]("mutatingadmissionpolicybinding"), []family[*policyBinding]{
		{"kube_mutatingadmissionpolicybinding_info", alpha, "The policy that the MutatingAdmissionPolicyBinding puts into force, and with which parameters; always 1.", policyBindingInfo},
		{"kube_mutatingadmissionpolicybinding_created", alpha, "When the MutatingAdmissionPolicyBinding was created, in Unix seconds.", created[*policyBinding]},
	})
}

func policyBindingInfo(b *policyBinding, s *Series) {
	ref := &b.Spec.ParamRef
	s.Add(1, "policy_name", b.Spec.PolicyName, "param_name", ref.Name, "param_namespace", ref.Namespace,
		"param_not_found_action", ref.ParameterNotFoundAction)
}
