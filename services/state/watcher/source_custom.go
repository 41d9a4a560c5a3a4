package watcher

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// definitionsResource are the objects that say which custom resources there are.
var definitionsResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// definitionsKind is their row, for health.
func definitionsKind() objects.Kind {
	return objects.Custom(definitionsResource, "CustomResourceDefinition", false)
}

// definitionsName is what metrics and logs call them.
const definitionsName = "customresourcedefinitions.apiextensions.k8s.io"

// customClients makes what lists and watches custom resources.
type customClients struct {
	metadata metadata.Interface
	dynamic  dynamic.Interface
}

func newCustomClients(c *clients) (*customClients, error) {
	m, err := metadata.NewForConfigAndClient(c.config, c.http)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a client for CustomResourceDefinitions: %w", err)
	}
	d, err := dynamic.NewForConfigAndClient(c.config, c.http)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a client for custom resources: %w", err)
	}
	return &customClients{metadata: m, dynamic: d}, nil
}

// source makes that of a custom resource.
func (c *customClients) source(kind objects.Kind) source {
	return &dynamicSource{c.dynamic.Resource(kind.GVR())}
}

// definition reads a definition, whole.
func (c *customClients) definition(ctx context.Context, name string) (*definition, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	obj, err := c.dynamic.Resource(definitionsResource).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(obj.Object)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnusable, err)
	}
	return readDefinition(name, raw)
}

// definitionSource lists and watches the metadata of the definitions: their schemas are large.
type definitionSource struct{ client metadata.Interface }

func (s *definitionSource) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return s.client.Resource(definitionsResource).List(ctx, options)
}

func (s *definitionSource) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return s.client.Resource(definitionsResource).Watch(ctx, options)
}

// dynamicSource is a custom resource at the API server, in all namespaces.
type dynamicSource struct{ client dynamic.ResourceInterface }

func (s *dynamicSource) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return s.client.List(ctx, options)
}

func (s *dynamicSource) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return s.client.Watch(ctx, options)
}
