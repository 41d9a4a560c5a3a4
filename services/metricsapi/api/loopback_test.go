package api

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// TestLoopback shakes hands as the server does when it reaches itself.
func TestLoopback(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	cert, key, err := signedByItself("another.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	another, err := dynamiccertificates.NewStaticSNICertKeyContent("another", cert, key, "another.example")
	if err != nil {
		t.Fatal(err)
	}
	serving := &genericapiserver.SecureServingInfo{Listener: listener, SNICerts: []dynamiccertificates.SNICertKeyContentProvider{another}}
	config, err := addLoopback(serving, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(serving.SNICerts) != 2 || serving.SNICerts[0].Name() != "self-signed loopback" || config.BearerToken == "" || config.Host != "https://"+listener.Addr().String() {
		t.Errorf("%v, %+v", serving.SNICerts, config)
	}
	pair, err := tls.X509KeyPair(serving.SNICerts[0].CurrentCertKeyContent())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(config.CAData) {
		t.Fatal("no certificates to trust")
	}
	ours, theirs := net.Pipe()
	defer ours.Close()
	shaken := make(chan error, 1)
	go func() { shaken <- tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{pair}}).Handshake() }()
	if err := tls.Client(ours, &tls.Config{RootCAs: roots, ServerName: config.ServerName}).Handshake(); err != nil {
		t.Error(err)
	}
	if err := <-shaken; err != nil {
		t.Error(err)
	}
	if left := time.Until(pair.Leaf.NotAfter); left < loopbackFor-2*time.Hour {
		t.Errorf("it can reach itself for %v", left)
	}
	if other, err := addLoopback(serving, time.Now()); err != nil || other.BearerToken == config.BearerToken {
		t.Errorf("the same token once more, or %v", err)
	}
}
