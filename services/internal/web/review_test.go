package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/cache"
)

// roundTrip is a way to the API server.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// An API server that is away is asked three times, and not until the time is over.
func TestAttempts(t *testing.T) {
	attempts := 0
	r := &reviewer{
		client: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			attempts++
			return nil, errors.New("it is away")
		})},
		server: &url.URL{Scheme: "https", Host: "api.invalid"}, timeout: ReviewTimeout, users: cache.NewLRUExpireCache(1),
	}
	if _, err := r.who(t.Context(), "token"); err == nil || !strings.Contains(err.Error(), "it is away") || attempts != 3 {
		t.Errorf("%d attempts, %v", attempts, err)
	}
}
