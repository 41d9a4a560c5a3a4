package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeAPI is as much of a Kubernetes API server as delegated authentication and authorization ask: token reviews,
// access reviews, and the ConfigMap that says which certificates to trust.
type kubeAPI struct {
	*httptest.Server
	frontProxy, clients *authority

	mu        sync.Mutex
	away      bool          // answers nothing but 503
	forbidden bool          // doesn't let the ConfigMap be read
	token     string        // whoever asks must have it; "" for anybody
	version   int           // of the ConfigMap, counted from 1
	changed   chan struct{} // closed when the ConfigMap becomes another
	reviews   []authorizationv1.SubjectAccessReviewSpec
	tokens    int    // how often it was asked whose a token is
	unknown   string // the error of a review of a token that nobody has
}

// tokens are who the tokens belong to. The admin may do everything, the viewer what RBAC's metrics reader may.
var tokens = map[string]authenticationv1.UserInfo{
	"admin-token":  {Username: "admin", Groups: []string{"system:masters"}},
	"viewer-token": {Username: "viewer"},
	"nobody-token": {Username: "nobody"},
}

func newKubeAPI(t testing.TB) *kubeAPI {
	k := &kubeAPI{frontProxy: newAuthority(t, "front-proxy-ca"), clients: newAuthority(t, "client-ca"), version: 1, changed: make(chan struct{})}
	k.Server = httptest.NewUnstartedServer(http.HandlerFunc(k.serve))
	k.Config.ErrorLog = nil
	k.StartTLS()
	t.Cleanup(func() {
		k.CloseClientConnections() // watches would hold it
		k.Close()
	})
	return k
}

func (k *kubeAPI) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

// trust makes another authority the one that vouches for the aggregation layer.
func (k *kubeAPI) trust(frontProxy *authority) {
	k.set(func() {
		k.frontProxy = frontProxy
		k.version++
		close(k.changed)
		k.changed = make(chan struct{})
	})
}

// config is the ConfigMap that says whom to trust, and a channel that is closed when it is another. The caller holds mu.
func (k *kubeAPI) config() (*corev1.ConfigMap, <-chan struct{}) {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "extension-apiserver-authentication", ResourceVersion: strconv.Itoa(k.version)},
		Data: map[string]string{
			"client-ca-file":                     string(k.clients.pem),
			"requestheader-client-ca-file":       string(k.frontProxy.pem),
			"requestheader-allowed-names":        `["front-proxy-client"]`,
			"requestheader-username-headers":     `["X-Remote-User"]`,
			"requestheader-group-headers":        `["X-Remote-Group"]`,
			"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
		},
	}, k.changed
}

func (k *kubeAPI) serve(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	away, forbidden, token := k.away, k.forbidden, k.token
	config, changed := k.config()
	k.mu.Unlock()
	if away {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
		reply(w, http.StatusUnauthorized, &metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: "Unauthorized", Code: 401, Message: "Unauthorized"})
		return
	}
	const configMaps = "/api/v1/namespaces/kube-system/configmaps"
	switch {
	case forbidden && strings.HasPrefix(r.URL.Path, configMaps):
		reply(w, http.StatusForbidden, &metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: "Forbidden", Code: 403, Message: "configmaps is forbidden"})
	case r.URL.Path == configMaps && r.URL.Query().Get("watch") != "":
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("sendInitialEvents") == "true" {
			end := &corev1.ConfigMap{TypeMeta: config.TypeMeta, ObjectMeta: metav1.ObjectMeta{ResourceVersion: config.ResourceVersion, Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
			for _, event := range []map[string]any{{"type": "ADDED", "object": config}, {"type": "BOOKMARK", "object": end}} {
				json.NewEncoder(w).Encode(event)
			}
		}
		for {
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-changed:
			}
			k.set(func() { config, changed = k.config() })
			json.NewEncoder(w).Encode(map[string]any{"type": "MODIFIED", "object": config})
		}
	case r.URL.Path == configMaps:
		reply(w, http.StatusOK, &corev1.ConfigMapList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMapList"}, ListMeta: metav1.ListMeta{ResourceVersion: config.ResourceVersion}, Items: []corev1.ConfigMap{*config}})
	case r.URL.Path == configMaps+"/extension-apiserver-authentication":
		reply(w, http.StatusOK, config)
	case r.URL.Path == "/apis/authentication.k8s.io/v1/tokenreviews":
		var review authenticationv1.TokenReview
		if decode(w, r, &review) {
			review.Status.User, review.Status.Authenticated = tokens[review.Spec.Token], tokens[review.Spec.Token].Username != ""
			k.set(func() {
				k.tokens++
				if !review.Status.Authenticated {
					review.Status.Error = k.unknown
				}
			})
			reply(w, http.StatusCreated, &review)
		}
	case r.URL.Path == "/apis/authorization.k8s.io/v1/subjectaccessreviews":
		var review authorizationv1.SubjectAccessReview
		if decode(w, r, &review) {
			k.set(func() { k.reviews = append(k.reviews, review.Spec) })
			a := review.Spec.ResourceAttributes
			review.Status.Allowed = review.Spec.User == "viewer" && a != nil && a.Group == "metrics.k8s.io" && (a.Verb == "get" || a.Verb == "list" || a.Verb == "watch")
			reply(w, http.StatusCreated, &review)
		}
	default:
		http.NotFound(w, r)
	}
}

func decode(w http.ResponseWriter, r *http.Request, into runtime.Object) bool {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		_, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, into)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

func reply(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(object)
}

// kubeconfig writes a kubeconfig file for the server.
func (k *kubeAPI) kubeconfig(t testing.TB) string {
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: k.URL, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.Certificate().Raw})}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: "headwater"}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// authority is a certificate authority.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newAuthority(t testing.TB, name string) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// client issues a client certificate.
func (a *authority) client(t testing.TB, name string, groups ...string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name, Organization: groups},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
