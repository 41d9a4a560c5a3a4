package sim_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

func TestKubeconfig(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Bare: true})
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := c.WriteKubeconfig(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, context := range []string{"sim", "sim-certificate"} {
		config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{ExplicitPath: path},
			&clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig()
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := kubernetes.NewForConfigOrDie(config).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil || len(nodes.Items) != 3 {
			t.Errorf("%s: %v, %v", context, nodes, err)
		}
	}
	for name, want := range map[string]func(error) bool{"": errors.IsForbidden, "wrong": errors.IsUnauthorized} {
		if _, err := kubernetes.NewForConfigOrDie(c.RESTConfigFor(name)).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !want(err) {
			t.Errorf("token %q: %v", name, err)
		}
	}
}

// The delegated authentication and authorization of k8s.io/apiserver work against it, as in metricsapi.
func TestDelegation(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Bare: true})
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := c.WriteKubeconfig(kubeconfig); err != nil {
		t.Fatal(err)
	}
	reader := c.AddUser(identity.User{Name: "reader", Groups: []string{"readers"}, Rules: []identity.Rule{
		{Verbs: []string{"get", "list"}, Groups: []string{"metrics.k8s.io"}, Resources: []string{"pods"}},
	}})

	authentication := options.NewDelegatingAuthenticationOptions()
	authentication.RemoteKubeConfigFile = kubeconfig
	var info server.AuthenticationInfo
	serving := &server.SecureServingInfo{}
	if err := authentication.ApplyTo(&info, serving, nil); err != nil {
		t.Fatal(err)
	}
	who := func(token string) (*authenticator.Response, bool, error) {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.Header.Set("Authorization", "Bearer "+token)
		return info.Authenticator.AuthenticateRequest(request)
	}
	response, ok, err := who(reader)
	if err != nil || !ok || response.User.GetName() != "reader" || !cmp.Equal(response.User.GetGroups(), []string{"readers", identity.Authenticated}) {
		t.Errorf("reader: %+v, %v, %v", response, ok, err)
	}
	if _, ok, err := who("wrong"); ok || err == nil {
		t.Errorf("a wrong token: %v, %v", ok, err)
	}
	if info.RequestHeaderConfig == nil {
		t.Error("no front proxy is trusted")
	}

	authorization := options.NewDelegatingAuthorizationOptions()
	authorization.RemoteKubeConfigFile = kubeconfig
	var authz server.AuthorizationInfo
	if err := authorization.ApplyTo(&authz); err != nil {
		t.Fatal(err)
	}
	may := func(groups []string, name, verb, resource string) bool {
		decision, _, err := authz.Authorizer.Authorize(t.Context(), authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: name, Groups: groups}, Verb: verb, APIGroup: "metrics.k8s.io", APIVersion: "v1beta1", Resource: resource, ResourceRequest: true,
		})
		return err == nil && decision == authorizer.DecisionAllow
	}
	if !may(nil, "reader", "list", "pods") || may(nil, "reader", "list", "nodes") || may(nil, "nobody", "list", "pods") || !may([]string{identity.Masters}, "x", "delete", "nodes") {
		t.Error("the answers to access reviews are wrong")
	}
	c.Forbid("pods.metrics.k8s.io")
	if may(nil, "other", "list", "pods") {
		t.Error("what is forbidden is allowed")
	}
}

// Requests for the Metrics API reach whoever serves it, with the caller's name and the front proxy's certificate.
func TestAggregation(t *testing.T) {
	c := testenv.Sim(t, sim.Options{Bare: true})
	api := client(t, c)
	get := func() ([]byte, error) {
		return api.Discovery().RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1/nodes").Param("labelSelector", "a=b").DoRaw(t.Context())
	}
	if _, err := get(); !errors.IsServiceUnavailable(err) {
		t.Errorf("nobody serves it: %v", err)
	}
	config, err := api.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(config.Data["requestheader-client-ca-file"]))
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{
			"path": r.URL.String(), "user": r.Header["X-Remote-User"], "groups": r.Header["X-Remote-Group"],
			"authorization": r.Header.Get("Authorization"), "certificate": r.TLS.PeerCertificates[0].Subject.CommonName,
		})
	}))
	backend.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	backend.StartTLS()
	defer backend.Close()
	if err := c.SetMetricsAPI(backend.URL, nil); err != nil {
		t.Fatal(err)
	}
	body, err := get()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"path": "/apis/metrics.k8s.io/v1beta1/nodes?labelSelector=a%3Db", "user": []any{"admin"}, "groups": []any{"system:masters", "system:authenticated"},
		"authorization": "", "certificate": "front-proxy-client",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the server behind got (-want +got):\n%s", diff)
	}
	groups, err := api.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, group := range groups.Groups {
		found = found || group.Name == "metrics.k8s.io" && group.PreferredVersion.GroupVersion == "metrics.k8s.io/v1beta1"
	}
	if !found {
		t.Errorf("not in discovery: %v", groups)
	}
	backend.Close()
	if _, err := get(); !errors.IsServiceUnavailable(err) {
		t.Errorf("the server behind is away: %v", err)
	}
	for _, address := range []string{"nonsense", "127.0.0.1:1"} {
		if err := c.SetMetricsAPI(address, nil); err == nil {
			t.Errorf("%q is taken as an address", address)
		}
	}
}
