package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/headwater-metrics/headwater/services/internal/daemon"
	"github.com/headwater-metrics/headwater/services/internal/sim"
	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// TestBothPortsAreBehindTLSAndTheFilter runs the exporter with its telemetry as the process does, with a simulated API
// server to ask.
func TestBothPortsAreBehindTLSAndTheFilter(t *testing.T) {
	api := testenv.Sim(t, sim.Options{Nodes: 1})
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := api.WriteKubeconfig(kubeconfig); err != nil {
		t.Fatal(err)
	}
	scraper := api.AddUser(identity.User{Name: "scraper", Rules: []identity.Rule{{Verbs: []string{"get"}, Paths: []string{"/metrics"}}}})
	viewer := api.AddUser(identity.User{Name: "viewer", Rules: []identity.Rule{{Verbs: []string{"*"}, Groups: []string{"*"}, Resources: []string{"*"}}}})

	w, p := newWorld(t), newPKI(t)
	w.puts(1, func(int) *corev1.Pod { return pod("a", "1", "") })
	w.start(func(o *Options) {
		o.Usage = false
		o.Web.TLSConfig, o.Web.AuthFilter, o.Web.Kubeconfig = p.config, true, kubeconfig
	})
	main := strings.TrimPrefix(w.base, "http://")
	telemetry := testenv.Address(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- daemon.RunGuarded(ctx, standby{w.service}, telemetry, w.registry, w.service.Guard(), testenv.Logger(t))
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()

	client := p.client(false)
	status := func(url, token string) (int, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			return 0, err
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	for _, address := range []string{main, telemetry} {
		testenv.Eventually(t, patience, func() error {
			code, err := status("https://"+address+"/readyz", "")
			if err == nil && code != http.StatusOK {
				err = errors.New(http.StatusText(code))
			}
			return err
		})
		for _, c := range []struct {
			path, token string
			want        int
		}{
			{"/livez", "", 200}, {"/healthz", "", 200}, {"/readyz", "", 200},
			{"/metrics", "", 401}, {"/metrics", "made-up", 401}, {"/metrics", viewer, 403}, {"/metrics", scraper, 200}, {"/metrics", api.Token(), 200},
			{"/metrics?resources=pods", scraper, 200}, {"//metrics", "", 401}, {"/./metrics", "", 401},
		} {
			if got, err := status("https://"+address+c.path, c.token); err != nil || got != c.want {
				t.Errorf("%s%s with the token %.8q: %d, %v, want %d", address, c.path, c.token, got, err, c.want)
			}
		}
	}
	if got, err := status("https://"+main+"/", ""); err != nil || got != 200 {
		t.Errorf("the landing page: %d, %v", got, err)
	}
	for token, want := range map[string]int{"": 401, scraper: 403, api.Token(): 200} {
		if got, err := status("https://"+telemetry+"/debug/pprof/heap", token); err != nil || got != want {
			t.Errorf("a profile with the token %.8q: %d, %v, want %d", token, got, err, want)
		}
	}

	// Both ports show a new certificate without a restart.
	serial := p.renew()
	for _, address := range []string{main, telemetry} {
		c, err := tls.Dial("tcp", address, p.tls())
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().PeerCertificates[0].SerialNumber.String(); got != serial {
			t.Errorf("%s still shows the certificate %s, not %s", address, got, serial)
		}
		c.Close()
	}
	if n, err := w.selfMetric("headwater_web_authorizations_total", `result="allowed"`); err != nil || n < 4 {
		t.Errorf("%v allowed requests were counted, %v", n, err)
	}
	lintSelfMetrics(t, w.registry)
}

// standby is a service that another runs.
type standby struct{ *Service }

// Run implements daemon.Service.
func (standby) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func TestWrongWebOptionsEndTheExporterAtOnce(t *testing.T) {
	options := NewOptions()
	options.Web.TLSConfig = filepath.Join(t.TempDir(), "none.yaml")
	if _, err := New(Config{Options: options, Conn: testenv.Conn(t), Cluster: cluster}); err == nil || !strings.Contains(err.Error(), "--tls-config") {
		t.Errorf("%v", err)
	}
}
