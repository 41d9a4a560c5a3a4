package identity

import (
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
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is how long every certificate of the simulation is valid.
const lifetime = 10 * 365 * 24 * time.Hour

// Authority is a certificate authority. It may be used concurrently.
type Authority struct {
	Certificate *x509.Certificate
	// PEM is the certificate as clients want it in a CA bundle.
	PEM []byte

	key *ecdsa.PrivateKey
}

// NewAuthority makes an authority with a new key.
func NewAuthority(commonName string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a key for the authority %s: %w", commonName, err)
	}
	template, err := newTemplate(commonName)
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign the authority %s: %w", commonName, err)
	}
	return newAuthority(der, key)
}

// LoadAuthority reads the authority NAME from dir (NAME.crt and NAME.key), or makes it and writes it there.
// An empty dir keeps it in memory only.
func LoadAuthority(dir, name, commonName string) (*Authority, error) {
	if dir == "" {
		return NewAuthority(commonName)
	}
	certFile, keyFile := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil {
		key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("couldn't use %s: it is not an ECDSA key; remove it and %s to have new ones made", keyFile, certFile)
		}
		return newAuthority(pair.Certificate[0], key)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("couldn't read the authority from %s and %s: %w; remove both to have new ones made", certFile, keyFile, err)
	}
	authority, err := NewAuthority(commonName)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(authority.key)
	if err != nil {
		return nil, err
	}
	if err := writeFile(keyFile, keyPEM, 0o600); err != nil {
		return nil, err
	}
	if err := writeFile(certFile, authority.PEM, 0o644); err != nil {
		return nil, err
	}
	return authority, nil
}

func newAuthority(der []byte, key *ecdsa.PrivateKey) (*Authority, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("couldn't parse the authority's certificate: %w", err)
	}
	return &Authority{Certificate: certificate, PEM: encodeCertificate(der), key: key}, nil
}

// Pool returns a pool with just this authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// Subject describes a certificate to sign: for a server its names and addresses, for a client its user and groups.
type Subject struct {
	// CommonName is the user name of a client certificate.
	CommonName string
	// Organizations are the groups of a client certificate.
	Organizations []string
	// DNSNames and IPs are what a server's certificate is good for.
	DNSNames []string
	IPs      []net.IP
}

// Pair is a signed certificate with its key, ready for a TLS configuration and as PEM for files.
type Pair struct {
	TLS             tls.Certificate
	CertPEM, KeyPEM []byte
}

// NewKey makes a key for Sign.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a key: %w", err)
	}
	return key, nil
}

// Issue makes a key and signs a certificate for it, good for both serving and calling.
func (a *Authority) Issue(subject Subject) (Pair, error) {
	key, err := NewKey()
	if err != nil {
		return Pair{}, err
	}
	certificate, err := a.Sign(subject, key)
	if err != nil {
		return Pair{}, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{TLS: certificate, CertPEM: encodeCertificate(certificate.Certificate[0]), KeyPEM: keyPEM}, nil
}

// Sign signs a certificate for a key that exists; many servers may share one key.
func (a *Authority) Sign(subject Subject, key *ecdsa.PrivateKey) (tls.Certificate, error) {
	template, err := newTemplate(subject.CommonName)
	if err != nil {
		return tls.Certificate{}, err
	}
	template.Subject.Organization = subject.Organizations
	template.DNSNames, template.IPAddresses = subject.DNSNames, subject.IPs
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("couldn't sign a certificate for %s: %w", subject.CommonName, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func newTemplate(commonName string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("couldn't draw a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lifetime),
	}, nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("couldn't encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// writeFile writes a file whole or not at all.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, data, mode); err != nil {
		return fmt.Errorf("couldn't write %s: %w", temporary, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("couldn't write %s: %w", path, err)
	}
	return nil
}
