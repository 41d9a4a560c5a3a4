package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// pair makes a certificate for localhost and its key.
func pair(t *testing.T, name string, notAfter time.Time) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: notAfter.Add(-48 * time.Hour), NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

// shows returns the certificate that a server shows to a new client.
func shows(address string) (*x509.Certificate, error) {
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", address, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	return connection.ConnectionState().PeerCertificates[0], nil
}

func (s *served) eventuallyShows(want string) {
	s.t.Helper()
	testenv.Eventually(s.t, 10*time.Second, func() error {
		certificate, err := shows(s.service.Addr().String())
		if err != nil {
			return err
		}
		if certificate.Subject.CommonName != want {
			return fmt.Errorf("it shows %s, want %s", certificate.Subject.CommonName, want)
		}
		return nil
	})
}

// TestServingCertificateChanges: what is put in its place is shown to new clients within seconds; what can't be used isn't,
// and is counted.
func TestServingCertificateChanges(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write := func(cert, key []byte) {
		t.Helper()
		for name, data := range map[string][]byte{certFile: cert, keyFile: key} {
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	soon := time.Now().Add(24 * time.Hour)
	write(pair(t, "one", soon))
	s := start(t, small, func(c *Config) {
		c.Options.SecureServing.ServerCert.CertKey.CertFile, c.Options.SecureServing.ServerCert.CertKey.KeyFile = certFile, keyFile
	})
	s.eventuallyShows("one")
	open := s.client(nil) // a connection that stays
	if _, err := open.Do(s.request(http.MethodGet, "/livez")); err != nil {
		t.Fatal(err)
	}
	write(pair(t, "two", soon.Add(time.Hour)))
	s.eventuallyShows("two")
	reloads := func(result string) float64 {
		return testutil.ToFloat64(s.service.metrics.certificateReloads.WithLabelValues(result))
	}
	if got := testutil.ToFloat64(s.service.metrics.certificateExpiry); got != float64(soon.Add(time.Hour).Unix()) {
		t.Errorf("it expires at %v", got)
	}
	good := reloads("success")
	cert, _ := pair(t, "three", soon)
	_, key := pair(t, "three", soon)
	expired, expiredKey := pair(t, "expired", time.Now().Add(-time.Hour))
	for i, bad := range [][2][]byte{{cert, key}, {[]byte("no certificate"), key}, {expired, expiredKey}} {
		before := reloads("failure")
		write(bad[0], bad[1])
		testenv.Eventually(t, 10*time.Second, func() error {
			if reloads("failure") == before {
				return fmt.Errorf("broken pair %d is not counted", i)
			}
			return nil
		})
		s.eventuallyShows("two")
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	s.eventuallyShows("two")
	write(pair(t, "four", soon))
	s.eventuallyShows("four")
	if got := reloads("success"); got != good+1 {
		t.Errorf("%v good ones were counted, want one more than %v", got, good)
	}
	if response, err := open.Do(s.request(http.MethodGet, "/livez")); err != nil || response.StatusCode != 200 {
		t.Errorf("the connection that was open: %v, %v", response, err)
	}
}

// TestServingCertificateThatCannotBeUsed ends the start with what to do.
func TestServingCertificateThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	cert, key := pair(t, "one", time.Now().Add(time.Hour))
	_, other := pair(t, "two", time.Now().Add(time.Hour))
	files := map[string][]byte{"cert": cert, "key": key, "other": other, "none": []byte("x"), "file": nil}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cert, key, dir, says string }{
		{cert: "missing", key: "key", says: "is --tls-cert-file (or --cert-dir) right?"},
		{cert: "cert", key: "missing", says: "is --tls-private-key-file (or --cert-dir) right?"},
		{cert: "cert", key: "other", says: "one of them made for the other"},
		{cert: "none", key: "key", says: "they must be PEM"},
		{dir: "file", says: "(or --cert-dir) right?"},
		{cert: "fifo", key: "key", says: "a named pipe"},
		{cert: "cert", key: "fifo", says: "a named pipe"},
	} {
		s := newServed(t, func(config *Config) {
			server := &config.Options.SecureServing.ServerCert
			if c.dir != "" {
				server.CertDirectory, server.PairName = filepath.Join(dir, c.dir, "below"), "apiserver"
				return
			}
			server.CertKey.CertFile, server.CertKey.KeyFile = filepath.Join(dir, c.cert), filepath.Join(dir, c.key)
		})
		if err := s.service.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestSelfSignedCertificates are made where there are none, kept, and renewed before they expire; what somebody else has put
// into --cert-dir is not touched.
func TestSelfSignedCertificates(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	options := NewOptions().SecureServing
	options.BindAddress = net.IPv4(192, 0, 2, 7)
	options.ServerCert.CertDirectory = filepath.Join(dir, "made")
	metrics := newMetrics(nil, newServed(t).service)
	load := func(at time.Time) *servingCertificate {
		t.Helper()
		c, err := newServingCertificate(options, func() time.Time { return at }, testenv.Logger(t), metrics)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	parse := func(c *servingCertificate) *x509.Certificate {
		t.Helper()
		cert, key := c.CurrentCertKeyContent()
		parsed, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return parsed.Leaf
	}
	first := parse(load(now))
	for _, host := range []string{"localhost", "127.0.0.1", "192.0.2.7"} {
		if err := first.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "made", "apiserver.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if again := parse(load(now.Add(24 * time.Hour))); !again.Equal(first) {
		t.Error("a good one was not kept")
	}
	running := load(now)
	running.now = func() time.Time { return first.NotAfter.Add(-72 * 24 * time.Hour) }
	if err := running.renew(); err != nil || parse(running).Equal(first) {
		t.Errorf("it was not renewed while it ran: %v", err)
	}
	renewed := parse(running)
	if kept := parse(load(running.now())); !kept.Equal(renewed) {
		t.Error("the renewed one was not kept")
	}
	if late := parse(load(renewed.NotAfter.Add(time.Hour))); late.Equal(renewed) {
		t.Error("an expired one was shown")
	}
	// Somebody else's.
	cert, key := pair(t, "theirs", now.Add(-time.Hour))
	for name, data := range map[string][]byte{"apiserver.crt": cert, "apiserver.key": key} {
		if err := os.WriteFile(filepath.Join(dir, "made", name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := parse(load(now)); got.Subject.CommonName != "theirs" {
		t.Errorf("%s replaced theirs", got.Subject.CommonName)
	}
	// In memory.
	options.ServerCert.CertDirectory = ""
	if got := parse(load(now)); got.Subject.CommonName == "theirs" {
		t.Error("there is none in memory")
	}
}

// TestTheAggregationLayersAuthorityChanges: who has a certificate of the new one is believed within seconds, who has one of
// the old one no more.
func TestTheAggregationLayersAuthorityChanges(t *testing.T) {
	s := start(t, small)
	before := s.kube.frontProxy.client(t, "front-proxy-client")
	next := newAuthority(t, "front-proxy-ca-2")
	after := next.client(t, "front-proxy-client")
	ask := func(certificate tls.Certificate) int {
		t.Helper()
		request, err := http.NewRequest(http.MethodGet, s.url+group+"/nodes", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Remote-User", "viewer")
		response, err := s.client(&certificate).Do(request)
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	if got := ask(before); got != 200 {
		t.Fatalf("at first: %d", got)
	}
	if got := ask(after); got == 200 {
		t.Fatalf("with an authority that nobody trusts yet: %d", got)
	}
	s.kube.trust(next)
	testenv.Eventually(t, 20*time.Second, func() error {
		if got := ask(after); got != 200 {
			return fmt.Errorf("with the new authority: %d", got)
		}
		return nil
	})
	if got := ask(before); got == 200 {
		t.Error("the old authority is still believed")
	}
}

// TestTheTokenFileChanges: the server goes on asking the API server with what its kubeconfig's token file says now.
func TestTheTokenFileChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	s := newServed(t, func(c *Config) {
		config, err := clientcmd.LoadFromFile(c.Options.Kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		for _, user := range config.AuthInfos {
			user.Token, user.TokenFile = "", file
		}
		if err := clientcmd.WriteToFile(*config, c.Options.Kubeconfig); err != nil {
			t.Fatal(err)
		}
	})
	s.kube.set(func() { s.kube.token = "first" })
	small(s)
	s.whole()
	s.run()
	ask := func() int {
		code, _ := s.get(group + "/nodes")
		return code
	}
	if code := ask(); code != 200 {
		t.Fatalf("at first: %d", code)
	}
	for _, token := range []string{"second", "third"} {
		write(token)
		s.kube.set(func() { s.kube.token = token })
		for range 3 {
			if code := ask(); code != 200 {
				t.Fatalf("with the %s token: %d", token, code)
			}
		}
	}
	write("wrong") // and it is not asked again and again
	s.kube.set(func() { s.kube.token = "right" })
	if code := ask(); code == 200 {
		t.Error("a wrong token was good enough")
	}
	write("right")
	if code := ask(); code != 200 {
		t.Errorf("with the right token: %d", code)
	}
}
