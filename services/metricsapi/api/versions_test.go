package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1 "k8s.io/metrics/pkg/apis/metrics/v1"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

const groupV1 = "/apis/metrics.k8s.io/v1"

// TestVersion1SaysTheSame asks both versions the same and compares bytes: they differ by the version's name alone.
func TestVersion1SaysTheSame(t *testing.T) {
	s := start(t, small)
	const table = "application/json;as=Table;g=meta.k8s.io;v=v1"
	for _, c := range []struct{ path, accept string }{
		{"/nodes", ""}, {"/nodes/node-a", ""}, {"/nodes/nothing", ""}, {"/nodes/silent", ""}, {"/pods", ""}, {"/namespaces/shop/pods", ""},
		{"/namespaces/shop/pods/web-1", ""}, {"/namespaces/shop/pods/unseen", ""}, {"/pods?labelSelector=app%3Dweb", ""}, {"/pods?fieldSelector=x%3Dy", ""},
		{"/pods?watch=1", ""}, {"", ""}, {"/nodes", "application/yaml"}, {"/nodes", table}, {"/namespaces/shop/pods?includeObject=Object", table},
		{"/pods", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"},
	} {
		var headers []header
		if c.accept != "" {
			headers = append(headers, header{"Accept", c.accept})
		}
		codeBeta, beta := s.get(group+c.path, headers...)
		codeOne, one := s.get(groupV1+c.path, headers...)
		if codeOne != codeBeta || one != strings.ReplaceAll(beta, "metrics.k8s.io/v1beta1", "metrics.k8s.io/v1") {
			t.Errorf("%s as %q: %d, and %d (-v1beta1 +v1):\n%s", c.path, c.accept, codeBeta, codeOne, cmp.Diff(beta, one))
		}
		if codeBeta == 200 && !strings.Contains(beta, "v1beta1") && !strings.Contains(c.accept, "g=meta.k8s.io") {
			t.Errorf("%s as %q: there is no version in it, so that nothing was compared: %s", c.path, c.accept, beta)
		}
	}
	definition, text := s.get("/openapi/v3" + groupV1)
	if definition != 200 || !strings.Contains(text, "io.k8s.metrics.pkg.apis.metrics.v1.PodMetricsList") || strings.Contains(text, "v1beta1.PodMetrics") {
		t.Errorf("OpenAPI of v1: %d %.300s", definition, text)
	}
}

// TestClientsOfVersion1 reads with the typed client of v1, as kubectl top 1.37 does, and compares with that of v1beta1.
func TestClientsOfVersion1(t *testing.T) {
	s := start(t, small)
	for _, contentType := range []string{jsonType, protobuf} {
		client := s.metrics(contentType)
		one, err := client.MetricsV1().PodMetricses("shop").List(t.Context(), metav1.ListOptions{LabelSelector: "app"})
		if err != nil {
			t.Fatal(err)
		}
		beta, err := client.MetricsV1beta1().PodMetricses("shop").List(t.Context(), metav1.ListOptions{LabelSelector: "app"})
		if err != nil {
			t.Fatal(err)
		}
		converted := v1.PodMetricsList{ListMeta: beta.ListMeta}
		for _, item := range beta.Items {
			pod := v1.PodMetrics{ObjectMeta: item.ObjectMeta, Timestamp: item.Timestamp, Window: item.Window}
			for _, container := range item.Containers {
				pod.Containers = append(pod.Containers, v1.ContainerMetrics{Name: container.Name, Usage: container.Usage})
			}
			converted.Items = append(converted.Items, pod)
		}
		if diff := cmp.Diff(converted.Items, one.Items); diff != "" || len(one.Items) != 2 {
			t.Errorf("%s: %d pods (-v1beta1 +v1):\n%s", contentType, len(one.Items), diff)
		}
		node, err := client.MetricsV1().NodeMetricses().Get(t.Context(), "node-b", metav1.GetOptions{})
		if err != nil || node.Usage.Cpu().MilliValue() != 1000 {
			t.Errorf("%s: %v, %v", contentType, node, err)
		}
	}
	group, err := s.metrics("").Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range group.Groups {
		if g.Name == "metrics.k8s.io" && g.PreferredVersion.Version != v1beta1.SchemeGroupVersion.Version {
			t.Errorf("preferred is %s", g.PreferredVersion.Version)
		}
	}
}
