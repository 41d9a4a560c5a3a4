package scraper

import (
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

func TestGet(t *testing.T) {
	var connections sync.Map // by the client's address
	server, c := newKubelet(t, func(w http.ResponseWriter, r *http.Request) {
		connections.Store(r.RemoteAddr, true)
		if r.Header.Get("Authorization") != "Bearer "+token || r.Method != http.MethodGet || r.URL.Path != "/metrics/resource?" ||
			r.Header.Get("User-Agent") != userAgent || r.ProtoMajor != 1 || r.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("%s %s %s %v", r.Method, r.URL, r.Proto, r.Header)
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		io.WriteString(z, smallBody)
	})
	c = c.complete()
	k, err := newKubelets(&c)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		body, err := askWith(t, k, server.URL+"/metrics/resource%3F", 5*time.Second)
		if err != nil || body != smallBody {
			t.Fatalf("%v, %d bytes", err, len(body))
		}
	}
	n := 0
	connections.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d connections for 3 requests", n)
	}
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

func TestFailuresHaveTheirReason(t *testing.T) {
	otherCA, _ := newAuthority(t, "another CA")
	elsewhere, _ := newKubelet(t, func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another host was asked, with the credentials %q", r.Header.Get("Authorization"))
	})
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		address string // in the place of handler
		change  func(*Config)
		want    result
		says    string
	}{
		"hangs":                      {handler: hang, want: resultTimeout, says: "--kubelet-request-timeout"},
		"hangs before the handshake": {address: plainServer(t, func(c net.Conn) { <-t.Context().Done(); c.Close() }), want: resultTimeout},
		"one byte at a time":         {handler: trickle, want: resultTimeout, says: "bytes of it came"},
		"resets":                     {handler: hijacked(reset), want: resultRead},
		"resets before the handshake": {address: plainServer(t, func(c net.Conn) {
			c.Read(make([]byte, 1)) // the client is connected for sure, and greets
			reset(c)
		}), want: resultRead},
		"closes": {handler: hijacked(func(c net.Conn) { c.Close() }), want: resultRead},
		"breaks off": {handler: hijacked(func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnode_cpu")
			c.Close()
		}), want: resultRead, says: "8 bytes of it came"},
		"breaks a chunk off": {handler: hijacked(func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nnode_cpu")
			c.Close()
		}), want: resultRead},
		"no HTTP": {handler: hijacked(func(c net.Conn) { io.WriteString(c, "220 ready\r\n"); c.Close() }), want: resultRead},
		"header without end": {handler: hijacked(func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X: "+strings.Repeat("y", 1<<12)+"\r\n"); err != nil {
					return
				}
			}
		}), want: resultRead},
		"401": {handler: status(401, "Unauthorized"), want: resultStatus, says: "--kubeconfig"},
		"403": {handler: status(403, "Forbidden (user=u, verb=get, resource=nodes, subresource(s)=[metrics])"), want: resultStatus, says: "user=u"},
		"404": {handler: status(404, "404 page not found"), want: resultStatus, says: pathAnnotation},
		"500": {handler: status(500, "oh no"), want: resultStatus, says: `("oh no"); the kubelet is in trouble itself: see its log on the node`},
		"204": {handler: status(204, ""), want: resultStatus},
		"a 500 without end": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			large(w, r)
		}, want: resultStatus},
		"100 MB": {handler: large, want: resultTooLarge, says: "--kubelet-max-body-bytes"},
		"100 MB, announced": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "104857600")
			large(w, r)
		}, want: resultTooLarge},
		"100 MB, compressed": {handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			fill(z, 100<<20)
		}, want: resultTooLarge},
		"says gzip, is none": {handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, smallBody)
		}, want: resultRead},
		"redirects elsewhere": {handler: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/metrics/resource", http.StatusFound)
		}, want: resultRedirect, says: elsewhere.URL},
		"redirects to plain HTTP": {handler: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.Host+"/metrics/resource", http.StatusTemporaryRedirect)
		}, want: resultRedirect},
		"redirects in circles": {handler: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/metrics/resource/", http.StatusMovedPermanently)
		}, want: resultRedirect},
		"nobody listens":    {address: "https://127.0.0.1:1", want: resultConnect},
		"a name that isn't": {address: "https://kubelet.invalid:10250", want: resultConnect},
		"certificate of another CA": {handler: status(200, smallBody), want: resultTLS, says: "--kubelet-certificate-authority", change: func(c *Config) {
			c.Rest.TLSClientConfig.CAData = otherCA
		}},
		"no HTTPS": {address: plainServer(t, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
			c.Close()
		}), want: resultTLS},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, c := newKubelet(t, test.handler)
			if test.change != nil {
				test.change(&c)
			}
			c.KubeletMaxBodyBytes = 1 << 20
			address := test.address
			if address == "" {
				address = server.URL
			}
			timeout := 20 * time.Second
			if test.want == resultTimeout {
				timeout = 200 * time.Millisecond
			}
			body, err := ask(t, c, address+metricsPath, timeout)
			if got := resultOf(err, resultSuccess); got != test.want {
				t.Fatalf("%s (%v), want %s; body %.40q", got, err, test.want, body)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v: doesn't say %q", err, test.says)
			}
			if strings.Contains(err.Error(), token) {
				t.Errorf("%v: tells the token", err)
			}
			t.Log(err)
		})
	}
}

func TestARedirectToItself(t *testing.T) {
	server, c := newKubelet(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == metricsPath {
			http.Redirect(w, r, "/moved", http.StatusFound)
			return
		}
		fmt.Fprint(w, r.Header.Get("Authorization"))
	})
	if body, err := ask(t, c, server.URL+metricsPath, 5*time.Second); err != nil || body != "Bearer "+token {
		t.Errorf("%q, %v", body, err)
	}
}

func TestTLSFlags(t *testing.T) {
	otherCA, otherKey := newAuthority(t, "another CA")
	server, trusted := newKubelet(t, func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprint(w, name)
	})
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "credentials %q", r.Header.Get("Authorization"))
	}))
	t.Cleanup(plain.Close)
	file := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := file("ca.crt", string(certificatePEM(server)))
	foreign := trusted
	foreign.Rest = rest.CopyConfig(trusted.Rest)
	foreign.Rest.CAData = otherCA

	insecure := foreign
	insecure.KubeletInsecureTLS = true
	if _, err := ask(t, insecure, server.URL, 5*time.Second); err != nil {
		t.Errorf("--kubelet-insecure-tls: %v", err)
	}
	own := foreign
	own.KubeletCertificateAuthority = ca
	if _, err := ask(t, own, server.URL, 5*time.Second); err != nil {
		t.Errorf("--kubelet-certificate-authority: %v", err)
	}
	// A kubeconfig that doesn't check the API server's certificate has no say once a CA is given.
	lax := own
	lax.Rest = &rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	if _, err := ask(t, lax, server.URL, 5*time.Second); err != nil {
		t.Errorf("--kubelet-certificate-authority with an insecure kubeconfig: %v", err)
	}
	lax.KubeletCertificateAuthority = file("other.crt", string(otherCA))
	if _, err := ask(t, lax, server.URL, 5*time.Second); resultOf(err, "") != resultTLS {
		t.Errorf("--kubelet-certificate-authority with an insecure kubeconfig and a foreign CA: %v", err)
	}
	certificate := trusted
	certificate.KubeletClientCertificate, certificate.KubeletClientKey = file("client.crt", string(otherCA)), file("client.key", string(otherKey))
	if body, err := ask(t, certificate, server.URL, 5*time.Second); err != nil || body != "another CA" {
		t.Errorf("--kubelet-client-certificate: %q, %v", body, err)
	}
	open := trusted
	open.DeprecatedKubeletCompletelyInsecure = true
	if body, err := ask(t, open, plain.URL, 5*time.Second); err != nil || body != `credentials ""` {
		t.Errorf("--deprecated-kubelet-completely-insecure: %q, %v", body, err)
	}

	for name, change := range map[string]func(*Config){
		"CA file":          func(c *Config) { c.KubeletCertificateAuthority = "/does/not/exist" },
		"certificate file": func(c *Config) { c.KubeletClientCertificate, c.KubeletClientKey = "/does/not/exist", "/does/not/exist" },
		"kubeconfig":       func(c *Config) { c.Rest, c.Kubeconfig = nil, file("kubeconfig", "{{{") },
		"no kubeconfig":    func(c *Config) { c.Rest, c.Kubeconfig = nil, "/does/not/exist" },
		"not in a cluster": func(c *Config) { c.Rest = nil },
	} {
		c := trusted
		change(&c)
		_, err := newKubelets(&c)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		t.Log(err)
	}
}
