package collector

// Kind is a row of the table of kinds: a resource whose objects can be exported.
type Kind struct {
	Resource string // the name in --resources and in subjects
	Group    string // "" for the legacy group
	Default  bool   // exported unless --resources says otherwise
	families families
}

// Families describes what the kind exports when nothing is filtered.
func (k *Kind) Families() []Family { return k.families.describe() }

// Kinds returns the table of kinds in alphabetical order, which is that of the exposition.
func Kinds() []Kind {
	const (
		on, off   = true, false
		admission = "admissionregistration.k8s.io"
		discovery = "discovery.k8s.io"
		network   = "networking.k8s.io"
		rbac      = "rbac.authorization.k8s.io"
		storage   = "storage.k8s.io"
	)
	return []Kind{
		{"certificatesigningrequests", "certificates.k8s.io", on, certificateSigningRequests()},
		{"clusterrolebindings", rbac, off, clusterRoleBindings()},
		{"clusterroles", rbac, off, clusterRoles()},
		{"configmaps", "", on, configMaps()},
		{"cronjobs", "batch", on, cronJobs()},
		{"daemonsets", "apps", on, daemonSets()},
		{"deployments", "apps", on, deployments()},
		{"endpoints", "", off, endpointsFamilies()},
		{"endpointslices", discovery, on, endpointSlices()},
		{"horizontalpodautoscalers", "autoscaling", on, autoscalers()},
		{"ingressclasses", network, off, ingressClasses()},
		{"ingresses", network, on, ingresses()},
		{"jobs", "batch", on, jobs()},
		{"leases", "coordination.k8s.io", on, leases()},
		{"limitranges", "", on, limitRanges()},
		{"mutatingadmissionpolicies", admission, on, mutatingAdmissionPolicies()},
		{"mutatingadmissionpolicybindings", admission, on, mutatingAdmissionPolicyBindings()},
		{"mutatingwebhookconfigurations", admission, on, mutatingWebhookConfigurations()},
		{"namespaces", "", on, namespaces()},
		{"networkpolicies", network, on, networkPolicies()},
		{"nodes", "", on, nodes()},
		{"persistentvolumeclaims", "", on, volumeClaims()},
		{"persistentvolumes", "", on, persistentVolumes()},
		{"poddisruptionbudgets", "policy", on, disruptionBudgets()},
		{"pods", "", on, pods()},
		{"replicasets", "apps", on, replicaSets()},
		{"replicationcontrollers", "", on, replicationControllers()},
		{"resourcequotas", "", on, resourceQuotas()},
		{"rolebindings", rbac, off, roleBindings()},
		{"roles", rbac, off, roles()},
		{"secrets", "", on, secrets()},
		{"serviceaccounts", "", off, serviceAccounts()},
		{"services", "", on, services()},
		{"statefulsets", "apps", on, statefulSets()},
		{"storageclasses", storage, on, storageClasses()},
		{"validatingadmissionpolicies", admission, on, validatingAdmissionPolicies()},
		{"validatingadmissionpolicybindings", admission, on, validatingAdmissionPolicyBindings()},
		{"validatingwebhookconfigurations", admission, on, validatingWebhookConfigurations()},
		{"volumeattachments", storage, on, volumeAttachments()},
	}
}

// Names returns the resource names of the table; those that are on by default only, where defaults is set.
func Names(defaults bool) []string {
	var names []string
	for _, k := range Kinds() {
		if k.Default || !defaults {
			names = append(names, k.Resource)
		}
	}
	return names
}
