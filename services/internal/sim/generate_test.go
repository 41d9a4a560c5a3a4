package sim_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// A generated cluster hangs together as one that is used: what objects say of each other is there.
func TestClusterIsRealistic(t *testing.T) {
	const nodes, podsPerNode = 30, 30
	c := testenv.Sim(t, sim.Options{Nodes: nodes, PodsPerNode: podsPerNode, Seed: 7})
	api, ctx, all := client(t, c), t.Context(), metav1.ListOptions{}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	replicaSets, err := api.AppsV1().ReplicaSets("").List(ctx, all)
	check(err)
	jobs, err := api.BatchV1().Jobs("").List(ctx, all)
	check(err)
	claims, err := api.CoreV1().PersistentVolumeClaims("").List(ctx, all)
	check(err)
	volumes, err := api.CoreV1().PersistentVolumes().List(ctx, all)
	check(err)
	services, err := api.CoreV1().Services("").List(ctx, all)
	check(err)
	slices, err := api.DiscoveryV1().EndpointSlices("").List(ctx, all)
	check(err)
	scalers, err := api.AutoscalingV2().HorizontalPodAutoscalers("").List(ctx, all)
	check(err)
	budgets, err := api.PolicyV1().PodDisruptionBudgets("").List(ctx, all)
	check(err)
	deployments, err := api.AppsV1().Deployments("").List(ctx, all)
	check(err)
	pods, err := api.CoreV1().Pods("").List(ctx, all)
	check(err)

	replicas, old := map[string]int32{}, 0
	for _, set := range replicaSets.Items {
		if replicas[string(set.UID)] = *set.Spec.Replicas; *set.Spec.Replicas == 0 {
			old++
		}
	}
	if n := len(deployments.Items); n < 20 || old < n || old > 4*n {
		t.Errorf("%d Deployments have %d old ReplicaSets, want one to four each", n, old)
	}
	if n := len(deployments.Items); len(scalers.Items) < n/20 || len(budgets.Items) < n/10 {
		t.Errorf("%d Deployments have %d autoscalers and %d disruption budgets", n, len(scalers.Items), len(budgets.Items))
	}
	claimed := map[string]bool{}
	for _, claim := range claims.Items {
		claimed[claim.Namespace+"/"+claim.Name] = true
	}
	running, twins, owned, finished, mounted := 0, 0, 0, 0, 0
	for _, pod := range pods.Items {
		owner := metav1.GetControllerOf(&pod)
		switch pod.Status.Phase {
		case corev1.PodRunning:
			running++
			if len(pod.Spec.Containers) == 2 {
				twins++
			}
			if owner != nil {
				owned++
				replicas[string(owner.UID)]--
			}
		case corev1.PodSucceeded:
			finished++
			if owner == nil || owner.Kind != "Job" {
				t.Errorf("%s/%s has finished and belongs to %v, want a Job", pod.Namespace, pod.Name, owner)
			}
		}
		for _, volume := range pod.Spec.Volumes {
			if source := volume.PersistentVolumeClaim; source != nil {
				mounted++
				if !claimed[pod.Namespace+"/"+source.ClaimName] {
					t.Errorf("%s/%s mounts %s, which isn't there", pod.Namespace, pod.Name, source.ClaimName)
				}
			}
		}
	}
	if running != nodes*podsPerNode || owned != running {
		t.Errorf("%d pods run, of which %d have owners; want %d", running, owned, nodes*podsPerNode)
	}
	if twins < running*3/10 || twins > running*4/10 {
		t.Errorf("%d of %d pods have two containers, want a third", twins, running)
	}
	if finished != len(jobs.Items) || finished < running/100 {
		t.Errorf("%d pods of %d Jobs have finished", finished, len(jobs.Items))
	}
	if mounted == 0 || len(claims.Items) != len(volumes.Items) {
		t.Errorf("pods mount %d claims; there are %d, and %d volumes", mounted, len(claims.Items), len(volumes.Items))
	}
	for _, set := range replicaSets.Items {
		if left := replicas[string(set.UID)]; left != 0 {
			t.Errorf("%s/%s lacks %d pods", set.Namespace, set.Name, left)
		}
	}
	endpoints := map[string]int{}
	for _, slice := range slices.Items {
		endpoints[slice.Namespace+"/"+slice.Labels["kubernetes.io/service-name"]] += len(slice.Endpoints)
	}
	for _, service := range services.Items {
		if endpoints[service.Namespace+"/"+service.Name] == 0 {
			t.Errorf("service %s/%s has no endpoints", service.Namespace, service.Name)
		}
	}
}

// /metrics tells who asked for what, and a first list from any version comes whole as from a watch cache.
func TestRequestsAreCounted(t *testing.T) {
	c := testenv.Sim(t, sim.Options{})
	pages := func(version string) (n int) {
		list, err := client(t, c).CoreV1().Pods("").List(t.Context(), metav1.ListOptions{Limit: 2, ResourceVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	if paged, whole := pages(""), pages("0"); paged != 2 || whole <= 2 {
		t.Errorf("a page of 2 has %d pods, and %d from version 0", paged, whole)
	}
	own, _, _ := strings.Cut(rest.DefaultKubernetesUserAgent(), "/") // as the test's binary is called
	want := fmt.Sprintf(`apiserver_request_total{client="%s",resource="pods",subresource="",verb="LIST"} 2`, own)
	testenv.Eventually(t, soon, func() error { // a request is counted when it is over, which is after its answer
		status, body, err := scrape(t.Context(), c, scraper(c), c.URL()+"/metrics")
		if err == nil && (status != http.StatusOK || !strings.Contains(body, want+"\n")) {
			err = fmt.Errorf("%d, want %s in\n%s", status, want, body)
		}
		return err
	})
}
