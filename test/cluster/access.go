package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// localhosts are the names under which programs on this machine are reached.
var localhosts = []string{"127.0.0.1", "::1", "localhost"}

// certify makes the cluster's certificates and keys: one authority for the API server, clients and kubelets, one for the
// aggregation layer's client, whose word on a user's name is believed, and the key that signs service account tokens.
func (c *Cluster) certify() error {
	pki := filepath.Join(c.Dir, "pki")
	var err error
	if c.ca, err = newAuthority("headwater-test-ca"); err != nil {
		return err
	}
	caKey, err := keyPEM(c.ca.key)
	if err != nil {
		return err
	}
	if err := (pair{cert: c.ca.pem, key: caKey}).write(filepath.Join(pki, "ca")); err != nil {
		return err
	}
	server, err := c.ca.issue("kube-apiserver", nil, append([]string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.96.0.1"}, localhosts...))
	if err != nil {
		return err
	}
	if err := server.write(filepath.Join(pki, "apiserver")); err != nil {
		return err
	}

	kubelets, err := c.ca.issue("kube-apiserver-kubelet-client", []string{"system:masters"}, nil)
	if err != nil {
		return err
	}
	if err := kubelets.write(filepath.Join(pki, "apiserver-kubelet-client")); err != nil {
		return err
	}

	proxy, err := newAuthority("headwater-test-front-proxy-ca")
	if err != nil {
		return err
	}
	client, err := proxy.issue("front-proxy-client", nil, nil)
	if err != nil {
		return err
	}
	if err := client.write(filepath.Join(pki, "front-proxy-client")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(pki, "front-proxy-ca.crt"), proxy.pem, 0o644); err != nil {
		return fmt.Errorf("couldn't store a certificate: %w", err)
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("couldn't make a key for service accounts: %w", err)
	}
	encoded, err := keyPEM(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(pki, "service-account.key"), encoded, 0o600); err != nil {
		return fmt.Errorf("couldn't store the key for service accounts: %w", err)
	}
	return nil
}

// connect makes the clients of the admin's kubeconfig.
func (c *Cluster) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return fmt.Errorf("couldn't read the kubeconfig: %w", err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("couldn't make a client: %w", err)
	}
	c.REST, c.Client = config, client
	return nil
}

// APIServerURL returns the address of the API server.
func (c *Cluster) APIServerURL() string {
	return "https://" + loopback(c.ports.apiServer)
}

// CertificateAuthority returns the path of the certificate that signs those of the API server, of the kubelets and of
// clients.
func (c *Cluster) CertificateAuthority() string {
	return filepath.Join(c.Dir, "pki", "ca.crt")
}

// ServingCertificate makes a certificate for a server on localhost and returns the paths of it and its key.
func (c *Cluster) ServingCertificate(name string) (cert, key string, err error) {
	p, err := c.ca.issue(name, nil, localhosts)
	if err != nil {
		return "", "", err
	}
	base := filepath.Join(c.Dir, "pki", "server-"+safe(name))
	return base + ".crt", base + ".key", p.write(base)
}

// KubeconfigFor writes a kubeconfig with a client certificate for a user in the given groups, and returns its path. What
// the user may do is up to RBAC; the group system:masters may do everything.
func (c *Cluster) KubeconfigFor(user string, groups ...string) (string, error) {
	p, err := c.ca.issue(user, groups, nil)
	if err != nil {
		return "", err
	}
	return c.kubeconfig(user, clientcmdapi.AuthInfo{ClientCertificateData: p.cert, ClientKeyData: p.key})
}

// ServiceAccountKubeconfig writes a kubeconfig with a token of an existing service account, good for a day, and returns
// its path. A program that gets it is the same user as in a pod with that service account.
func (c *Cluster) ServiceAccountKubeconfig(ctx context.Context, namespace, name string) (string, error) {
	day := int64(24 * 60 * 60)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
	answer, err := c.Client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("couldn't get a token for service account %s/%s: %w", namespace, name, err)
	}
	return c.kubeconfig(namespace+"-"+name, clientcmdapi.AuthInfo{Token: answer.Status.Token})
}

// kubeconfig writes a kubeconfig with the given credentials.
func (c *Cluster) kubeconfig(user string, credentials clientcmdapi.AuthInfo) (string, error) {
	const name = "headwater-test"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: c.APIServerURL(), CertificateAuthorityData: c.ca.pem}
	config.AuthInfos[user] = &credentials
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: user}
	config.CurrentContext = name
	path := filepath.Join(c.Dir, safe(user)+".kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("couldn't store a kubeconfig: %w", err)
	}
	return path, nil
}

// safe makes a file name of a user's name, which may hold colons and slashes.
func safe(name string) string {
	return strings.Map(func(r rune) rune {
		if r == ':' || r == '/' || r == os.PathSeparator {
			return '-'
		}
		return r
	}, name)
}

// kubeletTLS makes the TLS configuration of the played kubelets: their certificate is signed by the cluster's authority,
// and clients may show one that is.
func (c *Cluster) kubeletTLS() (*tls.Config, error) {
	p, err := c.ca.issue("headwater-test-kubelet", nil, localhosts)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, fmt.Errorf("couldn't use the kubelets' certificate: %w", err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(c.ca.cert)
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    clients,
		NextProtos:   []string{"h2", "http/1.1"},
	}, nil
}

// unlimited returns a copy of config for a client of its own, under its own user agent.
func unlimited(config *rest.Config, agent string) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS, config.UserAgent = -1, agent
	return config
}
