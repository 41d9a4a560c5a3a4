package kubeconfig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"k8s.io/client-go/rest"
)

const good = `apiVersion: v1
kind: Config
current-context: here
contexts:
- {name: here, context: {cluster: c, user: u}}
clusters:
- {name: c, cluster: {server: "https://10.0.0.1:6443", certificate-authority: pki/ca.crt}}
users:
- {name: u, user: {token: secret, tokenFile: token}}
`

// write puts a kubeconfig, and the files that good names, into a folder of the test.
func write(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"kubeconfig": text, "pki/ca.crt": authority(t), "pki/empty.crt": "", "token": "secret"} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "kubeconfig")
}

// authority is a CA's certificate, PEM.
func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// outside makes sure that the test is in no pod.
func outside(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBERNETES_SERVICE_PORT", "")
}

func TestAFileSaysEverything(t *testing.T) {
	outside(t)
	file := write(t, good)
	config, err := Load(file, "--kubeconfig")
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://10.0.0.1:6443" || config.BearerToken != "secret" || config.CAFile != filepath.Join(filepath.Dir(file), "pki", "ca.crt") {
		t.Errorf("%s, token %q, CA %s", config.Host, config.BearerToken, config.CAFile)
	}
	if config, err = LoadFor("https://other:1", file, "--kubeconfig"); err != nil || config.Host != "https://other:1" || config.BearerToken != "secret" {
		t.Errorf("with another server: %+v, %v", config, err)
	}
	if config, err = LoadFor("", file, "--kubeconfig"); err != nil || config.Host != "https://10.0.0.1:6443" {
		t.Errorf("without another server: %+v, %v", config, err)
	}
	if config, err = LoadFor("http://other:1", "", "--kubeconfig"); err != nil || config.Host != "http://other:1" || config.BearerToken != "" {
		t.Errorf("with a server alone: %+v, %v", config, err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	outside(t)
	elsewhere := write(t, good)
	t.Setenv("KUBECONFIG", elsewhere) // must not fill in anything
	for name, c := range map[string]struct {
		server, file string
		wants        []string
	}{
		"no pod":        {"", "", []string{"service account", "give --this or --that"}},
		"no such file":  {"", "no-such-file", []string{`"no-such-file"`, "check --this or --that"}},
		"not YAML":      {"", write(t, "{{{"), []string{"couldn't load the kubeconfig", "check --this or --that"}},
		"not a config":  {"", write(t, "apiVersion: v1\nkind: Pod\n"), []string{"couldn't load the kubeconfig"}},
		"empty":         {"", write(t, "apiVersion: v1\nkind: Config\n"), []string{"couldn't load the kubeconfig"}},
		"no context":    {"", write(t, strings.Replace(good, "current-context: here", "current-context: there", 1)), []string{"there"}},
		"no CA":         {"", write(t, strings.Replace(good, "pki/ca.crt", "pki/none.crt", 1)), []string{"none.crt"}},
		"CA empty":      {"", write(t, strings.Replace(good, "pki/ca.crt", "pki/empty.crt", 1)), []string{"empty.crt holds no certificate"}},
		"CA no CA":      {"", write(t, strings.Replace(good, "pki/ca.crt", "token", 1)), []string{"token holds no certificate"}},
		"CA a pipe":     {"", write(t, strings.Replace(good, "pki/ca.crt", "fifo", 1)), []string{"fifo is no regular file but a named pipe"}},
		"token a pipe":  {"", write(t, strings.Replace(good, "tokenFile: token", "tokenFile: fifo", 1)), []string{"fifo is no regular file but a named pipe"}},
		"key a pipe":    {"", write(t, strings.Replace(good, "tokenFile: token", "client-certificate: token, client-key: fifo", 1)), []string{"fifo is no regular file but a named pipe"}},
		"a pipe":        {"", filepath.Join(filepath.Dir(elsewhere), "fifo"), []string{"fifo is no regular file but a named pipe", "check --this or --that"}},
		"two of server": {"https://other:1", "no-such-file", []string{`"no-such-file"`, "https://other:1"}},
		"not a URL":     {"://", "", []string{`"://"`}},
	} {
		_, err := LoadFor(c.server, c.file, "--this or --that")
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
	if _, err := Load("", "--kubeconfig"); !errors.Is(err, rest.ErrNotInCluster) {
		t.Errorf("outside of a cluster: %v", err)
	}
}
