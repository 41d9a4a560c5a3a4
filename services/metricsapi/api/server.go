package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	apiversion "k8s.io/apimachinery/pkg/version"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilcompatibility "k8s.io/apiserver/pkg/util/compatibility"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/component-base/compatibility"
	"k8s.io/metrics/pkg/apis/metrics"
	v1 "k8s.io/metrics/pkg/apis/metrics/v1"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/headwater-metrics/headwater/services/internal/debugpage"
	"github.com/headwater-metrics/headwater/services/metricsapi/api/openapi"
)

// listening is the open port, with all that TLS needs.
type listening struct {
	*genericapiserver.SecureServingInfo
	loopback *clientrest.Config // how the server reaches itself
}

// listen opens the port, before anything else is done that may take its time.
func (s *Service) listen() (*listening, error) {
	options := s.cfg.Options.SecureServing
	certificate, err := newServingCertificate(options, time.Now, s.cfg.Log, s.metrics)
	if err != nil {
		return nil, err
	}
	where := net.JoinHostPort(options.BindAddress.String(), strconv.Itoa(options.BindPort))
	if options.BindPort == 0 && options.Listener == nil { // which the library would take for "don't serve"
		listener, err := net.Listen("tcp", where)
		if err != nil {
			return nil, fmt.Errorf("couldn't listen on %s: %w", where, err)
		}
		options.Listener = listener
	}
	var l listening
	if err := options.ApplyTo(&l.SecureServingInfo); err != nil {
		return nil, fmt.Errorf("couldn't serve HTTPS on %s: %w; if the port is in use, stop what uses it or choose another --secure-port", where, err)
	}
	if l.loopback, err = addLoopback(l.SecureServingInfo, time.Now()); err != nil {
		return nil, err
	}
	l.Cert = certificate
	s.address.Store(l.Listener.Addr().(*net.TCPAddr))
	return &l, nil
}

// listenAndServe opens the port and answers requests until ctx ends.
func (s *Service) listenAndServe(ctx context.Context) error {
	serving, err := s.listen()
	if err != nil {
		return err
	}
	defer serving.Listener.Close()
	return s.serve(ctx, serving)
}

// serve answers requests on the open port until ctx ends. The API server may be away when it begins.
func (s *Service) serve(ctx context.Context, l *listening) error {
	authorities, err := s.awaitAuthentication(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	gate := newGate(l.Listener)
	l.Listener = gate
	server, err := s.build(l)
	if err != nil {
		return err
	}
	server.SecureServingInfo.ClientCA = holdTrust(server.SecureServingInfo.ClientCA, gate.accepting)
	prepared := server.PrepareRun()
	opening, end := context.WithCancel(ctx)
	var opener sync.WaitGroup
	opener.Go(func() {
		patience, cancel := context.WithTimeout(opening, 10*time.Second)
		defer cancel()
		if err := gate.openWhenTrusting(patience, authorities); err != nil && opening.Err() == nil {
			s.cfg.Log.Warn("serving all the same; requests through the aggregation layer may be refused for a while", "error", err)
		}
		if opening.Err() == nil {
			s.starting.Store(nil)
			s.cfg.Log.Info("serving the metrics API", "address", l.Listener.Addr().String())
		}
	})
	err = prepared.RunWithContext(ctx)
	end()
	opener.Wait() // so that nothing is said to be ready after the end
	if err != nil {
		return fmt.Errorf("couldn't serve the metrics API: %w", err)
	}
	return nil
}

// awaitAuthentication waits until the API server tells which certificates vouch for users and for its aggregation layer,
// and returns the subjects of these authorities. A server that started without them would take everybody for anonymous;
// one that gave up would be restarted until the API server is back, and have to replay each time.
func (s *Service) awaitAuthentication(ctx context.Context) (authorities [][]byte, err error) {
	options := s.cfg.Options.Authentication
	if options.SkipInClusterLookup || options.TolerateInClusterLookupFailure {
		return nil, nil
	}
	client, err := clientFor(options.RemoteKubeConfigFile, "authentication")
	if err != nil {
		if options.RemoteKubeConfigFileOptional {
			return nil, nil
		}
		return nil, err
	}
	const namespace, name = metav1.NamespaceSystem, "extension-apiserver-authentication"
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		request, cancel := context.WithTimeout(ctx, 10*time.Second)
		trust, err := client.CoreV1().ConfigMaps(namespace).Get(request, name, metav1.GetOptions{})
		cancel()
		if err == nil {
			if options.ClientCert.ClientCA == "" && options.ClientCert.CAContentProvider == nil { // else that is what counts
				authorities = subjects(trust.Data["client-ca-file"])
			}
			if options.RequestHeader.ClientCAFile == "" {
				authorities = append(authorities, subjects(trust.Data["requestheader-client-ca-file"])...)
			}
			return authorities, nil
		}
		hint := "is the API server up, and is this its address?"
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			hint = "the Role extension-apiserver-authentication-reader in kube-system allows it"
		}
		err = fmt.Errorf("couldn't read the ConfigMap %s/%s, which says whom to trust: %w (%s)", namespace, name, err, hint)
		if previous := s.starting.Swap(&err); previous == &errNotRunning {
			s.cfg.Log.Warn("waiting for the API server", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(wait):
		}
	}
}

// build makes the HTTPS server.
func (s *Service) build(l *listening) (*genericapiserver.GenericAPIServer, error) {
	options := s.cfg.Options
	scheme, codecs, err := newScheme()
	if err != nil {
		return nil, err
	}
	config := genericapiserver.NewConfig(codecs)
	if err := options.Server.ApplyTo(config); err != nil {
		return nil, fmt.Errorf("couldn't apply the server's options: %w", err)
	}
	config.SecureServing, config.LoopbackClientConfig = l.SecureServingInfo, l.loopback
	if err := options.Authentication.ApplyTo(&config.Authentication, config.SecureServing, nil); err != nil {
		return nil, fmt.Errorf("couldn't set up authentication: %w", err)
	}
	if err := options.Authorization.ApplyTo(&config.Authorization); err != nil {
		return nil, fmt.Errorf("couldn't set up authorization: %w", err)
	}
	if err := options.Audit.ApplyTo(config); err != nil {
		return nil, fmt.Errorf("couldn't set up auditing: %w", err)
	}
	features := *options.Features
	features.EnablePriorityAndFairness = false // it would need the API server's flow schemas; metrics-server has none either
	if err := features.ApplyTo(config, nil, nil); err != nil {
		return nil, fmt.Errorf("couldn't apply the feature options: %w", err)
	}
	config.EnableMetrics = false // served by metricsHandler
	config.EffectiveVersion = version{utilcompatibility.DefaultBuildEffectiveVersion(), s.cfg.Version}
	namer := openapinamer.NewDefinitionNamer(scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.Definitions, namer)
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.Definitions, namer)
	release, _, _ := strings.Cut(config.EffectiveVersion.Info().GitVersion, "-")
	config.OpenAPIConfig.Info.Title, config.OpenAPIV3Config.Info.Title = "Kubernetes metrics-server", "Kubernetes metrics-server"
	config.OpenAPIConfig.Info.Version, config.OpenAPIV3Config.Info.Version = release, release

	config.RequestInfoResolver = &resolver{genericapiserver.NewRequestInfoResolver(config)}
	config.BuildHandlerChainFunc = func(handler http.Handler, c *genericapiserver.Config) http.Handler {
		return genericapiserver.DefaultBuildHandlerChain(s.refuse(withResponse(handler), codecs), c)
	}

	server, err := config.Complete(nil).New("headwater-metricsapi", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("couldn't make the API server: %w", err)
	}
	if err := s.install(server, scheme, codecs); err != nil {
		return nil, err
	}
	server.Handler.NonGoRestfulMux.Handle("/metrics", s.metricsHandler())
	server.Handler.NonGoRestfulMux.UnlistedHandle(debugPath, debugpage.Handler(s.page))
	return server, s.addChecks(server)
}

// install adds the API group.
func (s *Service) install(server *genericapiserver.GenericAPIServer, scheme *runtime.Scheme, codecs serializer.CodecFactory) error {
	settings := settings{now: s.now, maxAge: s.cfg.Options.maxSampleAge(), extended: s.cfg.Options.ExtendedUsage,
		formats: newFormats(scheme, codecs), makers: new(makers)}
	nodes, pods := watchable(&nodeStorage{s, settings}, &podStorage{s, settings}, s.watches)
	resources := map[string]rest.Storage{"nodes": nodes, "pods": pods}
	group := genericapiserver.NewDefaultAPIGroupInfo(metrics.GroupName, scheme, metav1.ParameterCodec, codecs)
	for _, version := range scheme.PrioritizedVersionsForGroup(metrics.GroupName) {
		group.VersionedResourcesStorageMap[version.Version] = resources
	}
	if err := server.InstallAPIGroup(&group); err != nil {
		return fmt.Errorf("couldn't install the API group %s: %w", metrics.GroupName, err)
	}
	// In aggregated discovery the library would put v1 first. There, too, v1beta1 is what clients get that don't choose.
	for i, version := range scheme.PrioritizedVersionsForGroup(metrics.GroupName) {
		server.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(metav1.GroupVersion{Group: version.Group, Version: version.Version}, 1000, 100-i)
	}
	return nil
}

// newScheme makes the scheme of what is served: each version in it is, the first one preferred. That is v1beta1, as in
// metrics-server, so that clients which take what is preferred see no difference; those of Kubernetes 1.37 take either. Through
// the aggregation layer, the APIServices' versionPriority decides.
func newScheme() (*runtime.Scheme, serializer.CodecFactory, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	err := errors.Join(
		metrics.AddToScheme(scheme),
		v1beta1.AddToScheme(scheme),
		v1.AddToScheme(scheme),
		scheme.SetVersionPriority(v1beta1.SchemeGroupVersion, v1.SchemeGroupVersion),
	)
	if err != nil {
		return nil, serializer.CodecFactory{}, fmt.Errorf("couldn't make the scheme: %w", err)
	}
	return scheme, serializer.NewCodecFactory(scheme), nil
}

// version is the library's effective version, with our release in what is told to clients.
type version struct {
	compatibility.EffectiveVersion
	release string
}

// Info is what /version answers.
func (v version) Info() *apiversion.Info {
	info := v.EffectiveVersion.Info()
	if v.release != "" && info != nil {
		info.GitVersion = v.release
	}
	return info
}
