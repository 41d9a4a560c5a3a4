package api

import (
	"bytes"
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
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericoptions "k8s.io/apiserver/pkg/server/options"

	"github.com/headwater-metrics/headwater/services/internal/files"
	"github.com/headwater-metrics/headwater/services/internal/filewatch"
)

// servingCertificate is what the server shows to its clients: the pair of --tls-cert-file and --tls-private-key-file, or
// that of --cert-dir, or one that it signed itself. Files are read again when they change; a pair that can't be used, has
// expired, or isn't valid yet, doesn't replace one that is good: it is taken when it is valid. At the start there is nothing
// better, so it is shown, as metrics-server shows it. What the server signed itself, it renews in time; what somebody else has put
// into --cert-dir it never overwrites.
//
// It is the library's CertKeyContentProvider and ControllerRunner.
type servingCertificate struct {
	certFile, keyFile string // "" for a pair that is only in memory
	given             bool   // by flags: never ours to write
	host              net.IP // what a self-signed one is for, beside localhost; nil for none
	now               func() time.Time
	look              time.Duration // how often files are looked at even if nothing tells of a change
	log               *slog.Logger
	metrics           *serviceMetrics

	mu        sync.Mutex // guards all below
	pair      certificatePair
	refused   string // why the files' pair isn't used, as it was logged; "" if it is
	warned    string // what was said of its validity; "" for nothing
	listeners []dynamiccertificates.Listener
}

// certificatePair is a certificate with its key, and what of it matters.
type certificatePair struct {
	cert, key           []byte // PEM
	notBefore, notAfter time.Time
	own                 bool // signed by this program, or by metrics-server
}

// wrong says why clients that check the certificate refuse it at a time; "" if they don't.
func (p *certificatePair) wrong(at time.Time) string {
	switch {
	case at.Before(p.notBefore):
		return "it is not valid before " + p.notBefore.Format(time.RFC3339)
	case !at.Before(p.notAfter):
		return "it expired at " + p.notAfter.Format(time.RFC3339)
	}
	return ""
}

var (
	_ dynamiccertificates.CertKeyContentProvider = (*servingCertificate)(nil)
	_ dynamiccertificates.ControllerRunner       = (*servingCertificate)(nil)
)

const (
	selfSignedFor    = 365 * 24 * time.Hour
	selfSignedIssuer = "localhost-ca@" // and the time; metrics-server's begin so as well
	expirySoon       = 7 * 24 * time.Hour
	expiryLook       = time.Hour

	maxPEM   = 4 << 20 // bytes of a file with certificates or a key
	maxToken = 1 << 20 // of one with a token
)

// newServingCertificate loads the pair, or makes one where the options name none and there is none.
func newServingCertificate(options *genericoptions.SecureServingOptions, now func() time.Time, log *slog.Logger, metrics *serviceMetrics) (*servingCertificate, error) {
	c := &servingCertificate{now: now, look: filewatch.Look, log: log, metrics: metrics}
	pair := options.ServerCert
	switch {
	case pair.CertKey.CertFile != "" || pair.CertKey.KeyFile != "":
		c.certFile, c.keyFile, c.given = pair.CertKey.CertFile, pair.CertKey.KeyFile, true
	case pair.CertDirectory != "":
		name := filepath.Join(pair.CertDirectory, pair.PairName)
		c.certFile, c.keyFile = name+".crt", name+".key"
	}
	if !options.BindAddress.IsUnspecified() {
		c.host = options.BindAddress
	}
	if c.certFile != "" {
		loaded, err := c.read()
		switch {
		case err == nil:
			c.take(loaded)
		case c.given || !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	if err := c.renew(); err != nil {
		return nil, err
	}
	c.warn()
	return c, nil
}

// read reads the files.
func (c *servingCertificate) read() (certificatePair, error) {
	cert, err := files.Read(c.certFile, maxPEM)
	if err != nil {
		return certificatePair{}, fmt.Errorf("couldn't read the serving certificate: %w; is --tls-cert-file (or --cert-dir) right?", err)
	}
	key, err := files.Read(c.keyFile, maxPEM)
	if err != nil {
		return certificatePair{}, fmt.Errorf("couldn't read the serving certificate's key: %w; is --tls-private-key-file (or --cert-dir) right?", err)
	}
	p, err := parsePair(cert, key)
	if err != nil {
		return certificatePair{}, fmt.Errorf("couldn't use the serving certificate %s with the key %s: %w; they must be PEM, and one of them made for the other", c.certFile, c.keyFile, err)
	}
	return p, nil
}

func parsePair(cert, key []byte) (certificatePair, error) {
	parsed, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return certificatePair{}, err
	}
	return certificatePair{
		cert: cert, key: key, notBefore: parsed.Leaf.NotBefore, notAfter: parsed.Leaf.NotAfter,
		own: strings.HasPrefix(parsed.Leaf.Issuer.CommonName, selfSignedIssuer),
	}, nil
}

// take makes a pair the one that is shown.
func (c *servingCertificate) take(p certificatePair) {
	c.mu.Lock()
	c.pair, c.refused, c.warned = p, "", ""
	listeners := c.listeners
	c.mu.Unlock()
	c.metrics.certificateExpiry.Set(float64(p.notAfter.Unix()))
	for _, listener := range listeners {
		listener.Enqueue()
	}
}

// reload takes over what the files hold, if that is another pair and a better one.
func (c *servingCertificate) reload() {
	loaded, err := c.read()
	now := c.now()
	c.mu.Lock()
	current, refused := c.pair, c.refused
	c.mu.Unlock()
	if err == nil && bytes.Equal(loaded.cert, current.cert) && bytes.Equal(loaded.key, current.key) {
		c.mu.Lock()
		c.refused = "" // they were put back
		c.mu.Unlock()
		return
	}
	if err == nil && current.wrong(now) == "" {
		if wrong := loaded.wrong(now); wrong != "" {
			err = fmt.Errorf("couldn't use the serving certificate %s: %s; put one in its place that is valid, or compare this host's clock with that of who signed it", c.certFile, wrong)
		}
	}
	if err != nil {
		if reason := err.Error(); reason != refused { // the files are looked at again and again
			c.mu.Lock()
			c.refused = reason
			c.mu.Unlock()
			c.metrics.certificateReloads.WithLabelValues("failure").Inc()
			c.log.Error("the serving certificate stays the one before", "error", err, "expires", current.notAfter)
		}
		return
	}
	c.take(loaded)
	c.metrics.certificateReloads.WithLabelValues("success").Inc()
	c.log.Info("serving with another certificate", "file", c.certFile, "expires", loaded.notAfter)
	c.warn()
}

// renew makes a pair where there is none, and another one when four fifths of the time of one that is our own are over, or the
// clock went back to before it.
func (c *servingCertificate) renew() error {
	c.mu.Lock()
	current := c.pair
	c.mu.Unlock()
	now := c.now()
	if current.cert != nil {
		life := current.notAfter.Sub(current.notBefore)
		if c.given || !current.own || !now.Before(current.notBefore) && now.Before(current.notAfter.Add(-life/5)) {
			return nil
		}
	}
	made, err := selfSigned(now, c.host)
	if err != nil {
		return fmt.Errorf("couldn't sign a serving certificate: %w; give one with --tls-cert-file and --tls-private-key-file", err)
	}
	file := c.certFile
	switch {
	case file == "":
	case !holds(c.certFile, current.cert) || !holds(c.keyFile, current.key):
		c.log.Warn("there is a certificate or a key in --cert-dir that somebody else has put there and that isn't in use: it is left as it is, and the self-signed one is kept in memory only", "cert", c.certFile, "key", c.keyFile)
		file = ""
	default:
		if err := errors.Join(os.MkdirAll(filepath.Dir(c.certFile), 0o755), replaceFile(c.keyFile, made.key, 0o600), replaceFile(c.certFile, made.cert, 0o644)); err != nil {
			return fmt.Errorf("couldn't keep the self-signed serving certificate: %w; give a --cert-dir that can be written, or --tls-cert-file and --tls-private-key-file", err)
		}
	}
	c.take(made)
	if current.cert == nil {
		c.log.Info("made a self-signed serving certificate", "file", file, "expires", made.notAfter)
	} else {
		c.metrics.certificateReloads.WithLabelValues("success").Inc()
		c.log.Info("renewed the self-signed serving certificate", "file", file, "expires", made.notAfter)
	}
	return nil
}

// warn says, once each, that the certificate is not valid yet, expires soon, or has expired.
func (c *servingCertificate) warn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	wrong := c.pair.wrong(now)
	soon := wrong == "" && c.pair.notAfter.Sub(now) <= expirySoon
	said := wrong
	if soon {
		said = "soon"
	}
	if said == c.warned {
		return
	}
	c.warned = said
	switch {
	case wrong != "":
		c.log.Error("clients that check the serving certificate refuse this server; put another one in its place, it is taken at once", "file", c.certFile, "reason", wrong)
	case soon:
		c.log.Warn("the serving certificate expires soon; put another one in its place, it is taken at once", "file", c.certFile, "expires", c.pair.notAfter)
	}
}

// holds tells whether a file is as it was read or written last, or isn't there: else it is somebody else's by now.
func holds(name string, held []byte) bool {
	data, err := files.Read(name, maxPEM)
	return errors.Is(err, fs.ErrNotExist) || err == nil && held != nil && bytes.Equal(data, held)
}

// replaceFile writes a file in one step.
func replaceFile(name string, data []byte, mode os.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Chmod(mode), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

// Name implements dynamiccertificates.CertKeyContentProvider.
func (c *servingCertificate) Name() string { return "serving-cert" }

// CurrentCertKeyContent implements dynamiccertificates.CertKeyContentProvider.
func (c *servingCertificate) CurrentCertKeyContent() (cert, key []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pair.cert, c.pair.key
}

// AddListener implements dynamiccertificates.Notifier.
func (c *servingCertificate) AddListener(listener dynamiccertificates.Listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners = append(c.listeners, listener)
}

// RunOnce implements dynamiccertificates.ControllerRunner. The pair was loaded when c was made.
func (c *servingCertificate) RunOnce(context.Context) error { return nil }

// Run follows the files, and renews, until ctx ends. Implements dynamiccertificates.ControllerRunner.
func (c *servingCertificate) Run(ctx context.Context, _ int) {
	var changed <-chan struct{}
	if c.certFile != "" {
		watch := filewatch.Start(c.look, c.log, c.certFile, c.keyFile)
		defer watch.Close()
		changed = watch.Changed()
	}
	tick := time.NewTicker(expiryLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			c.reload()
		case <-tick.C:
			if err := c.renew(); err != nil {
				c.log.Error("the serving certificate is not renewed", "error", err)
			}
			c.warn()
		}
	}
}

// selfSigned makes a certificate for localhost and host, signed by an authority that is thrown away.
func selfSigned(now time.Time, host net.IP) (certificatePair, error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificatePair{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificatePair{}, err
	}
	from := now.Add(-time.Hour) // clocks differ
	authority := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: fmt.Sprint(selfSignedIssuer, now.Unix())},
		NotBefore: from, NotAfter: from.Add(selfSignedFor), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: fmt.Sprintf("localhost@%d", now.Unix())},
		NotBefore: from, NotAfter: from.Add(selfSignedFor), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if host != nil && !host.Equal(leaf.IPAddresses[0]) {
		leaf.IPAddresses = append(leaf.IPAddresses, host)
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return certificatePair{}, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, authority, key.Public(), authorityKey)
	if err != nil {
		return certificatePair{}, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return certificatePair{}, err
	}
	var chain bytes.Buffer
	for _, der := range [][]byte{leafDER, authorityDER} {
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return certificatePair{}, err
		}
	}
	return parsePair(chain.Bytes(), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}

func serial() *big.Int {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[0] &= 0x7f
	return new(big.Int).Add(new(big.Int).SetBytes(b[:]), big.NewInt(1))
}
