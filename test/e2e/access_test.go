package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/headwater-metrics/headwater/test/cluster"
)

const (
	scraperPassword = "open sesame"
	scraperHash     = "$2a$04$vk2VsMwtiyHGCbtuNZZi9ub3Dwvm8A3HO0igxQfR7HDNKsZecUgzS" // of scraperPassword
)

// write makes a file, only for us.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// secure makes the URLs of a replica those of TLS.
func (r *replica) secure() *replica {
	r.metrics, r.telemetry = strings.Replace(r.metrics, "http:", "https:", 1), strings.Replace(r.telemetry, "http:", "https:", 1)
	return r
}

// addresses are those that Prometheus scrapes.
func (r *replica) addresses() []string {
	return []string{strings.TrimSuffix(strings.TrimPrefix(r.metrics, "https://"), "/metrics"), r.telemetryAddress}
}

// visitor is an HTTP client that knows the cluster's authority, and what it shows.
type visitor struct {
	certificate    *tls.Certificate
	user, password string
	token          string
}

// get returns the status and what is said, or 0 if there was no answer; and the certificate of the server.
func (w *world) get(t *testing.T, v visitor, url string) (status int, said string, server *x509.Certificate) {
	t.Helper()
	ca, err := os.ReadFile(w.CertificateAuthority())
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(ca)
	if v.certificate != nil {
		config.Certificates = []tls.Certificate{*v.certificate}
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if v.user != "" {
		request.SetBasicAuth(v.user, v.password)
	}
	if v.token != "" {
		request.Header.Set("Authorization", "Bearer "+v.token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error(), nil
	}
	if response.TLS != nil {
		server = response.TLS.PeerCertificates[0]
	}
	return response.StatusCode, string(body), server
}

// token is that of a service account.
func (w *world) token(t *testing.T, namespace, name string) string {
	t.Helper()
	kubeconfig, err := w.ServiceAccountKubeconfig(t.Context(), namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return config.BearerToken
}

const accessObjects = `
apiVersion: v1
kind: Namespace
metadata: {name: access}
---
apiVersion: v1
kind: ServiceAccount
metadata: {namespace: access, name: exporter}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: access-exporter}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:auth-delegator"}
subjects: [{kind: ServiceAccount, namespace: access, name: exporter}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {namespace: access, name: prometheus}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: access-prometheus}
rules: [{nonResourceURLs: [/metrics], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: access-prometheus}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: access-prometheus}
subjects: [{kind: ServiceAccount, namespace: access, name: prometheus}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {namespace: access, name: stranger}
`

// TestAccess: TLS, client certificates, passwords and --auth-filter, on both ports, as Prometheus and others meet them.
func TestAccess(t *testing.T) {
	w := shared
	w.apply(t, accessObjects)
	dir := t.TempDir()

	// The certificate of the exporters, and one for clients, of the cluster's authority.
	cert, key, err := w.ServingCertificate("exporter")
	if err != nil {
		t.Fatal(err)
	}
	scraper, err := w.KubeconfigFor("scraper")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", scraper)
	if err != nil {
		t.Fatal(err)
	}
	clientCert := write(t, filepath.Join(dir, "client.crt"), string(config.CertData))
	clientKey := write(t, filepath.Join(dir, "client.key"), string(config.KeyData))
	pair, err := tls.LoadX509KeyPair(clientCert, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	delegator, err := w.ServiceAccountKubeconfig(t.Context(), "access", "exporter")
	if err != nil {
		t.Fatal(err)
	}
	web := func(name, text string) string {
		return "--tls-config=" + write(t, filepath.Join(dir, name+".yaml"), fmt.Sprintf(text, cert, key, w.CertificateAuthority(), scraperHash))
	}
	users := w.replica(t, "users", web("users", "tls_server_config: {cert_file: %[1]q, key_file: %[2]q}\nbasic_auth_users: {scraper: %[4]q}\n")).secure()
	mutual := w.replica(t, "mutual", web("mutual", "tls_server_config: {cert_file: %[1]q, key_file: %[2]q, client_auth_type: RequireAndVerifyClientCert, client_ca_file: %[3]q}\n")).secure()
	filtered := w.replica(t, "filtered", web("filtered", "tls_server_config: {cert_file: %[1]q, key_file: %[2]q}\n"), "--auth-filter", "--kubeconfig="+delegator).secure()
	start(t, users.Process, mutual.Process, filtered.Process)

	nobody, certified, named := visitor{}, visitor{certificate: &pair}, visitor{user: "scraper", password: scraperPassword}
	prometheusSA, stranger := visitor{token: w.token(t, "access", "prometheus")}, visitor{token: w.token(t, "access", "stranger")}
	wrong := visitor{token: "eyJ-no-token"}
	for _, ready := range []struct {
		who visitor
		url string
	}{{named, users.telemetry}, {certified, mutual.telemetry}, {nobody, filtered.telemetry}} {
		eventually(t, time.Minute, func() error {
			if status, said, _ := w.get(t, ready.who, ready.url+"/readyz"); status != http.StatusOK {
				return fmt.Errorf("%s: %d: %s", ready.url, status, said)
			}
			return nil
		})
	}

	for _, c := range []struct {
		name   string
		who    visitor
		url    string
		status int    // 0 for no TLS connection
		says   string // a part of the answer
	}{
		{"password", named, users.metrics, 200, "kube_node_info"},
		{"password, telemetry", named, users.telemetry + "/metrics", 200, "headwater_exporter_objects"},
		{"no password", nobody, users.metrics, 401, ""},
		{"no password, telemetry", nobody, users.telemetry + "/metrics", 401, ""},
		{"wrong password", visitor{user: "scraper", password: "guess"}, users.metrics, 401, ""},
		{"certificate", certified, mutual.metrics, 200, "kube_node_info"},
		{"certificate, telemetry", certified, mutual.telemetry + "/metrics", 200, "headwater_exporter_objects"},
		{"no certificate", nobody, mutual.metrics, 0, "certificate required"},
		{"no certificate, telemetry", nobody, mutual.telemetry + "/metrics", 0, "certificate required"},
		{"plain HTTP", nobody, strings.Replace(users.metrics, "https:", "http:", 1), 400, "HTTPS server"},

		{"allowed", prometheusSA, filtered.metrics, 200, "kube_node_info"},
		{"allowed, telemetry", prometheusSA, filtered.telemetry + "/metrics", 200, "headwater_exporter_objects"},
		{"not allowed", stranger, filtered.metrics, 403, `"system:serviceaccount:access:stranger" may not get /metrics`},
		{"not allowed, telemetry", stranger, filtered.telemetry + "/metrics", 403, "may not get /metrics"},
		{"not allowed to profile", prometheusSA, filtered.telemetry + "/debug/pprof/cmdline", 403, "may not get /debug/pprof/cmdline"},
		{"nobody", nobody, filtered.metrics, 401, "bearer token"},
		{"nobody, telemetry", nobody, filtered.telemetry + "/metrics", 401, "bearer token"},
		{"nobody, profile", nobody, filtered.telemetry + "/debug/pprof/cmdline", 401, "bearer token"},
		{"unknown token", wrong, filtered.metrics, 401, "bearer token"},
		{"a client certificate is no token", certified, filtered.metrics, 401, "bearer token"},
		{"livez", nobody, strings.Replace(filtered.metrics, "/metrics", "/livez", 1), 200, "ok"},
		{"healthz", nobody, strings.Replace(filtered.metrics, "/metrics", "/healthz", 1), 200, "ok"},
		{"readyz", nobody, strings.Replace(filtered.metrics, "/metrics", "/readyz", 1), 200, "ok"},
		{"livez, telemetry", nobody, filtered.telemetry + "/livez", 200, "ok"},
		{"healthz, telemetry", nobody, filtered.telemetry + "/healthz", 200, "ok"},
		{"readyz, telemetry", nobody, filtered.telemetry + "/readyz", 200, "ok"},
	} {
		if status, said, _ := w.get(t, c.who, c.url); status != c.status || !strings.Contains(said, c.says) {
			t.Errorf("%s: %d %.300q, want %d %q", c.name, status, said, c.status, c.says)
		}
	}

	// Prometheus, with what each exporter wants.
	ca := map[string]any{"ca_file": w.CertificateAuthority()}
	with := func(more map[string]any) map[string]any {
		more["scheme"], more["honor_labels"] = "https", true
		if more["tls_config"] == nil {
			more["tls_config"] = ca
		}
		return more
	}
	prometheus, err := w.StartPrometheus(t.Context(), cluster.PrometheusConfig{Jobs: []cluster.ScrapeJob{
		{Name: "users", Targets: users.addresses(), Settings: with(map[string]any{"basic_auth": map[string]any{"username": "scraper", "password": scraperPassword}})},
		{Name: "mutual", Targets: mutual.addresses(), Settings: with(map[string]any{"tls_config": map[string]any{"ca_file": w.CertificateAuthority(), "cert_file": clientCert, "key_file": clientKey}})},
		{Name: "filtered", Targets: filtered.addresses(), Settings: with(map[string]any{"authorization": map[string]any{"credentials": prometheusSA.token}})},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = prometheus.Stop() })
	eventually(t, 30*time.Second, func() error { return prometheus.AllUp(t.Context()) })
	eventually(t, 10*time.Second, func() error {
		samples, err := prometheus.Query(t.Context(), `count by (instance) ({__name__=~"kube_node_info|headwater_exporter_events_total"})`)
		if err == nil && len(samples) != 6 {
			err = fmt.Errorf("series of %v; want them of 6 targets", samples)
		}
		return err
	})

	// Another certificate takes the place of the first, as cert-manager does it, and is served without a restart.
	_, _, before := w.get(t, named, users.metrics)
	if _, _, err := w.ServingCertificate("exporter"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error {
		status, said, now := w.get(t, named, users.metrics)
		if status != http.StatusOK {
			return fmt.Errorf("%d: %s", status, said)
		}
		if now.SerialNumber.Cmp(before.SerialNumber) == 0 {
			return fmt.Errorf("the certificate is still the one before")
		}
		return nil
	})
}
