package collector

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

type deployment struct {
	object
	Spec   deploymentSpec   `json:"spec"`
	Status deploymentStatus `json:"status"`
}

type deploymentSpec struct {
	Replicas *int64             `json:"replicas"`
	Paused   bool               `json:"paused"`
	Strategy deploymentStrategy `json:"strategy"`
}

type deploymentStrategy struct {
	RollingUpdate *rollingUpdate `json:"rollingUpdate"`
}

type rollingUpdate struct {
	MaxUnavailable objects.IntOrString `json:"maxUnavailable"`
	MaxSurge       objects.IntOrString `json:"maxSurge"`
}

type deploymentStatus struct {
	Replicas            int64       `json:"replicas"`
	ReadyReplicas       int64       `json:"readyReplicas"`
	AvailableReplicas   int64       `json:"availableReplicas"`
	UnavailableReplicas int64       `json:"unavailableReplicas"`
	UpdatedReplicas     int64       `json:"updatedReplicas"`
	TerminatingReplicas *int64      `json:"terminatingReplicas"`
	ObservedGeneration  int64       `json:"observedGeneration"`
	Conditions          []condition `json:"conditions"`
}

func deployments() families {
	return tableOf(namespaced[*deployment]("deployment"), []family[*deployment]{
		{"kube_deployment_owner", alpha, "An owner of the Deployment; always 1.", deploymentOwners},
		{"kube_deployment_created", stable, "When the Deployment was created, in Unix seconds.", created[*deployment]},
		{"kube_deployment_status_replicas", stable, "Pods of the Deployment that have not ended.", func(d *deployment, s *Series) { s.Add(float64(d.Status.Replicas)) }},
		{"kube_deployment_status_replicas_ready", stable, "Pods of the Deployment that are ready.", func(d *deployment, s *Series) { s.Add(float64(d.Status.ReadyReplicas)) }},
		{"kube_deployment_status_replicas_available", stable, "Pods of the Deployment that have been ready for as long as it asks.", func(d *deployment, s *Series) { s.Add(float64(d.Status.AvailableReplicas)) }},
		{"kube_deployment_status_replicas_unavailable", stable, "Pods that the Deployment still lacks to be fully available.", func(d *deployment, s *Series) { s.Add(float64(d.Status.UnavailableReplicas)) }},
		{"kube_deployment_status_replicas_updated", stable, "Pods of the Deployment that are made of its current template.", func(d *deployment, s *Series) { s.Add(float64(d.Status.UpdatedReplicas)) }},
		{"kube_deployment_status_terminating_replicas", alpha, "Pods of the Deployment that are being deleted and have not ended yet.", func(d *deployment, s *Series) { s.AddInt(d.Status.TerminatingReplicas) }},
		{"kube_deployment_status_observed_generation", stable, "Generation of the Deployment that its controller has acted on.", func(d *deployment, s *Series) { s.Add(float64(d.Status.ObservedGeneration)) }},
		{"kube_deployment_status_condition", stable, "The status that a condition of the Deployment has (1), and those that it does not have (0).", deploymentConditions},
		{"kube_deployment_spec_replicas", stable, "Pods that the Deployment is to have.", func(d *deployment, s *Series) { s.addDesired(d.Spec.Replicas) }},
		{"kube_deployment_spec_paused", stable, "Whether the Deployment's roll-out is paused (1) or not (0).", func(d *deployment, s *Series) { s.AddBool(d.Spec.Paused) }},
		{"kube_deployment_spec_strategy_rollingupdate_max_unavailable", stable, "Pods that a roll-out may take away from the desired number.", deploymentMaxUnavailable},
		{"kube_deployment_spec_strategy_rollingupdate_max_surge", stable, "Pods that a roll-out may add to the desired number.", deploymentMaxSurge},
		{"kube_deployment_metadata_generation", stable, "Generation of the Deployment's desired state.", generation[*deployment]},
		{"kube_deployment_deletion_timestamp", alpha, "When the Deployment is to be gone after its deletion was asked for, in Unix seconds.", deletionTimestamp[*deployment]},
		{"kube_deployment_annotations", alpha, "Annotations of the Deployment that --metric-annotations-allowlist lets through; always 1.", annotations[*deployment]},
		{"kube_deployment_labels", stable, "Labels of the Deployment that --metric-labels-allowlist lets through; always 1.", labels[*deployment]},
	})
}

func deploymentOwners(d *deployment, s *Series) {
	owners := d.Metadata.OwnerReferences
	for i := range owners {
		s.Add(1, "owner_kind", owners[i].Kind, "owner_name", owners[i].Name)
	}
	if len(owners) == 0 {
		s.Add(1, "owner_kind", "", "owner_name", "")
	}
}

// deploymentReasons are the reasons that a condition may give; others are told as "unknown", so that a controller with
// free text does not fill the database.
var deploymentReasons = [...]string{"", "ReplicaSetUpdated", "ReplicaSetCreateError", "NewReplicaSetCreated", "FoundNewReplicaSet",
	"NewReplicaSetAvailable", "ProgressDeadlineExceeded", "DeploymentPaused", "DeploymentResumed", "MinimumReplicasAvailable",
	"MinimumReplicasUnavailable"}

func deploymentConditions(d *deployment, s *Series) {
	for i := range d.Status.Conditions {
		c := &d.Status.Conditions[i]
		reason := c.Reason
		if !slices.Contains(deploymentReasons[:], reason) {
			reason = "unknown"
		}
		s.AddCondition(c.Status, "status", "reason", reason, "condition", c.Type)
	}
}

func deploymentMaxUnavailable(d *deployment, s *Series) {
	if update := d.Spec.Strategy.RollingUpdate; update != nil {
		s.addShare(update.MaxUnavailable, d.Spec.Replicas, math.Floor)
	}
}

func deploymentMaxSurge(d *deployment, s *Series) {
	if update := d.Spec.Strategy.RollingUpdate; update != nil {
		s.addShare(update.MaxSurge, d.Spec.Replicas, math.Ceil)
	}
}

// addDesired adds the number of replicas asked for. The API server fills it in; where it is missing all the same,
// kube-state-metrics panics and nothing is told here.
func (s *Series) addDesired(replicas *int64) {
	if replicas == nil {
		s.Skip()
		return
	}
	s.Add(float64(*replicas))
}

// addShare adds a number of replicas that is given as such, or as a percentage of all of them, rounded as said.
// What cannot be worked out is not told.
func (s *Series) addShare(share objects.IntOrString, replicas *int64, round func(float64) float64) {
	if !share.Valid || replicas == nil {
		return
	}
	if share.IsNumber {
		s.Add(float64(share.Number))
		return
	}
	text, ok := strings.CutSuffix(share.Text, "%")
	percent, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		s.Skip()
		return
	}
	s.Add(round(float64(percent) * float64(*replicas) / 100))
}
