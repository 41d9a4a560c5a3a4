package web

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/crypto/bcrypt"

	"github.com/headwater-metrics/headwater/services/internal/sim/identity"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

const patience = 20 * time.Second

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func newGuard(t testing.TB, o Options) *Guard {
	t.Helper()
	g, err := New(Config{Options: o, Log: testenv.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

const withCertificate = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"

func TestWithoutOptionsEveryoneIsLetThrough(t *testing.T) {
	for _, g := range []*Guard{nil, newGuard(t, Options{})} {
		if g.Scheme() != "http" {
			t.Errorf("scheme %q", g.Scheme())
		}
		response, body, err := get(t.Context(), http.DefaultClient, "http://"+serve(t, g)+"/metrics", "Authorization", "Bearer x")
		if err != nil || response.StatusCode != http.StatusOK || body != `hello over HTTP/1.1, credentials "Bearer x"` {
			t.Errorf("%v, %q, %v", response, body, err)
		}
	}
}

func TestTLS(t *testing.T) {
	f := newFolder(t)
	f.pair()
	g := newGuard(t, Options{TLSConfig: f.write("web.yaml", withCertificate)})
	address := serve(t, g)
	if g.Scheme() != "https" {
		t.Errorf("scheme %q", g.Scheme())
	}
	for keep, want := range map[bool]string{false: "hello over HTTP/1.1", true: "hello over HTTP/2.0"} {
		if _, body, err := get(t.Context(), f.client(keep), "https://"+address); err != nil || !strings.HasPrefix(body, want) {
			t.Errorf("%q, %v, want %s", body, err, want)
		}
	}
	if response, body, err := get(t.Context(), http.DefaultClient, "http://"+address); err == nil && response.StatusCode == http.StatusOK {
		t.Errorf("plain HTTP was answered: %q", body)
	}
	var unknown *tls.CertificateVerificationError
	if _, body, err := get(t.Context(), http.DefaultClient, "https://"+address); !errors.As(err, &unknown) {
		t.Errorf("a client that doesn't know the authority: %q, %v", body, err)
	}
	old := f.client(false)
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS11
	if _, body, err := get(t.Context(), old, "https://"+address); err == nil {
		t.Errorf("TLS 1.1 was answered: %q", body)
	}
}

func TestClientCertificates(t *testing.T) {
	f := newFolder(t)
	f.pair()
	f.write("clients.crt", string(f.authority.PEM))
	strangers, err := identity.NewAuthority("strangers")
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, newGuard(t, Options{TLSConfig: f.write("web.yaml", `
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: clients.crt
  client_allowed_sans: [prometheus]
`)}))
	for name, c := range map[string]struct {
		certificates []tls.Certificate
		ok           bool
	}{
		"none":                {nil, false},
		"of the authority":    {[]tls.Certificate{f.issue(f.authority, "prometheus").TLS}, true},
		"of another name":     {[]tls.Certificate{f.issue(f.authority, "someone").TLS}, false},
		"of a wrong authorty": {[]tls.Certificate{f.issue(strangers, "prometheus").TLS}, false},
	} {
		client := f.client(false)
		client.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(c.certificates) == 0 {
				return new(tls.Certificate), nil
			}
			return &c.certificates[0], nil // even where the server wouldn't take it
		}
		response, body, err := get(t.Context(), client, "https://"+address)
		if ok := err == nil && response.StatusCode == http.StatusOK; ok != c.ok {
			t.Errorf("%s: %q, %v", name, body, err)
		}
	}
}

// hashed is a password as a web configuration has it.
func hashed(t testing.TB, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func TestPasswords(t *testing.T) {
	f := newFolder(t)
	f.pair()
	config := func(password string) string {
		return f.write("web.yaml", withCertificate+fmt.Sprintf("basic_auth_users: {prometheus: %q}\nhttp_server_config: {headers: {X-Frame-Options: deny}}\n", hashed(t, password)))
	}
	address := serve(t, newGuard(t, Options{TLSConfig: config("secret")}))
	client := f.client(true)
	status := func(user, password string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			request.SetBasicAuth(user, password)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.Header.Get("X-Frame-Options") != "deny" {
			t.Errorf("headers %v", response.Header)
		}
		if response.StatusCode == http.StatusUnauthorized && response.Header.Get("WWW-Authenticate") == "" {
			t.Error("a refusal without WWW-Authenticate")
		}
		return response.StatusCode
	}
	for _, c := range []struct {
		user, password string
		want           int
	}{{"", "", 401}, {"prometheus", "secret", 200}, {"prometheus", "wrong", 401}, {"someone", "secret", 401}, {"prometheus", "", 401}, {"prometheus", "secret", 200}} {
		if got := status(c.user, c.password); got != c.want {
			t.Errorf("%s:%s got %d, want %d", c.user, c.password, got, c.want)
		}
	}
	config("changed") // the next request counts, on the same connection
	if old, now := status("prometheus", "secret"), status("prometheus", "changed"); old != 401 || now != 200 {
		t.Errorf("after the change the old password got %d, the new one %d", old, now)
	}
}

// served is the serial number of the certificate that a new connection gets.
func served(f *folder, address string) (string, error) {
	c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: f.authority.Pool()})
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

func TestACertificateIsReplacedWhileRunning(t *testing.T) {
	f := newFolder(t)
	first := serial(t, f.pair())
	address := serve(t, newGuard(t, Options{TLSConfig: f.write("web.yaml", withCertificate)}))
	kept := f.client(true)
	if got, err := served(f, address); err != nil || got != first {
		t.Fatalf("%s, %v, want %s", got, err, first)
	}
	if _, _, err := get(t.Context(), kept, "https://"+address); err != nil {
		t.Fatal(err)
	}
	second := serial(t, f.pair())
	if got, err := served(f, address); err != nil || got != second {
		t.Errorf("after the change: %s, %v, want %s", got, err, second)
	}
	if response, _, err := get(t.Context(), kept, "https://"+address); err != nil || serialOf(response.TLS) != first {
		t.Errorf("the connection from before: %v", err)
	}

	// As a Secret's volume does it: a link to a folder is swapped.
	for _, generation := range []string{"1", "2"} {
		pair := f.issue(f.authority, "server")
		dir := filepath.Join(f.dir, "..data_"+generation)
		link := filepath.Join(f.dir, "..data")
		if err := errors.Join(os.Mkdir(dir, 0o700),
			os.WriteFile(filepath.Join(dir, "tls.crt"), pair.CertPEM, 0o600), os.WriteFile(filepath.Join(dir, "tls.key"), pair.KeyPEM, 0o600),
			os.Symlink(dir, link+"_tmp"), os.Rename(link+"_tmp", link)); err != nil {
			t.Fatal(err)
		}
		f.write("web.yaml", "tls_server_config: {cert_file: ..data/tls.crt, key_file: ..data/tls.key}\n")
		if got, err := served(f, address); err != nil || got != serial(t, pair) {
			t.Errorf("folder %s: %s, %v", generation, got, err)
		}
	}
}

func serial(t testing.TB, pair identity.Pair) string {
	t.Helper()
	leaf, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return leaf.Leaf.SerialNumber.String()
}

func serialOf(state *tls.ConnectionState) string {
	return state.PeerCertificates[0].SerialNumber.String()
}

func TestAFileThatBecomesWrongLetsNobodyIn(t *testing.T) {
	f := newFolder(t)
	f.pair()
	config := f.write("web.yaml", withCertificate)
	g := newGuard(t, Options{TLSConfig: config})
	address := serve(t, g)
	kept, fresh := f.client(true), f.client(false)
	if _, _, err := get(t.Context(), kept, "https://"+address); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"not YAML": "{{{", "unknown field": "tls: {}\n", "no certificate any more": "tls_server_config: {cert_file: none.crt, key_file: none.key}\n"} {
		f.write("web.yaml", text)
		if response, body, err := get(t.Context(), fresh, "https://"+address); err == nil && response.StatusCode == http.StatusOK {
			t.Errorf("%s: a new connection was answered %q", name, body)
		}
		if response, body, err := get(t.Context(), fresh, "http://"+address); err == nil && response.StatusCode == http.StatusOK {
			t.Errorf("%s: plain HTTP was answered %q", name, body)
		}
	}
	f.write("web.yaml", withCertificate)
	if _, _, err := get(t.Context(), fresh, "https://"+address); err != nil {
		t.Errorf("after the file was put right: %v", err)
	}
	if _, _, err := get(t.Context(), kept, "https://"+address); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
}

func TestWrongOptions(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	f := newFolder(t)
	f.pair()
	f.write("empty.crt", "")
	fifo := filepath.Join(f.dir, "fifo") // which nobody writes to
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := []string{fifo, "a named pipe", "--tls-config"}
	api := newAPIServer(t)
	for name, c := range map[string]struct {
		options Options
		wants   []string
	}{
		"no such file":      {Options{TLSConfig: filepath.Join(f.dir, "none.yaml")}, []string{"none.yaml", "--tls-config"}},
		"unknown field":     {Options{TLSConfig: f.write("a.yaml", "tls_server_config:\n  cert_fil: x\n")}, []string{"line 2", "cert_fil", "--tls-config"}},
		"wrong type":        {Options{TLSConfig: f.write("b.yaml", "tls_server_config: [1]\n")}, []string{"line 1", "--tls-config"}},
		"not YAML":          {Options{TLSConfig: f.write("c.yaml", "{{{")}, []string{"c.yaml"}},
		"no key":            {Options{TLSConfig: f.write("d.yaml", "tls_server_config: {cert_file: server.crt}\n")}, []string{"key_file"}},
		"no certificate":    {Options{TLSConfig: f.write("e.yaml", "tls_server_config: {cert_file: empty.crt, key_file: server.key}\n")}, []string{"e.yaml"}},
		"password in clear": {Options{TLSConfig: f.write("f.yaml", "basic_auth_users: {me: secret}\n")}, []string{"f.yaml"}},
		"cipher":            {Options{TLSConfig: f.write("g.yaml", "tls_server_config: {cert_file: server.crt, key_file: server.key, cipher_suites: [ROT13]}\n")}, []string{"ROT13"}},
		"password and filter": {Options{TLSConfig: f.write("h.yaml", fmt.Sprintf("basic_auth_users: {me: %q}\n", hashed(t, "x"))), AuthFilter: true, Kubeconfig: api.kubeconfig},
			[]string{"basic_auth_users", "--auth-filter"}},
		"a named pipe":       {Options{TLSConfig: fifo}, pipe},
		"pipe: certificate":  {Options{TLSConfig: f.write("i.yaml", "tls_server_config: {cert_file: fifo, key_file: server.key}\n")}, pipe},
		"pipe: key":          {Options{TLSConfig: f.write("j.yaml", "tls_server_config: {cert_file: server.crt, key_file: fifo}\n")}, pipe},
		"pipe: clients' CA":  {Options{TLSConfig: f.write("k.yaml", fmt.Sprintf("tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: %s}\n", fifo))}, pipe},
		"pipe: kubeconfig":   {Options{AuthFilter: true, Kubeconfig: fifo}, []string{fifo, "a named pipe", "--kubeconfig"}},
		"a folder":           {Options{TLSConfig: f.dir}, []string{"a folder", "--tls-config"}},
		"no cluster":         {Options{AuthFilter: true}, []string{"--auth-filter", "--kubeconfig"}},
		"no such kubeconfig": {Options{AuthFilter: true, Kubeconfig: "no-such-file"}, []string{"--auth-filter", `"no-such-file"`, "--kubeconfig"}},
		"URL":                {Options{AuthFilter: true, APIServer: "://"}, []string{`"://"`}},
	} {
		_, err := New(Config{Options: c.options})
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range c.wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q lacks %q", name, err, want)
			}
		}
	}
}

func TestFlags(t *testing.T) {
	o := Options{Kubeconfig: "default"}
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(nil); err != nil || o != (Options{Kubeconfig: "default"}) {
		t.Errorf("%+v, %v", o, err)
	}
	if err := fs.Parse([]string{"--tls-config=w", "--auth-filter", "--apiserver=a", "--kubeconfig=k"}); err != nil || o != (Options{"w", true, "a", "k"}) {
		t.Errorf("%+v, %v", o, err)
	}
}
