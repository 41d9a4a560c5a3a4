package sim_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/sim/apiserver"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

var (
	definitionsGVR = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	foosGVR        = schema.GroupVersionResource{Group: "stable.example.com", Version: "v1", Resource: "foos"}
)

func TestCustomResources(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Bare: true})
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	client, err := dynamic.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	typed := kubernetes.NewForConfigOrDie(c.RESTConfig())
	foos := client.Resource(foosGVR).Namespace("default")
	if _, err := foos.List(ctx, metav1.ListOptions{}); !errors.IsNotFound(err) {
		t.Errorf("a resource that isn't defined gives %v", err)
	}
	definition := apiserver.NewDefinition("stable.example.com", "foos", "Foo", true, apiserver.DefinedVersion{Name: "v1"}, apiserver.DefinedVersion{Name: "v1beta1", Unserved: true})
	made, err := client.Resource(definitionsGVR).Create(ctx, &definition.Unstructured, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if conditions, _, _ := unstructured.NestedSlice(made.Object, "status", "conditions"); len(conditions) != 2 || made.GetUID() == "" {
		t.Errorf("the definition isn't established: %v", made.Object)
	}

	// Objects, by all verbs.
	changes, err := foos.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	foo, err := foos.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "stable.example.com/v1", "kind": "Foo", "metadata": map[string]any{"name": "x", "labels": map[string]any{"app": "x"}},
		"spec": map[string]any{"replicas": int64(3), "ratio": 1.5},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if foo.GetGeneration() != 1 || foo.GetKind() != "Foo" || foo.GetAPIVersion() != "stable.example.com/v1" {
		t.Errorf("made %v", foo.Object)
	}
	foo, err = foos.Patch(ctx, "x", types.MergePatchType, []byte(`{"spec": {"replicas": 4}}`), metav1.PatchOptions{})
	if replicas, _, _ := unstructured.NestedInt64(foo.Object, "spec", "replicas"); err != nil || replicas != 4 || foo.GetGeneration() != 2 {
		t.Errorf("patched %v, %v", foo.Object, err)
	}
	if err := unstructured.SetNestedField(foo.Object, "Ready", "status", "phase"); err != nil {
		t.Fatal(err)
	}
	if _, err := foos.UpdateStatus(ctx, foo, metav1.UpdateOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := foos.Update(ctx, foo, metav1.UpdateOptions{}); !errors.IsConflict(err) {
		t.Errorf("an update of an old version: %v", err)
	}
	list, err := client.Resource(foosGVR).List(ctx, metav1.ListOptions{LabelSelector: "app=x"})
	if err != nil || len(list.Items) != 1 || list.GetKind() != "FooList" || list.Items[0].GetKind() != "Foo" {
		t.Fatalf("listed %v, %v", list, err)
	}
	if phase, _, _ := unstructured.NestedString(list.Items[0].Object, "status", "phase"); phase != "Ready" || list.Items[0].GetGeneration() != 2 {
		t.Errorf("listed %v", list.Items[0].Object)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Modified, watch.Modified} {
		if e := <-changes.ResultChan(); e.Type != want {
			t.Errorf("watched %v, want %v", e, want)
		}
	}

	// Metadata alone, in protobuf, as a cheap watcher asks for it.
	config := c.RESTConfig()
	partial, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for gvr, name := range map[schema.GroupVersionResource]string{definitionsGVR: "foos.stable.example.com", foosGVR: "x"} {
		list, err := partial.Resource(gvr).List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 || list.Items[0].Name != name || list.Items[0].UID == "" {
			t.Errorf("the metadata of %s is %v, %v", gvr.Resource, list, err)
		}
	}

	// Discovery, and what kubectl prints.
	resources, err := typed.Discovery().ServerResourcesForGroupVersion("stable.example.com/v1")
	if err != nil || len(resources.APIResources) != 2 || resources.APIResources[0].Kind != "Foo" || resources.APIResources[1].Name != "foos/status" {
		t.Errorf("discovered %v, %v", resources, err)
	}
	if _, err := typed.Discovery().ServerResourcesForGroupVersion("stable.example.com/v1beta1"); !errors.IsNotFound(err) {
		t.Errorf("a version that isn't served gives %v", err)
	}
	raw, err := typed.Discovery().RESTClient().Get().AbsPath("/apis/stable.example.com/v1/foos").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(ctx)
	if err != nil || !strings.Contains(string(raw), `"cells":["x",`) {
		t.Errorf("the table is %s, %v", raw, err)
	}
	if _, err := typed.Discovery().RESTClient().Get().AbsPath("/apis/stable.example.com/v1/foos").
		SetHeader("Accept", "application/vnd.kubernetes.protobuf").DoRaw(ctx); !errors.IsNotAcceptable(err) {
		t.Errorf("an object without a type in protobuf: %v", err)
	}

	// Another version of the same objects.
	current, err := client.Resource(definitionsGVR).Get(ctx, "foos.stable.example.com", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	versions, _, _ := unstructured.NestedSlice(current.Object, "spec", "versions")
	versions[1].(map[string]any)["served"] = true
	if err := unstructured.SetNestedSlice(current.Object, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Resource(definitionsGVR).Update(ctx, current, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	beta := foosGVR
	beta.Version = "v1beta1"
	same, err := client.Resource(beta).Namespace("default").Get(ctx, "x", metav1.GetOptions{})
	if err != nil || same.GetUID() != foo.GetUID() || same.GetAPIVersion() != "stable.example.com/v1beta1" {
		t.Errorf("as another version it is %v, %v", same, err)
	}

	// With the definition the objects go.
	if err := client.Resource(definitionsGVR).Delete(ctx, "foos.stable.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, soon, func() error {
		if _, err := foos.Get(ctx, "x", metav1.GetOptions{}); !errors.IsNotFound(err) {
			return fmt.Errorf("the object of a resource that is gone: %v", err)
		}
		return nil
	})
	if _, err := client.Resource(definitionsGVR).Create(ctx, &definition.Unstructured, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if list, err := foos.List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("defined again, it has %v, %v", list, err)
	}
	// A custom resource may be called like a built-in one.
	pods := apiserver.NewDefinition("other.example.com", "pods", "Pod", true, apiserver.DefinedVersion{Name: "v1"})
	if _, err := c.Put(pods); err != nil {
		t.Fatal(err)
	}
	odd := apiserver.NewCustom(map[string]any{"apiVersion": "other.example.com/v1", "kind": "Pod", "metadata": map[string]any{"name": "p", "namespace": "default"}})
	if _, err := c.Put(odd); err != nil {
		t.Fatal(err)
	}
	if raw, err := typed.Discovery().RESTClient().Get().AbsPath("/apis/other.example.com/v1/pods").Param("fieldSelector", "metadata.name=p").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(ctx); err != nil || !strings.Contains(string(raw), `"cells":["p",`) {
		t.Errorf("the table is %s, %v", raw, err)
	}
	if err := c.Delete(odd); err != nil {
		t.Error(err)
	}
}
