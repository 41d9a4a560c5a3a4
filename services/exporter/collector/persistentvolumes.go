package collector

import (
	"strconv"
	"strings"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

type persistentVolume struct {
	object
	Spec   persistentVolumeSpec `json:"spec"`
	Status struct {
		Phase string `json:"phase"`
	} `json:"status"`
}

type persistentVolumeSpec struct {
	AccessModes      []string    `json:"accessModes"`
	Capacity         objects.Raw `json:"capacity"`
	ReclaimPolicy    string      `json:"persistentVolumeReclaimPolicy"`
	StorageClassName string      `json:"storageClassName"`
	VolumeMode       *string     `json:"volumeMode"`
	ClaimRef         *struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"claimRef"`

	GCE *struct {
		Name string `json:"pdName"`
	} `json:"gcePersistentDisk"`
	EBS *struct {
		ID string `json:"volumeID"`
	} `json:"awsElasticBlockStore"`
	Azure *struct {
		Name string `json:"diskName"`
	} `json:"azureDisk"`
	FC *struct {
		WWIDs      []string `json:"wwids"`
		Lun        *int64   `json:"lun"`
		TargetWWNs []string `json:"targetWWNs"`
	} `json:"fc"`
	ISCSI *struct {
		Portal    string `json:"targetPortal"`
		IQN       string `json:"iqn"`
		Lun       int64  `json:"lun"`
		Initiator string `json:"initiatorName"`
	} `json:"iscsi"`
	NFS *struct {
		Server string `json:"server"`
		Path   string `json:"path"`
	} `json:"nfs"`
	CSI *struct {
		Driver     string      `json:"driver"`
		Handle     string      `json:"volumeHandle"`
		Attributes objects.Raw `json:"volumeAttributes"`
	} `json:"csi"`
	Local *struct {
		Path   string `json:"path"`
		FSType string `json:"fsType"`
	} `json:"local"`
	HostPath *struct {
		Path string `json:"path"`
		Type string `json:"type"`
	} `json:"hostPath"`
}

func persistentVolumes() families {
	return tableOf(clusterScoped[*persistentVolume]("persistentvolume"), []family[*persistentVolume]{
		{"kube_persistentvolume_claim_ref", stable, "The PersistentVolumeClaim that the PersistentVolume is bound to; always 1.", volumeClaimRef},
		{"kube_persistentvolume_annotations", alpha, "Annotations of the PersistentVolume that --metric-annotations-allowlist lets through; always 1.", annotations[*persistentVolume]},
		{"kube_persistentvolume_labels", stable, "Labels of the PersistentVolume that --metric-labels-allowlist lets through; always 1.", labels[*persistentVolume]},
		{"kube_persistentvolume_status_phase", stable, "The phase that the PersistentVolume is in (1), and those that it is not in (0).", volumePhase},
		{"kube_persistentvolume_info", stable, "Where the PersistentVolume's data lies, and what becomes of it; always 1.", volumeInfo},
		{"kube_persistentvolume_capacity_bytes", stable, "Size of the PersistentVolume, in bytes.", volumeCapacity},
		{"kube_persistentvolume_created", alpha, "When the PersistentVolume was created, in Unix seconds.", created[*persistentVolume]},
		{"kube_persistentvolume_deletion_timestamp", alpha, "When the PersistentVolume is to be gone after its deletion was asked for, in Unix seconds.", deletionTimestamp[*persistentVolume]},
		{"kube_persistentvolume_csi_attributes", alpha | optIn, "How the PersistentVolume's CSI driver mounts it; always 1.", volumeAttributes},
		{"kube_persistentvolume_volume_mode", alpha, "Whether the PersistentVolume is a file system or a block device; always 1.", volumeMode},
		{"kube_persistentvolume_access_mode", alpha, "A way in which the PersistentVolume can be mounted; always 1.", func(v *persistentVolume, s *Series) { s.addAccessModes(v.Spec.AccessModes) }},
	})
}

func volumeClaimRef(v *persistentVolume, s *Series) {
	if ref := v.Spec.ClaimRef; ref != nil {
		s.Add(1, "name", ref.Name, "claim_namespace", ref.Namespace)
	}
}

func volumePhase(v *persistentVolume, s *Series) {
	if v.Status.Phase != "" {
		s.AddOneOf(v.Status.Phase, "phase", "Pending", "Available", "Bound", "Released", "Failed")
	}
}

// volumeInfo fills the labels of one source of data, the first of those that are set; all others are empty.
func volumeInfo(v *persistentVolume, s *Series) {
	var gce, ebs, azure, wwids, fcLun, wwns, portal, iqn, iscsiLun, initiator, server, nfsPath, driver, handle, localPath, localFS, hostPath, hostType string
	switch spec := &v.Spec; {
	case spec.GCE != nil:
		gce = spec.GCE.Name
	case spec.EBS != nil:
		ebs = spec.EBS.ID
	case spec.Azure != nil:
		azure = spec.Azure.Name
	case spec.FC != nil:
		wwids, wwns = joinSet(spec.FC.WWIDs), joinSet(spec.FC.TargetWWNs)
		if spec.FC.Lun != nil {
			fcLun = strconv.FormatInt(*spec.FC.Lun, 10)
		}
	case spec.ISCSI != nil:
		portal, iqn, initiator = spec.ISCSI.Portal, spec.ISCSI.IQN, spec.ISCSI.Initiator
		iscsiLun = strconv.FormatInt(spec.ISCSI.Lun, 10)
	case spec.NFS != nil:
		server, nfsPath = spec.NFS.Server, spec.NFS.Path
	case spec.CSI != nil:
		driver, handle = spec.CSI.Driver, spec.CSI.Handle
	case spec.Local != nil:
		localPath, localFS = spec.Local.Path, spec.Local.FSType
	case spec.HostPath != nil:
		hostPath, hostType = spec.HostPath.Path, spec.HostPath.Type
	}
	s.Add(1, "storageclass", v.Spec.StorageClassName, "gce_persistent_disk_name", gce, "ebs_volume_id", ebs, "azure_disk_name", azure,
		"fc_wwids", wwids, "fc_lun", fcLun, "fc_target_wwns", wwns,
		"iscsi_target_portal", portal, "iscsi_iqn", iqn, "iscsi_lun", iscsiLun, "iscsi_initiator_name", initiator,
		"nfs_server", server, "nfs_path", nfsPath, "csi_driver", driver, "csi_volume_handle", handle,
		"local_path", localPath, "local_fs", localFS, "host_path", hostPath, "host_path_type", hostType,
		"reclaim_policy", v.Spec.ReclaimPolicy)
}

// joinSet joins with commas, but for what is empty at the beginning.
func joinSet(all []string) string {
	for len(all) > 0 && all[0] == "" {
		all = all[1:]
	}
	return strings.Join(all, ",")
}

func volumeCapacity(v *persistentVolume, s *Series) {
	storage, ok := s.valueOf(v.Spec.Capacity, "storage")
	if !ok {
		storage = "0"
	}
	s.addQuantity(wholeUnits, storage)
}

func volumeAttributes(v *persistentVolume, s *Series) {
	if v.Spec.CSI == nil {
		return
	}
	mounter, _ := s.valueOf(v.Spec.CSI.Attributes, "mounter")
	options, _ := s.valueOf(v.Spec.CSI.Attributes, "mapOptions")
	s.Add(1, "csi_mounter", mounter, "csi_map_options", options)
}

func volumeMode(v *persistentVolume, s *Series) {
	mode := "Filesystem"
	if v.Spec.VolumeMode != nil {
		mode = *v.Spec.VolumeMode
	}
	s.Add(1, "volumemode", mode)
}
