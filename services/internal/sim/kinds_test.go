package sim_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/sim/apiserver"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func gvr(res *apiserver.Resource) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: res.Group, Version: res.Version, Resource: res.Name}
}

// Every kind of the contract has objects, and they are the same as JSON, as protobuf and as metadata alone.
func TestEveryKindIsServed(t *testing.T) {
	c := testenv.Sim(t, sim.Options{})
	asJSON, err := dynamic.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	asMetadata, err := metadata.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	discovered, err := client(t, c).Discovery().ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, list := range discovered {
		for _, row := range list.APIResources {
			listed[list.GroupVersion+"/"+row.Name] = true
		}
	}
	kinds := 0
	for _, res := range apiserver.Resources() {
		if res.Name == "events" {
			continue
		}
		kinds++
		if !listed[res.APIVersion()+"/"+res.Name] {
			t.Errorf("%s is not in discovery", res.Name)
		}
		objects, err := asJSON.Resource(gvr(res)).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Errorf("%s: %v", res.Name, err)
			continue
		}
		if len(objects.Items) == 0 {
			t.Errorf("%s: no objects", res.Name)
			continue
		}
		partial, err := asMetadata.Resource(gvr(res)).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Errorf("%s: %v", res.Name, err)
			continue
		}
		if len(partial.Items) != len(objects.Items) {
			t.Fatalf("%s: %d objects as metadata, %d as JSON", res.Name, len(partial.Items), len(objects.Items))
		}
		for i, obj := range objects.Items {
			if p := partial.Items[i]; p.UID != obj.GetUID() || p.ResourceVersion != obj.GetResourceVersion() || p.UID == "" || len(p.ManagedFields) == 0 {
				t.Errorf("%s %s: metadata differ: %v, %v", res.Name, obj.GetName(), p.ObjectMeta, obj.Object["metadata"])
			}
			one, err := asJSON.Resource(gvr(res)).Namespace(obj.GetNamespace()).Get(t.Context(), obj.GetName(), metav1.GetOptions{})
			if err != nil || one.GetUID() != obj.GetUID() || one.GetKind() != res.Kind {
				t.Errorf("%s %s: got %v, %v", res.Name, obj.GetName(), one, err)
			}
		}
	}
	if kinds != 39 {
		t.Errorf("%d kinds, the contract has 39", kinds)
	}
}

// What must never leave the API server is there, so that a leak would be seen.
func TestSecretsAreMarked(t *testing.T) {
	c := testenv.Sim(t, sim.Options{})
	api := client(t, c).CoreV1()
	pod, err := api.Pods("").List(t.Context(), metav1.ListOptions{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(pod.Items[0].Spec.Containers[0])
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(spec, []byte(sim.SecretMarker)); n < 3 {
		t.Errorf("the marker is in %d places of a container, want environment, command and arguments: %s", n, spec)
	}
	secrets, err := api.Secrets("").List(t.Context(), metav1.ListOptions{Limit: 1})
	if err != nil || !bytes.Contains(secrets.Items[0].Data["password"], []byte(sim.SecretMarker)) {
		t.Errorf("secret: %v, %v", secrets, err)
	}
	if last := secrets.Items[0].Annotations[corev1.LastAppliedConfigAnnotation]; !strings.Contains(last, `"data"`) {
		t.Errorf("last applied: %q", last)
	}
}

func TestForbidAndHide(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Bare: true})
	api := client(t, c)
	c.Forbid("secrets")
	c.Forbid("leases.coordination.k8s.io", "watch")
	if _, err := api.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{}); !errors.IsForbidden(err) {
		t.Errorf("list of a forbidden resource: %v", err)
	}
	if _, err := api.CoordinationV1().Leases("").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("list where only watch is forbidden: %v", err)
	}
	if _, err := api.CoordinationV1().Leases("").Watch(t.Context(), metav1.ListOptions{}); !errors.IsForbidden(err) {
		t.Errorf("watch of a forbidden resource: %v", err)
	}
	c.Permit("secrets")
	if _, err := api.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("list of a permitted resource: %v", err)
	}
	if err := c.Hide("storageclasses", true); err != nil {
		t.Fatal(err)
	}
	if _, err := api.StorageV1().StorageClasses().List(t.Context(), metav1.ListOptions{}); !errors.IsNotFound(err) {
		t.Errorf("list of a hidden resource: %v", err)
	}
}
