package scraper

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// authority signs certificates.
type authority struct {
	t           testing.TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newSigner(t testing.TB, name string) *authority {
	a := &authority{t: t}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-240 * time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate and its key, as PEM, for a client or for a server at 127.0.0.1.
func (a *authority) sign(name string, until time.Time) (certificate, key []byte) {
	a.t.Helper()
	private := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-240 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// checking is a kubelet that checks whom it talks to.
type checking struct {
	address string
	token   atomic.Pointer[string] // that it accepts; nil: any
	serving atomic.Pointer[tls.Certificate]
	peer    atomic.Pointer[string] // who asked last, by certificate
	asked   atomic.Int64
	drop    func() // closes its connections
}

// newChecking runs one. clients is whose certificates it accepts; nil: it asks for none.
func newChecking(t testing.TB, ca *authority, clients *authority) *checking {
	t.Helper()
	k := &checking{}
	k.serve(t, ca, time.Now().Add(time.Hour))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.asked.Add(1)
		if want := k.token.Load(); want != nil && r.Header.Get("Authorization") != "Bearer "+*want {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, "Unauthorized")
			return
		}
		if len(r.TLS.PeerCertificates) > 0 {
			k.peer.Store(&r.TLS.PeerCertificates[0].Subject.CommonName)
		}
		io.WriteString(w, "ok")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		config := &tls.Config{Certificates: []tls.Certificate{*k.serving.Load()}}
		if clients != nil {
			config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
			config.ClientCAs.AddCert(clients.certificate)
		}
		return config, nil
	}}
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	k.address, k.drop = server.URL+metricsPath, server.CloseClientConnections
	return k
}

// serve gives it another certificate for new connections.
func (k *checking) serve(t testing.TB, ca *authority, until time.Time) {
	t.Helper()
	certificate, key := ca.sign("kubelet", until)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	k.serving.Store(&pair)
}

// write replaces a file at once, as Kubernetes does in a mounted volume.
func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// reloads is a counter of headwater_ingest_credentials_reloads_total.
func reloads(t testing.TB, registry *prometheus.Registry, what, result string) int {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "headwater_ingest_credentials_reloads_total" && m.GetLabel()[0].GetValue() == result && m.GetLabel()[1].GetValue() == what {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	t.Fatalf("no counter for %s %s", what, result)
	return 0
}

// client makes what asks kubelets as the settings say.
func client(t testing.TB, change func(*Config)) (*kubelets, *prometheus.Registry) {
	t.Helper()
	c := DefaultConfig()
	c.Rest, c.Registry, c.Log = &rest.Config{Host: "https://the-api-server"}, prometheus.NewRegistry(), testenv.Logger(t)
	change(&c)
	c = c.complete()
	k, err := newKubelets(&c)
	if err != nil {
		t.Fatal(err)
	}
	return k, c.Registry.(*prometheus.Registry)
}

// A token that was replaced is used at once when a kubelet refuses the one before: in the same scrape.
func TestATokenThatIsReplaced(t *testing.T) {
	ca := newSigner(t, "kubelets' CA")
	kubelet := newChecking(t, ca, nil)
	path := filepath.Join(t.TempDir(), "token")
	accept := func(token string) { kubelet.token.Store(&token) }
	write(t, path, []byte("first\n"))
	accept("first")
	k, registry := client(t, func(c *Config) {
		c.Rest.BearerTokenFile, c.Rest.CAData = path, ca.pem
	})
	if _, err := askWith(t, k, kubelet.address, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	write(t, path, []byte("second"))
	accept("second")
	testenv.Eventually(t, 5*time.Second, func() error { // a file is looked at once a second at most
		_, err := askWith(t, k, kubelet.address, 5*time.Second)
		return err
	})
	if n := reloads(t, registry, "token", "changed"); n != 1 {
		t.Errorf("%d reloads counted", n)
	}

	// A file that is gone, empty or full of something else leaves the token as it is.
	for i, content := range []string{"", "two words", "line\nline"} {
		before := reloads(t, registry, "token", "failed")
		write(t, path, []byte(content))
		accept("third")
		testenv.Eventually(t, 5*time.Second, func() error {
			if _, err := askWith(t, k, kubelet.address, 5*time.Second); resultOf(err, "") != resultStatus {
				t.Fatal(err)
			}
			if reloads(t, registry, "token", "failed") == before {
				return fmt.Errorf("a token file that is no good (%d) isn't counted", i)
			}
			return nil
		})
		accept("second")
		if _, err := askWith(t, k, kubelet.address, 5*time.Second); err != nil {
			t.Errorf("the token before is no longer used: %v", err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	accept("fourth")
	asked := kubelet.asked.Load()
	if _, err := askWith(t, k, kubelet.address, 5*time.Second); resultOf(err, "") != resultStatus || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Error(err)
	}
	if n := kubelet.asked.Load() - asked; n != 1 {
		t.Errorf("asked %d times with the same token", n)
	}
	write(t, path, []byte("fourth"))
	testenv.Eventually(t, 5*time.Second, func() error {
		_, err := askWith(t, k, kubelet.address, 5*time.Second)
		return err
	})
}

// A token is replaced before it is refused: the file is read now and then without an occasion.
func TestATokenIsReadNowAndThen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, []byte("first"))
	config := &rest.Config{BearerTokenFile: path, BearerToken: "first"}
	c, err := newCredentials(config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if config.BearerToken != "" || config.BearerTokenFile != "" {
		t.Error("the token is added twice")
	}
	write(t, path, []byte("second"))
	if got := c.token.get(); got != "first" {
		t.Errorf("%q: the file is read for every request", got)
	}
	c.token.looked = time.Now().Add(-tokenLook)
	testenv.Eventually(t, 5*time.Second, func() error {
		if got := c.token.get(); got != "second" || tokenLook > time.Minute {
			return fmt.Errorf("%q after %v", got, tokenLook)
		}
		return nil
	})
	// At a start, a file that isn't there is an error, unless there is a token already.
	for _, config := range []*rest.Config{{BearerTokenFile: path + ".none"}, {BearerTokenFile: path + ".none", BearerToken: "given"}} {
		given := config.BearerToken
		c, err := newCredentials(config, nil, nil)
		if (err == nil) != (given != "") || given != "" && c.token.get() != given {
			t.Errorf("%q: %v", given, err)
		}
	}
}

// The client's certificate and key are replaced while the service runs: connections are made anew with them.
func TestACertificateThatRotates(t *testing.T) {
	ca, clients := newSigner(t, "kubelets' CA"), newSigner(t, "clients' CA")
	kubelet := newChecking(t, ca, clients)
	folder := t.TempDir()
	certFile, keyFile := filepath.Join(folder, "client.crt"), filepath.Join(folder, "client.key")
	put := func(name string, until time.Time) {
		certificate, key := clients.sign(name, until)
		write(t, keyFile, key)
		write(t, certFile, certificate)
	}
	put("first", time.Now().Add(time.Hour))
	k, registry := client(t, func(c *Config) {
		c.Rest.CAData = ca.pem
		c.KubeletClientCertificate, c.KubeletClientKey = certFile, keyFile
	})
	shows := func(name string) {
		t.Helper()
		testenv.Eventually(t, 10*time.Second, func() error {
			if _, err := askWith(t, k, kubelet.address, 5*time.Second); err != nil {
				return err
			}
			if got := *kubelet.peer.Load(); got != name {
				return fmt.Errorf("the kubelet was shown the certificate of %s", got)
			}
			return nil
		})
	}
	shows("first")
	put("second", time.Now().Add(time.Hour))
	shows("second")
	if n := reloads(t, registry, "tls", "changed"); n < 1 {
		t.Error("the change isn't counted")
	}

	// A pair that doesn't fit together, or is none, leaves the one before in use.
	write(t, certFile, []byte("no certificate"))
	testenv.Eventually(t, 10*time.Second, func() error {
		if _, err := askWith(t, k, kubelet.address, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if reloads(t, registry, "tls", "failed") == 0 {
			return errors.New("a broken file isn't counted")
		}
		return nil
	})
	shows("second")

	// One that has expired is refused; the error says which, and what to do. A new one is used without a restart.
	put("old", time.Now().Add(-time.Hour))
	testenv.Eventually(t, 10*time.Second, func() error {
		_, err := askWith(t, k, kubelet.address, 5*time.Second)
		if resultOf(err, "") != resultTLS || !strings.Contains(err.Error(), "CN=old") || !strings.Contains(err.Error(), "expired at") || !strings.Contains(err.Error(), certFile) {
			return fmt.Errorf("%s: %w", resultOf(err, ""), err)
		}
		return nil
	})
	put("third", time.Now().Add(time.Hour))
	shows("third")
}

// Kubelets get certificates of another CA, and the file with the CA has both for a while: no scrape fails.
func TestACAThatRotates(t *testing.T) {
	one, other := newSigner(t, "one CA"), newSigner(t, "another CA")
	kubelet := newChecking(t, one, nil)
	path := filepath.Join(t.TempDir(), "ca.crt")
	write(t, path, one.pem)
	k, registry := client(t, func(c *Config) { c.KubeletCertificateAuthority = path })
	ask := func() error {
		_, err := askWith(t, k, kubelet.address, 5*time.Second)
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	// Not yet known: the connection that there is goes on, a new one fails and says what to do.
	kubelet.serve(t, other, time.Now().Add(time.Hour))
	kubelet.drop()
	if err := ask(); resultOf(err, "") != resultTLS || !strings.Contains(err.Error(), "--kubelet-certificate-authority") {
		t.Errorf("%v", err)
	}
	write(t, path, append(append([]byte{}, one.pem...), other.pem...))
	testenv.Eventually(t, 10*time.Second, ask)
	for i, content := range []string{"not a CA", ""} {
		write(t, path, []byte(content))
		testenv.Eventually(t, 10*time.Second, func() error {
			kubelet.drop() // also a new connection needs the CA that was before: the system has neither
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			if reloads(t, registry, "tls", "failed") <= i {
				return fmt.Errorf("a file without a CA (%q) isn't counted", content)
			}
			return nil
		})
	}
	// The old CA is taken out: a kubelet that still has its certificate is trusted no more, also over a connection that was made before.
	write(t, path, other.pem)
	kubelet.serve(t, one, time.Now().Add(time.Hour))
	testenv.Eventually(t, 10*time.Second, func() error {
		if err := ask(); resultOf(err, "") != resultTLS {
			return fmt.Errorf("a certificate of the CA that was taken out: %w", err)
		}
		return nil
	})
}

// A file that is a named pipe, or whose file system hangs, stops nobody: what was before stays in use.
func TestFilesThatHang(t *testing.T) {
	ca, clients := newSigner(t, "kubelets' CA"), newSigner(t, "clients' CA")
	kubelet := newChecking(t, ca, clients)
	folder := t.TempDir()
	caFile, certFile, keyFile, tokenPath := filepath.Join(folder, "ca.crt"), filepath.Join(folder, "client.crt"), filepath.Join(folder, "client.key"), filepath.Join(folder, "token")
	certificate, key := clients.sign("client", time.Now().Add(time.Hour))
	settings := func(c *Config) {
		c.Rest.BearerTokenFile, c.KubeletCertificateAuthority = tokenPath, caFile
		c.KubeletClientCertificate, c.KubeletClientKey = certFile, keyFile
	}
	good := map[string][]byte{caFile: ca.pem, certFile: certificate, keyFile: key, tokenPath: []byte("token")}
	for path, content := range good {
		write(t, path, content)
	}
	k, registry := client(t, settings)
	fifo := func(path string) {
		t.Helper()
		if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for path := range good {
		fifo(path)
	}
	k.held.token.mu.Lock()
	k.held.token.looked = time.Time{}
	k.held.token.mu.Unlock()
	testenv.Eventually(t, 10*time.Second, func() error {
		kubelet.drop()
		if _, err := askWith(t, k, kubelet.address, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if reloads(t, registry, "tls", "failed") == 0 || reloads(t, registry, "token", "failed") == 0 {
			return errors.New("the named pipes aren't counted")
		}
		return nil
	})

	// At a start they are errors that say what is wrong, and so is a CA file without a certificate.
	for path, content := range good {
		write(t, path, content)
	}
	refused := func(path, says string) {
		t.Helper()
		c := DefaultConfig()
		c.Rest = &rest.Config{Host: "https://the-api-server"}
		settings(&c)
		if _, err := newKubelets(&c); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", path, err)
		}
		write(t, path, good[path])
	}
	for path := range good {
		fifo(path)
		refused(path, "a named pipe")
	}
	for _, content := range []string{"", " \n", "no certificate"} {
		write(t, caFile, []byte(content))
		refused(caFile, "holds no certificate")
	}
	write(t, certFile, nil)
	refused(certFile, "failed to find any PEM data")
}

// Nobody but those whose token was refused waits for the file, and those no longer than their scrape may take.
func TestATokenFileThatIsSlow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, []byte("first"))
	c, err := newCredentials(&rest.Config{BearerTokenFile: path}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := c.token
	f.looked, f.reading = time.Time{}, make(chan struct{}) // it is being read, for ever
	if got := f.get(); got != "first" {
		t.Errorf("%q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if got := f.instead(ctx, "first"); got != "first" || ctx.Err() == nil {
		t.Errorf("%q", got)
	}
	write(t, path, []byte("second"))
	f.reading = nil
	if got := f.instead(t.Context(), "first"); got != "second" {
		t.Errorf("%q", got)
	}
}

// A kubelet's certificate that has expired is an error that says so.
func TestAKubeletsCertificateThatHasExpired(t *testing.T) {
	ca := newSigner(t, "kubelets' CA")
	kubelet := newChecking(t, ca, nil)
	kubelet.serve(t, ca, time.Now().Add(-time.Hour))
	k, _ := client(t, func(c *Config) { c.Rest.CAData = ca.pem })
	_, err := askWith(t, k, kubelet.address, 5*time.Second)
	if resultOf(err, "") != resultTLS || !strings.Contains(err.Error(), "renew it") || !strings.Contains(err.Error(), "clocks") {
		t.Error(err)
	}
	kubelet.serve(t, ca, time.Now().Add(time.Hour))
	if _, err := askWith(t, k, kubelet.address, 5*time.Second); err != nil {
		t.Error(err)
	}
}
