package sim

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
)

// URL is the API server's address.
func (c *Cluster) URL() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	host, port, _ := net.SplitHostPort(c.address)
	if ip := net.ParseIP(host); c.opts.Host != "" {
		host = c.opts.Host
	} else if ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(host, port)
}

// Token is the administrator's bearer token.
func (c *Cluster) Token() string { return c.keep.Token }

// CA is the certificate authority of the API server and the kubelets, in PEM.
func (c *Cluster) CA() []byte { return c.keep.CA.PEM }

// RESTConfig is a client's configuration as administrator, by bearer token. It is a new one at every call.
func (c *Cluster) RESTConfig() *rest.Config { return c.RESTConfigFor(c.keep.Token) }

// RESTConfigFor is a client's configuration with another token.
func (c *Cluster) RESTConfigFor(token string) *rest.Config {
	return &rest.Config{
		Host: c.URL(), BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: c.keep.CA.PEM},
		QPS: -1, // no throttling by the client
	}
}

// AddUser makes a user known, who may do what the rules say, and returns a token.
func (c *Cluster) AddUser(user identity.User) (token string) {
	token = identity.NewToken()
	c.users.Add(token, user)
	return token
}

// WriteKubeconfig writes a kubeconfig as administrator: the current context uses the bearer token, the context
// "NAME-certificate" a client certificate. The file is for its owner only.
func (c *Cluster) WriteKubeconfig(path string) error {
	name := c.opts.Name
	byCertificate := name + "-certificate"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: c.URL(), CertificateAuthorityData: c.keep.CA.PEM}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: c.keep.Token}
	config.AuthInfos[byCertificate] = &clientcmdapi.AuthInfo{ClientCertificateData: c.admin.CertPEM, ClientKeyData: c.admin.KeyPEM}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: "default"}
	config.Contexts[byCertificate] = &clientcmdapi.Context{Cluster: name, AuthInfo: byCertificate, Namespace: "default"}
	config.CurrentContext = name
	body, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("couldn't encode the kubeconfig: %w", err)
	}
	// Whoever waits for the file must never see half of it.
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("couldn't write the kubeconfig: %w", err)
	}
	defer os.Remove(temporary.Name())
	if _, err := temporary.Write(body); err != nil {
		temporary.Close()
		return fmt.Errorf("couldn't write the kubeconfig: %w", err)
	}
	if err := temporary.Close(); err != nil {
		return fmt.Errorf("couldn't write the kubeconfig: %w", err)
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return fmt.Errorf("couldn't write the kubeconfig: %w", err)
	}
	return nil
}

// SetMetricsAPI says who serves metrics.k8s.io: requests are handed on to that address with the caller's name, as
// kube-aggregator does. ca checks its certificate; nil takes any. versions are listed in discovery, none is v1beta1.
// An empty address ends it, and requests are answered 503.
func (c *Cluster) SetMetricsAPI(url string, ca []byte, versions ...string) error {
	return c.api.SetMetricsAPI(url, ca, versions...)
}
