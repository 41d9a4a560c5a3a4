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
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

const token = "the-ingester's-token"

// newKubelet serves HTTPS as a kubelet does and returns the server and a Config that trusts it.
func newKubelet(t testing.TB, handler http.HandlerFunc) (*httptest.Server, Config) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server, trusting(server)
}

// trusting returns a Config whose credentials and CA fit the server.
func trusting(server *httptest.Server) Config {
	c := DefaultConfig()
	c.Rest = &rest.Config{
		Host:            "https://the-api-server",
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAData: certificatePEM(server), ServerName: "the-api-server"},
	}
	return c
}

func certificatePEM(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

// ask asks a server once, with a time-out of its own, and returns the body or the failure.
func ask(t testing.TB, c Config, address string, timeout time.Duration) (string, error) {
	t.Helper()
	c = c.complete()
	k, err := newKubelets(&c)
	if err != nil {
		t.Fatal(err)
	}
	return askWith(t, k, address, timeout)
}

func askWith(t testing.TB, k *kubelets, address string, timeout time.Duration) (body string, err error) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	err = k.get(ctx, u, func(b []byte) error { body = string(b); return nil })
	return body, err
}

// plainServer answers every connection with what serve does to it, without TLS.
func plainServer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return "https://" + listener.Addr().String()
}

// reset makes the peer see a connection reset.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// hijacked gives the connection under a request to f.
func hijacked(f func(net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		f(conn)
	}
}

// trickle writes a byte now and then until the client is gone.
func trickle(w http.ResponseWriter, r *http.Request) {
	for i := 0; ; i++ {
		if _, err := w.Write([]byte{"x 1\n"[i%4]}); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// fill writes n bytes of a valid body.
func fill(w io.Writer, n int) {
	lines := strings.Repeat("x 1\n", 1<<14)
	for written := 0; written < n; written += len(lines) {
		if _, err := io.WriteString(w, lines); err != nil {
			return
		}
	}
}

func large(w http.ResponseWriter, _ *http.Request) { fill(w, 100<<20) }

// newAuthority makes a self-signed certificate and its key, as PEM.
func newAuthority(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
