package sim

import (
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (g *generator) statefulSet(namespace, name string, replicas int) error {
	created := g.born()
	labels := map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": namespace}
	set := applied(&appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{Kind: "StatefulSet", APIVersion: "apps/v1"},
		ObjectMeta: g.meta("StatefulSet", namespace, name, created.Add(-time.Minute), labels),
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr(int32(replicas)), Selector: &metav1.LabelSelector{MatchLabels: labels}, ServiceName: name,
			Template: g.template(program(name), namespace, labels), PodManagementPolicy: appsv1.OrderedReadyPodManagement,
		},
	})
	if g.class != "" && g.rng.IntN(3) > 0 {
		set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claimTemplate(g.class)}
	}
	revision := name + "-" + g.suffix(10)
	setStatefulSetStatus(set, int32(replicas), revision)
	if err := g.emit(set); err != nil {
		return err
	}
	pods, err := g.running(replicas, func(i int, at place) *corev1.Pod { return g.statefulPod(set, i, created, at) })
	if err != nil {
		return err
	}
	for _, template := range set.Spec.VolumeClaimTemplates {
		for _, pod := range pods {
			if err := g.volume(&template, pod, labels, created); err != nil {
				return err
			}
		}
	}
	if err := g.service(namespace, name, labels, pods, created); err != nil {
		return err
	}
	return g.configuration(namespace, name, labels, created)
}

// statefulPod makes the pod of a StatefulSet with an ordinal.
func (b *builder) statefulPod(set *appsv1.StatefulSet, ordinal int, created time.Time, at place) *corev1.Pod {
	name := set.Name + "-" + strconv.Itoa(ordinal)
	template := set.Spec.Template.DeepCopy()
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	template.Labels["statefulset.kubernetes.io/pod-name"] = name
	template.Labels["apps.kubernetes.io/pod-index"] = strconv.Itoa(ordinal)
	template.Spec.Hostname = name
	for _, claim := range set.Spec.VolumeClaimTemplates {
		template.Spec.Volumes = append(template.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name + "-" + name},
		}})
	}
	return b.pod(template, ownedBy("apps/v1", "StatefulSet", set), set.Namespace, name, created, at)
}

// daemons makes the DaemonSets that run on every node, if there is room for them.
func (g *generator) daemons() error {
	count := 0
	switch {
	case g.opts.PodsPerNode >= 8:
		count = 2
	case g.opts.PodsPerNode >= 3:
		count = 1
	}
	for _, name := range []string{"node-agent", "log-collector"}[:count] {
		namespace := "kube-system"
		labels := map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": namespace}
		created := g.epoch.Add(-40 * 24 * time.Hour)
		set := applied(&appsv1.DaemonSet{
			TypeMeta:   metav1.TypeMeta{Kind: "DaemonSet", APIVersion: "apps/v1"},
			ObjectMeta: g.meta("DaemonSet", namespace, name, created.Add(-time.Minute), labels),
			Spec: appsv1.DaemonSetSpec{
				Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: g.template(name, namespace, labels), RevisionHistoryLimit: ptr[int32](10),
			},
		})
		setDaemonSetStatus(set, int32(len(g.nodes)))
		if err := g.emit(set); err != nil {
			return err
		}
		for i := range g.nodes {
			pod := g.daemonPod(set, g.suffix(5), created, g.placeOn(i))
			g.count(pod)
			if err := g.emit(pod); err != nil {
				return err
			}
		}
	}
	return nil
}

// daemonPod makes a DaemonSet's pod on a node.
func (b *builder) daemonPod(set *appsv1.DaemonSet, suffix string, created time.Time, at place) *corev1.Pod {
	template := set.Spec.Template
	template.Spec.Tolerations = append(slices.Clip(template.Spec.Tolerations), corev1.Toleration{Operator: corev1.TolerationOpExists})
	return b.pod(&template, ownedBy("apps/v1", "DaemonSet", set), set.Namespace, set.Name+"-"+suffix, created, at)
}
