package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/headwater-metrics/headwater/test/internal/stall"
)

// gatekeeper is what the kubelets want to see of the ingester under test.
type gatekeeper struct{ token, user string }

// certificates: the serving certificate of metricsapi, the token and the client certificate that ingest shows to kubelets
// are replaced while both run, as cert-manager and the kubelet do. kubectl top, by way of the aggregation layer, goes on.
func certificates(t *testing.T, _ *usageWorld) {
	w := shared // the other cluster's aggregation layer leads to another scenario
	const ns = "rotation"
	w.apply(t, deployment(ns, "web", 6))
	w.running(t, ns, 6)
	o := w.own(t, ns)
	token, certificate := filepath.Join(o.dir, "token"), filepath.Join(o.dir, "client")
	var wanted atomic.Pointer[gatekeeper]
	want := gatekeeper{"first-token", ns + "-first"}
	wanted.Store(&want)
	write(t, token, want.token+"\n")
	o.clientCertificate(certificate, want.user)
	var refused atomic.Int64
	w.Kubelets.Watch(func(_ string, r *http.Request) int {
		user, shown := caller(r), r.Header.Get("Authorization")
		if !strings.HasPrefix(user, ns) && shown == "" {
			return 0 // the shared one
		}
		if now := wanted.Load(); user != now.user || shown != "Bearer "+now.token {
			refused.Add(1)
			return http.StatusUnauthorized
		}
		return 0
	})
	t.Cleanup(func() { w.Kubelets.Watch(nil) })

	ingest, ingestURL := o.program("ingest", "ingest-files", 0, "--kubeconfig="+o.tokenKubeconfig(token),
		"--kubelet-certificate-authority="+o.CertificateAuthority(), "--kubelet-client-certificate="+certificate+".crt", "--kubelet-client-key="+certificate+".key",
		"--kubelet-use-node-status-port", "--kubelet-preferred-address-types=InternalIP", "--metric-resolution="+resolution.String())
	api, port := o.server("metricsapi-files")
	start(t, o.nats, o.state, api, ingest)
	ask := o.direct(t, port)
	eventually(t, 30*time.Second, func() error { return o.correctFrom(t.Context(), ask) })
	if err := w.RegisterAPIService(t.Context(), apiName, port); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.RegisterAPIService(context.Background(), apiName, w.metricsPort); err != nil {
			t.Error(err)
		}
	})

	onlooker := lookOn(t, ns, ask, func(items []podMetrics) error { return w.truthIn(ns, items) })
	onlooker.sinceNow()
	looking := time.Now()
	stop := watch(t, func() error {
		out, err := w.Kubectl(context.Background(), "top", "pod", "-n", ns)
		if err == nil && len(rows(out)) != 6 {
			err = fmt.Errorf("%s", out)
		}
		return err
	})

	// What is shown to the kubelets. Those that want something new refuse it for a while.
	swap := func(what, result string, now gatekeeper, replace func()) {
		t.Helper()
		refused.Store(0)
		before := metric(t, ingestURL, "headwater_ingest_credentials_reloads_total", what, result)
		begin := time.Now()
		replace()
		wanted.Store(&now)
		eventually(t, time.Minute, func() error {
			if metric(t, ingestURL, "headwater_ingest_credentials_reloads_total", what, result) == before {
				return errors.New("it has not noticed")
			}
			page, err := debug(ingestURL, "")
			if err != nil {
				return err
			}
			for _, n := range page.Nodes {
				if n.State != "fresh" || n.LastSuccess.Before(begin) {
					return fmt.Errorf("%+v", n)
				}
			}
			return nil
		})
		t.Logf("%s: every kubelet let it in again %v after the change, %d requests were refused", what, time.Since(begin).Round(time.Millisecond), refused.Load())
	}
	second := gatekeeper{"second-token", want.user}
	swap(`what="token"`, `result="changed"`, second, func() { write(t, token, second.token+"\n") })
	third := gatekeeper{second.token, ns + "-second"}
	swap(`what="tls"`, `result="changed"`, third, func() { o.clientCertificate(certificate, third.user) })
	if age := onlooker.age(); age > 4*resolution+slack+stall.Since(looking) {
		t.Errorf("meanwhile samples got %v old", age)
	}
	good := read(t, token)
	swap(`what="token"`, `result="failed"`, third, func() { write(t, token, "") })
	write(t, token, good)

	// The serving certificate, and one that is no good.
	serial := func() (*big.Int, error) {
		status, said, server := w.get(t, visitor{}, fmt.Sprintf("https://127.0.0.1:%d/livez", port))
		if server == nil {
			return nil, fmt.Errorf("%d %s", status, said)
		}
		return server.SerialNumber, nil
	}
	old, err := serial()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	serving, _, err := w.ServingCertificate(ns + "-metricsapi-files")
	if err != nil {
		t.Fatal(err)
	}
	var renewed *big.Int
	eventually(t, time.Minute, func() error {
		if renewed, err = serial(); err == nil && renewed.Cmp(old) == 0 {
			err = errors.New("the old one is served")
		}
		return err
	})
	t.Logf("the new serving certificate was served %v after it was there", time.Since(begin).Round(time.Millisecond))
	write(t, serving, "no certificate")
	until(t, time.Now().Add(2*resolution))
	if now, err := serial(); err != nil || now.Cmp(renewed) != 0 {
		t.Errorf("with a broken file it serves another certificate: %v, %v", now, err)
	}

	asked, errs := stop()
	if len(errs) > 0 || asked == 0 {
		t.Errorf("of %d kubectl top: %v", asked, errors.Join(errs...))
	}
	onlooker.end(t, false)
	t.Logf("kubectl top was asked %d times", asked)
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tokenKubeconfig is a kubeconfig whose only credential is the token in a file.
func (o *own) tokenKubeconfig(token string) string {
	o.t.Helper()
	config, err := clientcmd.LoadFromFile(o.Kubeconfig)
	if err != nil {
		o.t.Fatal(err)
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{TokenFile: token}
	}
	path := filepath.Join(o.dir, "token.kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		o.t.Fatal(err)
	}
	return path
}

// clientCertificate writes a user's certificate and key, the key first, each at once.
func (o *own) clientCertificate(base, user string) {
	o.t.Helper()
	kubeconfig, err := o.KubeconfigFor(user, "system:masters")
	if err != nil {
		o.t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, file := range []struct {
		path    string
		content []byte
	}{{base + ".key", config.AuthInfos[user].ClientKeyData}, {base + ".crt", config.AuthInfos[user].ClientCertificateData}} {
		write(o.t, file.path+".new", string(file.content))
		if err := os.Rename(file.path+".new", file.path); err != nil {
			o.t.Fatal(err)
		}
	}
}
