package scraper

import (
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

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

// Plain HTTP to a port of HTTPS: the answer is the kubelet's, and what to do isn't obvious.
func TestPlainHTTPToATLSPort(t *testing.T) {
	server, c := newKubelet(t, hang)
	c.DeprecatedKubeletCompletelyInsecure = true
	_, err := ask(t, c, strings.Replace(server.URL, "https://", "http://", 1), 5*time.Second)
	if resultOf(err, "") != resultStatus || !strings.Contains(err.Error(), "--deprecated-kubelet-completely-insecure") {
		t.Errorf("%v", err)
	}
}

// Whoever has no files left is told so, not to look at the network.
func TestNoFilesLeft(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE} {
		err := classify(t.Context(), fmt.Errorf("couldn't ask: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", errno)}))
		if err.result != resultConnect || !strings.Contains(err.Error(), "ulimit") || strings.Contains(err.Error(), "firewall") {
			t.Errorf("%s: %v", err.result, err)
		}
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
