package sim_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"github.com/headwater-metrics/headwater/services/internal/sim"
)

// soon is the deadline for what has to happen, generous for a busy machine.
const soon = 20 * time.Second

// errNotYet is why a test polls on.
var errNotYet = errors.New("not yet")

// client is a typed client that speaks protobuf.
func client(t testing.TB, c *sim.Cluster) kubernetes.Interface {
	t.Helper()
	config := c.RESTConfig()
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + ",application/json"
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return clientset
}

// runningPod returns a running pod with n containers.
func runningPod(t testing.TB, c *sim.Cluster, n int) *corev1.Pod {
	t.Helper()
	for _, p := range c.Truth().Pods() {
		if len(p.Containers) == n {
			pod, err := c.Pod(p.Namespace, p.Name)
			if err != nil {
				t.Fatal(err)
			}
			return pod
		}
	}
	t.Fatalf("no running pod has %d containers", n)
	return nil
}

// scraper is an HTTP client for kubelets.
func scraper(c *sim.Cluster) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.CA())
	return &http.Client{Timeout: soon, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
}

// kubeletURL is the address of a node's resource metrics, as an ingester finds it.
func kubeletURL(t testing.TB, c *sim.Cluster, node string) string {
	t.Helper()
	obj, err := client(t, c).CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return sim.KubeletURL(obj) + "/metrics/resource"
}

// scrape gets a URL with the cluster's token.
func scrape(ctx context.Context, c *sim.Cluster, httpClient *http.Client, url string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Authorization", "Bearer "+c.Token())
	response, err := httpClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	var body strings.Builder
	_, err = io.Copy(&body, response.Body)
	return response.StatusCode, body.String(), err
}
