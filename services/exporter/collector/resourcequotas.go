package collector

import "github.com/headwater-metrics/headwater/services/internal/objects"

type resourceQuota struct {
	object
	Status struct {
		Hard objects.Raw `json:"hard"`
		Used objects.Raw `json:"used"`
	} `json:"status"`
}

func resourceQuotas() families {
	return tableOf(namespaced[*resourceQuota]("resourcequota"), []family[*resourceQuota]{
		{"kube_resourcequota_created", stable, "When the ResourceQuota was created, in Unix seconds.", created[*resourceQuota]},
		{"kube_resourcequota", stable, "What the ResourceQuota allows of a resource (hard), and what is used of it.", quotas},
		{"kube_resourcequota_annotations", alpha, "Annotations of the ResourceQuota that --metric-annotations-allowlist lets through; always 1.", annotations[*resourceQuota]},
		{"kube_resourcequota_labels", stable, "Labels of the ResourceQuota that --metric-labels-allowlist lets through; always 1.", labels[*resourceQuota]},
	})
}

func quotas(q *resourceQuota, s *Series) {
	s.addQuotas(q.Status.Hard, "hard")
	s.addQuotas(q.Status.Used, "used")
}

func (s *Series) addQuotas(list objects.Raw, kind string) {
	for _, e := range s.entriesOf(list) {
		s.addQuantity(milliUnits, string(e.value), "resource", string(e.key), "type", kind)
	}
}
