package api

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// TestTheAggregationLayersAuthorityChanges: who has a certificate of the new one is believed within seconds, who has one of
// the old one no more.
func TestTheAggregationLayersAuthorityChanges(t *testing.T) {
	s := start(t, small)
	before := s.kube.frontProxy.client(t, "front-proxy-client")
	next := newAuthority(t, "front-proxy-ca-2")
	after := next.client(t, "front-proxy-client")
	ask := func(certificate tls.Certificate) int {
		t.Helper()
		request, err := http.NewRequest(http.MethodGet, s.url+group+"/nodes", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Remote-User", "viewer")
		response, err := s.client(&certificate).Do(request)
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	if got := ask(before); got != 200 {
		t.Fatalf("at first: %d", got)
	}
	if got := ask(after); got == 200 {
		t.Fatalf("with an authority that nobody trusts yet: %d", got)
	}
	s.kube.trust(next)
	testenv.Eventually(t, 20*time.Second, func() error {
		if got := ask(after); got != 200 {
			return fmt.Errorf("with the new authority: %d", got)
		}
		return nil
	})
	if got := ask(before); got == 200 {
		t.Error("the old authority is still believed")
	}
}

// TestTheTokenFileChanges: the server goes on asking the API server with what its kubeconfig's token file says now.
func TestTheTokenFileChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	s := newServed(t, func(c *Config) {
		config, err := clientcmd.LoadFromFile(c.Options.Kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		for _, user := range config.AuthInfos {
			user.Token, user.TokenFile = "", file
		}
		if err := clientcmd.WriteToFile(*config, c.Options.Kubeconfig); err != nil {
			t.Fatal(err)
		}
	})
	s.kube.set(func() { s.kube.token = "first" })
	small(s)
	s.whole()
	s.run()
	ask := func() int {
		code, _ := s.get(group + "/nodes")
		return code
	}
	if code := ask(); code != 200 {
		t.Fatalf("at first: %d", code)
	}
	for _, token := range []string{"second", "third"} {
		write(token)
		s.kube.set(func() { s.kube.token = token })
		for range 3 {
			if code := ask(); code != 200 {
				t.Fatalf("with the %s token: %d", token, code)
			}
		}
	}
	write("wrong") // and it is not asked again and again
	s.kube.set(func() { s.kube.token = "right" })
	if code := ask(); code == 200 {
		t.Error("a wrong token was good enough")
	}
	write("right")
	if code := ask(); code != 200 {
		t.Errorf("with the right token: %d", code)
	}
}
