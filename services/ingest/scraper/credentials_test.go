package scraper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// A token that was replaced is used at once when a kubelet refuses the one before: in the same scrape.
func TestATokenThatIsReplaced(t *testing.T) {
	ca := newSigner(t, "kubelets' CA")
	kubelet := newChecking(t, ca, nil)
	path := filepath.Join(t.TempDir(), "token")
	accept := func(token string) { kubelet.token.Store(&token) }
	write(t, path, []byte("first\n"))
	accept("first")
	k, registry := client(t, func(c *Config) {
		c.Rest.BearerTokenFile, c.Rest.CAData = path, ca.pem
	})
	if _, err := askWith(t, k, kubelet.address, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	write(t, path, []byte("second"))
	accept("second")
	testenv.Eventually(t, 5*time.Second, func() error { // a file is looked at once a second at most
		_, err := askWith(t, k, kubelet.address, 5*time.Second)
		return err
	})
	if n := reloads(t, registry, "token", "changed"); n != 1 {
		t.Errorf("%d reloads counted", n)
	}

	// A file that is gone, empty or full of something else leaves the token as it is.
	for i, content := range []string{"", "two words", "line\nline"} {
		before := reloads(t, registry, "token", "failed")
		write(t, path, []byte(content))
		accept("third")
		testenv.Eventually(t, 5*time.Second, func() error {
			if _, err := askWith(t, k, kubelet.address, 5*time.Second); resultOf(err, "") != resultStatus {
				t.Fatal(err)
			}
			if reloads(t, registry, "token", "failed") == before {
				return fmt.Errorf("a token file that is no good (%d) isn't counted", i)
			}
			return nil
		})
		accept("second")
		if _, err := askWith(t, k, kubelet.address, 5*time.Second); err != nil {
			t.Errorf("the token before is no longer used: %v", err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	accept("fourth")
	asked := kubelet.asked.Load()
	if _, err := askWith(t, k, kubelet.address, 5*time.Second); resultOf(err, "") != resultStatus || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Error(err)
	}
	if n := kubelet.asked.Load() - asked; n != 1 {
		t.Errorf("asked %d times with the same token", n)
	}
	write(t, path, []byte("fourth"))
	testenv.Eventually(t, 5*time.Second, func() error {
		_, err := askWith(t, k, kubelet.address, 5*time.Second)
		return err
	})
}

// A token is replaced before it is refused: the file is read now and then without an occasion.
func TestATokenIsReadNowAndThen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, []byte("first"))
	config := &rest.Config{BearerTokenFile: path, BearerToken: "first"}
	c, err := newCredentials(config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if config.BearerToken != "" || config.BearerTokenFile != "" {
		t.Error("the token is added twice")
	}
	write(t, path, []byte("second"))
	if got := c.token.get(); got != "first" {
		t.Errorf("%q: the file is read for every request", got)
	}
	c.token.looked = time.Now().Add(-tokenLook)
	testenv.Eventually(t, 5*time.Second, func() error {
		if got := c.token.get(); got != "second" || tokenLook > time.Minute {
			return fmt.Errorf("%q after %v", got, tokenLook)
		}
		return nil
	})
	// At a start, a file that isn't there is an error, unless there is a token already.
	for _, config := range []*rest.Config{{BearerTokenFile: path + ".none"}, {BearerTokenFile: path + ".none", BearerToken: "given"}} {
		given := config.BearerToken
		c, err := newCredentials(config, nil, nil)
		if (err == nil) != (given != "") || given != "" && c.token.get() != given {
			t.Errorf("%q: %v", given, err)
		}
	}
}

// The client's certificate and key are replaced while the service runs: connections are made anew with them.
func TestACertificateThatRotates(t *testing.T) {
	ca, clients := newSigner(t, "kubelets' CA"), newSigner(t, "clients' CA")
	kubelet := newChecking(t, ca, clients)
	folder := t.TempDir()
	certFile, keyFile := filepath.Join(folder, "client.crt"), filepath.Join(folder, "client.key")
	put := func(name string, until time.Time) {
		certificate, key := clients.sign(name, until)
		write(t, keyFile, key)
		write(t, certFile, certificate)
	}
	put("first", time.Now().Add(time.Hour))
	k, registry := client(t, func(c *Config) {
		c.Rest.CAData = ca.pem
		c.KubeletClientCertificate, c.KubeletClientKey = certFile, keyFile
	})
	shows := func(name string) {
		t.Helper()
		testenv.Eventually(t, 10*time.Second, func() error {
			if _, err := askWith(t, k, kubelet.address, 5*time.Second); err != nil {
				return err
			}
			if got := *kubelet.peer.Load(); got != name {
				return fmt.Errorf("the kubelet was shown the certificate of %s", got)
			}
			return nil
		})
	}
	shows("first")
	put("second", time.Now().Add(time.Hour))
	shows("second")
	if n := reloads(t, registry, "tls", "changed"); n < 1 {
		t.Error("the change isn't counted")
	}

	// A pair that doesn't fit together, or is none, leaves the one before in use.
	write(t, certFile, []byte("no certificate"))
	testenv.Eventually(t, 10*time.Second, func() error {
		if _, err := askWith(t, k, kubelet.address, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if reloads(t, registry, "tls", "failed") == 0 {
			return errors.New("a broken file isn't counted")
		}
		return nil
	})
	shows("second")

	// One that has expired is refused; the error says which, and what to do. A new one is used without a restart.
	put("old", time.Now().Add(-time.Hour))
	testenv.Eventually(t, 10*time.Second, func() error {
		_, err := askWith(t, k, kubelet.address, 5*time.Second)
		if resultOf(err, "") != resultTLS || !strings.Contains(err.Error(), "CN=old") || !strings.Contains(err.Error(), "expired at") || !strings.Contains(err.Error(), certFile) {
			return fmt.Errorf("%s: %w", resultOf(err, ""), err)
		}
		return nil
	})
	put("third", time.Now().Add(time.Hour))
	shows("third")
}

// Kubelets get certificates of another CA, and the file with the CA has both for a while: no scrape fails.
func TestACAThatRotates(t *testing.T) {
	one, other := newSigner(t, "one CA"), newSigner(t, "another CA")
	kubelet := newChecking(t, one, nil)
	path := filepath.Join(t.TempDir(), "ca.crt")
	write(t, path, one.pem)
	k, registry := client(t, func(c *Config) { c.KubeletCertificateAuthority = path })
	ask := func() error {
		_, err := askWith(t, k, kubelet.address, 5*time.Second)
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	// Not yet known: the connection that there is goes on, a new one fails and says what to do.
	kubelet.serve(t, other, time.Now().Add(time.Hour))
	kubelet.drop()
	if err := ask(); resultOf(err, "") != resultTLS || !strings.Contains(err.Error(), "--kubelet-certificate-authority") {
		t.Errorf("%v", err)
	}
	write(t, path, append(append([]byte{}, one.pem...), other.pem...))
	testenv.Eventually(t, 10*time.Second, ask)
	for i, content := range []string{"not a CA", ""} {
		write(t, path, []byte(content))
		testenv.Eventually(t, 10*time.Second, func() error {
			kubelet.drop() // also a new connection needs the CA that was before: the system has neither
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			if reloads(t, registry, "tls", "failed") <= i {
				return fmt.Errorf("a file without a CA (%q) isn't counted", content)
			}
			return nil
		})
	}
	// The old CA is taken out: a kubelet that still has its certificate is trusted no more, also over a connection that was made before.
	write(t, path, other.pem)
	kubelet.serve(t, one, time.Now().Add(time.Hour))
	testenv.Eventually(t, 10*time.Second, func() error {
		if err := ask(); resultOf(err, "") != resultTLS {
			return fmt.Errorf("a certificate of the CA that was taken out: %w", err)
		}
		return nil
	})
}

// A kubelet's certificate that has expired is an error that says so.
func TestAKubeletsCertificateThatHasExpired(t *testing.T) {
	ca := newSigner(t, "kubelets' CA")
	kubelet := newChecking(t, ca, nil)
	kubelet.serve(t, ca, time.Now().Add(-time.Hour))
	k, _ := client(t, func(c *Config) { c.Rest.CAData = ca.pem })
	_, err := askWith(t, k, kubelet.address, 5*time.Second)
	if resultOf(err, "") != resultTLS || !strings.Contains(err.Error(), "renew it") || !strings.Contains(err.Error(), "clocks") {
		t.Error(err)
	}
	kubelet.serve(t, ca, time.Now().Add(time.Hour))
	if _, err := askWith(t, k, kubelet.address, 5*time.Second); err != nil {
		t.Error(err)
	}
}
