package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	clientrest "k8s.io/client-go/rest"
)

// loopbackFor is how long the server can reach itself.
const loopbackFor = 10 * 365 * 24 * time.Hour

// addLoopback lets the server reach itself, and returns how. It is what WithLoopback of the library's options does, but for its
// two RSA keys: to find those takes a tenth of a second or several, while the cores are needed to read the views.
func addLoopback(serving *genericapiserver.SecureServingInfo, now time.Time) (*clientrest.Config, error) {
	const name = genericapiserver.LoopbackClientServerNameOverride
	cert, key, err := signedByItself(name, now)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a certificate for connections to itself: %w", err)
	}
	provider, err := dynamiccertificates.NewStaticSNICertKeyContent("self-signed loopback", cert, key, name)
	if err != nil {
		return nil, fmt.Errorf("couldn't use the certificate for connections to itself: %w", err)
	}
	serving.SNICerts = append([]dynamiccertificates.SNICertKeyContentProvider{provider}, serving.SNICerts...)
	return serving.NewLoopbackClientConfig(rand.Text(), cert)
}

// signedByItself makes a certificate for a name, and its key, as PEM.
func signedByItself(name string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	from := now.Add(-time.Hour)
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: from, NotAfter: from.Add(loopbackFor), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), nil
}
