package collector

import "github.com/headwater-metrics/headwater/services/internal/objects"

type lease struct {
	object
	Spec struct {
		HolderIdentity string       `json:"holderIdentity"`
		RenewTime      objects.Time `json:"renewTime"`
	} `json:"spec"`
}

func leases() families {
	return tableOf(clusterScoped[*lease]("lease"), []family[*lease]{
		{"kube_lease_owner", alpha, "An owner of the Lease, and who holds it; always 1.", leaseOwners},
		{"kube_lease_renew_time", alpha, "When the Lease was last renewed, in Unix seconds.", func(l *lease, s *Series) { s.AddTime(l.Spec.RenewTime, "namespace", l.Metadata.Namespace) }},
	})
}

func leaseOwners(l *lease, s *Series) {
	owners := l.Metadata.OwnerReferences
	if len(owners) == 0 {
		owners = []owner{{}}
	}
	for i := range owners {
		s.Add(1, "owner_kind", owners[i].Kind, "owner_name", owners[i].Name,
			"namespace", l.Metadata.Namespace, "lease_holder", l.Spec.HolderIdentity)
	}
}
