package collector

import "github.com/headwater-metrics/headwater/services/internal/objects"

type volumeAttachment struct {
	object
	Spec struct {
		Attacher string `json:"attacher"`
		NodeName string `json:"nodeName"`
		Source   struct {
			PersistentVolumeName *string `json:"persistentVolumeName"`
		} `json:"source"`
	} `json:"spec"`
	Status struct {
		Attached bool        `json:"attached"`
		Metadata objects.Raw `json:"attachmentMetadata"`
	} `json:"status"`
}

func volumeAttachments() families {
	return tableOf(clusterScoped[*volumeAttachment]("volumeattachment"), []family[*volumeAttachment]{
		{"kube_volumeattachment_labels", alpha, "Labels of the VolumeAttachment, all of them; always 1.", func(v *volumeAttachment, s *Series) { s.AddMap("label", v.object.Metadata.Labels) }},
		{"kube_volumeattachment_info", alpha, "What attaches the volume, and to which node; always 1.", func(v *volumeAttachment, s *Series) { s.Add(1, "attacher", v.Spec.Attacher, "node", v.Spec.NodeName) }},
		{"kube_volumeattachment_created", alpha, "When the VolumeAttachment was created, in Unix seconds.", created[*volumeAttachment]},
		{"kube_volumeattachment_spec_source_persistentvolume", alpha, "The PersistentVolume that is attached; always 1.", attachedVolume},
		{"kube_volumeattachment_status_attached", alpha, "Whether the volume is attached (1) or not (0).", func(v *volumeAttachment, s *Series) { s.AddBool(v.Status.Attached) }},
		{"kube_volumeattachment_status_attachment_metadata", alpha, "What the attacher tells of the attachment; always 1.", func(v *volumeAttachment, s *Series) { s.AddMap("metadata", v.Status.Metadata) }},
	})
}

func attachedVolume(v *volumeAttachment, s *Series) {
	if name := v.Spec.Source.PersistentVolumeName; name != nil {
		s.Add(1, "volumename", *name)
	}
}
