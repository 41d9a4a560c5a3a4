package watcher

import (
	"context"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/objects"
)

// protobuf is how built-in kinds travel from the API server.
const protobuf = "application/vnd.kubernetes.protobuf"

// clients makes what lists and watches kinds: a client for each group and version, over one connection.
type clients struct {
	config *rest.Config
	http   *http.Client
	typed  map[schema.GroupVersion]rest.Interface
}

func newClients(config *rest.Config) (*clients, error) {
	config = rest.CopyConfig(config)
	config.ContentType = protobuf
	config.AcceptContentTypes = protobuf + ",application/json"
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	if config.UserAgent == "" {
		config.UserAgent = "headwater-state"
	}
	if config.RateLimiter == nil && config.QPS == 0 {
		config.QPS = -1 // a watch for each kind and their back-offs: there is nothing to limit
	}
	config.WarningHandler = rest.NoWarnings{} // that Endpoints are deprecated, at every list
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("couldn't use the credentials for the API server: %w", err)
	}
	return &clients{config: config, http: client, typed: map[schema.GroupVersion]rest.Interface{}}, nil
}

// source makes that of a kind of the table.
func (c *clients) source(kind objects.Kind) (source, error) {
	gv := kind.GVK().GroupVersion()
	client := c.typed[gv]
	if client == nil {
		var err error
		if client, err = clientFor(c.config, gv, c.http); err != nil {
			return nil, fmt.Errorf("couldn't make a client for %s: %w", gv, err)
		}
		c.typed[gv] = client
	}
	list, err := scheme.Scheme.New(gv.WithKind(kind.Kind + "List"))
	if err != nil {
		return nil, fmt.Errorf("couldn't make a list of %s: %w", kind.Name(), err)
	}
	return &restSource{client: client, resource: kind.Resource, newList: func() runtime.Object { return list.DeepCopyObject() }}, nil
}

func clientFor(config *rest.Config, gv schema.GroupVersion, client *http.Client) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.GroupVersion = &gv
	config.APIPath = "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	return rest.RESTClientForConfigAndClient(config, client)
}

// restSource is a kind at the API server, in all namespaces.
type restSource struct {
	client   rest.Interface
	resource string
	newList  func() runtime.Object
}

func (s *restSource) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list := s.newList()
	err := s.client.Get().Resource(s.resource).VersionedParams(&options, scheme.ParameterCodec).Timeout(listTimeout).Do(ctx).Into(list)
	return list, err
}

// listTimeout bounds one page of a list; a server that takes longer is away.
const listTimeout = 2 * time.Minute

func (s *restSource) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	request := s.client.Get().Resource(s.resource).VersionedParams(&options, scheme.ParameterCodec)
	if options.TimeoutSeconds != nil {
		request = request.Timeout(time.Duration(*options.TimeoutSeconds) * time.Second)
	}
	return request.Watch(ctx)
}
