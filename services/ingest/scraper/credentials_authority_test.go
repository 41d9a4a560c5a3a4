package scraper

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
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
