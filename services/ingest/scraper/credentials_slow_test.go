package scraper

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// A file that is a named pipe, or whose file system hangs, stops nobody: what was before stays in use.
func TestFilesThatHang(t *testing.T) {
	ca, clients := newSigner(t, "kubelets' CA"), newSigner(t, "clients' CA")
	kubelet := newChecking(t, ca, clients)
	folder := t.TempDir()
	caFile, certFile, keyFile, tokenPath := filepath.Join(folder, "ca.crt"), filepath.Join(folder, "client.crt"), filepath.Join(folder, "client.key"), filepath.Join(folder, "token")
	certificate, key := clients.sign("client", time.Now().Add(time.Hour))
	settings := func(c *Config) {
		c.Rest.BearerTokenFile, c.KubeletCertificateAuthority = tokenPath, caFile
		c.KubeletClientCertificate, c.KubeletClientKey = certFile, keyFile
	}
	good := map[string][]byte{caFile: ca.pem, certFile: certificate, keyFile: key, tokenPath: []byte("token")}
	for path, content := range good {
		write(t, path, content)
	}
	k, registry := client(t, settings)
	fifo := func(path string) {
		t.Helper()
		if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for path := range good {
		fifo(path)
	}
	k.held.token.mu.Lock()
	k.held.token.looked = time.Time{}
	k.held.token.mu.Unlock()
	testenv.Eventually(t, 10*time.Second, func() error {
		kubelet.drop()
		if _, err := askWith(t, k, kubelet.address, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if reloads(t, registry, "tls", "failed") == 0 || reloads(t, registry, "token", "failed") == 0 {
			return errors.New("the named pipes aren't counted")
		}
		return nil
	})

	// At a start they are errors that say what is wrong, and so is a CA file without a certificate.
	for path, content := range good {
		write(t, path, content)
	}
	refused := func(path, says string) {
		t.Helper()
		c := DefaultConfig()
		c.Rest = &rest.Config{Host: "https://the-api-server"}
		settings(&c)
		if _, err := newKubelets(&c); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", path, err)
		}
		write(t, path, good[path])
	}
	for path := range good {
		fifo(path)
		refused(path, "a named pipe")
	}
	for _, content := range []string{"", " \n", "no certificate"} {
		write(t, caFile, []byte(content))
		refused(caFile, "holds no certificate")
	}
	write(t, certFile, nil)
	refused(certFile, "failed to find any PEM data")
}

// Nobody but those whose token was refused waits for the file, and those no longer than their scrape may take.
func TestATokenFileThatIsSlow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, []byte("first"))
	c, err := newCredentials(&rest.Config{BearerTokenFile: path}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := c.token
	f.looked, f.reading = time.Time{}, make(chan struct{}) // it is being read, for ever
	if got := f.get(); got != "first" {
		t.Errorf("%q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if got := f.instead(ctx, "first"); got != "first" || ctx.Err() == nil {
		t.Errorf("%q", got)
	}
	write(t, path, []byte("second"))
	f.reading = nil
	if got := f.instead(t.Context(), "first"); got != "second" {
		t.Errorf("%q", got)
	}
}
