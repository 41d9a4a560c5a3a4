// Package kubeconfig says how an API server, and with whose credentials, is reached.
//
// What flows in: the path of a kubeconfig file, or the service account that Kubernetes puts into a pod. What flows out: a
// client's configuration. Nothing is connected to.
package kubeconfig

import (
	"crypto/x509"
	"errors"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/headwater-metrics/headwater/services/internal/files"
)

// Load reads a kubeconfig file, or the pod's service account where file is "". A file counts by itself: neither $KUBECONFIG
// nor a service account fills in what it lacks. Relative paths in it are relative to its folder. flags are those by which
// a user names a file, for the advice in errors: "--kubeconfig". Outside of a cluster the error of "" is rest.ErrNotInCluster.
func Load(file, flags string) (*rest.Config, error) {
	if file == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("couldn't use a pod's service account: %w; outside of a cluster give %s", err, flags)
		}
		return config, nil
	}
	config, err := read(file, "")
	if err != nil {
		return nil, fmt.Errorf("couldn't load the kubeconfig %q: %w; check %s", file, err, flags)
	}
	return config, nil
}

// LoadFor is Load for the API server at a URL, whatever server the file or the pod names. Where there are neither file nor
// service account, the API server is asked without credentials. A server of "" makes no difference to Load.
func LoadFor(server, file, flags string) (*rest.Config, error) {
	if server == "" {
		return Load(file, flags)
	}
	if file != "" {
		config, err := read(file, server)
		if err != nil {
			return nil, fmt.Errorf("couldn't load the kubeconfig %q for the API server %s: %w; check %s", file, server, err, flags)
		}
		return config, nil
	}
	config, err := rest.InClusterConfig()
	switch {
	case errors.Is(err, rest.ErrNotInCluster):
		config = &rest.Config{}
	case err != nil:
		return nil, fmt.Errorf("couldn't use the pod's service account for the API server %s: %w; check what is mounted into the pod, or give %s", server, err, flags)
	}
	config.Host = server
	if _, _, err := rest.DefaultServerUrlFor(config); err != nil {
		return nil, fmt.Errorf("couldn't use %q as the URL of an API server: %w; it looks like https://10.0.0.1:6443", server, err)
	}
	return config, nil
}

// read reads a file. A server other than "" takes the place of the file's.
func read(file, server string) (*rest.Config, error) {
	if err := files.Check(file); err != nil {
		return nil, err
	}
	content, err := clientcmd.LoadFromFile(file)
	if err != nil {
		return nil, err
	}
	if err := clientcmd.ResolveLocalPaths(content); err != nil {
		return nil, err
	}
	if err := files.Check(named(content)...); err != nil {
		return nil, err
	}
	overrides := &clientcmd.ConfigOverrides{}
	overrides.ClusterInfo.Server = server
	config, err := clientcmd.NewNonInteractiveClientConfig(*content, content.CurrentContext, overrides, nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	if config.CAFile != "" && len(config.CAData) == 0 {
		// The library takes an empty file for none, and would trust whom the system trusts.
		authority, err := files.Read(config.CAFile, maxCA)
		if err != nil {
			return nil, err
		}
		if !x509.NewCertPool().AppendCertsFromPEM(authority) {
			return nil, fmt.Errorf("its certificate-authority %s holds no certificate; it must have those of the CA, as PEM", config.CAFile)
		}
	}
	return config, nil
}

// maxCA bounds a file with a CA's certificates, bytes.
const maxCA = 4 << 20

// named returns the files that the current context names.
func named(content *clientcmdapi.Config) (paths []string) {
	context := content.Contexts[content.CurrentContext]
	if context == nil {
		return nil
	}
	if cluster := content.Clusters[context.Cluster]; cluster != nil {
		paths = append(paths, cluster.CertificateAuthority)
	}
	if user := content.AuthInfos[context.AuthInfo]; user != nil {
		paths = append(paths, user.ClientCertificate, user.ClientKey, user.TokenFile)
	}
	return paths
}
