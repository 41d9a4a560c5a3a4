package sim

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What controllers say of workloads whose pods all run. Only what changed is touched, so that a status that is right
// already isn't written again.

func wanted(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

func setDeploymentStatus(d *appsv1.Deployment, ready int32, since time.Time) {
	d.Status.ObservedGeneration = d.Generation
	d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas = ready, ready, ready, ready
	d.Status.UnavailableReplicas = max(wanted(d.Spec.Replicas)-ready, 0)
	if len(d.Status.Conditions) == 0 {
		at := metav1.NewTime(since.Truncate(time.Second))
		d.Status.Conditions = []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable", Message: "Deployment has minimum availability.", LastUpdateTime: at, LastTransitionTime: at},
			{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable", Message: "The newest ReplicaSet has progressed.", LastUpdateTime: at, LastTransitionTime: at},
		}
	}
}

func setReplicaSetStatus(s *appsv1.ReplicaSet, ready int32) {
	s.Status.ObservedGeneration = s.Generation
	s.Status.Replicas, s.Status.FullyLabeledReplicas, s.Status.ReadyReplicas, s.Status.AvailableReplicas = ready, ready, ready, ready
}

func setStatefulSetStatus(s *appsv1.StatefulSet, ready int32, revision string) {
	s.Status.ObservedGeneration = s.Generation
	s.Status.Replicas, s.Status.ReadyReplicas, s.Status.CurrentReplicas, s.Status.UpdatedReplicas, s.Status.AvailableReplicas = ready, ready, ready, ready, ready
	if revision != "" {
		s.Status.CurrentRevision, s.Status.UpdateRevision = revision, revision
	}
}

func setDaemonSetStatus(s *appsv1.DaemonSet, nodes int32) {
	s.Status.ObservedGeneration = s.Generation
	s.Status.DesiredNumberScheduled, s.Status.CurrentNumberScheduled, s.Status.NumberReady = nodes, nodes, nodes
	s.Status.UpdatedNumberScheduled, s.Status.NumberAvailable = nodes, nodes
}
