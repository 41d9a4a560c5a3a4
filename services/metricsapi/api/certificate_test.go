package api

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
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
	early, earlyKey := pair(t, "early", time.Now().Add(72*time.Hour)) // valid for two days
	for i, bad := range [][2][]byte{{cert, key}, {[]byte("no certificate"), key}, {expired, expiredKey}, {early, earlyKey}} {
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

// TestServingCertificateOutOfItsTime: at the start there is no better one, as in metrics-server; later, the one that is valid
// stays, until the other is or it isn't itself.
func TestServingCertificateOutOfItsTime(t *testing.T) {
	var log bytes.Buffer
	options := NewOptions().SecureServing
	dir := t.TempDir()
	options.ServerCert.CertKey.CertFile, options.ServerCert.CertKey.KeyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write := func(name string, notAfter time.Time) {
		t.Helper()
		cert, key := pair(t, name, notAfter)
		if err := errors.Join(os.WriteFile(options.ServerCert.CertKey.CertFile, cert, 0o600), os.WriteFile(options.ServerCert.CertKey.KeyFile, key, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	now := epoch
	metrics := newMetrics(nil, newServed(t).service)
	load := func() *servingCertificate {
		t.Helper()
		log.Reset()
		c, err := newServingCertificate(options, func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil)), metrics)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	failures := func() float64 { return testutil.ToFloat64(metrics.certificateReloads.WithLabelValues("failure")) }
	shows := func(c *servingCertificate, want string, says ...string) {
		t.Helper()
		if parsed, err := tls.X509KeyPair(c.CurrentCertKeyContent()); err != nil || parsed.Leaf.Subject.CommonName != want {
			t.Errorf("it shows %v, %v, want %s", parsed.Leaf.Subject, err, want)
		}
		if got := strings.Count(log.String(), "\n"); got != len(says) {
			t.Errorf("%d lines, want %d:\n%s", got, len(says), log.String())
		}
		for _, text := range says {
			if !strings.Contains(log.String(), text) {
				t.Errorf("the log doesn't say %q:\n%s", text, log.String())
			}
		}
		log.Reset()
	}
	write("early", now.Add(49*time.Hour)) // valid in an hour
	c := load()
	shows(c, "early", "clients that check the serving certificate refuse this server")
	write("past", now.Add(-time.Hour))
	c.reload()
	shows(c, "past", "serving with another certificate", "it expired at 2026-03-04T04:06:07Z")
	write("good", now.Add(47*time.Hour))
	c.reload()
	shows(c, "good", "serving with another certificate", "expires soon")
	write("early", now.Add(72*time.Hour))
	for range 3 {
		c.reload()
	}
	shows(c, "good", "it is not valid before 2026-03-05T05:06:07Z; put one in its place that is valid, or compare this host's clock")
	if n := failures(); n != 1 {
		t.Errorf("%v failures were counted, want 1", n)
	}
	now = epoch.Add(24 * time.Hour)
	c.reload() // which the watch has it do every ten seconds
	shows(c, "early", "serving with another certificate", "expires soon")
	// The one in use expires while there is none that is better.
	write("far", now.Add(30*24*time.Hour))
	c.reload()
	shows(c, "early", "it is not valid before")
	now = epoch.Add(72 * time.Hour)
	c.reload()
	shows(c, "far", "serving with another certificate", "refuse this server")
	c.warn()
	shows(c, "far")
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
	late := parse(load(renewed.NotAfter.Add(time.Hour)))
	if late.Equal(renewed) {
		t.Error("an expired one was shown")
	}
	if now := parse(load(now)); now.Equal(late) || now.NotBefore.After(renewed.NotBefore) {
		t.Errorf("after the clock went back it shows one of %v", now.NotBefore)
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

// TestWhatOthersPutIntoCertDirIsKept: a certificate or key that isn't ours, and that we don't show for now, is not lost when ours
// is made or renewed, and is shown when it is whole and valid.
func TestWhatOthersPutIntoCertDirIsKept(t *testing.T) {
	options := NewOptions().SecureServing
	metrics := newMetrics(nil, newServed(t).service)
	now := epoch
	theirs, theirKey := pair(t, "theirs", now.Add(360*24*time.Hour)) // it is valid for two days
	for name, c := range map[string]struct {
		atFirst, later [2][]byte // certificate and key that somebody puts there before the start, and before the renewal
	}{
		"a pair that is not valid yet":       {later: [2][]byte{theirs, theirKey}},
		"a certificate without its key":      {later: [2][]byte{theirs, nil}},
		"a key before the certificate":       {later: [2][]byte{nil, theirKey}},
		"what is no certificate":             {later: [2][]byte{[]byte("half of it"), nil}},
		"a key alone, at first":              {atFirst: [2][]byte{nil, theirKey}},
		"a certificate alone, at first":      {atFirst: [2][]byte{theirs, nil}},
		"a key at first, then a certificate": {atFirst: [2][]byte{nil, theirKey}, later: [2][]byte{theirs, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			now = epoch
			options.ServerCert.CertDirectory = t.TempDir()
			names := [2]string{filepath.Join(options.ServerCert.CertDirectory, "apiserver.crt"), filepath.Join(options.ServerCert.CertDirectory, "apiserver.key")}
			put := func(pair [2][]byte) {
				t.Helper()
				for i, data := range pair {
					if data != nil {
						if err := os.WriteFile(names[i], data, 0o600); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			kept := func(pair [2][]byte) {
				t.Helper()
				for i, data := range pair {
					if data == nil {
						continue
					}
					if got, err := os.ReadFile(names[i]); err != nil || !bytes.Equal(got, data) {
						t.Errorf("%s is gone, %v", names[i], err)
					}
				}
			}
			put(c.atFirst)
			certificate, err := newServingCertificate(options, func() time.Time { return now }, testenv.Logger(t), metrics)
			if err != nil {
				t.Fatal(err)
			}
			kept(c.atFirst)
			put(c.later)
			now = epoch.Add(300 * 24 * time.Hour)
			for range 2 {
				if err := certificate.renew(); err != nil {
					t.Fatal(err)
				}
				certificate.reload()
			}
			kept(c.atFirst)
			kept(c.later)
			shown, err := tls.X509KeyPair(certificate.CurrentCertKeyContent())
			if err != nil || shown.Leaf.NotAfter.Before(now.Add(300*24*time.Hour)) || shown.Leaf.Subject.CommonName == "theirs" {
				t.Errorf("ours was not renewed: %v of %v, %v", shown.Leaf.Subject, shown.Leaf.NotBefore, err)
			}
			put([2][]byte{theirs, theirKey})
			now = epoch.Add(359 * 24 * time.Hour)
			certificate.reload()
			if shown, err := tls.X509KeyPair(certificate.CurrentCertKeyContent()); err != nil || shown.Leaf.Subject.CommonName != "theirs" {
				t.Errorf("theirs isn't shown when it is valid, but %v, %v", shown.Leaf.Subject, err)
			}
		})
	}
}
